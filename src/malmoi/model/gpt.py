"""GPT: ids in, logits out. It knows nothing of optimizers, files, tokenizers or text."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from malmoi.config import ModelConfig
from malmoi.model.cache import KVCache, Span
from malmoi.model.layers import Block, Context, NgramEmbedding, Tap, dropout_share, make_norm
from malmoi.model.ops import linear_cross_entropy, rms_norm


class GPT(nn.Module):
    """A decoder-only transformer of the shape and the choices in `config`.

    Args:
        config: see `malmoi.config.ModelConfig`; `malmoi.model.presets` names the usual ones.
        seed: of the initial weights; the same seed gives the same weights.

    """

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__()
        self.separate = False
        """whether `loss` keeps the documents of a window apart"""
        if config.vocab_size < 1:
            raise ValueError(f"model: vocab_size is {config.vocab_size}, it has to be 1 or more")
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        if config.position == "learned":
            self.position_embedding = nn.Embedding(config.context_length, config.d_model)
        if config.ngram_orders:
            self.ngram_embedding = NgramEmbedding(config)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.final_norm = make_norm(config)
        if not config.tie_embeddings:
            self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if not self.token_embedding.weight.is_meta:
            self._initialise(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Normal weights; what adds to the residual stream starts small (malmoi: at zero)."""
        ours = self.config.norm == "plain"
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                continue  # biases, scales: torch's own zeros and ones are right but for biases
            residual = name.endswith(("out.weight", "down.weight"))
            if ours and (residual or name.startswith(("head", "ngram"))):
                parameter.zero_()
            elif ours:
                embedding = name.startswith("token")
                std = 0.7 if embedding else parameter.shape[1] ** -0.5
                parameter.normal_(0.0, std, generator=generator)
            else:
                depth = math.sqrt(2 * self.config.num_layers) if residual else 1.0
                parameter.normal_(0.0, 0.02 / depth, generator=generator)
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.zero_()

    @property
    def output_weight(self) -> Tensor:
        """The matrix `[V, C]` that makes logits of the last hidden state."""
        return self.token_embedding.weight if self.config.tie_embeddings else self.head.weight

    def hidden(
        self, ids: Tensor, cache: KVCache | None = None, tap: Tap | None = None,
        begins: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Last hidden states `[B, T, C]` of `ids` `[B, T]`.

        With a cache, `ids` come after what each row has read, and are stored there; call
        `cache.advance` with how many of them were real. With a `tap`, attention runs the explicit
        way and the tap sees every layer's attention and residual stream. With `begins` `[B, T]`,
        true where a document begins, each document gets what it would get by itself; then there
        can be no cache.

        Raises:
            ValueError: more tokens than the context (or the cache) holds.

        """
        assert cache is None or begins is None
        batch, time = ids.shape
        limit = self.config.context_length if cache is None else cache.capacity
        last = int(cache.lengths.max()) + time if cache is not None else time
        if last > limit:
            raise ValueError(f"{last} tokens are more than the context of {limit} tokens")
        positions = torch.arange(time, device=ids.device).expand(batch, time)
        history = ids
        if cache is not None:
            positions = cache.positions(time)
            cache.write_ids(positions, ids)
            history = self._history(ids, cache, positions)
        within = positions  # of its document
        if begins is not None:
            within = positions - positions.masked_fill(~begins, 0).cummax(1).values
        x = self._embed(ids, within, history, begins is not None)
        context = self._context(x, positions, last, cache, tap)
        if begins is not None:
            context.hide_others(positions - within)
        return self._through(x, context, tap)

    def hidden_spans(self, ids: Tensor, spans: list[Span], cache: KVCache) -> Tensor:
        """Last hidden states `[N, C]` of texts side by side, without padding: `ids` `[N]`.

        Each span goes on with its row of the cache, whose `lengths` stay as they are. It gets the
        same numbers as alone, rounding of the larger matrix products apart.

        Raises:
            ValueError: a row would hold more tokens than the cache does.

        """
        last = max(span.end for span in spans)
        if last > cache.capacity:
            raise ValueError(f"{last} tokens are more than the context of {cache.capacity} tokens")
        places = [torch.arange(s.start, s.end, device=ids.device) for s in spans]
        positions = torch.cat(places)[None]
        for span in spans:
            cache.ids[span.row, span.start : span.end] = ids[span.begin : span.begin + span.count]
        back = self.config.ngram_orders
        x = self.token_embedding(ids)[None]
        if self.config.position == "learned":
            x = x + self.position_embedding(positions)
        if back:
            rows = [cache.ids[s.row, max(0, s.start - back) : s.end][None] for s in spans]
            grams = [self.ngram_embedding(r, s.count) for r, s in zip(rows, spans, strict=True)]
            x = x + torch.cat(grams, 1)
        x = self._settle(x)
        context = self._context(x, positions, 0, cache, None)
        context.spans = spans
        return self._through(x, context, None)[0]

    def _embed(self, ids: Tensor, positions: Tensor, history: Tensor, apart: bool) -> Tensor:
        x = self.token_embedding(ids)
        if self.config.position == "learned":
            x = x + self.position_embedding(positions)
        if self.config.ngram_orders:
            known = positions if apart else None
            x = x + self.ngram_embedding(history, ids.shape[1], known)
        return self._settle(x)

    def _settle(self, x: Tensor) -> Tensor:
        """What the sum of the embeddings goes through before the first layer."""
        if self.config.norm == "plain":
            x = rms_norm(x)
        # After the norm, which would otherwise scale up what was left in.
        dropout = dropout_share(self.config, "embedding")
        return F.dropout(x, dropout) if self.training and dropout else x

    def _through(self, x: Tensor, context: Context, tap: Tap | None) -> Tensor:
        for layer, block in enumerate(self.blocks):
            x = block(x, context)
            if tap is not None:
                tap("residual", layer, x)
        return self.final_norm(x)

    def forward(
        self, ids: Tensor, cache: KVCache | None = None, tap: Tap | None = None,
        begins: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Logits `[B, T, V]` of the token after each of `ids` `[B, T]`; see `hidden`."""
        logits = F.linear(self.hidden(ids, cache, tap, begins), self.output_weight)
        if tap is not None:
            tap("logits", self.config.num_layers, logits)
        return logits

    def loss(self, ids: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy in nats of `targets` `[B, T]`; those below 0 are not scored.

        `smoothing` (0 to 1) spreads that share of each target over the whole vocabulary. Where
        `separate` is set, a document begins behind each token without a target: nobody could
        foretell which.
        """
        begins = F.pad(targets[:, :-1] < 0, (1, 0), value=True) if self.separate else None
        x = self.hidden(ids, begins=begins).flatten(0, 1)
        return linear_cross_entropy(x, self.output_weight, targets.flatten(), smoothing)

    def expect_epochs(self, epochs: float) -> None:
        """Tell how often training will see its text, on which regularisation depends.

        Where a text is seen once, nothing can be learnt by heart, and leaving n-grams out only
        slows the learning; where it is seen five times, little else keeps them honest.
        """
        if self.config.ngram_orders:
            self.ngram_embedding.drop = min(0.6, self.config.ngram_dropout * epochs)

    def _history(self, ids: Tensor, cache: KVCache, positions: Tensor) -> Tensor:
        """`ids` with the few ids before them that the n-gram embeddings look at; -1: none."""
        back = self.config.ngram_orders
        before = positions[:, :1] + torch.arange(-back, 0, device=ids.device)
        earlier = cache.ids.gather(1, before.clamp(min=0))
        return torch.cat([earlier.masked_fill(before < 0, -1), ids], 1)

    def _context(
        self, x: Tensor, positions: Tensor, keys: int, cache: KVCache | None, tap: Tap | None
    ) -> Context:
        # Every row of a cache has its own positions; without one all rows are alike.
        rows = positions[:1] if cache is None else positions
        hidden = torch.arange(keys, device=x.device) > rows[:, :, None]
        mask = torch.zeros(hidden.shape, dtype=x.dtype, device=x.device)
        mask = mask.masked_fill_(hidden, -math.inf).unsqueeze(1)
        cos = sin = None
        if self.config.position == "rotary":
            half = self.config.head_size // 2
            steps = torch.arange(half, device=x.device, dtype=torch.float32) / half
            angles = rows[:, :, None] * self.config.rope_base**-steps
            cos, sin = (f(angles).to(x.dtype).unsqueeze(1) for f in (torch.cos, torch.sin))
        return Context(
            positions=positions, mask=mask, causal=cache is None, cos=cos, sin=sin, cache=cache,
            tap=tap,
        )  # fmt: skip
