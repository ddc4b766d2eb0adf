"""Reading a few single tokens at the speed of the memory: `kernels.py` run by a team of threads.

The model's own `forward` is made for many tokens at once, where a matrix product pays; `Stepper`
does the same for one token of each of a few rows, over the same weights (not a copy) and the same
`KVCache`. Only on the CPU, in float32 or bfloat16.
"""

import threading
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import nn

from malmoi.model import kernels as K
from malmoi.model.cache import KVCache
from malmoi.model.gpt import GPT
from malmoi.model.team import GO, LANES, REST, STOP, add, together, wait_for_turn


@njit(fastmath=K.FAST)
def forward(
    me: int, team: int, counters: np.ndarray, shape: K.Shape, buffers: K.Buffers,
    tables: np.ndarray, memory: np.ndarray, ids: np.ndarray, slots: np.ndarray,
    positions: np.ndarray, like: np.ndarray,
) -> None:  # fmt: skip
    """One thread's share of reading `LANES` lanes; logits are in `buffers.logits` at the end.

    `tables` `[layers + 1, 15]` holds the addresses of the weights, `memory` those of the cache's
    keys and values; `ids` `[rows, S]` are the cache's.
    """
    lanes = counters[LANES]
    top = tables[shape.layers]
    b, c, d = buffers, shape.width, shape.head_size
    kv = shape.kv_heads * d
    x, normed, qkv = b.x[:lanes], b.normed[me, :lanes], b.qkv[:lanes]
    attended, inner, gate = b.attended[:lanes], b.inner[:lanes], b.gate[:lanes]
    first, last = K.share(lanes, me, team)
    for lane in range(first, last):
        K.embed(x[lane], shape, top, ids[slots[lane]], positions[lane], like)
    together(counters, team)
    for layer in range(shape.layers):
        table = tables[layer]
        for lane in range(lanes):
            K.normalise(normed[lane], x[lane], shape.norm, table[K.NORM1], table[K.NORM1 + 1], like)
        matrix = K.array2(table[K.QKV], c + 2 * kv, c, like)
        K.matmul(qkv, normed, matrix, table[K.QKV + 1], me, team, False)
        together(counters, team)
        place = shape.rows * shape.kv_heads * shape.capacity * d * layer * like.itemsize
        rows = shape.rows * shape.kv_heads
        keys = K.array2(memory[0] + place, rows * shape.capacity, d, like)
        values = K.array2(memory[1] + place, rows * shape.capacity, d, like)
        first, last = K.share(lanes * (shape.heads + shape.kv_heads), me, team)
        for task in range(first, last):
            lane, head = divmod(task, shape.heads + shape.kv_heads)
            _store(b, shape, table, layer, lane, head, slots[lane], positions[lane], keys, values)
        together(counters, team)
        first, last = K.share(lanes * shape.heads, me, team)
        for task in range(first, last):
            lane, head = divmod(task, shape.heads)
            kv_head = head // (shape.heads // shape.kv_heads)
            start = (slots[lane] * shape.kv_heads + kv_head) * shape.capacity
            end = start + positions[lane] + 1
            K.attend(
                attended[lane, head * d : head * d + d], qkv[lane, head * d : head * d + d],
                keys[start:end], values[start:end], b.weights[me], shape.scale,
            )  # fmt: skip
        together(counters, team)
        matrix = K.array2(table[K.OUT], c, c, like)
        K.matmul(x, attended, matrix, table[K.OUT + 1], me, team, True)
        together(counters, team)
        for lane in range(lanes):
            K.normalise(normed[lane], x[lane], shape.norm, table[K.NORM2], table[K.NORM2 + 1], like)
        matrix = K.array2(table[K.UP], shape.inner, c, like)
        K.matmul(inner, normed, matrix, table[K.UP + 1], me, team, False)
        if shape.activation == K.SWIGLU:
            matrix = K.array2(table[K.GATE], shape.inner, c, like)
            K.matmul(gate, normed, matrix, table[K.GATE + 1], me, team, False)
        first, last = K.share(shape.inner, me, team)
        for lane in range(lanes):
            K.activate(inner[lane, first:last], gate[lane, first:last], shape.activation)
        together(counters, team)
        matrix = K.array2(table[K.DOWN], c, shape.inner, like)
        K.matmul(x, inner, matrix, table[K.DOWN + 1], me, team, True)
        together(counters, team)
    for lane in range(lanes):
        norm = K.NO_NORM if shape.norm == K.NO_NORM else shape.norm
        K.normalise(normed[lane], x[lane], norm, top[K.FINAL_NORM], top[K.FINAL_NORM + 1], like)
    matrix = K.array2(top[K.HEAD], shape.vocab, c, like)
    K.matmul(b.logits[:lanes], normed, matrix, 0, me, team, False)
    together(counters, team)


