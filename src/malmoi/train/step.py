"""One training step's gradients: a batch, whole or in parts, with randomness of its own."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from malmoi.config import TrainConfig
from malmoi.mixing import mix
from malmoi.model import GPT
from malmoi.ranks import Ranks

Gradients = Callable[[Tensor, Tensor, int], float]
"""Makes the gradients of a rank's batch (ids, targets, parts); gives the loss over all ranks."""


def seed_step(device: torch.device, seed: int, step: int, rank: int = 0) -> None:
    """Make all randomness of a step a function of (seed, step, rank): nothing has to be saved."""
    value = int(mix(np.uint64(seed), np.uint64(step), np.uint64(rank))) >> 1
    torch.default_generator.manual_seed(value)
    if device.type == "cuda":
        torch.cuda.manual_seed(value)
    elif device.type == "mps":
        torch.mps.manual_seed(value)


def gradients_of(model: GPT, config: TrainConfig, ranks: Ranks) -> Gradients:
    """How the gradients of this model are made: in one process, on copies, or on shards."""
    if ranks.size > 1:
        from malmoi.train.distributed import Copies, Shards, in_shards  # which are large

        return (Shards if in_shards(model) else Copies)(model, config, ranks)
    loss = partial(model.loss, smoothing=config.label_smoothing)
    return partial(accumulate, model, torch.compile(loss) if config.compile else loss)


def accumulate(
    model: GPT,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    ids: Tensor,
    targets: Tensor,
    parts: int,
) -> float:
    """Gradients of the mean loss over a batch `[B, T]`, taken in `parts` parts; gives that loss.

    Each part counts by how many of its tokens are scored, so the sum is exactly the loss of the
    unsplit batch. Gradients are summed in float32.
    """
    scored = max(1, int((targets >= 0).sum()))
    total = 0.0
    parameters = list(model.parameters())
    sums: list[Tensor] | None = None
    for part_ids, part_targets in zip(ids.chunk(parts), targets.chunk(parts), strict=True):
        share = int((part_targets >= 0).sum()) / scored
        loss = loss_of(part_ids, part_targets) * share
        loss.backward()
        total += float(loss.detach())
        if parts > 1:
            grads = [
                p.grad.float() if p.grad is not None else torch.zeros_like(p, dtype=torch.float32)
                for p in parameters
            ]
            if sums is None:
                sums = grads
            else:
                torch._foreach_add_(sums, grads)
            for parameter in parameters:
                parameter.grad = None
    if sums is not None:
        for parameter, gradient in zip(parameters, sums, strict=True):
            parameter.grad = gradient.to(parameter.dtype)
    return total
