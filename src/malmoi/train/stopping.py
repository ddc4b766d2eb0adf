"""What evaluations decide: when to stop early, and when to lower the learning rate.

Pure functions of the losses seen so far. Both keep their state as plain JSON values, so that a
resumed run decides as the unbroken one would have.
"""

import math
from typing import Any


class _Best:
    """The best loss so far, and how many evaluations came after it without a better one."""

    def __init__(self, min_delta: float) -> None:
        self.min_delta = min_delta
        self.best, self.waited = math.inf, 0

    def better(self, loss: float) -> bool:
        """Take in a loss in nats per token; better is lower by more than `min_delta`.

        NaN and infinity are never better.
        """
        better = loss < self.best - self.min_delta  # a comparison with NaN is false
        if better:
            self.best, self.waited = loss, 0
        else:
            self.waited += 1
        return better

    def state(self) -> dict[str, Any]:
        # JSON has no infinity
        best = self.best if math.isfinite(self.best) else None
        return {"best": best, "waited": self.waited}

    def load(self, state: dict[str, Any]) -> None:
        best = state["best"]
        self.best, self.waited = math.inf if best is None else float(best), int(state["waited"])


class EarlyStopping:
    """Says when further training no longer pays.

    Args:
        patience: stop at this many evaluations in a row without a better one; 0: never.
        min_delta: how much lower, in nats per token, a loss has to be than the best to be better.

    """

    def __init__(self, patience: int, min_delta: float = 0.0) -> None:
        self.patience = patience
        self._best = _Best(min_delta)

    def update(self, loss: float) -> tuple[bool, bool]:
        """Whether this validation loss is better than all before, and whether to stop."""
        better = self._best.better(loss)
        return better, 0 < self.patience <= self._best.waited

    def state(self) -> dict[str, Any]:
        """Plain JSON values for `load`."""
        return self._best.state()

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave.

        Raises:
            ValueError: it is not such a state.

        """
        try:
            self._best.load(state)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a state of early stopping: {error}") from None


class Plateau:
    """Lowers the learning rate when the validation loss no longer falls.

    It decides as torch's `ReduceLROnPlateau` does with `threshold_mode="abs"` and `eps=0`.

    Args:
        patience: so many evaluations in a row without a better one are put up with; the next such
            lowers, and the count begins again.
        factor: what the learning rate is multiplied with each time.
        min_delta: how much lower, in nats per token, a loss has to be than the best to be better.

    """

    def __init__(self, patience: int, factor: float, min_delta: float = 0.0) -> None:
        self.patience, self.factor = patience, factor
        self.share = 1.0
        self._best = _Best(min_delta)

    def update(self, loss: float) -> float:
        """What the learning rate is to be multiplied with from now on, all lowerings together."""
        self._best.better(loss)
        if self._best.waited > self.patience:
            self.share *= self.factor
            self._best.waited = 0
        return self.share

    def state(self) -> dict[str, Any]:
        """Plain JSON values for `load`."""
        return self._best.state() | {"share": self.share}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave.

        Raises:
            ValueError: it is not such a state.

        """
        try:
            self._best.load(state)
            self.share = float(state["share"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a state of a plateau: {error}") from None
