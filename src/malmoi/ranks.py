"""The processes of a run: how many, which one is this, and the few small things they tell.

`torchrun` starts N processes, called ranks. All of them train; rank 0 alone reads, writes, speaks
and decides. What it decides goes to the others as JSON, a few bytes over TCP. Gradients take
another way (`malmoi.train.distributed`).
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

_Plain = TypeVar("_Plain")

READING = timedelta(days=7)
"""so long the others wait for rank 0, which may have a large text to read"""
STEP = timedelta(minutes=30)
"""so long a rank waits for the gradients of another"""


class Lost(Exception):
    """Another process of the run has ended, and this one cannot go on alone."""


class Ranks:
    """One process among all of a run. By itself it is the only one, and nothing is sent.

    Attributes:
        rank: from 0 to `size - 1`.
        size: how many processes there are, over all hosts.
        local: number of this one on its own host.

    """

    def __init__(self, rank: int = 0, size: int = 1, local: int = 0) -> None:
        self.rank, self.size, self.local = rank, size, local
        self._talk: Any = None

    @classmethod
    def here(cls) -> "Ranks":
        """As `torchrun` says in the environment; alone where it says nothing.

        Raises:
            ValueError: it says a part of it only.

        """
        if os.environ.get("WORLD_SIZE", "1") == "1":
            return cls()
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
        for name in names:
            if name not in os.environ:
                raise ValueError(
                    f"WORLD_SIZE is {os.environ['WORLD_SIZE']} but {name} is not set: start the "
                    "processes with torchrun (docs/scaling.md), or unset WORLD_SIZE"
                )
        return cls(*(int(os.environ[name]) for name in names[:3]))

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which reads, writes, speaks and decides."""
        return self.rank == 0

    @contextmanager
    def joined(self, gpu: bool) -> Iterator[None]:
        """Meanwhile the processes are in touch; `gpu`: tensors on GPUs will be sent, too.

        Raises:
            Lost: another process has ended.

        """
        if self.size == 1:
            yield
            return
        lost = False
        try:
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if gpu else "gloo",
                store=self._meeting_point(), rank=self.rank, world_size=self.size, timeout=STEP,
            )  # fmt: skip
            self._talk = dist.new_group(backend="gloo", timeout=READING)
            yield
        except RuntimeError as error:
            # Gloo's errors have no class of their own; other RuntimeErrors are defects of ours.
            lost = isinstance(error, dist.DistError) or "gloo" in str(error).lower()
            if lost:
                raise Lost(str(error).splitlines()[0]) from None
            raise
        finally:
            self._talk = None
            # After a loss this process is to end, and taking leave of the dead takes its time.
            if dist.is_initialized() and not lost:
                with suppress(RuntimeError):
                    dist.destroy_process_group()

    def _meeting_point(self) -> dist.Store:
        """Where the processes learn each other's addresses."""
        again = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        store: dist.Store = dist.TCPStore(
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), self.size,
            is_master=self.first and not again, timeout=STEP, multi_tenant=not again,
        )  # fmt: skip
        if again and os.environ.get("GROUP_WORLD_SIZE") == "1":
            # Torchrun's own store outlives a restart, and so do the addresses of dead processes
            # in it (torch 2.13). Hosts may count restarts differently: see docs/scaling.md.
            count = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            store = dist.PrefixStore(f"malmoi/{count}", store)
        return store

    def agree(self, value: _Plain) -> _Plain:
        """Rank 0's `value`, a plain one, on every rank."""
        if self.size == 1:
            return value
        text = json.dumps(value).encode() if self.first else b""
        size = torch.tensor(len(text))
        dist.broadcast(size, 0, group=self._talk)
        content = torch.empty(int(size), dtype=torch.uint8)
        if self.first:
            content = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        dist.broadcast(content, 0, group=self._talk)
        return json.loads(content.numpy().tobytes())

    def total(self, *numbers: float) -> list[float]:
        """Each number summed over all ranks, in float64."""
        if self.size == 1:
            return list(numbers)
        values = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(values, group=self._talk)
        return values.tolist()

    def wait(self) -> None:
        """Until all ranks are here."""
        self.total(0.0)

    def alone(self, work: Callable[[], _Plain]) -> _Plain | None:
        """What `work` gives, done by rank 0 while the others wait; None to those.

        Raises:
            SystemExit: on the other ranks, without a word, where rank 0 failed and tells why.

        """
        if self.size == 1:
            return work()
        result = None
        if self.first:
            try:
                result = work()
            except BaseException:
                with suppress(RuntimeError):
                    self.agree(False)
                raise
        if not self.agree(True):
            raise SystemExit(2)
        return result
