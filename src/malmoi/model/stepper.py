"""Reading the next token of each row of a batch at the speed of the memory.

The model's own `forward` is made for many tokens at once, where a matrix product pays. `Stepper`
does the same for one token (or a few) of each of some rows, over the same weights, not a copy, and
the same `KVCache`: for few lanes all of it in the loops of `lanes.py`, for many with torch's matrix
products in between. Only on the CPU, in float32 or bfloat16.
"""

import atexit
import contextlib
import ctypes
import os
import sys
import threading
import time
from types import TracebackType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from malmoi.model import kernels as K
from malmoi.model import tiles
from malmoi.model.cache import KVCache
from malmoi.model.gpt import GPT
from malmoi.model.lanes import EMBED, FEED, FINAL, MIX, NORM1, NORM2, NOTHING, WHOLE, State, run
from malmoi.model.team import LANES, READY, REST, STOP, WANTED

WORK, TILED_WORK = 5e8, 3e9
"""bfloat16: from so many multiplications a step on, torch's products are quicker than ours"""

SHARE = 300_000
"""weights that a thread should have to itself: with fewer, meeting the others costs more"""

PATIENCE = 2e8
"""multiplications, some milliseconds, that one thread does before others are called: they take as
long to come, which a short answer of a small model is not worth"""

WAIT = 0.01
"""seconds that they are waited for; after that one thread goes on alone"""