@njit(fastmath=K.FAST)
def _store(
    b: K.Buffers, shape: K.Shape, table: np.ndarray, layer: int, lane: int, head: int, slot: int,
    position: int, keys: np.ndarray, values: np.ndarray,
) -> None:  # fmt: skip
    """One query or key head: norm and rotation; with a key goes its value, into the cache."""
    d = shape.head_size
    x = b.qkv[lane, head * d : head * d + d]
    if shape.qk_norm:
        K.normalise(x, x, K.PLAIN, 0, 0, keys[0])
    if shape.rotary:
        K.rotate(x, b.cos[position], b.sin[position])
    if head < shape.heads:
        return
    kv_head = head - shape.heads
    row = (slot * shape.kv_heads + kv_head) * shape.capacity + position
    offset = (shape.heads + shape.kv_heads + kv_head) * d
    v, first = b.qkv[lane, offset : offset + d], b.first_values[lane, kv_head * d : kv_head * d + d]
    if shape.value_residual and layer:
        mix = K.widen(K.array1(table[K.VALUE_MIX], 1, keys[0])[0])
        for i in range(d):
            v[i] += mix * first[i]
    elif shape.value_residual:
        for i in range(d):
            first[i] = v[i]
    for i in range(d):
        keys[row, i] = K.narrow(x[i], keys)
        values[row, i] = K.narrow(v[i], keys)


def _compile(sources: int) -> Any:
    """The entry into the loops; compiled once on a machine for each type of weights."""

    @njit(nogil=True, cache=True)
    def run(
        me: int, team: int, counters: np.ndarray, shape: K.Shape, buffers: K.Buffers,
        tables: np.ndarray, memory: np.ndarray, ids: np.ndarray, slots: np.ndarray,
        positions: np.ndarray, like: np.ndarray,
    ) -> None:  # fmt: skip
        """The leader (thread 0) reads once; the others as often as it does, until told to end."""
        if me == sources:  # never: numba's cache looks at this file alone, and at this number
            return
        if me == 0:
            add(counters, GO, 1)
            forward(me, team, counters, shape, buffers, tables, memory, ids, slots, positions, like)
            return
        turn = 1  # a thread that wakes late has not missed it
        while wait_for_turn(counters, turn):
            forward(me, team, counters, shape, buffers, tables, memory, ids, slots, positions, like)
            turn += 1

    return run


def _checksum() -> int:
    """Of the source files that are compiled."""
    files = [Path(__file__).with_name(name) for name in ("kernels.py", "team.py", "stepper.py")]
    return 1 + (1 << 20) + zlib.crc32(b"".join(file.read_bytes() for file in files))


run = _compile(_checksum())


