"""Dot products of four rows of weights with four lanes at once, in bfloat16.

For several lanes a row of weights has to be used for all of them while it is near, and arithmetic
becomes the limit. Processors with AVX512-BF16 multiply 32 pairs of bfloat16 numbers in one
instruction, which no loop of numba's is turned into; so this one loop is written in LLVM's own
language. Where the processor has no such instruction, `AVAILABLE` is false.
"""

from collections.abc import Iterator
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

from malmoi.model.arrays import fetch_line

# NUMBA_CPU_NAME asks for code for another processor than this one.
AVAILABLE = not config.CPU_NAME and bool(llvm.get_host_cpu_features().get("avx512bf16"))
STEP = 32
"""numbers multiplied at a time; a row's length has to be a multiple of it"""
SIDE = 4
"""rows, and lanes, of a tile"""


class _BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite has no name for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


_I64 = ir.IntType(64)
_SUMS = ir.VectorType(ir.FloatType(), 16)
_WORDS = ir.VectorType(ir.IntType(32), 16)
_PAIRS = ir.VectorType(_BFloat(), STEP)


def _make_tile(fetched: int) -> Any:
    @intrinsic
    def tile(typing: Any, rows: Any, lanes: Any, size: Any, out: Any, ahead: Any) -> Any:
        """Sums of products of 4 rows of weights and 4 lanes, each `size` bfloat16 numbers.

        Args are addresses: of the first row and the first lane, the others behind them; of 16
        float32 for the results, `out[4 * lane + row]`; and of the rows to ask the memory for
        meanwhile.
        """

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _multiply(builder, fetched, *args)
            return context.get_dummy_value()

        return types.none(types.int64, types.int64, types.int64, types.int64, types.int64), codegen

    return tile


tile1, tile2, tile4 = (_make_tile(fetched) for fetched in (1, 2, 4))
"""They differ in how many rows they ask for; tiles of few lanes come by all the sooner."""


def _multiply(
    builder: Any, fetched: int, rows: Any, lanes: Any, size: Any, out: Any, ahead: Any
) -> None:
    nothing = ir.Constant(_SUMS, [0.0] * 16)
    product = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(_SUMS, [_SUMS, _PAIRS, _PAIRS]),
        "llvm.x86.avx512bf16.dpbf16ps.512",
    )
    length = builder.mul(size, ir.Constant(_I64, 2))  # in bytes
    before = builder.block
    loop, after = builder.append_basic_block("loop"), builder.append_basic_block("after")
    builder.branch(loop)
    builder.position_at_end(loop)
    place = builder.phi(_I64)
    place.add_incoming(ir.Constant(_I64, 0), before)
    sums = [builder.phi(_SUMS) for _ in range(SIDE * SIDE)]
    for one in sums:
        one.add_incoming(nothing, before)

    def address(base: Any, index: int) -> Any:
        offset = builder.add(builder.mul(length, ir.Constant(_I64, index)), place)
        return builder.add(base, offset)

    def load(base: Any, index: int) -> Any:
        pointer = builder.inttoptr(address(base, index), _WORDS.as_pointer())
        return builder.bitcast(builder.load(pointer, align=2), _PAIRS)

    for index in range(fetched):
        fetch_line(builder, address(ahead, index))
    weights = [load(rows, index) for index in range(SIDE)]
    grown = []
    for lane in range(SIDE):
        x = load(lanes, lane)
        for row in range(SIDE):
            old = sums[SIDE * lane + row]
            grown.append(builder.call(product, [old, weights[row], x]))
    following = builder.add(place, ir.Constant(_I64, 2 * STEP))
    place.add_incoming(following, loop)
    for old, new in zip(sums, grown, strict=True):
        old.add_incoming(new, loop)
    builder.cbranch(builder.icmp_signed("<", following, length), loop, after)
    builder.position_at_end(after)
    pointer = builder.inttoptr(out, _SUMS.as_pointer())
    builder.store(_sum_each(builder, grown), pointer, align=4)


def _sum_each(builder: Any, vectors: list[Any]) -> Any:
    """The sums of 16 vectors of 16 as one vector, in order, by adding halves of two at a time."""
    groups = 1  # how many vectors' partial sums stand in each
    while len(vectors) > 1:
        size = 16 // groups
        firsts = [g * size + i for g in range(groups) for i in range(size // 2)]
        firsts += [16 + place for place in firsts]
        masks = [
            ir.Constant(ir.VectorType(ir.IntType(32), 16), [place + half for place in firsts])
            for half in (0, size // 2)
        ]
        vectors = [
            builder.fadd(*(builder.shuffle_vector(a, b, mask) for mask in masks))
            for a, b in _pairs(vectors)
        ]
        groups *= 2
    return vectors[0]


def _pairs(values: list[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(values[::2], values[1::2], strict=True)
