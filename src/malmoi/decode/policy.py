"""How the next token is chosen: small pure functions on logits, in the ecosystem's order.

Every function takes logits `[B, V]` and gives logits `[B, V]`; what is ruled out becomes minus
infinity. Randomness is a function of (seed, row, position) alone, so a row's text depends neither
on the rows beside it nor on what was generated before.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from malmoi.mixing import mix


@dataclass(frozen=True)
class Policy:
    """Temperature, then top-k, then top-p; temperature 0 is greedy.

    Raises:
        ValueError: a value outside its range.

    """

    temperature: float = 1.0
    top_k: int | None = None
    """keep the k most probable tokens"""
    top_p: float | None = None
    """keep the fewest most probable tokens whose probabilities sum to at least p"""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature {self.temperature}: has to be 0 (greedy) or more")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top-k {self.top_k}: has to be 1 or more")
        if self.top_p is not None and not 0 <= self.top_p <= 1:
            raise ValueError(f"top-p {self.top_p}: has to be from 0 to 1")

    def check(self, vocab_size: int) -> None:
        """See that the policy fits a vocabulary.

        Raises:
            ValueError: `top_k` is more than there are tokens.

        """
        if self.top_k is not None and self.top_k > vocab_size:
            raise ValueError(
                f"top-k {self.top_k} is more than the vocabulary of {vocab_size} tokens; "
                f"give --top-k {vocab_size} or less, or leave it out"
            )


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Logits divided by the temperature: below 1 sharper, above 1 flatter."""
    return logits / temperature


def apply_top_k(logits: Tensor, k: int) -> Tensor:
    """Only the `k` largest of each row (and those equal to the k-th)."""
    k = min(k, logits.shape[-1])
    least = torch.topk(logits, k, -1).values[..., -1:]
    return logits.masked_fill(logits < least, -torch.inf)


def apply_top_p(logits: Tensor, p: float) -> Tensor:
    """The fewest most probable tokens with a sum of at least `p` (Holtzman et al. 2020).

    The most probable token always stays.
    """
    ordered, order = torch.sort(logits, stable=True)
    below = torch.softmax(ordered, -1).cumsum(-1)
    out = below <= 1 - p
    out[..., -1] = False
    return logits.masked_fill(out.scatter(-1, order, out), -torch.inf)


def transform(logits: Tensor, policy: Policy) -> Tensor:
    """All of a sampling policy's transforms, in order."""
    logits = apply_temperature(logits, policy.temperature)
    if policy.top_k is not None:
        logits = apply_top_k(logits, policy.top_k)
    if policy.top_p is not None and policy.top_p < 1:
        logits = apply_top_p(logits, policy.top_p)
    return logits


def choose(logits: Tensor, policy: Policy, seed: int, rows: Tensor, positions: Tensor) -> Tensor:
    """The next id `[B]` of each row from its logits `[B, V]`.

    Args:
        logits: of the model, untouched, on the CPU.
        policy: how to choose.
        seed: of the whole generation.
        rows: number of each row `[B]`, which with the position decides its draw.
        positions: how many tokens each row has generated so far `[B]`.

    Raises:
        ValueError: logits that are NaN.

    """
    logits = logits.float()
    if torch.isnan(logits).any():
        raise ValueError("the model's logits are not numbers (NaN): its weights are damaged")
    if policy.temperature == 0:
        return logits.argmax(-1)
    # With the largest at 0, no temperature however small makes an infinity of it.
    logits = logits - logits.max(-1, keepdim=True).values
    probabilities = torch.softmax(transform(logits, policy).double(), -1)
    draws = uniform(seed, rows, positions)
    # The inverse of the distribution function: one draw, one token. The sum of all may end a
    # rounding below 1, so the last token that has any probability catches what is left.
    index = torch.searchsorted(probabilities.cumsum(-1), draws[:, None], right=True).squeeze(1)
    last = logits.shape[-1] - 1 - (probabilities > 0).flip(-1).int().argmax(-1)
    return torch.minimum(index, last)


def uniform(seed: int, rows: Tensor, positions: Tensor) -> Tensor:
    """Draws in [0, 1) as float64, each a hash of its (seed, row, position)."""
    hashed = mix(np.uint64(seed & 0xFFFFFFFFFFFFFFFF), rows.cpu().numpy(), positions.cpu().numpy())
    return torch.from_numpy((hashed >> np.uint64(11)).astype(np.float64) * 2.0**-53)
