"""The validation loss on the way, and what the end of a run will cost."""

import time

from malmoi.data import TokenStore
from malmoi.evaluate.loss import Loss, evaluate
from malmoi.model import GPT
from malmoi.train import Budget


class Validation:
    """Validation loss while training, on as much of the text as the time allows.

    It tells the budget how much time the end of the run will need, too.

    Args:
        model: as it is being trained.
        stores: the parts of the corpus; without a validation part the training part serves.
        budget: gets its `reserve` at the first call.
        evals: how many evaluations there will be.
        extra: seconds that the caller needs at the end besides.

    """

    def __init__(
        self,
        model: GPT,
        stores: dict[str, TokenStore],
        budget: Budget,
        evals: int,
        extra: float,
    ) -> None:
        self.model, self.budget, self.extra = model, budget, extra
        held_out = stores["validation"]
        # Without a validation part the training loss decides which weights are the best.
        self.store = held_out if len(held_out) > 1 else stores["train"]
        self.real = self.store is held_out
        self.most_tokens: int | None = None
        self.evals = evals
        self.last: Loss | None = None

    def __call__(self) -> float:
        if self.most_tokens is None:
            self._calibrate()
        self.last = evaluate(self.model, self.store, most_tokens=self.most_tokens)
        return self.last.loss

    @property
    def partial(self) -> bool:
        return self.most_tokens is not None and self.most_tokens < len(self.store)

    def _calibrate(self) -> None:
        """See how fast evaluation is; the evaluations on the way may take a fortieth of the run."""
        tried = min(len(self.store), 16 * self.model.config.context_length)
        evaluate(self.model, self.store, most_tokens=tried)  # the first touch is always slow
        begin = time.monotonic()
        evaluate(self.model, self.store, most_tokens=tried)
        speed = tried / max(time.monotonic() - begin, 1e-6)
        if self.budget.minutes is None:
            self.most_tokens = max(tried, 100_000)
            return
        allowed = self.budget.seconds_left() / 40 / self.evals * speed
        self.most_tokens = max(tried, int(allowed))
        ends = len(self.store) / speed if self.partial and self.real else 0.0
        ends += min(self.most_tokens, len(self.store)) / speed
        weights = sum(p.numel() for p in self.model.parameters()) * 4
        reserve = 1.05 * ends + weights / 1e8 + self.extra + 0.3
        # On a machine that was busy just now the measure may be far off: train all the same.
        self.budget.reserve = min(reserve, self.budget.seconds_left() / 2)

    def whole(self, best_step: int) -> Loss | None:
        """Loss of the weights now in the model over the whole validation part."""
        if not self.real:
            return None
        return evaluate(self.model, self.store)
