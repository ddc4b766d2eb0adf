"""How much of some texts stands in others word for word: whether a split is clean.

What is compared is runs of 40 `letters` (n-grams): about 11 words or 55 characters of Korean, much
like the 13 words or 50 characters that are usual for English (Brown et al. 2020; OpenAI 2023).
Letters rather than words, since a Korean word is often written together with the next or apart
from it, and changes its ending: with either, every run of 13 words across it would be another one.

`near.py` tells which texts are nearly the same as a whole; here passages count, wherever they
stand. `evaluate/overlap.py` finds the passages themselves, in tokens, with the text at hand.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from malmoi.text.duplicates import Units, batches, compiled, inlined, letters

WIDTH = 40
"""letters of an n-gram"""

_Hashes = NDArray[np.uint64]
_Numbers = NDArray[np.int64]
_BASE, _B, _C = (np.uint64(x) for x in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_1, _31 = np.uint64(1), np.uint64(31)


@dataclass(frozen=True)
class Overlap:
    """How much of some texts was found in others.

    Attributes:
        found: n-grams of the texts that stand in the others, of those that were looked up.
        looked: n-grams that were looked up.
        rate: the share of all n-grams that was looked up.
        texts: how many texts there were.
        mostly: texts of which at least half was found; of a short one nothing may be looked up.
        width: letters of an n-gram.

    """

    found: int
    looked: int
    rate: float
    texts: int
    mostly: int
    width: int = WIDTH

    @property
    def share(self) -> float:
        """The share of the texts' n-grams that stands in the others, from 0 to 1."""
        return self.found / self.looked if self.looked else 0.0

    @property
    def error(self) -> float:
        """The standard error of the share; zero where every n-gram was looked up."""
        share = self.share
        return math.sqrt(share * (1 - share) * (1 - self.rate) / max(1, self.looked))

    def __str__(self) -> str:
        """One line for the user."""
        error = f" ± {self.error:.2%}" if self.rate < 1 else ""
        return (
            f"{self.share:.2%}{error} of passages of {self.width} letters; "
            f"{self.mostly:,} of {self.texts:,} texts mostly"
        )


class Ngrams:
    """The n-grams of a set of texts, in fixed memory.

    They are kept as 64-bit hashes. When the table is three quarters full, those in the upper half
    of the hashes are dropped, and only hashes of the lower half count from then on, on both
    sides; and so on (distinct sampling: Gibbons 2001). A Bloom filter of the same size would be
    full after a few such rounds and find everything everywhere; here the share stays right, and
    only its standard error grows. The default of 32 MiB (and as much again for moments) has room
    for all n-grams of some 8 MB of Korean text, and for one in 128 of a gigabyte.

    An n-gram that is not there is found with a chance of at most `2 ** (bits - 64)`, 2e-13.

    Args:
        width: letters of an n-gram. A text with fewer is one n-gram by itself: found if it stands
            among the others as a text.
        bits: the places of the table as a power of two, 4 to 32.

    Raises:
        ValueError: a width below 1, or bits outside 4 to 32.

    """

    def __init__(self, width: int = WIDTH, bits: int = 22) -> None:
        if width < 1:
            raise ValueError(f"n-grams of {width} letters: give a width of 1 or more")
        if not 4 <= bits <= 32:
            raise ValueError(f"a table of 2^{bits} n-grams: give 4 to 32 bits")
        self.width = width
        self._table = np.zeros(1 << bits, np.uint64)
        self._state = np.array([0, 2**64 - 1], np.uint64)  # n-grams kept, and the largest hash

    def __len__(self) -> int:
        """How many different n-grams are kept."""
        return int(self._state[0])

    @property
    def rate(self) -> float:
        """The share of n-grams that is kept."""
        return (int(self._state[1]) + 1) / 2**64

    @property
    def nbytes(self) -> int:
        """The size of the table in bytes."""
        return self._table.nbytes

    def add(self, texts: Iterable[str]) -> None:
        """Add the n-grams of texts."""
        for batch in batches(texts):
            _add(*letters(batch), self.width, self._table, self._state)

    def look(self, texts: Iterable[str]) -> Overlap:
        """How much of other texts stands in those that were added."""
        found = looked = count = mostly = 0
        for batch in batches(texts):
            result = np.zeros((2, len(batch)), np.int64)
            _look(*letters(batch), self.width, self._table, self._state, result)
            found, looked = found + int(result[0].sum()), looked + int(result[1].sum())
            count += len(batch)
            mostly += int(((2 * result[0] >= result[1]) & (result[1] > 0)).sum())
        return Overlap(found, looked, self.rate, count, mostly, self.width)


def overlap(texts: Iterable[str], others: Iterable[str], *, bits: int = 22) -> Overlap:
    """How much of `texts` (a test set, say) stands in `others` (what was trained on).

    Both are read once, the others first. Memory and errors are those of `Ngrams`.
    """
    ngrams = Ngrams(bits=bits)
    ngrams.add(others)
    return ngrams.look(texts)


@inlined
def _mixed(h: np.uint64) -> np.uint64:
    """The finalizer of splitmix64, never 0: that is a free place."""
    h = (h ^ h >> _31) * _B
    h = (h ^ h >> _31) * _C
    return max(h ^ h >> _31, _1)


@inlined
def _power(width: int) -> np.uint64:
    """What the letter that leaves an n-gram was multiplied by."""
    power = _1
    for _ in range(width):
        power *= _BASE
    return power


@inlined
def _place(table: _Hashes, h: np.uint64) -> np.uint64:
    """Where a hash stands in the table, or the free place where it would."""
    mask = np.uint64(len(table) - 1)
    at = h & mask
    while table[at] and table[at] != h:
        at = (at + _1) & mask
    return at


@compiled
def _add(units: Units, ends: _Numbers, width: int, table: _Hashes, state: _Hashes) -> None:
    count, most, power, begin = np.int64(state[0]), state[1], _power(width), 0
    for end in ends:
        h = np.uint64(0)
        for i in range(begin, end):
            h = h * _BASE + np.uint64(units[i])
            if i - begin >= width:
                h -= np.uint64(units[i - width]) * power
            if i - begin < width - 1 and i < end - 1:
                continue
            mixed = _mixed(h)
            if mixed <= most:
                at = _place(table, mixed)
                count += table[at] == 0
                table[at] = mixed
                while 4 * count > 3 * len(table):
                    most >>= _1
                    kept = table[(table != 0) & (table <= most)]
                    table[:] = 0
                    for one in kept:
                        table[_place(table, one)] = one
                    count = np.int64(len(kept))
        begin = end
    state[0], state[1] = np.uint64(count), most


@compiled
def _look(
    units: Units, ends: _Numbers, width: int, table: _Hashes, state: _Hashes, result: _Numbers
) -> None:
    """Write for each text how many n-grams were found, and looked up `[2, N]`."""
    most, power, begin = state[1], _power(width), 0
    for text in range(len(ends)):
        h = np.uint64(0)
        for i in range(begin, ends[text]):
            h = h * _BASE + np.uint64(units[i])
            if i - begin >= width:
                h -= np.uint64(units[i - width]) * power
            if i - begin < width - 1 and i < ends[text] - 1:
                continue
            mixed = _mixed(h)
            if mixed <= most:
                result[0, text] += table[_place(table, mixed)] == mixed
                result[1, text] += 1
        begin = ends[text]
