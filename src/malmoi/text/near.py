"""Texts that are nearly the same: MinHash signatures, and an index that finds near ones quickly.

Two texts are as near as the sets of their shingles, all runs of eight `letters`: the Jaccard
similarity is what both have as a share of what either has. A changed word takes a dozen shingles
with it, so that texts with one word in forty changed are at 0.8 still, while two books of one
author have less than 0.1. `duplicates.py` finds texts that differ in white space only.

A signature has 128 places of a byte, which agree in two texts with the probability of the
similarity J (one permutation hashing: Li, Owen and Zhang 2012; of a byte each: Li and König 2010).
Where no shingle falls on a place it takes the least of a hash of its own over all shingles (as in
Dahlgaard et al. 2017), so that texts with fewer shingles than places do not agree by accident.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from malmoi.mixing import mix
from malmoi.text.duplicates import Units, batches, compiled, inlined, letters

PLACES = 128
WIDTH = 8
"""letters of a shingle; with five, all English books are alike; with more, an edit costs more"""
MISSED = 0.01
"""share of the pairs at the threshold that the index may overlook"""
CROWD = 16
"""texts that are remembered for a band they agree in"""

Signatures = NDArray[np.uint8]
_Hashes = NDArray[np.uint64]
_Slots = NDArray[np.uint32]
_Ints = NDArray[np.int32]
_Keys = NDArray[np.int64]

_BLOCK = 4096  # shingles hashed, or signatures added, at a time
_PLACE = np.uint64(57)  # the upper 7 bits of a hash say its place
_NONE = np.uint64(2**64 - 1)
_A, _B, _C = (np.uint64(x) for x in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_1, _16, _32, _56 = (np.uint64(x) for x in (1, 16, 32, 56))
_ODDS: _Hashes = mix(np.arange(PLACES), 0x5EED) | np.uint64(1)  # a hash for each place


def signatures(texts: Iterable[str]) -> Signatures:
    """MinHash signatures `[N, 128]` of texts, in their order.

    A text of fewer than eight letters is one shingle; one without letters is compared by its signs.
    """
    rows = [np.empty((0, PLACES), np.uint8)]
    for batch in batches(texts):
        units, ends = letters(batch)
        rows.append(np.empty((len(batch), PLACES), np.uint8))
        _sign(units, ends, _ODDS, rows[-1])
    return np.concatenate(rows)


def similarity(a: Signatures, b: Signatures) -> NDArray[np.float64]:
    """The estimated Jaccard similarity of signatures `[..., 128]`, pair by pair.

    Its standard deviation is `sqrt(J (1 - J) / 128)`, 0.035 at 0.8. Bytes agree by accident once in
    256 times, which is taken off; so an estimate may be slightly below zero.
    """
    agree = (a == b).mean(-1)
    return np.asarray((agree - 1 / 256) / (1 - 1 / 256))


def banding(threshold: float) -> tuple[int, int]:
    """How many bands of how many places find pairs at a threshold.

    A pair of similarity J agrees in all of at least one band of r places with the probability
    `1 - (1 - J**r) ** (128 // r)`. The r is the largest, so that the fewest others are looked at,
    for which this is at least 0.99 at the threshold.
    """
    rows = max(r for r in range(1, PLACES + 1) if (1 - threshold**r) ** (PLACES // r) <= MISSED)
    return PLACES // rows, rows


class NearIndex:
    """Finds among the texts so far one that is near a new one; and groups of near texts.

    Memory: 128 bytes a signature, 4 bytes for each of its bands in a table that is three eighths to
    three quarters full, and 20 bytes more: at a threshold of 0.8, 260 to 370 bytes a text.
    A text with the signature of an earlier one costs 12 bytes.

    Of pairs at the threshold 1 % are not looked at (see `banding`). Of texts that agree in a band
    the first 16 are remembered for it, which keeps the time for a text bounded: where hundreds
    share a template and yet are below the threshold, some that are near may not be found.

    Args:
        threshold: the estimated similarity from which on texts are near, 0.5 to 1.
        chain: Whether later texts are compared with a text that was itself near an earlier one.
            For leaving texts out: no, so that each that goes has a near one that stays. For a
            split: yes, so that `groups` knows of all near pairs.

    Raises:
        ValueError: a threshold outside 0.5 to 1.

    """

    def __init__(self, threshold: float = 0.8, *, chain: bool = False) -> None:
        if not 0.5 <= threshold <= 1:
            raise ValueError(f"near-duplicates at {threshold}: give a threshold from 0.5 to 1")
        self.threshold, self.chain = threshold, chain
        self.bands, self.rows = banding(threshold)
        self._least = int(np.ceil(PLACES * (threshold * 255 / 256 + 1 / 256) - 1e-9))
        self._counts = np.zeros(2, np.int64)  # texts added; of these, signatures kept
        self._kept = np.empty((0, PLACES), np.uint8)
        self._owner = np.empty(0, np.int32)  # of each signature kept, the text
        self._asked = np.empty(0, np.int32)  # and the text that was last compared with it
        self._keys = np.empty(0, np.int64)
        self._parent = np.empty(0, np.int32)  # of each text, one before it in its group, or itself
        # Open addressing. A slot holds the number of a signature, from 1, in as many bits as that
        # takes, and in the others a tag from the band's hash: that spares most looks at signatures
        # that are not meant, each of which waits for the memory.
        self._slots = np.zeros(1 << 10, np.uint32)

    def __len__(self) -> int:
        """How many texts were added."""
        return int(self._counts[0])

    @property
    def nbytes(self) -> int:
        """The size of all arrays in bytes."""
        arrays = (self._kept, self._owner, self._asked, self._keys, self._parent, self._slots)
        return sum(array.nbytes for array in arrays)

    def add(self, signature: Signatures, key: int) -> int | None:
        """Add a text; the key of the most similar earlier text that is near, if there is one.

        Args:
            signature: of the text `[128]`.
            key: an integer to call it by.

        """
        near = self.add_all(signature[None], [key])[0]
        return int(self._keys[near]) if near >= 0 else None

    def add_all(self, signatures: Signatures, keys: Sequence[int] | _Keys) -> _Keys:
        """Add texts one after the other, much quicker than with `add`.

        Args:
            signatures: `[N, 128]`.
            keys: an integer for each `[N]`.

        Returns:
            For each the number (from 0, in the order of adding) of the most similar earlier text
            that is near, or -1 `[N]`.

        """
        assert signatures.shape == (len(keys), PLACES)
        found = np.empty(len(keys), np.int64)
        for first in range(0, len(keys), _BLOCK):
            part = slice(first, first + _BLOCK)
            some: Signatures = np.ascontiguousarray(signatures[part])
            texts, kept = self._counts.tolist()
            self._reserve(texts + len(some), kept + len(some))
            self._keys[texts : texts + len(some)] = keys[part]
            _add(
                some, self._kept, self._owner, self._asked, self._parent, self._slots,
                self._number_bits(), self._counts, self.bands, self.rows, self._least, self.chain,
                found[part],
            )  # fmt: skip
        return found

    def _number_bits(self) -> np.uint32:
        return np.uint32((1 << (len(self._slots) // self.bands).bit_length()) - 1)

    def groups(self) -> _Keys:
        """For each text, in the order of adding, the key of the first of its group `[N]`.

        A group is all that hangs together by near pairs; its ends may be less near.
        """
        parent = self._parent[: len(self)]
        while (parent[parent] != parent).any():
            parent = parent[parent]
        return self._keys[parent]

    def _reserve(self, texts: int, kept: int) -> None:
        """Make room. `resize` moves memory where it can, so that there are not two copies."""
        if texts > len(self._keys):
            for array in (self._keys, self._parent):
                array.resize(max(texts, len(array) * 5 // 4), refcheck=False)
        if kept > len(self._kept):
            size = max(kept, len(self._kept) * 5 // 4)
            self._kept.resize((size, PLACES), refcheck=False)
            for array in (self._owner, self._asked):
                array.resize(size, refcheck=False)
        size = len(self._slots)
        while 4 * kept * self.bands > 3 * size:
            size *= 2
        if size > len(self._slots):
            self._slots = np.zeros(0, np.uint32)  # gone before the larger one comes
            self._slots = np.zeros(size, np.uint32)
            some = self._kept[: self._counts[1]]
            _fill(some, self._slots, self._number_bits(), self.bands, self.rows)


@compiled
def _shingles(units: Units, hashes: _Hashes) -> None:
    """Hash the eight units from each place on, in two words of four: without a loop in the loop."""
    for i in range(len(hashes)):
        a = np.uint64(units[i]) | np.uint64(units[i + 1]) << _16
        a |= (np.uint64(units[i + 2]) | np.uint64(units[i + 3]) << _16) << _32
        b = np.uint64(units[i + 4]) | np.uint64(units[i + 5]) << _16
        b |= (np.uint64(units[i + 6]) | np.uint64(units[i + 7]) << _16) << _32
        h = a * _A
        h = ((h ^ h >> _32) + b) * _B
        h = (h ^ h >> _32) * _C
        hashes[i] = h ^ h >> _32


@compiled
def _sign(units: Units, ends: _Keys, odds: _Hashes, out: Signatures) -> None:
    """The signatures of texts whose letters end at `ends`."""
    least, hashes = np.empty(PLACES, np.uint64), np.empty(_BLOCK, np.uint64)
    short = np.empty(WIDTH, np.uint16)
    begin = 0
    for row in range(len(ends)):
        text = units[begin : ends[row]]
        begin = ends[row]
        if len(text) < WIDTH:
            short[:] = 0
            short[: len(text)] = text
            text = short
        count = len(text) - WIDTH + 1
        least[:] = _NONE
        for first in range(0, count, _BLOCK):
            some = hashes[: min(_BLOCK, count - first)]
            _shingles(text[first:], some)
            for h in some:
                if h < least[h >> _PLACE]:
                    least[h >> _PLACE] = h
        empty = np.flatnonzero(least == _NONE)
        for first in range(0, count if len(empty) else 0, _BLOCK):
            some = hashes[: min(_BLOCK, count - first)]
            if count > _BLOCK:  # otherwise they are there still
                _shingles(text[first:], some)
            for bare in empty:
                odd, smallest = odds[bare], least[bare]
                for h in some:
                    smallest = min(smallest, h * odd)
                least[bare] = smallest
        for place in range(PLACES):
            h = least[place]
            out[row, place] = (h ^ h >> _32) * _A >> _56


@inlined
def _agree(a: Signatures, one: int, b: Signatures, other: int, first: int, last: int) -> Any:
    """In how many of some places two signatures agree."""
    count = 0
    for place in range(first, last):
        count += a[one, place] == b[other, place]
    return count


@inlined
def _search(
    signatures: Signatures, one: int, kept: Signatures, slots: _Slots, bits: np.uint32,
    band: int, rows: int, bucket: _Keys,
) -> Any:  # fmt: skip
    """Write down which kept ones agree in a band; return how many, the free slot behind, the tag.

    The table is searched linearly from where the hash says (open addressing).
    """
    first, mask, many = band * rows, np.uint64(len(slots) - 1), 0
    h = np.uint64(band + 1) * _A
    for place in range(first, first + rows):
        h = (h ^ np.uint64(signatures[one, place])) * _B
        h ^= h >> _32
    at, tag = h & mask, np.uint32(h >> _32) & ~bits
    while slots[at]:
        if (slots[at] & ~bits) == tag:
            other = np.int64(slots[at] & bits) - 1
            if _agree(signatures, one, kept, other, first, first + rows) == rows:
                bucket[many] = other
                many += 1
        at = (at + _1) & mask
    return many, at, tag


@compiled
def _add(
    signatures: Signatures, kept: Signatures, owner: _Ints, asked: _Ints, parent: _Ints,
    slots: _Slots, bits: np.uint32, counts: _Keys, bands: int, rows: int, least: int, chain: bool,
    found: _Keys,
) -> None:  # fmt: skip
    """Look for each text, then put it into the table; see `NearIndex`."""
    many, bucket = np.empty(bands, np.int64), np.empty(CROWD, np.int64)
    free, tags = np.empty(bands, np.uint64), np.empty(bands, np.uint32)
    mask = np.uint64(len(slots) - 1)
    for one in range(len(signatures)):
        text, size = counts[0], counts[1]
        parent[text] = text
        best, most = -1, least - 1
        for band in range(bands):
            many[band], free[band], tags[band] = _search(
                signatures, one, kept, slots, bits, band, rows, bucket
            )
            for other in bucket[: many[band]]:
                if asked[other] == text + 1:
                    continue
                asked[other] = text + 1
                agree = _agree(signatures, one, kept, other, 0, PLACES)
                if agree >= least:
                    _join(parent, owner[other], text)
                if agree > most or (agree == most and owner[other] < best):
                    best, most = owner[other], agree
            if most == PLACES:
                break
        counts[0] += 1
        found[one] = best
        if most == PLACES or (best >= 0 and not chain):
            continue  # what is near to it is near to its twin; or it is to be left out
        kept[size], owner[size] = signatures[one], text
        counts[1] += 1
        for band in range(bands):
            if many[band] < CROWD:
                at = free[band]
                while slots[at]:  # another band of this text may have come there
                    at = (at + _1) & mask
                slots[at] = tags[band] | np.uint32(size + 1)


@compiled
def _fill(kept: Signatures, slots: _Slots, bits: np.uint32, bands: int, rows: int) -> None:
    """Put signatures into an empty table anew, the earliest first."""
    bucket = np.empty(CROWD, np.int64)
    for one in range(len(kept)):
        for band in range(bands):
            many, at, tag = _search(kept, one, kept, slots, bits, band, rows, bucket)
            if many < CROWD:
                slots[at] = tag | np.uint32(one + 1)


@compiled
def _root(parent: _Ints, text: Any) -> Any:
    while parent[text] != text:
        parent[text] = parent[parent[text]]
        text = parent[text]
    return text


@compiled
def _join(parent: _Ints, a: int, b: int) -> None:
    """The groups of two texts become one; its root is the earliest text."""
    first, second = _root(parent, a), _root(parent, b)
    parent[max(first, second)] = min(first, second)
