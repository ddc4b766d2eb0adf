"""The forward pass for a few single tokens as plain loops, compiled to machine code by numba.

For one token at a time, a framework spends more time on calling its kernels than the processor on
the numbers, and its matrix product is not made for one row. These loops read every weight once,
in order, and nothing else: the speed of the memory is their limit. They say what `gpt.py` says, in
another way; the tests hold the two equal.

A *lane* is one token to be read: its id, the row of the cache it belongs to (`slot`), and its place
there (`position`). Every thread of a team runs `forward`, does its share of each phase, and waits
for the others before what needs their results. A number is always summed in the same order,
whatever the number of lanes and threads, so a text does not depend on its neighbours in the batch.

Weights are float32, or bfloat16 held as the upper half of a float32 in a uint16; arithmetic is in
float32 throughout.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from malmoi.model.arrays import array1, array2, borrow, fetch, narrow, widen

__all__ = ["array1", "array2", "borrow", "narrow", "widen"]  # from `arrays`, for the neighbours

# Sums may be reordered (without that no loop with a sum is vectorised); NaN and infinities stay.
# And a division by zero gives infinity, as numpy's: a look at each divisor is no vector either.
_OPTIONS = {"fastmath": {"reassoc", "contract", "nsz", "arcp"}, "error_model": "numpy"}
loops, inlined = njit(**_OPTIONS), njit(forceinline=True, **_OPTIONS)
LOG2_E, LN2_HIGH, LN2_LOW = (np.float32(x) for x in (1.44269504, 0.693359375, -2.12194440e-4))
LAYERNORM, RMSNORM, PLAIN, NO_NORM = range(4)
GELU, SWIGLU, RELU2 = range(3)
BLOCK = 2048  # logits summed by one thread: always the same ones, so that sums are the same, too
# Columns of the table of addresses: one row a layer, and one more for what is not in a layer.
COLUMNS = (
    "norm1", "norm1_bias", "norm2", "norm2_bias", "qkv", "qkv_bias", "out", "out_bias", "gate",
    "gate_bias", "up", "up_bias", "down", "down_bias", "value_mix",
)  # fmt: skip
NORM1, NORM2, QKV, OUT, GATE, UP, DOWN, VALUE_MIX = 0, 2, 4, 6, 8, 10, 12, 14
TOKENS, POSITIONS, FINAL_NORM, HEAD, NGRAMS = 0, 1, 2, 4, 5  # columns of the last row


class Shape(NamedTuple):
    """What `ModelConfig` says, as numbers."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_size: int
    inner: int
    vocab: int
    norm: int
    activation: int
    rotary: int
    qk_norm: int
    value_residual: int
    ngram_orders: int
    ngram_rows: int
    rows: int
    capacity: int
    scale: float


class Buffers(NamedTuple):
    """What is passed from phase to phase; float32. `N` lanes, `P` threads."""

    x: np.ndarray
    """residual stream `[N, C]`"""
    normed: np.ndarray
    """each thread's own copy of the normed stream `[P, N, C]`"""
    qkv: np.ndarray
    """`[N, (H + 2 H_kv) D]`"""
    first_values: np.ndarray
    """the first layer's values `[N, H_kv D]`"""
    attended: np.ndarray
    """`[N, C]`"""
    weights: np.ndarray
    """each thread's attention weights of one head `[P, S]`"""
    inner: np.ndarray
    """`[N, d_ff]`"""
    gate: np.ndarray
    """`[N, d_ff]`"""
    logits: np.ndarray
    """`[N, V]`"""
    partial: np.ndarray
    """of each block of `BLOCK` logits: largest, its id, sum of exponentials `[N, V / BLOCK, 3]`"""
    best: np.ndarray
    """id of the largest logit `[N]`"""
    totals: np.ndarray
    """log of the sum of the logits' exponentials `[N]`"""
    narrowed: np.ndarray
    """each thread's room for what it multiplies, in bfloat16 `[P, N, widest]`"""
    cos: np.ndarray
    """`[S, D / 2]`"""
    sin: np.ndarray


@njit(inline="always")
def borrow_all(b: Buffers) -> Buffers:
    """The same buffers, uncounted."""
    return Buffers(
        borrow(b.x), borrow(b.normed), borrow(b.qkv), borrow(b.first_values), borrow(b.attended),
        borrow(b.weights), borrow(b.inner), borrow(b.gate), borrow(b.logits), borrow(b.partial),
        borrow(b.best), borrow(b.totals), borrow(b.narrowed), borrow(b.cos), borrow(b.sin),
    )  # fmt: skip


