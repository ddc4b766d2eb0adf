"""The layers of a GPT: norms, embeddings, attention, feed-forward, and the block of the two.

Shapes: `B` batch, `T` time, `C` d_model, `H` heads, `D` head size, `V` vocabulary.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from malmoi.config import ModelConfig
from malmoi.model import ops
from malmoi.model.cache import KVCache, Span

Tap = Callable[[str, int, Tensor], None]
"""Called with what it is (`attention`, `residual`, `logits`), the layer, and the tensor."""


class RMSNorm(nn.Module):
    """x / rms(x), times a learned scale unless `scale` is false."""

    def __init__(self, width: int, scale: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width)) if scale else None

    def forward(self, x: Tensor) -> Tensor:
        x = ops.rms_norm(x)
        return x if self.weight is None else x * self.weight


def make_norm(config: ModelConfig) -> nn.Module:
    """The norm that the configuration names."""
    if config.norm == "layernorm":
        return nn.LayerNorm(config.d_model, bias=config.bias)
    if config.norm == "none":
        return nn.Identity()
    return RMSNorm(config.d_model, scale=config.norm == "rmsnorm")


def dropout_share(
    config: ModelConfig, place: Literal["attention", "residual", "embedding"]
) -> float:
    """Share of values left out at a place while training: its own, or else `config.dropout`."""
    own: float | None = getattr(config, f"{place}_dropout")
    return config.dropout if own is None else own


class NgramEmbedding(nn.Module):
    """Embeddings of the last 2, 3, ... tokens together, from tables indexed by a hash.

    A token's embedding alone says nothing of its neighbours until attention has learnt to fetch
    them. These tables hand the first layer the statistics of an n-gram model at the cost of a
    look-up, which is what makes the first seconds of training so much steeper (docs/LOG.md).
    Rows start at zero, so an n-gram never seen adds nothing. Two n-grams that share a row are
    told apart by the layers above.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.rows = config.ngram_rows
        self.drop = 0.0  # set by GPT.expect_epochs
        self.tables = nn.ModuleList(
            nn.Embedding(config.ngram_rows, config.d_model) for _ in range(config.ngram_orders)
        )

    def hashes(self, ids: Tensor, positions: Tensor | None = None) -> list[Tensor]:
        """Row of each table for each token: `ids` `[B, T]`, what precedes column 0 is unknown.

        With `positions` `[B, T]`, so is what precedes a token at position 0.
        """
        hashes, mixed = [], ids.long()
        for back in range(1, len(self.tables) + 1):
            previous = F.pad(ids, (back, 0), value=-1)[:, : ids.shape[1]]
            if positions is not None:
                previous = previous.masked_fill(positions < back, -1)
            # Multiply-and-shift hashing, modulo 2^64; % of a positive number is never negative.
            mixed = (mixed * 0x1CE4E5B9 + previous + 1) & 0x7FFFFFFFFFFF
            hashes.append(((mixed * 0x133111EB) >> 16) % self.rows)
        return hashes

    def forward(self, ids: Tensor, new: int, positions: Tensor | None = None) -> Tensor:
        """Sum of the n-gram embeddings of the last `new` columns of `ids`: `[B, new, C]`."""
        total: Tensor | None = None
        for table, rows in zip(self.tables, self.hashes(ids, positions), strict=True):
            embedded = table(rows[:, -new:])
            if self.training and self.drop:
                keep = torch.rand(*embedded.shape[:2], 1, device=ids.device) >= self.drop
                embedded = embedded * (keep / (1 - self.drop)).to(embedded.dtype)
            total = embedded if total is None else total + embedded
        assert total is not None
        return total


