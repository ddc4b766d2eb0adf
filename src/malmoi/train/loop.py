"""The training loop: batches in, best weights out.

It takes a built model and two callbacks, one that evaluates and one that hears what happens; it
knows nothing of text, files or the screen.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from malmoi.config import OptimConfig, TrainConfig
from malmoi.data import Batches
from malmoi.model import GPT
from malmoi.optim import Optimizer, learning_rates, schedule
from malmoi.train.budget import Budget


@dataclass(frozen=True)
class Event:
    """What the loop tells after a step or an evaluation.

    Losses are in nats per token; `train_loss` is the mean since the last evaluation.
    """

    step: int
    progress: float
    seconds: float
    train_loss: float
    lr: float
    grad_norm: float
    tokens_per_second: float
    validation_loss: float | None = None
    best: bool = False

    def record(self) -> dict[str, float | int | bool]:
        """As a line of `metrics.jsonl`."""
        values = self.__dict__.items()
        return {k: v for k, v in values if v is not None and math.isfinite(v)}


@dataclass
class Result:
    """How a run ended. `weights` are the best by validation loss, in float32."""

    steps: int = 0
    best_step: int = 0
    best_loss: float = math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)
    step_seconds: float = 0.0
    tokens: int = 0
    interrupted: bool = False

    @property
    def mean_step(self) -> float:
        """Seconds that a step took so far; 0 before the first."""
        return self.step_seconds / self.steps if self.steps else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Training speed, of the steps alone."""
        return self.tokens / max(self.step_seconds, 1e-9)


class Diverged(ValueError):
    """The loss is no longer a number."""


def train(
    model: GPT,
    batches: Batches,
    optimizer: Optimizer,
    config: TrainConfig,
    optim: OptimConfig,
    budget: Budget,
    *,
    evaluate: Callable[[], float],
    on_event: Callable[[Event], None] = lambda event: None,
    on_best: Callable[[int, dict[str, Tensor]], None] = lambda step, weights: None,
    on_checkpoint: Callable[[int], None] = lambda step: None,
) -> Result:
    """Train until the budget is used up; Ctrl-C ends the run early, keeping the best so far.

    Args:
        model: on its device, in the precision to compute in; holds the last weights afterwards.
        batches: `batches[step]` gives ids and targets.
        optimizer: made for this model.
        config: number of evaluations, accumulation.
        optim: the schedule.
        budget: how long.
        evaluate: gives the validation loss of the model as it is.
        on_event: hears of every step and every evaluation.
        on_best: is given each new best weights; an untrained model counts too.
        on_checkpoint: is called at steps where a full checkpoint is due.

    Raises:
        Diverged: the loss became infinite or NaN; the best weights before were given to `on_best`.

    """
    device = next(model.parameters()).device
    loss_of = torch.compile(model.loss) if config.compile else model.loss
    result = Result(steps=optimizer.steps)
    evals, checkpoints = max(1, config.evals), config.checkpoints
    recent, norm, scale = _Mean(), 0.0, 0.0

    def event(progress: float, validation: float | None = None, best: bool = False) -> Event:
        return Event(
            step=result.steps,
            progress=min(progress, 1.0),
            seconds=budget.seconds(),
            train_loss=recent.value,
            lr=scale * learning_rates(optim)[0],
            grad_norm=norm,
            tokens_per_second=result.tokens_per_second,
            validation_loss=validation,
            best=best,
        )

    checked = -1

    def check(progress: float) -> None:
        nonlocal checked
        checked = result.steps
        loss = evaluate()
        best = loss < result.best_loss
        if best:
            result.best_loss, result.best_step = loss, result.steps
            result.weights = optimizer.weights()
            on_best(result.steps, result.weights)
        on_event(event(progress, loss, best))
        recent.clear()

    try:
        model.train()
        torch.manual_seed(config.seed)
        check(0.0)
        budget.start()
        evals_done = checkpoints_done = 0
        while (progress := budget.progress(result.steps, result.mean_step)) < 1:
            begin = time.perf_counter()
            if progress > 0:
                seen = result.steps * batches.size / batches.windows
                model.expect_epochs(seen / progress)
            ids, targets = (torch.from_numpy(array) for array in batches[result.steps])
            loss = accumulate(model, loss_of, ids.to(device), targets.to(device), config.accumulate)
            if not math.isfinite(loss):
                raise Diverged(
                    f"the loss became {loss} at step {result.steps}: try a smaller --lr, or --clip"
                )
            scale = schedule(optim.schedule, progress, optim)
            norm = optimizer.step(scale)
            result.steps += 1
            result.tokens += ids.numel()
            result.step_seconds += time.perf_counter() - begin
            recent.add(loss)
            on_event(event(progress))
            progress = min(budget.progress(result.steps), 1 - 1e-9)  # the last is after the loop
            if int(progress * evals) > evals_done:
                evals_done = int(progress * evals)
                check(progress)
            if int(progress * checkpoints) > checkpoints_done:
                checkpoints_done = int(progress * checkpoints)
                on_checkpoint(result.steps)
        if checked != result.steps:
            check(1.0)
        if checkpoints:
            on_checkpoint(result.steps)
    except KeyboardInterrupt:
        result.interrupted = True
    return result


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


class _Mean:
    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.total, self.count = 0.0, 0

    def add(self, value: float) -> None:
        self.total, self.count = self.total + value, self.count + 1

    @property
    def value(self) -> float:
        return self.total / self.count if self.count else math.nan
