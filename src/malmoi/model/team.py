"""A team of threads that meet at barriers in shared memory, for numba's loops.

A phase of the forward pass of a small model takes microseconds; waking a thread takes longer. So
the threads look at a counter instead, offering the processor to others when that takes a while and
dozing when there is nothing to do for a millisecond.
"""

import sys
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

# Places in the team's shared memory, a cache line apart.
GO, LANES, WANTED, STOP, ARRIVED, READY, REST = range(0, 56, 8)
PATIENCE = 2000  # looks at a counter before the processor is offered to others
DOZE = 200_000  # looks, about a millisecond, before a thread without work begins to sleep

SLEEP = 1000  # most microseconds of a nap: each one disturbs whoever computes meanwhile


@intrinsic
def add(typing: Any, counters: Any, index: Any, amount: Any) -> Any:
    """Atomic `counters[index] += amount`; gives the value before."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = _place(context, builder, signature, args)
        return builder.atomic_rmw("add", place, args[2], "acq_rel")

    return types.int64(counters, types.int64, types.int64), codegen


@intrinsic
def load(typing: Any, counters: Any, index: Any) -> Any:
    """Atomic `counters[index]`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_place(context, builder, signature, args), "acquire", 8)

    return types.int64(counters, types.int64), codegen


def _place(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.gep(array.data, [args[1]])


if sys.platform == "win32":  # no such calls there: a waiting thread keeps looking

    @njit
    def _yield() -> None:
        return

    @njit
    def _doze(microseconds: int) -> None:
        return

else:
    _sched_yield = types.ExternalFunction("sched_yield", types.int32())
    _usleep = types.ExternalFunction("usleep", types.int32(types.uint32))

    @njit
    def _yield() -> None:
        _sched_yield()

    @njit
    def _doze(microseconds: int) -> None:
        _usleep(np.uint32(microseconds))


@njit
def wait_for(counters: np.ndarray, index: int, value: int) -> None:
    """Return when a counter has come to `value`."""
    looks = 0
    while load(counters, index) < value:
        looks += 1
        if looks > PATIENCE:
            _yield()


@njit
def together(counters: np.ndarray, team: int) -> None:
    """A barrier: returns when all threads of the team are here."""
    if team > 1:
        ticket = add(counters, ARRIVED, 1)
        wait_for(counters, ARRIVED, (ticket // team + 1) * team)


@njit
def wait_for_turn(counters: np.ndarray, turn: int) -> bool:
    """Wait for the leader to begin its `turn`; false when the team is to end instead."""
    looks, sleep = 0, 100
    while load(counters, GO) < turn:
        if load(counters, STOP):
            return False
        looks += 1
        if looks > DOZE or load(counters, REST):
            _doze(sleep)
            sleep = min(sleep + 100, SLEEP)
        elif looks > PATIENCE:
            _yield()
    return True
