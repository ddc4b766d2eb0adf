"""Where spans of one text stand in another word for word: what was copied, what leaked.

Texts are token ids. A corpus is indexed once, at about 12 bytes for every `length // 4` of its ids,
and then asked about many short texts.

Why no span is missed: from the corpus a block of `k` ids is taken at every `s`-th place, with
`k + s - 1 = length`, so that every span of `length` ids has one whole block in it, wherever it
begins. Of the query all places are looked up. A block is found by its hash (Horner's polynomial
modulo 2^64), but only ids that were compared one by one count as found.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_Ints = NDArray[np.int64]
_Hashes = NDArray[np.uint64]
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no id is ever shifted out of the hash
_CHUNK = 1 << 20  # blocks hashed, or candidates compared, at a time
_CELLS = 1 << 22  # ids compared at a time


class SpanIndex:
    """All spans of at least `length` ids of a corpus.

    A block that stands in many places is kept once for each neighbourhood: the `s - 1` ids before
    it and the `2 * length` ids from its beginning on. Otherwise each place of a licence that stands
    in every document would be compared with every other. It follows that

    - which ids of a query are covered is exact, and so is every span of up to `2 * length` ids,
      which is told at its first place in the corpus;
    - a longer span that stands in the corpus as a whole may be told as several spans, each of more
      than `2 * length` ids and overlapping, if each of these had stood elsewhere before.

    Documents are not told apart: a span reaches across their marks where the query has the marks.

    Args:
        ids: of the corpus `[N]`, unsigned; a memory map will do. It has to stay as it is.
        length: the least ids of a span.

    Raises:
        ValueError: a length below 1.

    """

    def __init__(self, ids: np.ndarray, length: int) -> None:
        if length < 1:
            raise ValueError(f"a span of {length} ids: give a length of 1 or more")
        assert ids.ndim == 1
        self.ids, self.length = ids, length
        self._step = max(1, length // 4)
        self._block = length - self._step + 1
        count = max(0, (len(ids) - self._block) // self._step + 1)
        assert count < 1 << 32
        hashes = np.empty(count, np.uint64)
        for first in range(0, count, _CHUNK):
            last = min(first + _CHUNK, count)
            part = ids[first * self._step : (last - 1) * self._step + self._block]
            hashes[first:last] = _hash_blocks(part, self._block, self._step)
        order = np.argsort(hashes, kind="stable")  # stable: equal ones stay in the corpus' order
        hashes = hashes[order]
        kept = self._distinct(hashes, order)
        self._hashes: _Hashes = hashes[kept]
        self._places = order[kept].astype(np.uint32)  # in steps

    def matches(self, query: np.ndarray) -> list[tuple[int, int, int]]:
        """Spans `(query_start, query_end, corpus_start)` that stand in the corpus as well.

        Each is as long as it can be in both directions at its place; none lies within another; they
        come in the query's order and may overlap. See the class for what is exact.

        Args:
            query: ids `[M]` of any integer type.

        """
        ids: _Ints = np.asarray(query).astype(np.int64)
        spans = [np.empty((0, 3), np.int64)]
        for at, place in self._candidates(ids):
            spans.append(self._spans(ids, at, place))
        found = np.concatenate(spans)
        # By beginning, the longest first, of these the first in the corpus first: then a span lies
        # within another where its end is not beyond all ends before.
        found = found[np.lexsort((found[:, 2], -found[:, 1], found[:, 0]))]
        beyond = np.maximum.accumulate(np.append(0, found[:, 1]))
        return [(a, b, c) for a, b, c in found[found[:, 1] > beyond[:-1]].tolist()]

    def covered(self, query: np.ndarray) -> NDArray[np.bool_]:
        """Which ids `[M]` of the query lie in a span of at least `length` that the corpus has."""
        result = np.zeros(len(query), bool)
        for start, end, _ in self.matches(query):
            result[start:end] = True
        return result

    def _distinct(self, hashes: _Hashes, order: _Ints) -> NDArray[np.bool_]:
        """Which of the sorted blocks are the first of their neighbourhood."""
        same = hashes[1:] == hashes[:-1]
        several = np.flatnonzero(np.append(same, False) | np.append(False, same))
        kept = np.ones(len(hashes), bool)
        near = np.empty(len(several), np.uint64)
        for first in range(0, len(several), _CHUNK):
            part = slice(first, first + _CHUNK)
            near[part] = self._hash_around(order[several[part]] * self._step)
        again = np.lexsort((near, hashes[several]))  # stable as well
        a, b = several[again[:-1]], several[again[1:]]
        kept[b[(hashes[a] == hashes[b]) & (near[again[:-1]] == near[again[1:]])]] = False
        return kept

    def _hash_around(self, places: _Ints) -> _Hashes:
        """Of the neighbourhood of the blocks at `places` `[K]`; beyond the corpus there is 0."""
        result = np.zeros(len(places), np.uint64)
        for offset in range(1 - self._step, 2 * self.length):
            at = places + offset
            inside = (at >= 0) & (at < len(self.ids))
            values = np.zeros(len(places), np.uint64)
            values[inside] = self.ids[at[inside]].astype(np.uint64) + np.uint64(1)
            result = result * _BASE + values
        return result

    def _candidates(self, query: _Ints) -> Iterator[tuple[_Ints, _Ints]]:
        """Places `[K]` in the query and in the corpus that seem to have a block in common."""
        if len(query) < self.length or not len(self._hashes):
            return
        wanted = _hash_blocks(query, self._block, 1)
        first = np.searchsorted(self._hashes, wanted, side="left")
        counts = np.searchsorted(self._hashes, wanted, side="right") - first
        at = np.flatnonzero(counts)
        ends = np.cumsum(counts[at])
        begin = 0
        while begin < len(at):
            # As many places of the query as have a chunk of candidates, but one at least.
            before = int(ends[begin - 1]) if begin else 0
            end = max(begin + 1, int(np.searchsorted(ends, before + _CHUNK, side="right")))
            mine = at[begin:end]
            many = counts[mine]
            within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
            places = self._places[np.repeat(first[mine], many) + within].astype(np.int64)
            yield np.repeat(mine, many), places * self._step
            begin = end

    def _spans(self, query: _Ints, at: _Ints, place: _Ints) -> _Ints:
        """The spans `[K, 3]` around candidates, each as long as can be.

        Candidates of one diagonal (`place - at`) may lie in one span. From each, ids are compared
        up to the next one only, so that a long span costs its length, not its length squared.
        """
        order = np.lexsort((at, place - at))
        at, place = at[order], place[order]
        gap = np.where(np.diff(place - at) == 0, np.diff(at), len(query))
        most = np.minimum(len(query) - at, len(self.ids) - place)
        agreed = self._agree(query, at, place, np.minimum(most, np.append(gap, len(query))), 1)
        joined = agreed[:-1] == gap  # with the next
        starts, ends = ~np.append(False, joined), ~np.append(joined, False)
        end = (at + agreed)[ends]
        at, place = at[starts], place[starts]
        back = self._agree(query, at - 1, place - 1, np.minimum(at, place), -1)
        spans = np.stack([at - back, end, place - back], axis=1)
        return spans[spans[:, 1] - spans[:, 0] >= self.length]

    def _agree(self, query: _Ints, at: _Ints, place: _Ints, most: _Ints, sign: int) -> _Ints:
        """How many ids agree from `at` and `place` on, at most `most` `[K]`."""
        result = np.zeros(len(at), np.int64)
        going = np.flatnonzero(most > 0)
        width = 32
        while len(going):
            width = max(1, min(2 * width, _CELLS // len(going)))
            left = []
            # In parts, should there be more of them than may be compared at a time.
            for mine in np.array_split(going, -(-len(going) * width // _CELLS)):
                done = result[mine, None] + np.arange(width)
                inside = done < most[mine, None]
                done = sign * np.where(inside, done, 0)
                same = query[at[mine, None] + done] == self.ids[place[mine, None] + done]
                same &= inside
                run = np.where(same.all(1), width, same.argmin(1))
                result[mine] += run
                left.append(mine[(run == width) & (result[mine] < most[mine])])
            going = np.concatenate(left)
        return result


def _hash_blocks(ids: np.ndarray, block: int, step: int) -> _Hashes:
    """Hashes of the blocks that begin at every `step`-th of `ids`."""
    values = ids.astype(np.uint64) + np.uint64(1)  # a 0 in front would not be seen
    count = (len(ids) - block) // step + 1
    result = np.zeros(count, np.uint64)
    for offset in range(block):
        result *= _BASE
        result += values[offset : offset + (count - 1) * step + 1 : step]
    return result
