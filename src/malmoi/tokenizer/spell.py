"""Counted words spelt in symbols, characters or bytes: what `merges.py` learns from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from malmoi.tokenizer.counts import Ints, Words
from malmoi.tokenizer.scan import CODES, Bytes, compiled

Symbols = npt.NDArray[np.int32]


@dataclass
class Corpus:
    """Words as symbols, each a token's id; merging shortens them in place.

    Attributes:
        symbols: of all words, one after another, int32.
        starts: where each word begins in `symbols`, int64 [words].
        sizes: symbols of each word, int32 [words].
        counts: how often each word occurs, int64 [words].

    """

    symbols: Symbols
    starts: Ints
    sizes: Symbols
    counts: Ints


def spell(words: Words, letters: Sequence[str]) -> Corpus:
    """Words as characters; what is none of `letters` is left out, and the word is cut there."""
    ids = np.full(CODES, -1, dtype=np.int32)
    ids[[ord(letter) for letter in letters]] = np.arange(len(letters), dtype=np.int32)
    return _spelled(words, ids, False)


def spell_bytes(words: Words, bytes_: Sequence[int]) -> Corpus:
    """Words as bytes of UTF-8; `bytes_` has the byte of each id, all 256."""
    ids = np.empty(256, dtype=np.int32)
    ids[list(bytes_)] = np.arange(256, dtype=np.int32)
    return _spelled(words, ids, True)


def _spelled(words: Words, ids: Symbols, by_bytes: bool) -> Corpus:
    """Two rounds: one tells how much memory, one fills it."""
    pieces, size = _spell(words.data, words.ends, words.counts, ids, by_bytes, *_room(0, 0))
    room = _room(size, pieces)
    _spell(words.data, words.ends, words.counts, ids, by_bytes, *room)
    return Corpus(*room)


def _room(size: int, pieces: int) -> tuple[Symbols, Ints, Symbols, Ints]:
    return (
        np.empty(size, dtype=np.int32), np.empty(pieces, dtype=np.int64),
        np.empty(pieces, dtype=np.int32), np.empty(pieces, dtype=np.int64),
    )  # fmt: skip


@compiled()
def _code_at(data: Bytes, at: int) -> tuple[np.int64, int]:
    """Return the code point at a place, and the number of its bytes; see `scan.py` for why here."""
    byte = np.int64(data[at])
    if byte < 0x80:
        return byte, 1
    size = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
    code = byte & (0x7F >> size)
    for i in range(1, size):
        code = code << 6 | (np.int64(data[at + i]) & 0x3F)
    return code, size


@compiled()
def _spell(
    data: Bytes, ends: Ints, counts: Ints, ids: Symbols, by_bytes: bool,
    symbols: Symbols, starts: Ints, sizes: Symbols, their_counts: Ints,
) -> tuple[int, int]:  # fmt: skip
    """Write words of two symbols and more, or only count them where there is no room."""
    write = len(symbols) > 0
    pieces = 0
    begin = 0  # of the piece
    size = 0  # of all
    at = 0
    for word in range(len(ends)):
        while at < ends[word]:
            if by_bytes:
                symbol, step = ids[data[at]], 1
            else:
                code, step = _code_at(data, at)
                symbol = ids[code]
            at += step
            if symbol >= 0:
                if write and size < len(symbols):
                    symbols[size] = symbol
                size += 1
            if symbol < 0 or at == ends[word]:
                if size - begin > 1:
                    if write:
                        starts[pieces], sizes[pieces] = begin, size - begin
                        their_counts[pieces] = counts[word]
                    pieces += 1
                else:
                    size = begin
                begin = size
    return pieces, size
