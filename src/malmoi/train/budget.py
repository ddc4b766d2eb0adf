"""How far a run has come, by steps or by the clock.

A run of `--minutes M` is to end M minutes after the command was started, with everything counted:
importing, tokenizing, measuring, the evaluations in between and at the end, and writing. So the
training steps end before that by what the end still costs, as measured on the way.
"""

import time
from dataclasses import dataclass


@dataclass
class Budget:
    """Progress of a run from 0 to 1.

    Attributes:
        began: `time.monotonic()` when the command was started.
        minutes: until when, or None.
        steps: how many, or None (exactly one of the two is set).
        reserve: seconds that the end of the run will need.

    """

    began: float
    minutes: float | None = None
    steps: int | None = None
    reserve: float = 0.0

    def __post_init__(self) -> None:
        self.first_step = time.monotonic()

    def start(self) -> None:
        """Training steps begin now."""
        self.first_step = time.monotonic()

    def progress(self, step: int, step_seconds: float = 0.0) -> float:
        """Share of the run that is over when `step` steps are done; 1 and above: stop.

        By the clock that is also when the better part of a step of `step_seconds` has no room.
        """
        if self.minutes is None:
            assert self.steps is not None
            return step / self.steps
        end = self.began + self.minutes * 60 - self.reserve
        if time.monotonic() + step_seconds / 2 > end:
            return 1.0
        return (time.monotonic() - self.first_step) / (end - self.first_step)

    def state(self) -> dict[str, float]:
        """How much of it is used up, for `resume`."""
        return {"seconds": self.seconds(), "training": time.monotonic() - self.first_step}

    def resume(self, state: dict[str, float]) -> None:
        """Go on from what was used up before; this command's own start counts as well."""
        self.began -= state["seconds"]
        self.first_step = time.monotonic() - state["training"]

    def seconds(self) -> float:
        """Seconds since the command was started."""
        return time.monotonic() - self.began

    def seconds_left(self) -> float:
        """Seconds until the command is to be over; endless when counted in steps."""
        if self.minutes is None:
            return float("inf")
        return self.minutes * 60 - self.seconds()
