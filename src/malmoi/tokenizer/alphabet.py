"""Which single characters become tokens, and how large a vocabulary is without a wish."""

from collections import Counter

from malmoi.tokenizer.load import SPECIALS
from malmoi.tokenizer.pieces import byte_level_alphabet

ASCII = [chr(code) for code in range(128)]
# Bytes of UTF-8 beyond ASCII, following and first ones. 0xC0, 0xC1 and from 0xF5 on never occur.
BYTES = [f"<0x{byte:02X}>" for byte in (*range(0x80, 0xC0), *range(0xC2, 0xF5))]

_MAX_DEFAULT = 32_000
_MAX_WORDS = 30_000
# SentencePiece's coverage for rich alphabets: characters beyond it go by bytes.
_COVERAGE = 0.9995


def choose_alphabet(
    kind: str,
    chars: Counter[str],
    vocab_size: int | None,
    min_frequency: int,
    fallback: bool,
    share: float,
) -> list[str]:
    """The tokens before words and merges: bytes, ASCII, then other characters by code point.

    In all kinds but `char` those other characters take at most `share` of the room that
    `vocab_size` leaves. Without `fallback` there are no bytes, and every character seen is wanted.
    Raises ValueError for a `vocab_size` too small.
    """
    if kind == "bytebpe":
        base = sorted(byte_level_alphabet())
    elif fallback:
        base = [*BYTES, *ASCII]
    else:
        base = sorted(char for char in chars if char < "\x80")
    taken = len(SPECIALS) + len(base)
    if vocab_size is not None and vocab_size < taken:
        raise ValueError(
            f"vocab_size {vocab_size} is too small for {kind}: special tokens, ASCII and bytes "
            f"alone take {taken}; use {taken} or more"
        )
    if kind == "bytebpe":
        return base
    others = [(char, count) for char, count in chars.items() if char >= "\x80"]
    others.sort(key=lambda item: (-item[1], item[0]))
    if fallback:
        others = [(char, count) for char, count in others if count >= min_frequency]
        if kind in ("bpe", "unigram"):
            others = _covering(others, chars.total())
    if vocab_size is not None:
        room = vocab_size - taken
        others = others[: room if kind == "char" else int(room * share)]
    return base + sorted(char for char, _ in others)


def default_size(kind: str, alphabet: int, characters: int) -> int:
    """Size for `alphabet` tokens and a text of so many characters: see `train_tokenizer`."""
    taken = len(SPECIALS) + alphabet
    if kind == "char":
        return taken
    if kind == "word":
        return max(taken, _MAX_WORDS)
    return max(taken, min(_MAX_DEFAULT, taken + round(2048 * (characters / 1e6) ** 0.6)))


def _covering(counted: list[tuple[str, int]], total: int) -> list[tuple[str, int]]:
    """The most frequent characters, until those left out are 0.05 % of the text together."""
    spare = total * (1 - _COVERAGE)
    kept = len(counted)
    while kept and counted[kept - 1][1] <= spare:
        spare -= counted[kept - 1][1]
        kept -= 1
    return counted[:kept]
