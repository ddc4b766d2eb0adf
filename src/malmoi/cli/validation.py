"""The validation loss on the way, and what the end of a run will cost."""

import time

from malmoi.data import TokenStore
from malmoi.evaluate.loss import Loss, evaluate, spans_of
from malmoi.model import GPT
from malmoi.ranks import Ranks
from malmoi.train import Budget


class Validation:
    """Validation loss while training, on as much of the text as the time allows.

    It tells the budget how much time the end of the run will need, too.

    Args:
        model: as it is being trained.
        stores: the parts of the corpus; without a validation part the training part serves.
        budget: gets its `reserve` at the first call.
        evals: how many evaluations there will be.
        trained: tokens that are trained on, where the budget is counted in steps.
        extra: seconds that the caller needs at the end besides.
        ranks: the processes that train together. All get what rank 0 measures.
        sharded: the model lies in shards, so that all ranks have to evaluate it together.

    """

    def __init__(
        self,
        model: GPT,
        stores: dict[str, TokenStore],
        budget: Budget,
        evals: int,
        trained: int,
        extra: float,
        ranks: Ranks | None = None,
        sharded: bool = False,
    ) -> None:
        self.model, self.budget, self.evals, self.extra = model, budget, evals, extra
        self.trained = trained
        self.ranks = ranks or Ranks()
        self.works = self.ranks.first or sharded
        held_out = stores["validation"]
        # Without a validation part the training loss decides which weights are the best.
        self.real = len(held_out) > 1
        self.store = held_out if self.real else stores["train"]
        self.spans = spans_of(self.store, model.config.context_length)
        self.on_the_way = self.at_the_end = len(self.store)  # tokens
        self.best: Loss | None = None
        self.calibrated = False

    def __call__(self) -> float:
        """Loss of the model as it is, in nats per token."""
        self.prepare()
        loss = self._evaluate(self.on_the_way)
        if self.best is None or loss.loss < self.best.loss:
            self.best = loss
        return loss.loss

    def prepare(self) -> None:
        """See, once, how fast evaluation is, and tell the budget."""
        if not self.calibrated:
            self._calibrate()
            self.calibrated = True

    def whole(self, best: float) -> tuple[Loss, bool] | None:
        """Loss of the best weights, now in the model, and whether it is over every token.

        `best` is the loss that made them the best: what was measured then need not be again.

        It is, unless that would take more than a tenth of a run's time. None: nothing is held out.
        """
        if not self.real:
            return None
        exact = self.at_the_end >= len(self.store)
        known = self.best is not None and self.best.loss == best
        if self.on_the_way >= len(self.store) and known and self.best is not None:
            return self.best, exact
        return self._evaluate(self.at_the_end), exact

    def _calibrate(self) -> None:
        """See how fast evaluation is; the evaluations on the way may take a fortieth of the run."""
        tried = 16 * self.model.config.context_length
        speed, left = self.ranks.agree([self._speed(tried), self.budget.seconds_left()])
        if self.budget.minutes is None:
            # Counted, not measured, so that a run comes out the same on every day: a token costs
            # a third of what it does in training, so this is 3 % of the run.
            self.on_the_way = max(tried, min(100_000, self.trained // 10 // self.evals))
            return
        self.on_the_way = max(tried, int(left / 40 / self.evals * speed))
        self.at_the_end = max(self.on_the_way, int(left / 10 * speed))
        size = len(self.store)
        seconds = min(self.on_the_way, size) / speed
        if self.on_the_way < size and self.real:
            seconds += min(self.at_the_end, size) / speed
        weights = sum(p.numel() for p in self.model.parameters()) * 4
        reserve = 1.05 * seconds + weights / 1e8 + self.extra + 0.3
        # On a machine that was busy just now the measure may be far off: train all the same.
        self.budget.reserve = min(reserve, left / 2)

    def _speed(self, tokens: int) -> float:
        """Tokens that are evaluated in a second, as seen on about `tokens` of them."""
        self._evaluate(tokens)  # the first touch is always slow
        if not self.works:
            return 0.0
        done = [0]
        begin = time.monotonic()
        evaluate(self.model, self.store, spans=self.spans, most_tokens=tokens, progress=done.append)
        return max(done[-1], 1) / max(time.monotonic() - begin, 1e-6)

    def _evaluate(self, most_tokens: int) -> Loss:
        loss: dict[str, float] = {}
        if self.works:
            loss = evaluate(
                self.model, self.store, spans=self.spans, most_tokens=most_tokens
            ).dict()
        return Loss(**self.ranks.agree(loss))  # type: ignore[arg-type]
