"""How often each character and each word occurs in a text of any length, in bounded memory.

A Python Counter takes some 200 bytes a word; here a word takes its UTF-8 and some 30 bytes more.
Words are found as `scan.py` finds them, and kept in a hash table of arrays that numba's loops fill.
Where there are too many words the rarest are dropped, and it is known how many at most were lost:
see `Words`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Literal

import numpy as np
import numpy.typing as npt

from malmoi.tokenizer.pattern import cut_safely
from malmoi.tokenizer.scan import (
    CODES,
    LONGEST,
    UNKNOWN,
    Bytes,
    Ints,
    Slots,
    compact,
    count_words,
    fill_slots,
    learn_classes,
    no_classes,
)

MOST_WORDS = 1 << 24
MOST_BYTES = 1 << 28
"""of distinct words in UTF-8, together"""

Pattern = Literal["malmoi", "gpt2", "none"]

_BATCH = 1 << 22  # bytes of text that are counted at once


class Words:
    """Characters and words of a text, and how often each occurs.

    Word `i` is `data[ends[i - 1]:ends[i]]` (from 0 for the first), in order of first occurrence.

    Where there are more than `most` distinct words, or more than `most_bytes` of them, half of the
    words are dropped: the rarest, of equally rare ones the oldest. It is lossy counting (Manku and
    Motwani 2002) with drops when memory asks for them instead of at set times. Where `c` is the
    highest count that was dropped, a word has lost `c` occurrences at most; so with `c1, c2, ...`
    of all drops:

    - no count is too high, and none is too low by more than `error` = c1 + c2 + ...;
    - every word that occurs more than `error` times is there.

    The same text in the same order gives the same counts, on any machine.

    Attributes:
        data: the words' bytes, uint8; only the first `ends[-1]` count.
        ends: where each word ends in `data`, int64 [words].
        counts: how often each occurs, int64 [words].
        chars: how often each code point occurs, int64 [0x110000]; exact.
        bytes: of UTF-8 in the whole text.
        total: words in the whole text, dropped ones included.
        dropped: occurrences that are no longer counted.
        error: see above; 0: everything is exact.

    """

    def __init__(
        self, pattern: Pattern = "malmoi", most: int = MOST_WORDS, most_bytes: int = MOST_BYTES
    ) -> None:
        """Begin with nothing; with the pattern "none" only characters are counted."""
        if most < 2 or most_bytes < 2 * LONGEST:
            raise ValueError(f"a table of {most} words and {most_bytes} bytes is too small")
        self.pattern, self.most, self.most_bytes = pattern, most, most_bytes
        self.chars: Ints = np.zeros(CODES, dtype=np.int64)
        self.bytes = self.total = self.dropped = self.error = 0
        self._classes = no_classes()
        self._size = 0  # words that are there
        self._data: Bytes = np.empty(min(1 << 16, most_bytes), dtype=np.uint8)
        self._ends: Ints = np.zeros(min(1 << 12, most) + 1, dtype=np.int64)
        self._counts: Ints = np.zeros(min(1 << 12, most), dtype=np.int64)
        self._slots: Slots = np.full(1 << 13, -1, dtype=np.int32)

    @property
    def data(self) -> Bytes:
        return self._data

    @property
    def ends(self) -> Ints:
        return self._ends[1 : self._size + 1]

    @property
    def counts(self) -> Ints:
        return self._counts[: self._size]

    def __len__(self) -> int:
        return self._size

    def add(self, texts: Iterable[str]) -> "Words":
        """Count these texts, each by itself: no word goes from one into the next.

        Raises ValueError for a lone surrogate.
        """
        for batch in _batches(texts):
            self._add(batch)
        return self

    def counter(self) -> Counter[str]:
        """The characters."""
        codes = np.flatnonzero(self.chars)
        return Counter({chr(code): int(self.chars[code]) for code in codes})

    def most_common(self, count: int) -> list[tuple[str, int]]:
        """The most frequent words and their counts; of equally frequent ones the first by code."""
        counts = self.counts
        chosen = np.arange(len(counts))
        if count < len(counts):
            least = np.partition(counts, len(counts) - count)[len(counts) - count]
            chosen = np.flatnonzero(counts >= least)
        data, ends = self._data, self._ends
        found = [
            (data[ends[i] : ends[i + 1]].tobytes().decode(), int(counts[i]))
            for i in chosen.tolist()
        ]
        found.sort(key=lambda item: (-item[1], item[0]))
        return found[:count]

    def _add(self, batch: list[bytes]) -> None:
        joined = b"".join(batch)
        self.bytes += len(joined)
        codes = np.frombuffer(joined.decode().encode("utf-32-le"), dtype=np.uint32)
        chars = np.bincount(codes, minlength=CODES)
        self.chars += chars
        if self.pattern == "none":
            return
        for code in np.flatnonzero(chars).tolist():
            if self._classes[code] == UNKNOWN:
                learn_classes(self._classes, code)
        data = np.frombuffer(joined, dtype=np.uint8)
        bounds = np.cumsum([len(text) for text in batch])
        text = at = 0
        while text < len(batch):
            text, at, self._size, seen = count_words(
                data, bounds, text, at, self.pattern == "gpt2", self._classes,
                self._data, self._ends, self._counts, self._slots, self._size,
            )  # fmt: skip
            self.total += seen
            if text < len(batch):
                self._make_room()

    def _make_room(self) -> None:
        """Double what is full, or drop the rarest words where it may not grow."""
        while self._size == self.most or self._used() + LONGEST > self.most_bytes:
            self._drop()
        if self._size == len(self._counts):
            size = min(2 * len(self._counts), self.most)
            self._counts = _grown(self._counts, size)
            self._ends = _grown(self._ends, size + 1)
        if self._used() + LONGEST > len(self._data):
            self._data = _grown(self._data, min(2 * len(self._data), self.most_bytes))
        if 2 * len(self._counts) > len(self._slots):
            self._slots = np.full(2 * len(self._slots), -1, dtype=np.int32)
        else:
            self._slots.fill(-1)
        fill_slots(self._data, self._ends, self._size, self._slots)

    def _used(self) -> int:
        return int(self._ends[self._size])

    def _drop(self) -> None:
        counts = self.counts
        half = (len(counts) + 1) // 2
        most = int(np.partition(counts, half - 1)[half - 1])
        dropped = counts < most
        equal = np.flatnonzero(counts == most)
        dropped[equal[: half - int(dropped.sum())]] = True
        self.error += most
        self.dropped += int(counts[dropped].sum())
        self._size = compact(self._data, self._ends, self._counts, ~dropped)


def _grown(array: npt.NDArray, size: int) -> npt.NDArray:
    larger = np.zeros(size, dtype=array.dtype)
    larger[: len(array)] = array
    return larger


def _batches(texts: Iterable[str]) -> Iterator[list[bytes]]:
    """Texts in UTF-8, some megabytes at a time; long ones in parts."""
    batch: list[bytes] = []
    size = 0
    for text in chain.from_iterable(cut_safely(text, 1 << 20) for text in texts):
        try:
            batch.append(text.encode())
        except UnicodeEncodeError as error:
            raise ValueError(
                f"a text holds a lone surrogate {text[error.start]!a}, which is no valid Unicode; "
                "clean the text first"
            ) from None
        size += len(batch[-1])
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
