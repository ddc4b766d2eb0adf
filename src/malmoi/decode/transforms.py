"""What can be done to logits before a token is chosen: one small pure function for each.

Every function takes logits `[B, V]`, on the CPU, and gives new logits `[B, V]`, never changing its
input; what is ruled out becomes minus infinity. What differs from row to row comes as a sequence
with one entry a row. `policy.py` says which are applied, and in which order. Each gives what the
processor of that name in Hugging Face transformers gives; which tokens stay is decided in double
precision, so that rounding hardly ever decides.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from malmoi.decode.history import History

# ---------------------------------------------------------------- penalties, bans and constraints


def apply_bias(logits: Tensor, ids: Tensor, values: Tensor) -> Tensor:
    """Logits with `values` `[N]` added at `ids` `[N]` of every row; an id given twice gets both."""
    return logits.index_add(-1, ids, values.to(logits).expand(len(logits), -1))


def apply_repetition_penalty(logits: Tensor, seen: Sequence[Tensor], penalty: float) -> Tensor:
    """Make ids that were seen less likely (Keskar et al. 2019, CTRL), however often they were.

    Args:
        logits: `[B, V]`.
        seen: distinct ids of prompt and new ids, one tensor a row.
        penalty: positive logits are divided by it and negative ones multiplied; below 1 it
            makes what was seen likelier.

    """
    out = logits.clone()
    for row, ids in zip(out.numpy(), seen, strict=True):
        penalize_seen(row, ids.numpy(), penalty)
    return out


def penalize_seen(row: np.ndarray, ids: np.ndarray, penalty: float) -> None:
    """`apply_repetition_penalty` to one row `[V]`, in place.

    In numpy, whose calls cost a fraction of torch's: most of the time for so few numbers.
    """
    values = row[ids]
    row[ids] = np.where(values < 0, values * penalty, values / penalty)


def apply_count_penalties(
    logits: Tensor, counts: Sequence[tuple[Tensor, Tensor]], presence: float, frequency: float
) -> Tensor:
    """Make generated ids less likely: `logit -= presence + frequency * count` (OpenAI's API).

    Args:
        logits: `[B, V]`.
        counts: for each row the distinct new ids and how often each was generated.
        presence: taken once from each id that was generated at all.
        frequency: taken as many times as it was generated.

    """
    out = logits.clone()
    for row, (ids, times) in zip(out.numpy(), counts, strict=True):
        penalize_counted(row, ids.numpy(), times.numpy(), presence, frequency)
    return out


def penalize_counted(
    row: np.ndarray, ids: np.ndarray, times: np.ndarray, presence: float, frequency: float
) -> None:
    """`apply_count_penalties` to one row `[V]`, in place."""
    row[ids] -= presence + frequency * times


def forbid(logits: Tensor, ids: Sequence[Sequence[int] | Tensor]) -> Tensor:
    """Rule out `ids`: one list or tensor a row."""
    out = logits.clone()
    for row, banned in zip(out, ids, strict=True):
        row.index_fill_(0, torch.as_tensor(banned, dtype=torch.long), -torch.inf)
    return out


def apply_no_repeat_ngram(logits: Tensor, histories: Sequence[History], n: int) -> Tensor:
    """Rule out what would repeat `n` ids of the prompt or the new ids (Paulus et al. 2017)."""
    return forbid(logits, [history.ngram_banned(n) for history in histories])


def allow(logits: Tensor, allowed: Tensor) -> Tensor:
    """Rule out everything where `allowed` (bool `[V]` or `[B, V]`) is false."""
    # The smaller of the logit and plus or minus infinity: `where` takes five times as long on a
    # mask without a pattern, which the processor cannot guess.
    limit = allowed.to(logits.dtype).sub_(0.5).mul_(torch.inf)
    return torch.minimum(logits, limit)


def force(logits: Tensor, token: int) -> Tensor:
    """Rule out everything but `token`, which may come even if it was ruled out before."""
    out = torch.full_like(logits, -torch.inf)
    out[:, token] = 0
    return out


# ------------------------------------------------------------------- the shape of the distribution


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Logits divided by the temperature (more than 0): below 1 sharper, above 1 flatter.

    A row in which that is more than the type holds is shifted first so that its largest is 0,
    which the probabilities do not notice.
    """
    # Outside these, dividing would make NaN of 0 and of minus infinity.
    limits = torch.finfo(logits.dtype)
    temperature = min(max(temperature, limits.tiny), limits.max)
    scaled = logits / temperature
    scaled_largest = scaled.amax(-1, keepdim=True)
    if math.isfinite(scaled_largest.sum()):
        return scaled
    finite = scaled_largest.isfinite()
    largest = logits.amax(-1, keepdim=True).clamp(min=limits.min)  # of a row with nothing left
    return (logits - largest.masked_fill(finite, 0)) / temperature


def apply_top_k(logits: Tensor, k: int) -> Tensor:
    """Only the `k` largest of each row (and those equal to the k-th); all if there are fewer."""
    k = min(k, logits.shape[-1])
    least = torch.topk(logits, k, -1).values[..., -1:]
    return logits.masked_fill(logits < least, -torch.inf)


def apply_top_p(logits: Tensor, p: float) -> Tensor:
    """The fewest most probable tokens with a sum of at least `p` (Holtzman et al. 2020).

    The most probable token always stays. Of equals at the edge the higher ids stay.
    """
    ordered, order = torch.sort(logits, stable=True)
    exact = ordered.double()
    below = (exact - exact[..., -1:]).exp().cumsum(-1)  # probabilities, but for a factor
    out = below <= (1 - p) * below[..., -1:]
    out[..., -1] = False
    return logits.masked_fill(out.scatter(-1, order, out), -torch.inf)


def apply_min_p(logits: Tensor, p: float) -> Tensor:
    """Only tokens at least `p` times as probable as the most probable (Nguyen et al. 2024)."""
    exact = logits.double()
    share = (exact - exact.amax(-1, keepdim=True)).exp()
    return logits.masked_fill(share < p, -torch.inf)


def apply_typical(logits: Tensor, mass: float) -> Tensor:
    """The most typical tokens with a sum of at least `mass` (Meister et al. 2023).

    Typical is a token whose surprise, `-log p`, is near the mean surprise, the entropy. Equals at
    the edge stay. The most probable token may go.
    """
    logprobs = torch.log_softmax(logits.double(), -1)
    probabilities = logprobs.exp()
    entropy = -(logprobs * probabilities).nansum(-1, keepdim=True)  # 0 log 0 is 0, not NaN
    distance = (-logprobs - entropy).abs()
    # numpy sorts a whole vocabulary several times as fast as torch.
    order = torch.from_numpy(np.argsort(distance.numpy(), axis=-1))
    sums = probabilities.gather(-1, order).cumsum(-1)
    last = (sums < mass).sum(-1, keepdim=True).clamp(max=logits.shape[-1] - 1)
    farthest = distance.gather(-1, order.gather(-1, last))
    return logits.masked_fill(distance > farthest, -torch.inf)
