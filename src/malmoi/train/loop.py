"""The training loop: batches in, best weights out; it can be left and taken up at any step.

It takes a built model and a few callbacks: what evaluates, what hears, what saves. It knows nothing
of text, files or the screen. What has to be known to go on with a run is in `Trainer.state`, plain
values for a JSON file, and in the optimizer; batches and randomness are functions of the step.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from malmoi.config import OptimConfig, TrainConfig
from malmoi.data import Batches
from malmoi.model import GPT
from malmoi.optim import Optimizer, learning_rates
from malmoi.ranks import Ranks
from malmoi.schedules import schedule
from malmoi.train.budget import Budget
from malmoi.train.event import Event, Mean
from malmoi.train.interrupt import SIGNALS, Interrupts, Stopped
from malmoi.train.step import gradients_of, seed_step
from malmoi.train.stopping import EarlyStopping, Plateau

BAD_STEPS = 5
"""so many steps in a row without a finite gradient lead back to the last checkpoint"""
ROLLBACKS = 3
"""so often at most; each halves the learning rate"""
SHARES = {"save": 0.015, "noise": 0.01}
"""of a run by the clock that checkpoints and noise scales may take: a short one has fewer"""


@dataclass
class Result:
    """How a run ended. `weights` are the best by validation loss, in float32."""

    steps: int = 0
    best_step: int = 0
    best_loss: float = math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)
    """empty where no evaluation since the run was taken up was the best"""
    step_seconds: float = 0.0
    tokens: int = 0
    stopped: int | None = None
    """the signal that ended the run early"""
    patience_over: bool = False
    """early stopping ended the run"""
    skipped: int = 0
    """steps left out because their loss or gradient was not finite"""
    rollbacks: int = 0

    @property
    def mean_step(self) -> float:
        """Seconds that a step took so far; 0 before the first."""
        return self.step_seconds / self.steps if self.steps else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Training speed, of the steps alone."""
        return self.tokens / max(self.step_seconds, 1e-9)


_KEPT = (
    "steps", "best_step", "best_loss", "step_seconds", "tokens", "patience_over", "skipped",
    "rollbacks",
)  # fmt: skip


class Diverged(ValueError):
    """The loss is no longer a number, and going back did not help."""


@dataclass
class Hooks:
    """What the loop calls; with several ranks, on all of them at the same steps."""

    evaluate: Callable[[], float]
    """the validation loss of the model as it is"""
    on_event: Callable[[Event], None] = lambda event: None
    """hears of every step and every evaluation"""
    on_best: Callable[[int, dict[str, Tensor]], None] = lambda step, weights: None
    """is given each new best weights; an untrained model counts too"""
    save: Callable[[dict[str, Any]], None] | None = None
    """writes a full checkpoint, with this state"""
    restore: Callable[[], dict[str, Any] | None] = lambda: None
    """puts the last good checkpoint into the optimizer and gives its state; None: there is none"""
    noise: Callable[[int], float | None] = lambda step: None
    """the gradient noise scale in tokens, after a step"""


