"""The keys and values of tokens already read, so that the next token costs one token's work.

Every row of a batch has its own length: row `b` has read `lengths[b]` tokens, and its next ones
stand at those positions. Rows of different lengths are padded on the right; what lies at or beyond
a row's length is garbage that the attention mask hides and the row's next tokens overwrite. A row's
numbers therefore do not depend on the other rows.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from malmoi.config import ModelConfig


@dataclass(frozen=True)
class Span:
    """A text among several side by side: where it is, and where it goes in the cache."""

    begin: int
    """its first place among the texts side by side"""
    count: int
    """its tokens"""
    row: int
    """its row of the cache"""
    start: int
    """tokens that the row has read before"""

    @property
    def end(self) -> int:
        """Tokens of the row with these."""
        return self.start + self.count


class KVCache:
    """Room for `capacity` tokens of each of `rows` rows, in every layer.

    Args:
        config: the model's shape.
        rows: batch size `B`.
        capacity: tokens a row can hold; the context length when not given.

    """

    def __init__(
        self,
        config: ModelConfig,
        rows: int,
        capacity: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.capacity = capacity or config.context_length
        shape = (config.num_layers, rows, config.num_kv_heads, self.capacity, config.head_size)
        self.keys, self.values = _zeros(shape, dtype, device), _zeros(shape, dtype, device)
        # The n-gram embeddings of the next token look back at the ids of the last ones.
        self.ids = torch.zeros(rows, self.capacity, dtype=torch.long, device=device)
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)

    def positions(self, new: int) -> Tensor:
        """Where the next `new` tokens of each row stand: `[B, new]`."""
        return self.lengths[:, None] + torch.arange(new, device=self.lengths.device)

    def write_ids(self, positions: Tensor, ids: Tensor) -> None:
        """Note the ids `[B, T]` that stand at `positions` `[B, T]`."""
        self.ids.scatter_(1, positions, ids)

    def write(
        self, layer: int, positions: Tensor, k: Tensor, v: Tensor, seen: int
    ) -> tuple[Tensor, Tensor]:
        """Store `k, v` `[B, H, T, D]` at `positions` `[B, T]`; give back what has been read so far.

        The two results are `[B, H, S, D]` with `S = seen`, the longest row's new length.
        """
        rows = torch.arange(len(positions), device=positions.device)[:, None]
        self.keys[layer][rows, :, positions] = k.transpose(1, 2)
        self.values[layer][rows, :, positions] = v.transpose(1, 2)
        return self.keys[layer][:, :, :seen], self.values[layer][:, :, :seen]

    def write_spans(self, layer: int, spans: list[Span], k: Tensor, v: Tensor) -> None:
        """Store the spans of `k, v` `[1, H, N, D]`."""
        for span in spans:
            here = slice(span.begin, span.begin + span.count)
            self.keys[layer, span.row, :, span.start : span.end] = k[0, :, here]
            self.values[layer, span.row, :, span.start : span.end] = v[0, :, here]

    def read_span(self, layer: int, span: Span) -> tuple[Tensor, Tensor]:
        """All keys and values `[1, H, S, D]` of a span's row up to its end."""
        rows = slice(span.row, span.row + 1)
        return self.keys[layer, rows, :, : span.end], self.values[layer, rows, :, : span.end]

    def rows(self, slots: slice) -> "KVCache":
        """Some neighbouring rows as a cache that shares this one's memory, but not `lengths`."""
        view = object.__new__(KVCache)
        view.capacity = self.capacity
        view.keys, view.values = self.keys[:, slots], self.values[:, slots]
        view.ids, view.lengths = self.ids[slots], self.lengths[slots].clone()
        return view

    def take(self, source: "KVCache", source_row: int, row: int) -> None:
        """Make `row` of this cache a copy of a row of another (or of this one)."""
        length = int(source.lengths[source_row])
        self.keys[:, row, :, :length] = source.keys[:, source_row, :, :length]
        self.values[:, row, :, :length] = source.values[:, source_row, :, :length]
        self.ids[row, :length] = source.ids[source_row, :length]
        self.lengths[row] = length

    def reorder(self, rows: Tensor) -> None:
        """Row `i` becomes what row `rows[i]` was; one row may become several."""
        longest = int(self.lengths.max())
        self.keys[:, :, :, :longest] = self.keys[:, rows, :, :longest]
        self.values[:, :, :, :longest] = self.values[:, rows, :, :longest]
        self.ids[:] = self.ids[rows]
        self.lengths.copy_(self.lengths[rows])

    def advance(self, counts: Tensor | int) -> None:
        """Each row has read `counts` more tokens (those beyond are padding)."""
        self.lengths += counts

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return 2 * self.keys.nbytes + self.ids.nbytes


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """Zeros that on a CPU take memory only where they are written: torch would fill them all."""
    if torch.device(device).type != "cpu" or not math.prod(shape):
        return torch.zeros(shape, dtype=dtype, device=device)
    raw = np.zeros(math.prod(shape) * dtype.itemsize, np.uint8)
    return torch.from_numpy(raw).view(dtype).view(shape)


def cache_bytes(config: ModelConfig, rows: int, capacity: int, dtype: torch.dtype) -> int:
    """Size of a `KVCache` before it is made."""
    entry = config.num_kv_heads * config.head_size * dtype.itemsize
    return rows * capacity * (2 * config.num_layers * entry + 8)
