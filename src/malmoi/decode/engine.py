"""Generation for a batch of prompts over one KV cache: ids in, ids out, no strings.

Prompts of different lengths stand in one batch, each at its own positions, and each row stops by
itself. A row's numbers do not depend on the others. When a row has filled the context, the later
half of it is read anew and generation goes on from there; a prompt longer than the context keeps
its end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from malmoi.decode.policy import Policy, choose
from malmoi.model import GPT, KVCache


@dataclass
class Completion:
    """What was generated for one prompt.

    Attributes:
        ids: the new ids, without the stop id.
        logprobs: log-probability (nats) of each under the model itself, before any transform.
        finish_reason: `stop` at a stop id, `length` at the limit.

    """

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: Literal["stop", "length"] = "length"


@torch.no_grad()
def generate(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    policy: Policy,
    *,
    max_new_tokens: int,
    stop_ids: Sequence[int] = (),
    banned_ids: Sequence[int] = (),
    seed: int = 0,
    on_token: Callable[[int, int], bool | None] = lambda row, token: None,
) -> list[Completion]:
    """Continue each prompt.

    Args:
        model: in evaluation mode.
        prompts: ids of each prompt, one id at least (`<bos>` for an empty text).
        policy: how the next token is chosen.
        max_new_tokens: limit of new tokens for each row.
        stop_ids: ids that end a row.
        banned_ids: ids never chosen (`<bos>` and `<pad>`, say).
        seed: row `r` of two calls with the same seed draws alike.
        on_token: hears of each new token as (row, id); a true answer ends everything.

    Raises:
        ValueError: an empty prompt, ids outside the vocabulary, a policy that does not fit.

    """
    policy.check(model.config.vocab_size)
    if max_new_tokens < 0:
        raise ValueError(f"max new tokens {max_new_tokens}: cannot be negative")
    for prompt in prompts:
        if not prompt:
            raise ValueError("an empty prompt: give one token at least, such as <bos>")
        if not 0 <= min(prompt) <= max(prompt) < model.config.vocab_size:
            raise ValueError("a prompt has ids outside the model's vocabulary")
    completions = [Completion() for _ in prompts]
    if not prompts or not max_new_tokens:
        return completions
    rows = _Rows(model, prompts, max_new_tokens)
    active = list(range(len(prompts)))
    banned = torch.tensor(list(banned_ids), dtype=torch.long)
    logits = rows.read_prompts()
    for position in range(max_new_tokens):
        scores = logits[active].float().cpu()  # float64, used for choosing, is not everywhere
        allowed = scores.index_fill(1, banned, -torch.inf)
        numbers = torch.tensor(active)
        chosen = choose(allowed, policy, seed, numbers, torch.full_like(numbers, position))
        logprobs = scores.log_softmax(-1).gather(1, chosen[:, None]).squeeze(1).tolist()
        stopped, enough = set(), False
        for row, token, logprob in zip(active, chosen.tolist(), logprobs, strict=True):
            if token in stop_ids:
                completions[row].finish_reason = "stop"
                stopped.add(row)
                continue
            completions[row].ids.append(token)
            completions[row].logprobs.append(logprob)
            enough = bool(on_token(row, token)) or enough
        active = [row for row in active if row not in stopped]
        if not active or enough or position == max_new_tokens - 1:
            break
        logits = rows.read({row: completions[row].ids[-1] for row in active})
    return completions


class _Rows:
    """The cache of a batch and the texts in it, sliding rows on when they are full."""

    def __init__(self, model: GPT, prompts: Sequence[Sequence[int]], new: int) -> None:
        self.model = model
        self.texts = [list(prompt)[-model.config.context_length :] for prompt in prompts]
        weight = next(model.parameters())
        longest = max(map(len, self.texts)) + new
        capacity = min(model.config.context_length, longest)
        self.cache = KVCache(
            model.config, len(prompts), capacity, dtype=weight.dtype, device=weight.device
        )

    def read_prompts(self) -> Tensor:
        """Logits `[B, V]` after each prompt."""
        return self._forward(self.cache, self.texts)

    def read(self, tokens: dict[int, int]) -> Tensor:
        """Logits `[B, V]` after one more token of the rows in `tokens`; other rows': anything."""
        for row, token in tokens.items():
            if len(self.texts[row]) >= self.cache.capacity:
                kept = self.cache.capacity // 2
                self.texts[row] = self.texts[row][-kept:] if kept else []
                self.cache.lengths[row] = 0
                if kept:
                    self._forward(self.cache.rows(slice(row, row + 1)), [self.texts[row]])
                self.cache.lengths[row] = kept
            self.texts[row].append(token)
        # Rows that have ended read a token that is never looked at, at a place that exists.
        ended = [row for row in range(len(self.texts)) if row not in tokens]
        lengths = self.cache.lengths.clone()
        self.cache.lengths[ended] = 0
        logits = self._forward(self.cache, [[tokens.get(row, 0)] for row in range(len(self.texts))])
        self.cache.lengths[ended] = lengths[ended]
        return logits

    def _forward(self, cache: KVCache, texts: list[list[int]]) -> Tensor:
        counts = torch.tensor([len(text) for text in texts], device=cache.lengths.device)
        ids = torch.zeros(len(texts), int(counts.max()), dtype=torch.long)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor(text)
        hidden = self.model.hidden(ids.to(cache.lengths.device), cache)
        cache.advance(counts)
        last = hidden[torch.arange(len(texts), device=hidden.device), counts - 1]
        return F.linear(last, self.model.output_weight)