class Trainer:
    """One run of training.

    Args:
        model: on its device, in the precision to compute in; holds the last weights afterwards.
        batches: `batches[step]` gives ids and targets.
        optimizer: made for this model.
        config: number of evaluations and checkpoints, accumulation, early stopping.
        optim: the schedule.
        budget: how long.
        hooks: see `Hooks`.
        ranks: the processes that train together; what rank 0 decides, all do.

    """

    def __init__(
        self, model: GPT, batches: Batches, optimizer: Optimizer, config: TrainConfig,
        optim: OptimConfig, budget: Budget, hooks: Hooks, ranks: Ranks | None = None,
    ) -> None:  # fmt: skip
        self.model, self.batches, self.optimizer = model, batches, optimizer
        self.config, self.optim, self.budget, self.hooks = config, optim, budget, hooks
        self.device = next(model.parameters()).device
        self.ranks = ranks or Ranks()
        self._gradients = gradients_of(model, config, self.ranks)
        self.result = Result()
        self._early = EarlyStopping(config.patience, config.min_delta)
        self._plateau = Plateau(optim.plateau_patience, optim.plateau_factor, config.min_delta)
        self._resumed = False
        self._recent, self._loss, self._norm, self._scale = Mean(), math.nan, 0.0, 0.0
        self._lowered = self._plateau_factor = 1.0  # by roll-backs, by a plateau
        self._bad = 0  # steps in a row that were skipped
        self._spent: dict[str, list[float]] = {"save": [], "noise": []}  # seconds of each
        self._evals_done = self._saves_done = 0
        self._evaluated = self._saved = -1  # the step at which that was done last

    def state(self) -> dict[str, Any]:
        """What `load` needs, beside the optimizer's state, to go on exactly; plain values."""
        kept = {name: getattr(self.result, name) for name in _KEPT}
        best = kept["best_loss"]
        return kept | {
            "best_loss": best if math.isfinite(best) else None,
            "budget": self.budget.state(), "recent": [self._recent.total, self._recent.count],
            "early": self._early.state(), "plateau": self._plateau.state(),
            "plateau_factor": self._plateau_factor, "lowered": self._lowered,
            "evals_done": self._evals_done, "saves_done": self._saves_done,
            "evaluated": self._evaluated,
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Take a run up where `state` was taken; the optimizer has been loaded already."""
        for name in _KEPT:
            setattr(self.result, name, state[name])
        if state["best_loss"] is None:
            self.result.best_loss = math.inf
        self._recent = Mean(*state["recent"])
        self._early.load(state["early"])
        self._plateau.load(state["plateau"])
        self._plateau_factor, self._lowered = state["plateau_factor"], state["lowered"]
        self._evals_done, self._saves_done = state["evals_done"], state["saves_done"]
        self._evaluated, self._saved, self._bad = state["evaluated"], self.result.steps, 0
        self._resumed = True

    def run(self) -> Result:
        """Train until the budget is used up, early stopping ends it, or a signal does.

        After SIGINT or SIGTERM the step at hand is finished and a checkpoint saved.

        Raises:
            Diverged: losses or gradients were not finite, and going back did not help; the best
                weights before were given to `on_best`.
            KeyboardInterrupt: a second Ctrl-C.

        """
        self.model.train()
        with Interrupts() as interrupts:
            if not self._resumed:
                self.budget.start()
            # An evaluation that was left is made again when the run is taken up.
            with suppress(Stopped):
                self._go(interrupts)
            self.result.stopped = self._agree(0.0, interrupts)[1]
            wanted = self.config.checkpoints or self.result.stopped is not None
            if wanted and not self._bad and self._saved != self.result.steps:
                self._save()
        return self.result

    def _go(self, interrupts: Interrupts) -> None:
        result, evals = self.result, max(1, self.config.evals)
        over = result.patience_over
        while not over:
            progress = self.budget.progress(result.steps, result.mean_step)
            progress, asked = self._agree(progress, interrupts)
            if asked is not None:
                return
            over = progress >= 1
            due = evals if over else int(min(progress, 1 - 1e-9) * evals)
            if self._evaluated < 0 or due > self._evals_done:
                if self._evaluated != result.steps:
                    # No rank may leave what the others are in.
                    with interrupts.breakable() if self.ranks.size == 1 else nullcontext():
                        over |= self._evaluate(min(progress, 1.0))
                    if self._evaluated == 0:  # which is no part of the schedule
                        self.budget.start()
                self._evals_done = due
                if self.ranks.size == 1 and interrupts.asked is not None:
                    return
            if not over:
                self._save_if_due(progress)
                self._step(progress)

    def _agree(self, progress: float, interrupts: Interrupts) -> tuple[float, int | None]:
        """Rank 0's progress, by its clock, and the signal that any rank was sent."""
        asked = interrupts.asked
        if self.ranks.size == 1:
            return progress, asked
        mine = progress if self.ranks.first else 0.0
        now, *asking = self.ranks.total(mine, *(asked == one for one in SIGNALS))
        return now, next((s for s, n in zip(SIGNALS, asking, strict=True) if n), None)

    def _save_if_due(self, progress: float) -> None:
        if not self.config.checkpoints or self._bad:
            return
        due = int(progress * self.config.checkpoints)
        if self._saved < 0 or due > self._saves_done:
            self._saves_done = due
            if self._affordable("save"):
                self._save()

    def _save(self) -> None:
        if self.hooks.save is not None:
            with self._timed("save"):
                self.hooks.save(self.state())
        self._saved = self.result.steps

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self._spent[what].append(time.monotonic() - begin)

    def _affordable(self, what: str) -> bool:
        """Whether one more does not take more of the run than it is worth."""
        spent, minutes = self._spent[what], self.budget.minutes
        if minutes is None:
            return True
        enough = not spent or sum(spent) + spent[-1] <= SHARES[what] * 60 * minutes
        return self.ranks.agree(enough)

    def _step(self, progress: float) -> None:
        result, begin = self.result, time.perf_counter()
        if progress > 0:
            seen = result.steps * self.batches.size * self.batches.world_size
            self.model.expect_epochs(seen / self.batches.windows / progress)
        seed_step(self.device, self.config.seed, result.steps, self.batches.rank)
        ids, targets = (torch.from_numpy(array) for array in self.batches[result.steps])
        ids, targets = ids.to(self.device), targets.to(self.device)
        self._loss = self._gradients(ids, targets, self.config.accumulate)
        self._scale = self._lowered * self._plateau_factor
        self._scale *= schedule(self.optim.schedule, progress, self.optim)
        if math.isfinite(self._loss):
            self._norm = self.optimizer.step(self._scale)  # which needs a finite gradient, too
        else:
            self.model.zero_grad()
        result.steps += 1
        result.tokens += ids.numel() * self.ranks.size
        result.step_seconds += time.perf_counter() - begin
        if math.isfinite(self._loss) and math.isfinite(self._norm):
            self._bad = 0
            self._recent.add(self._loss)
            self.hooks.on_event(self._event(progress))
        else:
            self._skip(progress)

    def _skip(self, progress: float) -> None:
        """Nothing was changed by this step; too many of them lead back to a checkpoint."""
        result = self.result
        self._bad += 1
        result.skipped += 1
        what = "loss" if not math.isfinite(self._loss) else "gradient"
        reason = f"the {what} is not finite"
        self.hooks.on_event(self._event(progress, skipped=reason))
        if self._bad < BAD_STEPS:
            return
        step, skipped, rollbacks = result.steps, result.skipped, result.rollbacks + 1
        advice = "try a smaller --lr, or --clip"
        if rollbacks > ROLLBACKS:
            raise Diverged(f"{reason} at step {step}, after {ROLLBACKS} roll-backs: {advice}")
        state = self.hooks.restore()
        if state is None:
            raise Diverged(f"{reason} at step {step}, and no checkpoint to go back to: {advice}")
        lowered, best = 0.5 * self._lowered, (result.best_loss, result.best_step)
        self.load(state)  # the learning rate of then led here, and what was the best still is
        self._lowered, result.skipped, result.rollbacks = lowered, skipped, rollbacks
        result.best_loss, result.best_step = min(best, (result.best_loss, result.best_step))
        self.hooks.on_event(self._event(progress, rollback_from=step, lr_factor=lowered))

    def _evaluate(self, progress: float) -> bool:
        """Take the validation loss; whether to stop early."""
        result = self.result
        with self._averaged():
            loss = self.hooks.evaluate()
            self.model.train()
        # As the learning rate falls to nothing, the noise scale of any run tells nothing.
        noise = None
        if result.steps and self._scale >= 0.5 and self._affordable("noise"):
            with self._timed("noise"):
                noise = self.hooks.noise(result.steps)
        _, stop = self._early.update(loss)
        best = loss < result.best_loss
        if best:
            result.best_loss, result.best_step = loss, result.steps
            averages = self.optim.ema > 0
            result.weights = self.optimizer.averages() if averages else self.optimizer.weights()
            self.hooks.on_best(result.steps, result.weights)
        if self.optim.schedule == "plateau":
            self._plateau_factor = self._plateau.update(loss)
        self._evaluated = result.steps
        self.hooks.on_event(
            self._event(progress, validation_loss=loss, best=best, noise_scale=noise)
        )
        self._recent.clear()
        result.patience_over = stop
        return stop

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Meanwhile the model has the running mean of its weights, where there is one."""
        if not self.optim.ema:
            yield
            return
        try:
            self.optimizer.put(averages=True)
            yield
        finally:
            self.optimizer.put(averages=False)

    def _event(self, progress: float, **more: Any) -> Event:
        return Event(
            step=self.result.steps, progress=min(progress, 1.0), seconds=self.budget.seconds(),
            loss=self._loss, train_loss=self._recent.value,
            lr=self._scale * learning_rates(self.optim)[0], grad_norm=self._norm,
            tokens_per_second=self.result.tokens_per_second, **more,
        )  # fmt: skip


def train(
    model: GPT, batches: Batches, optimizer: Optimizer, config: TrainConfig, optim: OptimConfig,
    budget: Budget, **hooks: Any,
) -> Result:  # fmt: skip
    """Train from the beginning, in one call: `Trainer(...).run()` with `Hooks(**hooks)`."""
    return Trainer(model, batches, optimizer, config, optim, budget, Hooks(**hooks)).run()