class Attention(nn.Module):
    """Causal self-attention with grouped key/value heads, over a cache when there is one."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        self.dropout = dropout_share(config, "attention")
        self.q_heads, self.kv_heads = config.num_heads, config.num_kv_heads
        width = (self.q_heads + 2 * self.kv_heads) * config.head_size
        self.qkv = nn.Linear(config.d_model, width, bias=config.bias)
        self.out = nn.Linear(config.d_model, config.d_model, bias=config.bias)
        mixes = config.value_residual and layer > 0
        self.value_mix = nn.Parameter(torch.zeros(1)) if mixes else None
        # With unit queries and keys the logits could not exceed sqrt(D); a little more room helps.
        self.scale = (1.2 if config.qk_norm else 1.0) * config.head_size**-0.5

    def forward(self, x: Tensor, context: "Context") -> Tensor:
        batch, time, width = x.shape
        heads = self.qkv(x).view(batch, time, -1, self.config.head_size)
        qk = heads[:, :, : self.q_heads + self.kv_heads]
        if self.config.qk_norm:
            qk = ops.rms_norm(qk)
        qk = qk.transpose(1, 2)
        if context.cos is not None and context.sin is not None:
            qk = ops.rotary(qk, context.cos, context.sin)
        q, k = qk[:, : self.q_heads], qk[:, self.q_heads :]
        v = heads[:, :, self.q_heads + self.kv_heads :].transpose(1, 2)
        if self.config.value_residual:
            if self.value_mix is None:
                context.first_values = v
            else:
                assert context.first_values is not None
                v = v + self.value_mix * context.first_values
        if context.spans:
            y = self._attend_spans(q, k, v, context)
            return self.out(y.transpose(1, 2).reshape(batch, time, width))
        if context.cache is not None:
            seen = context.mask.shape[-1]
            k, v = context.cache.write(self.layer, context.positions, k, v, seen)
        if self.kv_heads != self.q_heads:
            k = k.repeat_interleave(self.q_heads // self.kv_heads, 1)
            v = v.repeat_interleave(self.q_heads // self.kv_heads, 1)
        y = self._attend(q, k, v, context)
        return self.out(y.transpose(1, 2).reshape(batch, time, width))

    def _attend_spans(self, q: Tensor, k: Tensor, v: Tensor, context: "Context") -> Tensor:
        """Attention of texts side by side `[1, H, N, D]`, each with its own row of the cache."""
        cache = context.cache
        assert cache is not None
        cache.write_spans(self.layer, context.spans, k, v)
        y = torch.empty_like(q)
        for span in context.spans:
            k, v = cache.read_span(self.layer, span)
            if self.kv_heads != self.q_heads:
                k = k.repeat_interleave(self.q_heads // self.kv_heads, 1)
                v = v.repeat_interleave(self.q_heads // self.kv_heads, 1)
            here = slice(span.begin, span.begin + span.count)
            if span.count * span.end * self.q_heads * q.element_size() > 1 << 26:
                mask = context.causal_mask(span, q)
                y[:, :, here] = F.scaled_dot_product_attention(
                    q[:, :, here], k, v, mask, scale=self.scale
                )
                continue
            # Explicit, as in training: torch's fused kernel is slower on short texts.
            scores = torch.matmul(q[:, :, here], k.transpose(-1, -2)).mul_(self.scale)
            if span.count > 1:
                scores.add_(context.causal_mask(span, scores))
            y[:, :, here] = torch.matmul(torch.softmax(scores, -1), v)
        return y

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, context: "Context") -> Tensor:
        dropout = self.dropout if self.training else 0.0
        if context.tap is not None:
            weights = torch.softmax(q @ k.transpose(-1, -2) * self.scale + context.mask, -1)
            context.tap("attention", self.layer, weights)
            return F.dropout(weights, dropout) @ v
        if context.cache is None and q.device.type == "cpu" and not dropout and _fits(q):
            return ops.causal_attention(q, k, v, context.mask, self.scale)
        mask = None if context.causal else context.mask
        return F.scaled_dot_product_attention(
            q, k, v, mask, dropout, is_causal=context.causal, scale=self.scale
        )


def _fits(q: Tensor) -> bool:
    """Whether a layer's attention weights are small enough to be kept (256 MB)."""
    batch, heads, time, _ = q.shape
    return batch * heads * time * time * q.element_size() <= 1 << 28


class FeedForward(nn.Module):
    """The two (SwiGLU: three) matrices through which each position goes by itself."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activation = config.activation
        if self.activation == "swiglu":
            self.gate = nn.Linear(config.d_model, config.d_ff, bias=config.bias)
        self.up = nn.Linear(config.d_model, config.d_ff, bias=config.bias)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.activation == "swiglu":
            return self.down(F.silu(self.gate(x)) * self.up(x))
        if self.activation == "gelu":
            return self.down(F.gelu(self.up(x), approximate="tanh"))
        return self.down(ops.relu_squared(self.up(x)))


class Context:
    """What all layers of one forward pass share."""

    def __init__(self, **values: Any) -> None:
        self.positions: Tensor = values["positions"]
        self.mask: Tensor = values["mask"]
        self.causal: bool = values["causal"]  # `mask` hides what comes later, and nothing else
        self.cos: Tensor | None = values.get("cos")
        self.sin: Tensor | None = values.get("sin")
        self.cache: KVCache | None = values.get("cache")
        self.spans: list[Span] = values.get("spans") or []
        self.tap: Tap | None = values.get("tap")
        self.first_values: Tensor | None = None
        self._masks: dict[tuple[int, int], Tensor] = {}

    def hide_others(self, begins: Tensor) -> None:
        """Hide from each token what stands before the place `begins` `[B, T]` of its document.

        Rotary positions stay as they are: only their differences count.
        """
        others = torch.arange(begins.shape[1], device=begins.device) < begins[:, :, None]
        # One mask for each row, made once for all layers.
        self.mask = self.mask.masked_fill(others.unsqueeze(1), -math.inf)
        self.causal = False

    def causal_mask(self, span: Span, like: Tensor) -> Tensor:
        """What hides from a span's tokens those after them: additive `[T, S]`, made once a pass."""
        key = span.start, span.count
        if key not in self._masks:
            mask = torch.full((span.count, span.end), -math.inf, dtype=like.dtype)
            self._masks[key] = mask.triu_(span.start + 1).to(like.device)
        return self._masks[key]


class Block(nn.Module):
    """Attention, then feed-forward, each added to the residual stream after a norm of its own."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.dropout = dropout_share(config, "residual")
        self.attention_norm = make_norm(config)
        self.attention = Attention(config, layer)
        self.feed_forward_norm = make_norm(config)
        self.feed_forward = FeedForward(config)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        # The residual is taken before the norm: x = norm(x) first would lose the stream.
        x = x + self._drop(self.attention(self.attention_norm(x), context))
        return x + self._drop(self.feed_forward(self.feed_forward_norm(x)))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.training and self.dropout else x
