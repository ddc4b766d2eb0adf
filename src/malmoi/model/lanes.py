"""The forward pass for a few lanes, phase by phase, as one thread of a team does its share of it.

`kernels.py` has the pieces, `team.py` the barriers between the phases, and `Stepper` owns what is
in a `State`. `run` is the one way in: the whole pass, or a single phase where somebody else
multiplies the matrices.
"""

import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from malmoi.model import kernels as K
from malmoi.model.product import matmul
from malmoi.model.team import GO, LANES, READY, WANTED, add, together, wait_for_turn

WHOLE, EMBED, NORM1, MIX, NORM2, FEED, FINAL, NOTHING = range(8)
"""what `run` is asked for: everything, or one of the phases between the matrix products"""


class State(NamedTuple):
    """All that the threads share."""

    counters: np.ndarray
    """the team's, see `team.py`"""
    shape: K.Shape
    buffers: K.Buffers
    tables: np.ndarray
    """addresses of the weights `[layers + 1, 15]`"""
    memory: np.ndarray
    """addresses of the cache's keys and values"""
    ids: np.ndarray
    """the cache's ids `[rows, S]`"""
    slots: np.ndarray
    """row of the cache of each lane"""
    positions: np.ndarray
    """place in its row of each lane"""
    wanted: np.ndarray
    """the lanes whose logits are wanted"""
    like: np.ndarray
    """an array of the weights' type"""


@K.loops
def forward(me: int, team: int, s: State) -> None:
    """One thread's share of reading `LANES` lanes; the logits are in the buffers at the end."""
    lanes = s.counters[LANES]
    top, shape, b, c = s.tables[s.shape.layers], s.shape, s.buffers, s.shape.width
    normed = b.normed[me]
    room = b.narrowed[me]
    embed(me, team, s)
    together(s.counters, team)
    for layer in range(shape.layers):
        table = s.tables[layer]
        normalise(me, s, table[K.NORM1], table[K.NORM1 + 1])
        matrix = K.array2(table[K.QKV], b.qkv.shape[1], c, s.like)
        matmul(b.qkv, normed, lanes, matrix, table[K.QKV + 1], me, team, False, room)
        together(s.counters, team)
        mix(me, team, s, layer)
        together(s.counters, team)
        matrix = K.array2(table[K.OUT], c, c, s.like)
        matmul(b.x, b.attended, lanes, matrix, table[K.OUT + 1], me, team, True, room)
        together(s.counters, team)
        normalise(me, s, table[K.NORM2], table[K.NORM2 + 1])
        matrix = K.array2(table[K.UP], shape.inner, c, s.like)
        matmul(b.inner, normed, lanes, matrix, table[K.UP + 1], me, team, False, room)
        if shape.activation == K.SWIGLU:
            matrix = K.array2(table[K.GATE], shape.inner, c, s.like)
            matmul(b.gate, normed, lanes, matrix, table[K.GATE + 1], me, team, False, room)
        feed(me, team, s)
        together(s.counters, team)
        matrix = K.array2(table[K.DOWN], c, shape.inner, s.like)
        matmul(b.x, b.inner, lanes, matrix, table[K.DOWN + 1], me, team, True, room)
        together(s.counters, team)
    finish(me, s)
    wanted = s.counters[WANTED]
    matrix = K.array2(top[K.HEAD], shape.vocab, c, s.like)
    matmul(b.logits, normed, wanted, matrix, 0, me, team, False, room)
    together(s.counters, team)
    blocks = b.partial.shape[1]
    first, last = K.share(wanted * blocks, me, team)
    for task in range(first, last):
        lane, block = divmod(task, blocks)
        start = block * K.BLOCK
        K.summarise(b.partial[lane, block], b.logits[lane, start : start + K.BLOCK], start)
    together(s.counters, team)
    if me == 0:
        for lane in range(wanted):
            b.best[lane], b.totals[lane] = K.merge(b.partial[lane])


@K.loops
def embed(me: int, team: int, s: State) -> None:
    """The residual stream begins as the lanes' embeddings."""
    first, last = K.share(s.counters[LANES], me, team)
    for lane in range(first, last):
        K.embed(
            s.buffers.x[lane], s.shape, s.tables[s.shape.layers], s.ids[s.slots[lane]],
            s.positions[lane], s.like,
        )  # fmt: skip


@K.loops
def normalise(me: int, s: State, weight: int, bias: int) -> None:
    """Make this thread's own normed copy of the stream: quicker than waiting for another's."""
    for lane in range(s.counters[LANES]):
        K.normalise(
            s.buffers.normed[me, lane], s.buffers.x[lane], s.shape.norm, weight, bias, s.like
        )


@K.loops
def finish(me: int, s: State) -> None:
    """Norm the lanes whose logits are wanted, side by side."""
    top = s.tables[s.shape.layers]
    for index in range(s.counters[WANTED]):
        K.normalise(
            s.buffers.normed[me, index], s.buffers.x[s.wanted[index]], s.shape.norm,
            top[K.FINAL_NORM], top[K.FINAL_NORM + 1], s.like,
        )  # fmt: skip