class Stepper:
    """Reads one token of each of up to `lanes` lanes.

    Use it as a context: the other threads of the team live inside it.

    Args:
        model: on the CPU, in float32 or bfloat16. Its weights may change in place meanwhile.
        cache: where keys and values are; of the model's type.
        lanes: the most tokens to be read at once.
        threads: of the team; torch's number when not given.

    """

    def __init__(self, model: GPT, cache: KVCache, lanes: int, threads: int | None = None) -> None:
        config = model.config
        weight = model.output_weight
        assert self.supports(model)
        self.threads = threads or torch.get_num_threads()
        self.cache, self.lanes = cache, lanes
        self._model = model  # its weights are read by address
        stored = np.float32 if weight.dtype == torch.float32 else np.uint16
        self._like = np.empty(1, stored)
        kinds = {"layernorm": K.LAYERNORM, "rmsnorm": K.RMSNORM, "plain": K.PLAIN}
        activations = {"gelu": K.GELU, "swiglu": K.SWIGLU, "relu2": K.RELU2}
        scale = (1.2 if config.qk_norm else 1.0) * config.head_size**-0.5
        self._shape = K.Shape(
            config.num_layers, config.d_model, config.num_heads, config.num_kv_heads,
            config.head_size, config.d_ff, config.vocab_size, kinds.get(config.norm, K.NO_NORM),
            activations[config.activation], int(config.position == "rotary"), int(config.qk_norm),
            int(config.value_residual), config.ngram_orders, config.ngram_rows,
            cache.keys.shape[1], cache.capacity, scale,
        )  # fmt: skip
        self._tables = _addresses(model)
        self._memory = np.array([cache.keys.data_ptr(), cache.values.data_ptr()])
        self._ids = cache.ids.numpy()
        self._slots, self._positions = np.zeros(lanes, np.int64), np.zeros(lanes, np.int64)
        self._counters = np.zeros(40, np.int64)
        self._buffers = self._make_buffers()
        self._workers: list[threading.Thread] = []

    @staticmethod
    def supports(model: GPT) -> bool:
        """Whether the loops know this model: on the CPU, of a type they read, all layers plain."""
        weight = model.output_weight
        return (
            weight.device.type == "cpu"
            and weight.dtype in (torch.float32, torch.bfloat16)
            and all(
                type(m) is nn.Linear
                for m in model.modules()
                if "weight" in m._parameters
                and m.weight is not None
                and m.weight.ndim == 2
                and not isinstance(m, nn.Embedding)
            )
            and all(p.dtype == weight.dtype for p in model.parameters())
        )

    def _make_buffers(self) -> K.Buffers:
        config, lanes, team = self._model.config, self.lanes, self.threads
        kv = config.num_kv_heads * config.head_size
        half = config.head_size // 2
        steps = torch.arange(half, dtype=torch.float32) / max(half, 1)
        angles = torch.arange(self.cache.capacity)[:, None] * config.rope_base**-steps

        def room(*sizes: int) -> np.ndarray:
            return np.zeros(sizes, np.float32)

        return K.Buffers(
            x=room(lanes, config.d_model), normed=room(team, lanes, config.d_model),
            qkv=room(lanes, config.d_model + 2 * kv), first_values=room(lanes, kv),
            attended=room(lanes, config.d_model), weights=room(team, self.cache.capacity),
            inner=room(lanes, config.d_ff), gate=room(lanes, config.d_ff),
            logits=room(lanes, config.vocab_size), cos=angles.cos().numpy(),
            sin=angles.sin().numpy(),
        )  # fmt: skip

    def __enter__(self) -> "Stepper":
        self._counters[:] = 0
        self._counters[STOP] = 1
        run(*self._arguments(1))  # compiles, the first time on a machine, and returns
        self._counters[STOP] = 0
        self._workers = [
            threading.Thread(target=run, args=self._arguments(me), daemon=True)
            for me in range(1, self.threads)
        ]
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._counters[STOP] = 1
        for worker in self._workers:
            worker.join()
        self._workers = []

    def _arguments(self, me: int) -> tuple[Any, ...]:
        return (
            me, self.threads, self._counters, self._shape, self._buffers, self._tables,
            self._memory, self._ids, self._slots, self._positions, self._like,
        )  # fmt: skip

    def rest(self) -> None:
        """Leave the processors to others until the next `read`."""
        self._counters[REST] = 1

    def read(self, ids: list[int], slots: list[int], positions: list[int]) -> np.ndarray:
        """Read one token a lane; logits `[N, V]` float32, overwritten by the next call.

        Lanes of one slot have to stand at consecutive positions. The cache's `lengths` stay.
        """
        count = len(ids)
        self._slots[:count], self._positions[:count] = slots, positions
        self._ids[slots, positions] = ids
        self._counters[LANES] = count
        self._counters[REST] = 0
        run(*self._arguments(0))
        return self._buffers.logits[:count]


def _addresses(model: GPT) -> np.ndarray:
    """Where each weight lies, `[layers + 1, 15]`; 0 for what the model does not have."""
    table = np.zeros((model.config.num_layers + 1, len(K.COLUMNS)), np.int64)

    def put(row: int, column: int, parameter: torch.Tensor | None) -> None:
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
