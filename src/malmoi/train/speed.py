"""How fast a model trains here and how much memory that takes: some real steps, measured."""

import statistics
import sys
import time
from dataclasses import dataclass

import torch

from malmoi.config import OptimConfig, TrainConfig
from malmoi.data import Batches
from malmoi.model import GPT
from malmoi.optim import Optimizer
from malmoi.train.step import accumulate


@dataclass(frozen=True)
class Speed:
    """What a few steps took."""

    step_seconds: float
    """median"""
    tokens_per_second: float
    steps: int
    """how many were measured"""
    peak_bytes: int | None
    """most memory of the process (on a GPU: of the device) so far; None where nobody tells"""


def measure(
    model: GPT, batches: Batches, config: TrainConfig, optim: OptimConfig, seconds: float = 3.0
) -> Speed:
    """Train for a few seconds; the model is another one afterwards.

    Args:
        model: on its device, in the precision to compute in.
        batches: as in training.
        config: accumulation.
        optim: the optimizer.
        seconds: how long, after two steps that do not count; three steps at least.

    """
    device = next(model.parameters()).device
    optimizer = Optimizer(model, optim)
    model.train()
    times: list[float] = []
    begin = time.perf_counter()
    step = 0
    while step < 5 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        ids, targets = (torch.from_numpy(array).to(device) for array in batches[step])
        accumulate(model, model.loss, ids, targets, config.accumulate)
        optimizer.step(1.0)
        step += 1
        if step == 2:  # the first steps make room and warm up
            begin, times = time.perf_counter(), []
        else:
            times.append(time.perf_counter() - start)
    median = statistics.median(times)
    tokens = batches.size * batches.length * batches.world_size
    return Speed(median, tokens / median, len(times), peak_bytes(device))


def peak_bytes(device: torch.device) -> int | None:
    """The most memory that was in use at once."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def least_bytes(model: GPT, optim: OptimConfig, width: int) -> int:
    """What training surely takes, before any activation: weights, gradients, masters, moments.

    Args:
        model: any, without memory of its own too (on the `meta` device).
        optim: the optimizer.
        width: bytes of a number of the model's weights and gradients.

    """
    size = sum(p.numel() for p in model.parameters())
    matrices = sum(
        p.numel() for n, p in model.named_parameters() if n.startswith("blocks.") and p.ndim == 2
    )
    one = matrices if optim.optimizer == "muon" else 0  # Muon keeps one moment, AdamW two
    means = 4 * size if optim.ema else 0
    return size * (2 * width + 4) + 4 * one + 8 * (size - one) + means