@K.loops
def mix(me: int, team: int, s: State, layer: int) -> None:
    """Queries, keys and values in `qkv` become attention's result; the cache gets the new ones."""
    shape, b, lanes, d = s.shape, s.buffers, s.counters[LANES], s.shape.head_size
    rows = shape.rows * shape.kv_heads * shape.capacity
    place = rows * d * layer * s.like.itemsize
    keys = K.array2(s.memory[0] + place, rows, d, s.like)
    values = K.array2(s.memory[1] + place, rows, d, s.like)
    first, last = K.share(lanes * (shape.heads + shape.kv_heads), me, team)
    for task in range(first, last):
        lane, head = divmod(task, shape.heads + shape.kv_heads)
        _store(s, layer, lane, head, keys, values)
    together(s.counters, team)
    first, last = K.share(lanes * shape.heads, me, team)
    for task in range(first, last):
        lane, head = divmod(task, shape.heads)
        start, end = _seen(s, task)
        after, after_end = _seen(s, min(task + 1, last - 1))
        K.attend(
            b.attended[lane, head * d : head * d + d], b.qkv[lane, head * d : head * d + d],
            keys[start:end], values[start:end], b.weights[me], shape.scale, keys[after:after_end],
        )  # fmt: skip


@njit(inline="always")
def _seen(s: State, task: int) -> tuple[int, int]:
    """Where in the cache the keys stand that a head of a lane looks at: first, and end."""
    lane, head = divmod(task, s.shape.heads)
    kv_head = head // (s.shape.heads // s.shape.kv_heads)
    start = (s.slots[lane] * s.shape.kv_heads + kv_head) * s.shape.capacity
    return start, start + s.positions[lane] + 1


@K.loops
def feed(me: int, team: int, s: State) -> None:
    """The activation between the feed-forward's matrices, on this thread's columns."""
    first, last = K.share_columns(s.shape.inner, me, team)  # those it has just multiplied
    for lane in range(s.counters[LANES]):
        inner, gate = s.buffers.inner[lane, first:last], s.buffers.gate[lane, first:last]
        K.activate(inner, gate, s.shape.activation)


@K.inlined
def _store(
    s: State, layer: int, lane: int, head: int, keys: np.ndarray, values: np.ndarray,
) -> None:  # fmt: skip
    """One query or key head: norm and rotation; with a key goes its value, into the cache."""
    shape, b, position = s.shape, s.buffers, s.positions[lane]
    d = shape.head_size
    x = b.qkv[lane, head * d : head * d + d]
    if shape.qk_norm:
        K.normalise(x, x, K.PLAIN, 0, 0, keys[0])
    if shape.rotary:
        K.rotate(x, b.cos[position], b.sin[position])
    if head < shape.heads:
        return
    kv_head = head - shape.heads
    row = (s.slots[lane] * shape.kv_heads + kv_head) * shape.capacity + position
    offset = (shape.heads + shape.kv_heads + kv_head) * d
    v, first = b.qkv[lane, offset : offset + d], b.first_values[lane, kv_head * d : kv_head * d + d]
    if shape.value_residual and layer:
        mix = K.widen(K.array1(s.tables[layer, K.VALUE_MIX], 1, keys[0])[0])
        for i in range(d):
            v[i] += mix * first[i]
    elif shape.value_residual:
        for i in range(d):
            first[i] = v[i]
    for i in range(d):
        keys[row, i] = K.narrow(x[i], keys)
        values[row, i] = K.narrow(v[i], keys)


@njit(inline="always")
def borrow(s: State) -> State:
    """The same state with arrays that are not counted: its owner outlives every `run`."""
    return State(
        K.borrow(s.counters), s.shape, K.borrow_all(s.buffers), K.borrow(s.tables),
        K.borrow(s.memory), K.borrow(s.ids), K.borrow(s.slots), K.borrow(s.positions),
        K.borrow(s.wanted), K.borrow(s.like),
    )  # fmt: skip


def _compile(sources: int) -> Any:
    """The way in; compiled once on a machine for each type of weights."""

    def run(me: int, team: int, state: State, phase: int, layer: int) -> None:
        """The leader (thread 0) works once; the others as often as it does, until told to end."""
        if me == sources or phase == NOTHING:  # numba's cache looks at this file, and `sources`
            return
        s = borrow(state)
        if phase == EMBED:
            embed(0, 1, s)
        elif phase == NORM1:
            normalise(0, s, s.tables[layer, K.NORM1], s.tables[layer, K.NORM1 + 1])
        elif phase == MIX:
            mix(0, 1, s, layer)
        elif phase == NORM2:
            normalise(0, s, s.tables[layer, K.NORM2], s.tables[layer, K.NORM2 + 1])
        elif phase == FEED:
            feed(0, 1, s)
        elif phase == FINAL:
            finish(0, s)
        elif me == 0:
            if team > 1:
                add(s.counters, GO, 1)
            forward(me, team, s)
        else:
            add(s.counters, READY, 1)
            turn = 1  # the leader does not wait for a thread that is not ready
            while wait_for_turn(s.counters, turn):
                forward(me, team, s)
                turn += 1

    try:
        return njit(nogil=True, cache=True)(run)
    except RuntimeError:  # no folder that could be written to: compiled anew each time
        return njit(nogil=True)(run)


def _checksum() -> int:
    """Of the source files that are compiled."""
    files = [
        Path(__file__).with_name(name)
        for name in ("arrays.py", "kernels.py", "tiles.py", "product.py", "team.py", "lanes.py")
    ]
    return 1 + (1 << 20) + zlib.crc32(b"".join(file.read_bytes() for file in files))


run = _compile(_checksum())
