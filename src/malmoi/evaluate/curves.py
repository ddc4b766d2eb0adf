"""The curves of a run, read from its `metrics.jsonl`, and what can be measured on them.

A record is a step (`loss`), an evaluation (`progress`), a step that was skipped, or a roll-back
(`malmoi.train.event`). Runs of older versions have evaluations only: then there are no steps here,
and whoever needs them has to stay silent. What the numbers mean for a run is decided in
`malmoi.evaluate.verdict`.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]

WINDOW = 32  # steps whose median a gradient is compared with
SETTLED = 8  # steps at the beginning that are compared with nothing


@dataclass(frozen=True)
class Evaluation:
    """One evaluation; losses in nats per token, None where there was no finite number."""

    step: int
    validation: float | None
    train: float | None
    """mean of the steps since the evaluation before"""
    lr: float
    noise_scale: float | None
    tokens_per_second: float


@dataclass(frozen=True)
class Curves:
    """A run as it went on: steps that a roll-back undid are left out.

    Attributes:
        evaluations: in order of steps; the first is of the untrained model.
        step: `[N]` numbers of the training steps, and of each
        loss: the batch's loss, in nats per token,
        norm: the norm of its gradient before clipping.
        skipped: numbers of the steps that changed nothing, as their gradient was not finite.
        rollbacks: how often the run went back to a checkpoint.

    """

    evaluations: list[Evaluation] = field(default_factory=list)
    step: _Floats = field(default_factory=lambda: np.empty(0))
    loss: _Floats = field(default_factory=lambda: np.empty(0))
    norm: _Floats = field(default_factory=lambda: np.empty(0))
    skipped: list[int] = field(default_factory=list)
    rollbacks: int = 0

    @classmethod
    def of(cls, records: Iterable[Mapping[str, Any]]) -> "Curves":
        """Sort records into curves.

        Raises:
            ValueError: a record is of no known kind, or has something else than numbers.

        """
        evaluations: list[Evaluation] = []
        steps: list[tuple[float, float, float]] = []
        skipped: list[int] = []
        rollbacks = 0
        for record in records:
            try:
                step = int(record["step"])
                if "rollback_to" in record:
                    rollbacks += 1
                    back = int(record["rollback_to"])
                    evaluations = [e for e in evaluations if e.step <= back]
                    steps = [s for s in steps if s[0] <= back]
                elif record.get("skipped"):
                    skipped.append(step)
                elif "loss" in record:
                    loss = float(record["loss"])
                    steps.append((step, loss, float(record.get("grad_norm", math.nan))))
                else:
                    evaluations.append(_evaluation(step, record))
            except (KeyError, TypeError, ValueError, AttributeError):
                raise ValueError(f"metrics: not a record of a run: {str(record)[:80]}") from None
        step_, loss_, norm = np.array(steps, np.float64).reshape(-1, 3).T
        return cls(evaluations, step_, loss_, norm, skipped, rollbacks)

    @property
    def finite(self) -> list[Evaluation]:
        """The evaluations that gave a number."""
        return [e for e in self.evaluations if e.validation is not None]

    @property
    def validation(self) -> _Floats:
        """Validation loss at each of `finite`."""
        return np.array([e.validation for e in self.finite], np.float64)

    @property
    def train(self) -> _Floats:
        """Training loss at each of `finite`; NaN where there is none."""
        return np.array([math.nan if e.train is None else e.train for e in self.finite])

    @property
    def last_train(self) -> float:
        """The last training loss that is known; NaN where none is."""
        known = self.train[np.isfinite(self.train)]
        return float(known[-1]) if len(known) else math.nan

    @property
    def lr(self) -> _Floats:
        """Learning rate at each of `finite`; 0 at the first, before the first step."""
        return np.array([e.lr for e in self.finite], np.float64)

    @property
    def last_step(self) -> int:
        """Number of the last step that is known of."""
        return max([0, *(e.step for e in self.evaluations), *self.step.astype(int)[-1:].tolist()])

    def validation_at(self, step: float) -> float:
        """Validation loss at a step between evaluations: a line over the logarithm of the step.

        That is how losses fall. Before the first evaluation after step 0 it is that one's.
        """
        known = [e for e in self.finite if e.step > 0]
        at = np.log([e.step for e in known])
        return float(np.interp(math.log(step), at, [e.validation or 0.0 for e in known]))

    def jitter(self) -> float:
        """How far a validation loss lies off the line through its neighbours, typically (sigma).

        The median of the second differences over the last two thirds, which a few outliers do not
        move; 0 where there are too few.
        """
        values = self.validation
        values = values[len(values) // 3 :]
        if len(values) < 4:
            return 0.0
        second = np.abs(values[2:] - 2 * values[1:-1] + values[:-2])
        # The variance of a second difference is 1 + 4 + 1 times that of one value.
        return float(np.median(second) / 0.6745 / math.sqrt(6))

    def at_peak(self, share: float) -> list[Evaluation]:
        """Evaluations after the start with at least `share` of the highest learning rate."""
        peak = max((e.lr for e in self.evaluations), default=0.0)
        return [e for e in self.finite if e.step > 0 and e.lr >= share * peak > 0]

    def straightness(self) -> float | None:
        """Share of the fall in validation loss that the first half of the run's way brought.

        The way is the sum of the learning rates. On a straight line it is 0.5; a loss that curves
        as usual has 0.85 and more. None: it did not fall, or there are too few evaluations.
        """
        found = self.finite
        if len(found) < 5:
            return None
        steps, rates = np.array([e.step for e in found], np.float64), self.lr
        rates[0] = rates[1]  # no rate is known before the first step; the warm-up is short
        way = np.append(0.0, np.cumsum(np.diff(steps) * (rates[1:] + rates[:-1]) / 2))
        values = self.validation
        fall = values[0] - values[-1]
        if fall <= 0 or way[-1] <= 0:
            return None
        return float((values[0] - np.interp(way[-1] / 2, way, values)) / fall)

    def falls(self) -> tuple[float, float, float] | None:
        """How much the last three doublings of the steps lowered the validation loss, as shares.

        The last doubling comes last; each is a share of the last loss. None: too few evaluations.
        """
        found = [e for e in self.finite if e.step > 0]
        last = found[-1].step if found else 0
        if len(found) < 4 or found[0].step > last / 8 * 1.1:
            return None
        a, b, c, d = (self.validation_at(last / part) for part in (8, 4, 2, 1))
        return (a - b) / d, (b - c) / d, (c - d) / d

    def promise(self) -> float | None:
        """What twice the steps would lower the validation loss by, as a share of it: a guess.

        The next doubling is guessed from the falls of the last three, each time as if they went on
        shrinking as they did: d2 * d2 / d1, which a falling learning rate makes too large, and
        d1 * (d1 / d0)^2, which an early loss does. Of seven runs that were trained for twice as
        long this hit five within a factor of about two, and the others within three. None: too few
        evaluations to tell.
        """
        falls = self.falls()
        if falls is None:
            return None
        d0, d1, d2 = (max(fall, 1e-9) for fall in falls)
        return 0.7 * min(d2 * min(1.0, d2 / d1), d1 * min(1.0, d1 / d0) ** 2)

    def spikes(self, times: float) -> int:
        """How many gradients were more than `times` the median of those before them."""
        count = 0
        for i in range(SETTLED, len(self.norm)):
            usual = float(np.median(self.norm[max(0, i - WINDOW) : i]))
            count += bool(self.norm[i] > times * usual)
        return count


def _evaluation(step: int, record: Mapping[str, Any]) -> Evaluation:
    """An evaluation; one whose loss was not finite is written without it."""
    if "validation_loss" not in record and "progress" not in record:
        raise ValueError(record)
    return Evaluation(
        step=step,
        validation=_number(record, "validation_loss"),
        train=_number(record, "train_loss"),
        lr=_number(record, "lr") or 0.0,
        noise_scale=_number(record, "noise_scale"),
        tokens_per_second=_number(record, "tokens_per_second") or 0.0,
    )


def _number(record: Mapping[str, Any], name: str) -> float | None:
    value = record.get(name)
    return float(value) if value is not None and math.isfinite(value) else None