class Stepper:
    """Reads one token of each of up to `lanes` lanes.

    Use it as a context: the other threads of the team live inside it.

    Args:
        model: one that it `supports`. Its weights may change in place meanwhile.
        cache: where keys and values are; of the model's type.
        lanes: the most tokens to be read at once.
        threads: of the team; when not given, torch's number or as many as have enough to do,
            once there is some.

    """

    def __init__(self, model: GPT, cache: KVCache, lanes: int, threads: int | None = None) -> None:
        self._weights = multiplied(model)
        self._asked = threads is not None  # such a team comes at once
        self._work = PATIENCE if self._asked else 0
        self.threads = threads or min(torch.get_num_threads(), 1 + self._weights // SHARE)
        self.lanes = lanes
        self._model = model  # its weights are read by address
        weight = model.output_weight
        self._dtype = weight.dtype
        self.alone = lanes  # so many lanes are read without torch
        if weight.dtype == torch.bfloat16:
            work = TILED_WORK if tiles.AVAILABLE else WORK
            self.alone = max(1, min(lanes, int(work / max(self._weights, 1))))
        self._buffers = _make_buffers(model, cache.capacity, lanes, self.threads)
        self._state = State(
            np.zeros(56, np.int64), _shape(model, cache), self._buffers, _addresses(model),
            np.array([cache.keys.data_ptr(), cache.values.data_ptr()]), cache.ids.numpy(),
            np.zeros(lanes, np.int64), np.zeros(lanes, np.int64), np.zeros(lanes, np.int64),
            np.empty(1, np.float32 if weight.dtype == torch.float32 else np.uint16),
        )  # fmt: skip
        self._memory = (cache.keys, cache.values, cache.ids)  # kept alive: they are read by address
        self._workers: list[threading.Thread] = []
        self.summary: tuple[np.ndarray, np.ndarray] | None = None
        """of what was read last: the most probable ids, and the logarithms of the sums of the
        logits' exponentials; None where torch multiplied"""

    @staticmethod
    def supports(model: GPT) -> bool:
        """Whether the loops know this model: on the CPU, of a type they read, all layers plain."""
        weight = model.output_weight
        linears, tables, others = _layers(model)
        return (
            weight.device.type == "cpu"
            and weight.dtype in (torch.float32, torch.bfloat16)
            and all(type(module) is nn.Linear for module in linears)
            and all(type(module) is nn.Embedding for module in tables)
            and all(
                parameter is None
                or (
                    (parameter.dtype == weight.dtype and parameter.device == weight.device)
                    and parameter.is_contiguous()
                )
                for module in linears + tables + others
                for parameter in module._parameters.values()
            )
            and _expected(model, linears, tables)
        )

    def __enter__(self) -> "Stepper":
        run(0, 1, self._state, NOTHING, 0)  # compiles, the first time on a machine
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._state.counters[STOP] = 1
        self._workers = []

    def _start(self) -> None:
        """Start the other threads, which may be a while: a processor that sleeps wakes slowly."""
        counters = np.zeros_like(self._state.counters)  # threads that still end keep their own
        _started[:] = [one for one in _started if one[0].is_alive()]
        self._state = self._state._replace(counters=counters)
        self._workers = [
            threading.Thread(target=run, args=(me, self.threads, self._state, WHOLE, 0))
            for me in range(1, self.threads)
        ]
        elsewhere = _other_processors()
        # Where the system gives no more threads, or no such processors, it goes on without.
        with contextlib.suppress(RuntimeError, OSError):
            for worker in self._workers:
                worker.daemon = True
                worker.start()
                _started.append((worker, counters))
            for worker in self._workers if elsewhere else ():
                os.sched_setaffinity(worker.native_id or 0, elsewhere)

    def _wait(self) -> None:
        """For the others, a little: worth it where there is much to do at once."""
        end = time.monotonic() + WAIT
        while self._state.counters[READY] < self.threads - 1 and time.monotonic() < end:
            time.sleep(1e-4)

    def rest(self) -> None:
        """Let the other threads doze until the next `read`, so that the processors are free."""
        self._state.counters[REST] = 1

    def read(
        self, ids: list[int], slots: list[int], positions: list[int],
        wanted: list[int] | None = None,
    ) -> Tensor:  # fmt: skip
        """Read one token a lane; logits `[N, V]` float32, overwritten by the next call.

        Lanes of one slot have to stand at consecutive positions. With `wanted`, only those lanes'
        logits, in that order. The cache's `lengths` stay.
        """
        count = len(ids)
        # The loops look nowhere twice: what is wrong here would be read from somebody's memory.
        assert 0 <= min(ids) <= max(ids) < self._state.shape.vocab
        assert min(slots) >= 0 <= min(positions)
        if count > self.alone:
            self.rest()
        else:
            self._work += count * self._weights
            if self.threads > 1 and not self._workers and self._work > PATIENCE:
                self._start()
                if self._asked or count * self._weights > PATIENCE:
                    self._wait()
            self._state.counters[REST] = 0
        state = self._state
        state.slots[:count], state.positions[:count] = slots, positions
        state.ids[slots, positions] = ids
        wanted = list(range(count)) if wanted is None else wanted
        state.wanted[: len(wanted)] = wanted
        state.counters[LANES], state.counters[WANTED] = count, len(wanted)
        self.summary = None
        if count > self.alone:
            return self._with_torch(count, len(wanted))
        ready = state.counters[READY] == self.threads - 1
        run(0, self.threads if ready else 1, state, WHOLE, 0)
        self.summary = self._buffers.best[: len(wanted)], self._buffers.totals[: len(wanted)]
        return torch.from_numpy(self._buffers.logits[: len(wanted)])

    def _with_torch(self, count: int, wanted: int) -> Tensor:
        """The same with torch's matrix products, which weigh more the more lanes there are."""
        names = ("x", "qkv", "attended", "inner", "gate")
        arrays = (getattr(self._buffers, name) for name in names)
        x, qkv, attended, inner, gate = (torch.from_numpy(array[:count]) for array in arrays)
        normed = torch.from_numpy(self._buffers.normed[0, :count])

        def product(values: Tensor, linear: Any) -> Tensor:
            return F.linear(values.to(self._dtype), linear.weight, linear.bias)

        def phase(number: int, layer: int) -> None:
            run(0, 1, self._state, number, layer)

        phase(EMBED, 0)
        block: Any
        for layer, block in enumerate(self._model.blocks):
            phase(NORM1, layer)
            qkv.copy_(product(normed, block.attention.qkv))
            phase(MIX, layer)
            x += product(attended, block.attention.out)
            phase(NORM2, layer)
            inner.copy_(product(normed, block.feed_forward.up))
            if hasattr(block.feed_forward, "gate"):
                gate.copy_(product(normed, block.feed_forward.gate))
            phase(FEED, layer)
            x += product(inner, block.feed_forward.down)
        phase(FINAL, len(self._model.blocks))
        return F.linear(normed[:wanted].to(self._dtype), self._model.output_weight).float()


_started: list[tuple[threading.Thread, np.ndarray]] = []
"""threads that may still be there, and the counters by which they are told to end"""


@atexit.register
def _end_all() -> None:
    """Let no thread still be in the loops when the interpreter goes: it would abort the process."""
    for _, counters in _started:
        counters[STOP] = 1
    for worker, _ in _started:
        worker.join(1.0)


def _other_processors() -> set[int]:
    """Those that this thread is not on; empty where the system does not tell.

    A new thread and its maker are often left on one processor, and it takes the system tens of
    milliseconds to part two threads that hardly ever sleep: a whole answer of a small model.
    """
    if sys.platform != "linux":
        return set()
    return os.sched_getaffinity(0) - {ctypes.CDLL(None).sched_getcpu()}


def _layers(model: GPT) -> tuple[list[nn.Module], list[nn.Module], list[nn.Module]]:
    """What the loops take for plain: the linear layers, the tables, and all other parameters'."""
    block: Any
    linears: list[nn.Module] = [] if model.config.tie_embeddings else [model.head]
    others: list[nn.Module] = [model.final_norm]
    for block in model.blocks:
        attention, feed_forward = block.attention, block.feed_forward
        linears += [attention.qkv, attention.out, feed_forward.up, feed_forward.down]
        if model.config.activation == "swiglu":
            linears.append(feed_forward.gate)
        others += [block.attention_norm, block.feed_forward_norm, attention]
    tables: list[nn.Module] = [model.token_embedding]
    if model.config.position == "learned":
        tables.append(model.position_embedding)
    if model.config.ngram_orders:
        tables += list(model.ngram_embedding.tables)
    return linears, tables, others


def _expected(model: GPT, linears: list[Any], tables: list[Any]) -> bool:
    """Whether all matrices have the sizes that the configuration says."""
    c = model.config
    wide, width, inner = (c.num_heads + 2 * c.num_kv_heads) * c.head_size, c.d_model, c.d_ff
    layer = [(wide, width), (width, width), (inner, width), (width, inner)]
    layer += [(inner, width)] if c.activation == "swiglu" else []
    heads = [] if c.tie_embeddings else [(c.vocab_size, width)]
    rows = [(c.vocab_size, width)]
    rows += [(c.context_length, width)] if c.position == "learned" else []
    rows += [(c.ngram_rows, width)] * c.ngram_orders
    sizes = [tuple(module.weight.shape) for module in [*linears, *tables]]
    return sizes == [*heads, *layer * c.num_layers, *rows]


def _shape(model: GPT, cache: KVCache) -> K.Shape:
    config = model.config
    kinds = {"layernorm": K.LAYERNORM, "rmsnorm": K.RMSNORM, "plain": K.PLAIN}
    activations = {"gelu": K.GELU, "swiglu": K.SWIGLU, "relu2": K.RELU2}
    scale = (1.2 if config.qk_norm else 1.0) * config.head_size**-0.5
    return K.Shape(
        config.num_layers, config.d_model, config.num_heads, config.num_kv_heads,
        config.head_size, config.d_ff, config.vocab_size, kinds.get(config.norm, K.NO_NORM),
        activations[config.activation], int(config.position == "rotary"), int(config.qk_norm),
        int(config.value_residual), config.ngram_orders, config.ngram_rows,
        cache.keys.shape[1], cache.capacity, scale,
    )  # fmt: skip


def multiplied(model: GPT) -> int:
    """Weights that are multiplied for each token; those that are only looked up do not count."""
    linears: list[Any] = _layers(model)[0]
    weights = sum(module.weight.numel() for module in linears)
    return weights + (model.output_weight.numel() if model.config.tie_embeddings else 0)


def _make_buffers(model: GPT, capacity: int, lanes: int, team: int) -> K.Buffers:
    config = model.config
    kv = config.num_kv_heads * config.head_size
    half = config.head_size // 2
    steps = torch.arange(half, dtype=torch.float32) / max(half, 1)
    angles = torch.arange(capacity)[:, None] * config.rope_base**-steps

    fours, widest = (lanes + 3) // 4 * 4, max(config.d_model, config.d_ff)
    narrowed = np.zeros((team, fours, widest), np.uint16)

    def room(*sizes: int) -> np.ndarray:
        return np.zeros(sizes, np.float32)

    return K.Buffers(
        x=room(lanes, config.d_model), normed=room(team, fours, config.d_model),
        qkv=room(lanes, config.d_model + 2 * kv), first_values=room(lanes, kv),
        attended=room(fours, config.d_model), weights=room(team, capacity),
        inner=room(fours, config.d_ff), gate=room(lanes, config.d_ff),
        logits=room(lanes, config.vocab_size), narrowed=narrowed,
        partial=np.zeros((lanes, -(-config.vocab_size // K.BLOCK), 3)),
        best=np.zeros(lanes, np.int64), totals=room(lanes),
        cos=angles.cos().numpy(), sin=angles.sin().numpy(),
    )  # fmt: skip


def _addresses(model: GPT) -> np.ndarray:
    """Where each weight lies, `[layers + 1, 15]`; 0 for what the model does not have."""
    table = np.zeros((model.config.num_layers + 1, len(K.COLUMNS)), np.int64)

    def put(row: int, column: int, parameter: Tensor | None) -> None:
        if parameter is not None:
            assert parameter.is_contiguous()
            table[row, column] = parameter.data_ptr()

    block: Any
    for row, block in enumerate(model.blocks):
        for column, module in (
            (K.NORM1, block.attention_norm), (K.NORM2, block.feed_forward_norm),
            (K.QKV, block.attention.qkv), (K.OUT, block.attention.out),
            (K.GATE, getattr(block.feed_forward, "gate", None)), (K.UP, block.feed_forward.up),
            (K.DOWN, block.feed_forward.down),
        ):  # fmt: skip
            put(row, column, getattr(module, "weight", None))
            put(row, column + 1, getattr(module, "bias", None))
        put(row, K.VALUE_MIX, block.attention.value_mix)
    top = model.config.num_layers
    put(top, K.TOKENS, model.token_embedding.weight)
    if model.config.position == "learned":
        put(top, K.POSITIONS, model.position_embedding.weight)
    norm: Any = model.final_norm
    put(top, K.FINAL_NORM, getattr(norm, "weight", None))
    put(top, K.FINAL_NORM + 1, getattr(norm, "bias", None))
    put(top, K.HEAD, model.output_weight)
    for order in range(model.config.ngram_orders):
        table_: Any = model.ngram_embedding.tables[order]
        put(top, K.NGRAMS + order, table_.weight)
    return table
