"""Arrays as numba's loops need them: at an address, in bfloat16, uncounted, asked for ahead.

Numbers are float32, or bfloat16 held as the upper half of a float32 in a uint16.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic, overload

LINE = 64  # bytes that come from the memory at once


def widen(x: Any) -> Any:
    """A stored number as float32."""
    raise NotImplementedError("compiled only")


def narrow(x: Any, like: Any) -> Any:
    """A float32 as it is stored in arrays such as `like`: rounded to nearest, ties to even."""
    raise NotImplementedError("compiled only")


# The names of the arguments, annotations included, have to be those of the functions above.
@overload(widen, inline="always")
def _widen(x):  # type: ignore[no-untyped-def]
    if x == types.uint16:
        return lambda x: np.uint32(np.uint32(x) << np.uint32(16)).view(np.float32)
    return lambda x: x


@overload(narrow, inline="always")
def _narrow(x, like):  # type: ignore[no-untyped-def]
    if like.dtype != types.uint16:
        return lambda x, like: x

    def to_bfloat16(x, like):  # type: ignore[no-untyped-def]
        bits = np.float32(x).view(np.uint32)
        return np.uint16((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)

    return to_bfloat16


@intrinsic
def _pointer(typing: Any, address: Any, like: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.CPointer(like.dtype)(address, like), codegen


@njit(inline="always")
def array1(address: int, size: int, like: np.ndarray) -> np.ndarray:
    """The numbers at an address, of the type of `like`."""
    return carray(_pointer(address, like), (size,))


@njit(inline="always")
def array2(address: int, rows: int, columns: int, like: np.ndarray) -> np.ndarray:
    """The matrix at an address, of the type of `like`."""
    return carray(_pointer(address, like), (rows, columns))


@intrinsic
def _fetch_line(typing: Any, address: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        fetch_line(builder, args[0])
        return context.get_dummy_value()

    return types.none(types.int64), codegen


def fetch_line(builder: Any, address: Any) -> None:
    """Ask for the cache line at an address, to have it near when it is needed."""
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    fetch = builder.module.declare_intrinsic("llvm.prefetch", fnty=kind)
    # To be read; into the second level, where it does not push out what is in use; data.
    builder.call(fetch, [builder.inttoptr(address, byte), number(0), number(2), number(1)])


@njit(inline="always")
def fetch(rows: np.ndarray, first: int, count: int) -> None:
    """Ask for some of the rows of a matrix, without waiting for them."""
    size = rows.shape[1] * rows.itemsize
    for line in range(first * size, (first + count) * size, LINE):
        _fetch_line(rows.ctypes.data + line)


@intrinsic
def borrow(typing: Any, array: Any) -> Any:
    """The same array, uncounted: its owner has to live on.

    Numba counts how many hold an array, in an atomic number that all threads share; loops that
    take arrays apart for each head would wait for it more than they work.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        held = context.make_array(signature.args[0])(context, builder, args[0])
        held.meminfo = ir.Constant(held.meminfo.type, None)
        held.parent = ir.Constant(held.parent.type, None)
        return held._getvalue()

    return array(array), codegen
