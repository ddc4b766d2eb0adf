"""Which single characters become tokens, and how large a vocabulary is without a wish."""

from collections import Counter
from collections.abc import Iterable

from malmoi.tokenizer.load import SPECIALS

ASCII = [chr(code) for code in range(128)]
# Bytes of UTF-8 beyond ASCII, following and first ones. 0xC0, 0xC1 and from 0xF5 on never occur.
BYTES = [f"<0x{byte:02X}>" for byte in (*range(0x80, 0xC0), *range(0xC2, 0xF5))]

_MAX_DEFAULT = 32_000
# SentencePiece's coverage for rich alphabets: characters beyond it go by bytes.
_COVERAGE = 0.9995


def count_characters(counted: Iterable[tuple[str, int]]) -> Counter[str]:
    """Characters of (text, how often) pairs. Raises ValueError where there are none."""
    chars: Counter[str] = Counter()
    for text, count in counted:
        if count == 1:
            chars.update(text)
        else:
            for char in text:
                chars[char] += count
    if not chars:
        raise ValueError("there is no text to train a tokenizer on")
    return chars


def choose_alphabet(
    kind: str, chars: Counter[str], vocab_size: int | None, min_frequency: int, fallback: bool
) -> list[str]:
    """The tokens before words and merges: byte tokens, ASCII, then characters by code point.

    Without `fallback`: all characters seen. Raises ValueError for a `vocab_size` too small.
    """
    seen = sorted(chars.items(), key=lambda item: (-item[1], item[0]))
    base = [*BYTES, *ASCII] if fallback else sorted(char for char in chars if char < "\x80")
    taken = len(SPECIALS) + len(base)
    if vocab_size is not None and vocab_size < taken:
        raise ValueError(
            f"vocab_size {vocab_size} is too small for {kind}: specials, ASCII and bytes already "
            f"take {taken}; use {taken} or more"
            if fallback
            else f"vocab_size {vocab_size} is too small for {kind}: use {taken} or more"
        )
    others = [(char, count) for char, count in seen if char >= "\x80"]
    if fallback:
        others = [(char, count) for char, count in others if count >= min_frequency]
        if kind in ("bpe", "unigram"):
            others = _covering(others, chars.total())
    if vocab_size is not None:
        others = others[: (vocab_size - taken) // (1 if kind == "char" else 2)]
    return base + sorted(char for char, _ in others)


def _covering(counted: list[tuple[str, int]], total: int) -> list[tuple[str, int]]:
    """The most frequent characters, until those left out are 0.05 % of the text together."""
    spare = total * (1 - _COVERAGE)
    kept = len(counted)
    while kept and counted[kept - 1][1] <= spare:
        spare -= counted[kept - 1][1]
        kept -= 1
    return counted[:kept]


def default_size(alphabet: int, characters: int) -> int:
    """Size for `alphabet` tokens and a text of so many characters: see `train_tokenizer`."""
    size = len(SPECIALS) + alphabet + round(2048 * (characters / 1e6) ** 0.6)
    return min(size, _MAX_DEFAULT)


def too_large(kind: str, vocab_size: int, most: int) -> ValueError:
    """The error for a vocabulary that the text cannot fill; it tells the largest that it can."""
    return ValueError(
        f"vocab_size {vocab_size:,} is too large for {kind}: the text supports at most {most:,} "
        f"tokens; use --vocab-size {most} or less"
    )
