"""A step's gradients on several ranks: copies of the model (DDP) or shards of it (FSDP2).

Each rank has its share of the step's windows. Its loss counts by how many of its tokens are scored,
out of all that are scored on all ranks: so the gradients, once summed over the ranks, are those of
one process with all windows. On GPUs the sums are sent while the rest of the backward pass still
computes, by torch's own machinery; where a batch is split in parts, with the last part only.
"""

from contextlib import nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.nn.parallel import DistributedDataParallel

from malmoi.config import TrainConfig
from malmoi.model import GPT
from malmoi.ranks import Ranks


def shard(model: GPT, ranks: Ranks, device: torch.device, compiled: bool) -> None:
    """Cut a model into shards in place, one a rank, of which `device` holds one.

    Each block is gathered when it is needed, forward and backward, and given free again; the
    embeddings and the head stay gathered from the forward to the backward pass. The model may lie
    in main memory: it is moved to the device a block at a time.

    Args:
        model: the same on all ranks, in the precision to compute in.
        ranks: all of them; they have to be in touch.
        device: where this rank computes.
        compiled: each block goes through `torch.compile`.

    """
    mesh = init_device_mesh(device.type, (ranks.size,))
    exact = MixedPrecisionPolicy(reduce_dtype=torch.float32)  # of gradients, whatever they are
    for block in model.blocks:
        if compiled:
            block.compile()
        fully_shard(block, mesh=mesh, mp_policy=exact)
    fully_shard(model, mesh=mesh, mp_policy=exact)
    # The loss is not made by `forward`, where FSDP would look.
    register_fsdp_forward_method(model, "loss")


def in_shards(model: GPT) -> bool:
    """Whether `shard` has cut this model."""
    return isinstance(model, FSDPModule)


class _Objective(nn.Module):
    """The loss as a module's forward, where DDP hangs its hooks."""

    def __init__(self, model: GPT, smoothing: float) -> None:
        super().__init__()
        self.model, self.smoothing = model, smoothing

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        return self.model.loss(ids, targets, self.smoothing)


class Copies:
    """Every rank has the whole model; gradients are summed in buckets, in float32."""

    def __init__(self, model: GPT, config: TrainConfig, ranks: Ranks) -> None:
        self.ranks = ranks
        loss: Any = _Objective(model, config.label_smoothing)
        self.replica = DistributedDataParallel(torch.compile(loss) if config.compile else loss)
        self.replica.register_comm_hook(None, _sum)
        self.parameters = list(model.parameters())

    def __call__(self, ids: Tensor, targets: Tensor, parts: int) -> float:
        scored = _scored(self.ranks, targets)
        total, sums = 0.0, [torch.zeros_like(p, dtype=torch.float32) for p in self._summed(parts)]
        for number, (part_ids, part_targets) in enumerate(_split(ids, targets, parts), 1):
            last = number == parts
            if last and sums:
                for parameter, gradient in zip(self.parameters, sums, strict=True):
                    parameter.grad = gradient.to(parameter.dtype)
            with nullcontext() if last else self.replica.no_sync():
                loss = self.replica(part_ids, part_targets)
                loss = loss * (int((part_targets >= 0).sum()) / scored)
                loss.backward()
            total += float(loss.detach())
            if not last:
                for parameter, gradient in zip(self.parameters, sums, strict=True):
                    if parameter.grad is not None:
                        gradient += parameter.grad
                    parameter.grad = None
        return self.ranks.total(total)[0]

    def _summed(self, parts: int) -> list[nn.Parameter]:
        """Those whose gradients have to be summed over the parts of a batch."""
        return self.parameters if parts > 1 else []


class Shards:
    """Every rank has a part of the model, and gets the same part of the gradients."""

    def __init__(self, model: GPT, config: TrainConfig, ranks: Ranks) -> None:
        self.model, self.ranks, self.smoothing = model, ranks, config.label_smoothing

    def __call__(self, ids: Tensor, targets: Tensor, parts: int) -> float:
        assert isinstance(self.model, FSDPModule)
        scored, total = _scored(self.ranks, targets), 0.0
        for number, (part_ids, part_targets) in enumerate(_split(ids, targets, parts), 1):
            self.model.set_requires_gradient_sync(number == parts)
            share = int((part_targets >= 0).sum()) / scored
            loss = self.model.loss(part_ids, part_targets, self.smoothing)
            # FSDP divides the sum by the number of ranks.
            (loss * (share * self.ranks.size)).backward()
            total += float(loss.detach()) * share
        return self.ranks.total(total)[0]


def _scored(ranks: Ranks, targets: Tensor) -> float:
    """How many targets are scored on all ranks together."""
    return max(1.0, ranks.total(int((targets >= 0).sum()))[0])


def _split(ids: Tensor, targets: Tensor, parts: int) -> list[tuple[Tensor, Tensor]]:
    """A batch in `parts` parts that differ by one window at most: each rank the same number."""
    return list(zip(ids.tensor_split(parts), targets.tensor_split(parts), strict=True))


def _sum(state: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """Sum a bucket over all ranks in float32; torch's own way is a mean, in what they are."""
    buffer = bucket.buffer()
    work: Any = dist.all_reduce(buffer.float(), async_op=True)
    return work.get_future().then(lambda done: buffer.copy_(done.value()[0]))
