"""Which documents go together into a window: best-fit packing, and orders without a memory.

`data.py`, the neighbour that makes batches, cuts a text into windows wherever they end. Here whole
documents are put together into windows instead, so that none is cut that fits one, at the price of
a little padding (Ding et al. 2024, "Fewer Truncations Improve Language Modeling",
arXiv:2404.10830). Nothing is random: a packing follows from the lengths of the documents alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np

from malmoi.mixing import mix


class Documents(Protocol):
    """What `documents_in_windows` needs of a token store."""

    offsets: np.ndarray

    def __len__(self) -> int:
        """Tokens in all."""
        ...


@dataclass(frozen=True)
class Packing:
    """Windows of `length` tokens, each of one piece or several, padded at the end.

    A piece is a document, or a part of one that is longer than a window. The pieces of window `w`
    are `first[w] ... first[w + 1] - 1`, in this order.

    Attributes:
        length: tokens of a window.
        starts: place in the store of each piece's first token, `[pieces]` int64.
        sizes: tokens of each piece, `[pieces]` int32.
        closes: whether a piece ends with its document's last token, `[pieces]`: nothing is to be
            foretold there. (That token is left out where it alone would not fit any more.)
        first: `[windows + 1]` int64.
        cut: how many documents are in more than one window.

    """

    length: int
    starts: np.ndarray
    sizes: np.ndarray
    closes: np.ndarray
    first: np.ndarray
    cut: int

    @property
    def windows(self) -> int:
        """How many there are."""
        return len(self.first) - 1

    @property
    def padding(self) -> float:
        """Share of all windows' tokens that are padding."""
        return 1 - int(self.sizes.sum(dtype=np.int64)) / max(1, self.windows * self.length)

    def places(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is in some windows `[B]`.

        Returns:
            For each token of them, `[B, length]`, its place in the store, -1 for padding; and
            whether the token after it is to be foretold.

        """
        first, count = self.first[windows], np.diff(self.first)[windows]
        row = np.repeat(np.arange(len(windows)), count)
        before = np.cumsum(count) - count  # pieces of earlier rows
        piece = np.arange(len(row)) + (first - before)[row]
        sizes = self.sizes[piece].astype(np.int64)
        after = np.cumsum(sizes)
        # A row begins at a multiple of the length, whatever the rows before leave free.
        filled = np.concatenate([[0], after])[before]
        column = row * self.length + after - sizes - filled[row]
        within = np.arange(int(sizes.sum())) - np.repeat(after - sizes, sizes)
        at = np.repeat(column, sizes) + within
        places = np.full(len(windows) * self.length, -1, np.int64)
        places[at] = np.repeat(self.starts[piece], sizes) + within
        foretold = places >= 0
        foretold[(column + sizes - 1)[self.closes[piece]]] = False
        shape = len(windows), self.length
        return places.reshape(shape), foretold.reshape(shape)


def best_fit(offsets: np.ndarray, total: int, length: int) -> Packing:
    """Pack documents into windows of `length` tokens, by best fit, the longest first.

    Of a document longer than a window, whole windows are taken off its beginning; only the rest is
    packed. O(N log `length`) for N documents, and some 50 bytes of memory for each.

    Args:
        offsets: where each document begins, `[N]`, ascending from 0.
        total: tokens in all.
        length: 1 or more.

    """
    begins = np.asarray(offsets, np.int64)
    ends = np.append(begins, total)[1:]
    # The last token foretells nothing: where it alone would need another window, it is left out.
    spare = ((ends - begins - 1) % length == 0).astype(np.int64)
    full, rest = np.divmod(ends - begins - spare, length)
    cut = int((full + (rest > 0) > 1).sum())
    starts = np.repeat(begins, full)
    starts += length * (np.arange(len(starts)) - np.repeat(np.cumsum(full) - full, full))
    closes = starts + length == np.repeat(ends, full)
    packed = np.flatnonzero(rest)
    room = (length - rest[packed]).astype(np.uint16 if length <= 1 << 16 else np.int32)
    packed = packed[np.argsort(room, kind="stable")]  # of 16 bits: by counting
    sizes = rest[packed].astype(np.int32)
    bins = _compiled()(sizes, length)
    order = np.argsort(bins, kind="stable")
    counts = np.bincount(bins)
    alone = len(starts)  # windows that hold a single piece of their length
    return Packing(
        length=length,
        starts=np.concatenate([starts, (begins + full * length)[packed[order]]]),
        sizes=np.concatenate([np.full(alone, length, np.int32), sizes[order]]),
        closes=np.concatenate([closes, np.ones(len(packed), bool)]),
        first=np.concatenate([np.arange(alone + 1), alone + np.cumsum(counts)]),
        cut=cut,
    )


def cut_by_stream(offsets: np.ndarray, total: int, length: int) -> int:
    """How many documents windows of `length` tokens cut that lie one behind the other."""
    last = np.append(offsets, total)[1:] - 2  # the token that foretells the last one
    return int((np.asarray(offsets) // length < last // length).sum())


def documents_in_windows(store: Documents, context_length: int) -> Iterator[tuple[int, int]]:
    """Spans `(start, end)` that cover every token once: evaluation scores each exactly once.

    A window begins where a document begins and takes in the documents after it that still fit; a
    document longer than the context is cut into windows one behind the other. The targets of a
    window are the tokens `start + 1 ... end`.
    """
    ends = np.append(store.offsets[1:], len(store))
    start = 0
    while start < len(store) - 1:
        # The furthest document end within reach of this window.
        reach = int(np.searchsorted(ends, start + context_length, side="right"))
        end = int(ends[reach - 1]) if reach else 0
        if end <= start:
            end = start + context_length
        end = min(end, len(store) - 1)
        yield start, end
        start = end


def place(sizes: np.ndarray, length: int) -> np.ndarray:
    """Number of the window for each size, int32, for sizes in descending order.

    Each goes to the window that has the least room among those that have enough. Windows of the
    same room are a stack; a binary tree over the rooms tells the smallest that is no empty stack.
    Compiled by numba, where it takes some 0.1 microseconds a size; plain Python gives the same.
    """
    leaves = 1
    while leaves <= length:
        leaves *= 2
    there = np.zeros(2 * leaves, np.uint8)
    top = np.full(length + 1, -1, np.int32)
    below = np.empty(len(sizes), np.int32)
    result = np.empty(len(sizes), np.int32)
    windows = 0
    for item in range(len(sizes)):
        size = int(sizes[item])
        node = leaves + size
        if not there[node]:
            # Up until there is something on the right, then down to its leftmost leaf.
            while node > 1 and (node & 1 or not there[node + 1]):
                node >>= 1
            if node > 1:
                node += 1
                while node < leaves:
                    node *= 2
                    if not there[node]:
                        node += 1
        if node > 1:
            room = node - leaves
            window = top[room]
            top[room] = below[window]
            if top[room] < 0:
                there[node] = 0
                while node > 1 and not there[node ^ 1]:
                    node >>= 1
                    there[node] = 0
        else:
            room, window = length, windows
            windows += 1
        result[item] = window
        room -= size
        if room:
            below[window] = top[room]
            top[room] = window
            node = leaves + room
            while node and not there[node]:
                there[node] = 1
                node >>= 1
    return result


@cache
def _compiled() -> Callable[[np.ndarray, int], Any]:
    from numba import njit  # only those who pack wait for it

    compiled: Callable[[np.ndarray, int], Any] = njit(place)
    return compiled


def permute(index: np.ndarray, size: int, key: int) -> np.ndarray:
    """Where a permutation of `range(size)`, chosen by `key`, sends each of `index`.

    A Feistel network over the next power of four, walked again where it leads outside (Black &
    Rogaway 2002): any element of a permutation of billions costs the same few operations and no
    memory.
    """
    half = np.uint64(max(1, (max(size - 1, 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    values = index.astype(np.uint64)
    outside = np.ones(len(values), bool)
    while outside.any():
        left, right = values[outside] >> half, values[outside] & mask
        for turn in range(6):
            left, right = right, left ^ (mix(np.uint64(key), np.uint64(turn), right) & mask)
        values[outside] = (left << half) | right
        outside = values >= np.uint64(size)
    return values.astype(np.int64)
