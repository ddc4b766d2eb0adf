"""The matrix product for a few lanes: every row of weights is fetched once, used for all of them.

Float32 takes four lanes at a time, always; bfloat16 takes one, and for several `tiles.py` where the
processor can.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from malmoi.model import kernels as K
from malmoi.model import tiles

ROWS = 16
"""rows of weights used for all lanes before the next are fetched"""


@K.loops
def dot4(a: np.ndarray, x: np.ndarray) -> Any:
    """`dot` of one row with four lanes `[4, n]`, all summed in one order."""
    p, q, r, s = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    x0, x1, x2, x3 = x[0], x[1], x[2], x[3]
    for i in range(x0.shape[0]):
        weight = K.widen(a[i])
        p += weight * x0[i]
        q += weight * x1[i]
        r += weight * x2[i]
        s += weight * x3[i]
    return p, q, r, s


@K.loops
def matmul(
    out: np.ndarray, x: np.ndarray, lanes: int, matrix: np.ndarray, bias: int, me: int, team: int,
    add: bool, narrowed: np.ndarray,
) -> None:  # fmt: skip
    """`out = x matrix^T + bias` or `out += ...`, as to this thread's columns and `lanes` lanes.

    A few rows of weights at a time, so that they are near for all lanes. `x` has room for a
    multiple of four lanes. `narrowed` is this thread's room for it in bfloat16, which has its own
    way for several lanes.
    """
    columns = matrix.shape[0]
    first, last = K.share_columns(columns, me, team)
    biases = K.array1(bias, columns, matrix)
    tiled = 0
    if lanes > 1:
        tiled = tiled_columns(out, x[:lanes], matrix, first, last, add, narrowed)
    fours = lanes - lanes % 4
    for block in range(first + tiled, last, ROWS):
        end = min(block + ROWS, last)
        for lane in range(0, fours, 4):
            for column in range(block, end):
                p, q, r, s = dot4(matrix[column], x[lane : lane + 4])
                put(out, lane, column, p, add)
                put(out, lane + 1, column, q, add)
                put(out, lane + 2, column, r, add)
                put(out, lane + 3, column, s, add)
        for lane in range(fours, lanes):
            done = block
            if by_fours(matrix):
                done = four_columns(out, x, lane, matrix, block, end, add)
            for column in range(done, end):
                put(out, lane, column, K.dot(matrix[column], x[lane]), add)
    if bias:
        for lane in range(lanes):
            for column in range(first, last):
                out[lane, column] += K.widen(biases[column])


def by_fours(matrix: Any) -> Any:
    """Whether sums always come by fours, so that one lane is summed just as many are.

    In float32 they do, and a text is the same to the last bit alone and in a batch. How a compiler
    orders one sum and four at a time agrees on some processors only.
    """
    raise NotImplementedError("compiled only")


@overload(by_fours)
def _by_fours(matrix):  # type: ignore[no-untyped-def]
    four = matrix.dtype == types.float32
    return lambda matrix: four


@K.loops
def four_columns(
    out: np.ndarray, x: np.ndarray, lane: int, matrix: np.ndarray, first: int, last: int, add: bool
) -> int:
    """One lane with four columns at a time: the same sums, lane and weights having changed places.

    Gives the column that comes next, which is `last`.
    """
    column = first
    while column + 4 <= last:
        p, q, r, s = dot4(x[lane], matrix[column : column + 4])
        put(out, lane, column, p, add)
        put(out, lane, column + 1, q, add)
        put(out, lane, column + 2, r, add)
        put(out, lane, column + 3, s, add)
        column += 4
    first_lane = lane // 4 * 4
    for rest in range(column, last):  # fewer than four: one column, with the lanes beside this one
        sums = dot4(matrix[rest], x[first_lane : first_lane + 4])
        put(out, lane, rest, sums[lane - first_lane], add)
    return last


@njit(inline="always")
def put(out: np.ndarray, lane: int, column: int, y: float, add: bool) -> None:
    """Set or add one result."""
    out[lane, column] = out[lane, column] + y if add else y


def tiled_columns(
    out: Any, x: Any, matrix: Any, first: int, last: int, add: bool, narrowed: Any
) -> Any:
    """Do as many of the columns from `first` on as `tiles.py` can; how many they are."""
    raise NotImplementedError("compiled only")


@overload(tiled_columns)
def _tiled_columns(out, x, matrix, first, last, add, narrowed):  # type: ignore[no-untyped-def]
    if not tiles.AVAILABLE or matrix.dtype != types.uint16:
        return lambda out, x, matrix, first, last, add, narrowed: 0

    def by_tiles(out, x, matrix, first, last, add, narrowed):  # type: ignore[no-untyped-def]
        lanes, size = x.shape
        if size % tiles.STEP:
            return 0
        flat = narrowed.reshape(-1)[: (lanes + 3) // 4 * 4 * size].reshape(-1, size)
        for lane in range(lanes):
            for i in range(size):
                flat[lane, i] = K.narrow(x[lane, i], flat)
        sums = np.empty(16, np.float32)
        count = (last - first) // 4 * 4
        groups = (lanes + 3) // 4
        each = max(1, (3 + groups) // groups)  # rows asked for by a tile: 4 by those of 4 columns
        for block in range(first, first + count, ROWS):
            for lane in range(0, lanes, 4):
                x4 = flat[lane:].ctypes.data
                for column in range(block, min(block + ROWS, first + count), 4):
                    w4 = matrix[column:].ctypes.data
                    ahead = column + ROWS + lane // 4 % 4 * each
                    ahead = matrix[min(ahead, matrix.shape[0] - 1) :].ctypes.data
                    if each == 1:
                        tiles.tile1(w4, x4, size, sums.ctypes.data, ahead)
                    elif each == 2:
                        tiles.tile2(w4, x4, size, sums.ctypes.data, ahead)
                    else:
                        tiles.tile4(w4, x4, size, sums.ctypes.data, ahead)
                    for i in range(min(4, lanes - lane)):
                        for j in range(4):
                            put(out, lane + i, column + j, sums[4 * i + j], add)
        return count

    return by_tiles
