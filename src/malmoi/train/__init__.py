"""Training: the loop, the time budget, the choice of device and precision."""

from malmoi.train.budget import Budget
from malmoi.train.loop import Diverged, Event, Result, train
from malmoi.train.precision import choose_device, choose_dtype

__all__ = ["Budget", "Diverged", "Event", "Result", "choose_device", "choose_dtype", "train"]
