"""What the training loop tells: after each step, and after each evaluation."""

import math
from dataclasses import dataclass
from typing import Any

_OF_A_STEP = ("step", "loss", "lr", "grad_norm", "seconds")
_OF_AN_EVALUATION = (
    "step", "progress", "seconds", "train_loss", "lr", "grad_norm", "tokens_per_second",
    "validation_loss", "best", "noise_scale",
)  # fmt: skip


@dataclass(frozen=True)
class Event:
    """A step, or an evaluation where `validation_loss` is given. Losses in nats per token."""

    step: int
    progress: float
    seconds: float
    loss: float
    """of this step's batch"""
    train_loss: float
    """mean of the steps since the last evaluation"""
    lr: float
    grad_norm: float
    tokens_per_second: float
    validation_loss: float | None = None
    best: bool = False
    noise_scale: float | None = None
    """gradient noise scale, in tokens"""
    skipped: str | None = None
    """why the step changed nothing"""
    rollback_from: int | None = None
    """the step from which the run went back to `step`"""
    lr_factor: float | None = None
    """what the learning rate is multiplied with since"""

    def record(self) -> dict[str, Any]:
        """As a line of `metrics.jsonl`."""
        if self.skipped is not None:
            return {"step": self.step, "skipped": True, "reason": self.skipped}
        if self.rollback_from is not None:
            return {
                "step": self.rollback_from, "rollback_to": self.step, "lr_factor": self.lr_factor
            }  # fmt: skip
        names = _OF_A_STEP if self.validation_loss is None else _OF_AN_EVALUATION
        values = {name: getattr(self, name) for name in names}
        return {k: v for k, v in values.items() if v is not None and math.isfinite(v)}


class Mean:
    """A running mean; NaN while nothing was added."""

    def __init__(self, total: float = 0.0, count: int = 0) -> None:
        self.total, self.count = total, count

    def clear(self) -> None:
        """Forget what was added."""
        self.total, self.count = 0.0, 0

    def add(self, value: float) -> None:
        """Take a value in."""
        self.total, self.count = self.total + value, self.count + 1

    @property
    def value(self) -> float:
        """The mean so far."""
        return self.total / self.count if self.count else math.nan
