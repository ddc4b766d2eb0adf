"""Training: the loop, the time budget, the choice of device and precision."""

from malmoi.train.budget import Budget
from malmoi.train.event import Event
from malmoi.train.loop import Diverged, Hooks, Result, Trainer, train
from malmoi.train.precision import choose_device, choose_dtype

__all__ = [
    "Budget", "Diverged", "Event", "Hooks", "Result", "Trainer", "choose_device", "choose_dtype",
    "train",
]  # fmt: skip