@njit
def exp(x: Any) -> Any:
    """e^x in float32, as arithmetic alone, so that loops of it are vectorised (cf. Cephes)."""
    x = min(max(x, np.float32(-87.0)), np.float32(88.0))
    whole = np.floor(x * LOG2_E + np.float32(0.5))
    f = x - whole * LN2_HIGH - whole * LN2_LOW
    p = np.float32(1.9875691500e-4)
    p = p * f + np.float32(1.3981999507e-3)
    p = p * f + np.float32(8.3334519073e-3)
    p = p * f + np.float32(4.1665795894e-2)
    p = p * f + np.float32(1.6666665459e-1)
    p = p * f + np.float32(5.0000001201e-1)
    power = np.int32((np.int32(whole) + 127) << 23).view(np.float32)
    return (p * f * f + f + np.float32(1.0)) * power


@loops
def dot(a: np.ndarray, b: np.ndarray) -> Any:
    """Sum of products; `a` may be stored in bfloat16."""
    total = np.float32(0)
    for i in range(b.shape[0]):
        total += widen(a[i]) * b[i]
    return total


@njit
def share(count: int, me: int, team: int) -> tuple[int, int]:
    """Which of `count` things are this thread's."""
    return count * me // team, count * (me + 1) // team


@njit
def share_columns(count: int, me: int, team: int) -> tuple[int, int]:
    """Which of a product's columns are this thread's: by fours, as tiles take them."""
    first, last = share((count + 3) // 4, me, team)
    return 4 * first, min(4 * last, count)


@loops
def normalise(
    out: np.ndarray, x: np.ndarray, kind: int, weight: int, bias: int, like: np.ndarray
) -> None:
    """`out = norm(x)` for one vector."""
    size = x.shape[0]
    scale, mean = np.float32(1), np.float32(0)
    if kind == LAYERNORM:
        for i in range(size):
            mean += x[i]
        mean /= np.float32(size)
        square = np.float32(0)
        for i in range(size):
            square += (x[i] - mean) * (x[i] - mean)
        scale = np.float32(1) / np.sqrt(square / np.float32(size) + np.float32(1e-5))
    elif kind != NO_NORM:
        scale = np.float32(1) / np.sqrt(dot(x, x) / np.float32(size) + np.float32(1e-6))
    for i in range(size):
        out[i] = (x[i] - mean) * scale
    if weight:
        weights = array1(weight, size, like)
        for i in range(size):
            out[i] *= widen(weights[i])
    if bias:
        biases = array1(bias, size, like)
        for i in range(size):
            out[i] += widen(biases[i])


@loops
def embed(
    x: np.ndarray, shape: Shape, table: np.ndarray, ids: np.ndarray, position: int, like: np.ndarray
) -> None:
    """`x = ` the embedding of the token at `position` of the row whose ids these are."""
    row = array2(table[TOKENS], shape.vocab, shape.width, like)[ids[position]]
    for i in range(shape.width):
        x[i] = widen(row[i])
    if table[POSITIONS]:
        row = array2(table[POSITIONS], position + 1, shape.width, like)[position]
        for i in range(shape.width):
            x[i] += widen(row[i])
    mixed = np.int64(ids[position])  # as in layers.NgramEmbedding.hashes
    for order in range(shape.ngram_orders):
        before = position - 1 - order
        previous = ids[before] if before >= 0 else -1
        mixed = np.int64(np.uint64(mixed) * np.uint64(0x1CE4E5B9)) + previous + 1
        mixed &= 0x7FFFFFFFFFFF
        # Unsigned, since a signed product that overflows is taken for positive; then as there.
        product = np.int64(np.uint64(mixed) * np.uint64(0x133111EB))
        hashed = (product >> 16) % shape.ngram_rows
        row = array2(table[NGRAMS + order], shape.ngram_rows, shape.width, like)[hashed]
        for i in range(shape.width):
            x[i] += widen(row[i])
    if shape.norm == PLAIN:
        normalise(x, x, PLAIN, 0, 0, like)


@loops
def rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> None:
    """Rotary position in one head: dimension `i` turns with `i + D / 2`."""
    half = cos.shape[0]
    for i in range(half):
        a, b = x[i], x[half + i]
        x[i] = a * cos[i] - b * sin[i]
        x[half + i] = b * cos[i] + a * sin[i]


@loops
def attend(
    out: np.ndarray, q: np.ndarray, keys: np.ndarray, values: np.ndarray, weights: np.ndarray,
    scale: float, following: np.ndarray,
) -> None:  # fmt: skip
    """One head: `out = softmax(q keys^T scale) values`, keys and values `[S, D]`.

    Four places at a time, so that `q` and `out` are fetched a quarter as often. What comes after is
    asked for ahead: the values beside the keys, and beside the values the `following` head's keys.
    """
    seen, size = keys.shape
    fours = seen - seen % 4
    ahead = following.shape[0] - following.shape[0] % 4
    for s in range(0, fours, 4):
        fetch(values, s, 4)
        a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for i in range(size):
            x = q[i]
            a += widen(keys[s, i]) * x
            b += widen(keys[s + 1, i]) * x
            c += widen(keys[s + 2, i]) * x
            d += widen(keys[s + 3, i]) * x
        weights[s], weights[s + 1], weights[s + 2], weights[s + 3] = a, b, c, d
    for s in range(fours, seen):
        weights[s] = dot(keys[s], q)
    largest = np.float32(-np.inf)
    for s in range(seen):
        weights[s] *= np.float32(scale)
        largest = max(largest, weights[s])
    for s in range(seen):
        weights[s] = exp(weights[s] - largest)
    total = np.float32(0)
    for s in range(seen):
        total += weights[s]
    for s in range(seen):
        weights[s] /= total
    for i in range(size):
        out[i] = np.float32(0)
    for s in range(0, fours, 4):
        if s < ahead:
            fetch(following, s, 4)
        a, b, c, d = weights[s], weights[s + 1], weights[s + 2], weights[s + 3]
        for i in range(size):
            out[i] += (a * widen(values[s, i]) + b * widen(values[s + 1, i])) + (
                c * widen(values[s + 2, i]) + d * widen(values[s + 3, i])
            )
    for s in range(fours, seen):
        weight = weights[s]
        for i in range(size):
            out[i] += weight * widen(values[s, i])


@loops
def activate(inner: np.ndarray, gate: np.ndarray, kind: int) -> None:
    """The feed-forward's activation, in place; `gate` is SwiGLU's other product."""
    one, zero = np.float32(1), np.float32(0)
    if kind == GELU:  # the tanh form: x (1 + tanh u) / 2 = x / (1 + e^-2u)
        for i in range(inner.shape[0]):
            x = inner[i]
            u = np.float32(0.7978845608) * (x + np.float32(0.044715) * x * x * x)
            inner[i] = x / (one + exp(np.float32(-2) * u))
    elif kind == SWIGLU:
        for i in range(inner.shape[0]):
            inner[i] *= gate[i] / (one + exp(-gate[i]))
    else:
        for i in range(inner.shape[0]):
            x = max(inner[i], zero)
            inner[i] = x * x


@loops
def summarise(partial: np.ndarray, logits: np.ndarray, first: int) -> None:
    """Largest logit, its id, and the sum of exponentials beside it, of a block from `first` on."""
    largest = np.float32(-np.inf)
    for i in range(logits.shape[0]):
        largest = max(largest, logits[i])
    place = 0
    for i in range(logits.shape[0] - 1, -1, -1):
        if logits[i] == largest:
            place = i
    total = np.float32(0)
    for i in range(logits.shape[0]):
        total += exp(logits[i] - largest)
    if largest == np.float32(-np.inf):  # nothing of it counts, unless some of it is NaN
        total = np.float32(0)
        for i in range(logits.shape[0]):
            if np.isnan(logits[i]):
                total = logits[i]
    partial[0], partial[1], partial[2] = largest, np.float64(first + place), total


@njit
def merge(partial: np.ndarray) -> tuple[int, float]:
    """The id of the largest of all blocks, and the logarithm of the sum of all exponentials."""
    best = 0
    for block in range(1, partial.shape[0]):
        if partial[block, 0] > partial[best, 0]:
            best = block
    total = 0.0
    for block in range(partial.shape[0]):
        total += partial[block, 2] * np.exp(partial[block, 0] - partial[best, 0])
    return int(partial[best, 1]), partial[best, 0] + np.log(total)
