"""Training a tokenizer of each kind from text.

All kinds but `bytebpe` have one alphabet: the 128 ASCII characters, the other characters that the
text uses enough, and a token for each byte that the UTF-8 of any further character can hold (115 of
the 256; the others never occur and would only widen the softmax). On top of it

- `char` has nothing,
- `word` whole words with the space before them; other words go by characters,
- `bpe` merges of frequent neighbours, `unigram` the pieces of a unigram language model.

`bytebpe` is GPT-2's: merges over the 256 bytes. The same text gives the same file, byte by byte.
"""

import struct
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import IO

import tokenizers
from tokenizers import AddedToken

from malmoi.tokenizer import build
from malmoi.tokenizer.alphabet import choose_alphabet, count_characters, default_size
from malmoi.tokenizer.load import SPECIALS
from malmoi.tokenizer.pattern import cut_safely
from malmoi.tokenizer.tokenizer import Tokenizer

KINDS = ("char", "word", "bpe", "bytebpe", "unigram")


def train_tokenizer(
    texts: Iterable[str],
    kind: str,
    vocab_size: int | None = None,
    *,
    min_frequency: int | None = None,
    byte_fallback: bool = True,
) -> Tokenizer:
    """Train a tokenizer on `texts`, which is read once and never held in memory as a whole.

    `vocab_size` counts everything: 4 special tokens, alphabet and the rest. Without it:

    - `char`: every character seen `min_frequency` times; `word`: those, and the words seen as
      often, 30,000 tokens at most;
    - `bpe`, `unigram`, `bytebpe`: alphabet + 2048 * (characters / 1,000,000) ** 0.6 (words grow
      with text about so: Heaps' law), 32,000 at most. English: 1 MB 2,400, 5 MB 5,600, 100 MB
      32,000; Korean has some 1,000 to 2,000 syllables more.

    `min_frequency` (2 where not given) is how often a character, word, pair or piece must occur to
    become a token. In `bpe`, `unigram` and `word` other characters than ASCII take half of what
    `vocab_size` leaves at most, the most frequent ones, so that rare syllables and not room for
    words are given up.

    `byte_fallback=False` leaves the bytes out (`char`: 69 tokens on tinyshakespeare instead of
    247) and takes all characters seen; a character never seen then becomes `unk` and is lost, so
    text no longer comes back exactly. `bytebpe` cannot do without its bytes.

    Raises ValueError where the kind is unknown, there is no text, `vocab_size` is too small for the
    alphabet or larger than the text supports, or a text holds a lone surrogate.
    """
    if kind not in KINDS:
        raise ValueError(f"tokenizer kind {kind!r} is unknown; choose one of {', '.join(KINDS)}")
    if kind == "bytebpe" and not byte_fallback:
        raise ValueError("bytebpe is made of bytes and has no byte_fallback=False; use bpe")
    if min_frequency is not None and min_frequency < 1:
        raise ValueError(f"min_frequency is {min_frequency}; it must be at least 1")
    at_least = min_frequency or 2
    with tempfile.TemporaryFile() as spool:
        backend = _build(_parts(texts), spool, kind, vocab_size, at_least, byte_fallback)
    roles = {role: index for index, role in enumerate(SPECIALS)}
    backend.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in SPECIALS.values()]
    )
    return Tokenizer(backend, roles)


def _build(
    parts: Iterator[str],
    spool: IO[bytes],
    kind: str,
    vocab_size: int | None,
    min_frequency: int,
    fallback: bool,
) -> tokenizers.Tokenizer:
    """Count first, then build; BPE reads the text a second time, from `spool`."""
    words = build.count_words(parts) if kind in ("word", "unigram") else Counter[str]()
    if kind in ("bpe", "bytebpe"):
        parts = _spooled(parts, spool)
    chars = count_characters(words.items() if words else ((part, 1) for part in parts))
    found = 0
    # Half of the room is for single characters, all of it where nothing else fills it.
    for share in (0.5, 1.0):
        alphabet = choose_alphabet(kind, chars, vocab_size, min_frequency, fallback, share)
        size = vocab_size or default_size(kind, len(alphabet), chars.total())
        match kind:
            case "char":
                backend = build.build_char(alphabet, fallback)
            case "word":
                backend = build.build_word(words, alphabet, size, min_frequency, fallback)
            case "unigram":
                backend = build.train_unigram(words, alphabet, size, min_frequency, fallback)
            case "bpe":
                replay = _replay(spool)
                backend = build.train_bpe(replay, chars, alphabet, size, min_frequency, fallback)
            case _:
                backend = build.train_bytebpe(_replay(spool), size, min_frequency)
        found = backend.get_vocab_size()
        if vocab_size is None or found >= vocab_size:
            return backend
    raise ValueError(
        f"vocab_size {vocab_size:,} is too large for {kind}: the text supports at most {found:,} "
        f"tokens; use --vocab-size {found} or less"
    )


def _parts(texts: Iterable[str]) -> Iterator[str]:
    """Small parts: the library takes hundreds of items at a time to share among cores."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"a text holds a lone surrogate {text[error.start]!a}, which is no valid Unicode; "
                "clean the text first"
            ) from None
        yield from cut_safely(text, 1 << 14)


_LENGTH = struct.Struct("<I")


def _spooled(parts: Iterable[str], spool: IO[bytes]) -> Iterator[str]:
    for part in parts:
        data = part.encode()
        spool.write(_LENGTH.pack(len(data)))
        spool.write(data)
        yield part


def _replay(spool: IO[bytes]) -> Iterator[str]:
    spool.seek(0)
    while head := spool.read(_LENGTH.size):
        yield spool.read(_LENGTH.unpack(head)[0]).decode()
