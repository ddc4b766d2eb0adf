"""Generation: requests come in at any time, share one batch, and leave when they are done.

Ids in, ids out, no strings. The engine decides who is in the batch and what is read next; the rows
and their cache are `malmoi.decode.rows`, and how a token is chosen is `malmoi.decode.policy`.
A token depends on the request, its seed and what was read: not on the other requests, nor on
when or where in the batch its row stood. In float32 on the CPU that holds to the last bit where the
compiled loops read; elsewhere a batch's matrix products round otherwise than a single row's, which
float32 hardly ever shows in a text, and bfloat16 may.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from malmoi.decode.history import History
from malmoi.decode.memory import check_room
from malmoi.decode.policy import choose, uniform
from malmoi.decode.request import Completion, Request
from malmoi.decode.rows import Rows
from malmoi.decode.speculate import Drafter, Speculator
from malmoi.model import GPT, cache_bytes

SLOTS = 16
"""rows of a batch when nothing else is asked for"""


@dataclass
class _Row:
    """A request in the batch, or waiting for it."""

    ticket: int
    request: Request
    completion: Completion
    history: History
    drafter: Drafter | None
    stop_ids: list[int]
    """those of the vocabulary"""
    pending: list[int] = field(default_factory=list)
    """what was chosen last and is to be read next"""
    ended: bool = False

    @property
    def plain(self) -> bool:
        """Whether the next token is simply the most probable one, if that is not banned."""
        policy, history = self.request.policy, self.history
        ruled = history.forbidden or history.allowed is not None
        return policy.temperature == 0 and policy.only_bans and not ruled


class Engine:
    """A batch that requests join and leave. Use it as a context: its threads live inside it.

    Args:
        model: in evaluation mode.
        slots: most rows that go on at a time.
        spare: rows whose prompts are read before there is a place for them: several prompts
            together cost less than one by one. A third of the slots when not given.
        capacity: most tokens, prompt and new, of a row; the model's context when not given.
        speculator: proposes tokens that are then only checked (`malmoi.decode.speculate`).
        compiled: whether few rows are read by compiled loops; where possible when not given.

    After an error in `step`, all that is left to do is to leave the engine.

    Raises:
        ValueError: no slots, no capacity, a cache larger than the memory that is free.

    """

    def __init__(
        self,
        model: GPT,
        *,
        slots: int = SLOTS,
        spare: int | None = None,
        capacity: int | None = None,
        speculator: Speculator | None = None,
        compiled: bool | None = None,
    ) -> None:
        if slots < 1:
            raise ValueError(f"batch size {slots} (--batch-size): has to be 1 or more")
        if capacity is not None and capacity < 1:
            raise ValueError(f"a cache of {capacity} tokens for a row: has to be 1 or more")
        self.model = model
        context = model.config.context_length
        self.capacity = min(capacity or context, context)
        weight = model.output_weight
        self._slots, self._spare = slots, slots // 3 if spare is None else spare
        self.rows = slots + self._spare
        """how many the cache holds"""
        self.cache_bytes = cache_bytes(model.config, self.rows, self.capacity, weight.dtype)
        what = f"a cache of {self.rows} x {self.capacity} tokens"
        check_room(self.cache_bytes, weight.device, what)
        self._speculator = speculator
        ahead = 1 + (speculator.ahead if speculator else 0)
        self._rows = Rows(model, self.rows, self.capacity, ahead=ahead, compiled=compiled)
        self._batch: list[_Row] = []  # the first `slots` go on, the others wait for their place
        self._waiting: deque[_Row] = deque()
        self._nothing_asked: list[int] = []  # tickets of requests for no tokens
        self._tickets = 0
        self._entered = self._stepping = False

    def __enter__(self) -> "Engine":
        self._rows.__enter__()
        self._entered = True
        return self

    def __exit__(self, *error: object) -> None:
        self._entered = False
        self._rows.__exit__(*error)

    @property
    def busy(self) -> bool:
        """Whether anything is waiting or running."""
        return bool(self._batch or self._waiting or self._nothing_asked)

    @property
    def waiting(self) -> int:
        """How many requests are not in the batch yet."""
        return len(self._waiting)

    def add(self, request: Request) -> tuple[int, Completion]:
        """Take a request in; its ticket, and the completion that will grow.

        Raises:
            ValueError: it does not fit the vocabulary or the cache.

        """
        request.check(self.model.config.vocab_size)
        need = min(len(request.prompt) + request.max_new_tokens, self.model.config.context_length)
        if need > self.capacity:
            raise ValueError(
                f"{len(request.prompt)} tokens of prompt and {request.max_new_tokens} new ones "
                f"are more than the {self.capacity} tokens that the cache holds for a row"
            )
        self._tickets += 1
        completion = Completion()
        if not request.max_new_tokens:
            self._nothing_asked.append(self._tickets)
            return self._tickets, completion
        drafter = self._speculator.start(request.prompt) if self._speculator else None
        stop_ids = [
            token for token in request.stop_ids if 0 <= token < self.model.config.vocab_size
        ]
        history = History(request.prompt)
        row = _Row(self._tickets, request, completion, history, drafter, stop_ids)
        self._waiting.append(row)
        return self._tickets, completion

    def cancel(self, ticket: int) -> None:
        """Let a request leave, wherever it is; one that has ended is gone already.

        Its completion stays as it is, and `step` does not tell of it. A listener may call this, for
        its own row or another.
        """
        if ticket in self._nothing_asked:
            self._nothing_asked.remove(ticket)
        self._waiting = deque(row for row in self._waiting if row.ticket != ticket)
        for row in self._batch:
            row.ended |= row.ticket == ticket
        if not self._stepping:  # a step knows the rows by their numbers
            self._leave()

    @torch.inference_mode()
    def step(self) -> list[int]:
        """One more token (or several, speculating) for every row; the tickets that ended.

        Raises:
            ValueError: a row's logits are not numbers, or nothing may come next in it.

        """
        assert self._entered, "use the engine as a context: its threads would be waited for forever"
        ended, self._nothing_asked = self._nothing_asked, []
        self._stepping = True
        try:
            if self._batch:
                ended += self._read_batch()
            return ended + self._admit()
        finally:
            self._stepping = False

    def run(self) -> None:
        """Step until nothing is left to do."""
        while self.busy:
            self.step()

    def _admit(self) -> list[int]:
        count = min(self._rows.free, len(self._waiting))
        full = len(self._batch) >= self._slots
        if not count or (full and count < min(self._spare, len(self._waiting))):
            return []
        new = [self._waiting.popleft() for _ in range(count)]
        logits = self._rows.admit([row.request.prompt for row in new])
        first = len(self._batch)
        self._batch += new
        return self._take(logits, [(first + i, 1) for i in range(count)], [[]] * count)

    def _read_batch(self) -> list[int]:
        going = self._batch[: self._slots]
        for number in range(len(going)):
            if not self._rows.room(number):
                self._rows.slide(number)
        proposed = self._propose(going)
        tokens = [row.pending + more for row, more in zip(going, proposed, strict=True)]
        logits = self._rows.read(tokens)
        return self._take(logits, [(i, len(t)) for i, t in enumerate(tokens)], proposed)

    def _propose(self, going: list[_Row]) -> list[list[int]]:
        """What each row's drafter expects to come after the token that is about to be read."""
        nothing: list[list[int]] = [[] for _ in going]
        if self._speculator is None:
            return nothing
        # Rows are read side by side, so the one with the least room limits all.
        most = min(self._rows.room(number) for number in range(len(going))) - 1
        for number, row in enumerate(going):
            left = row.request.max_new_tokens - len(row.completion.ids) - 1
            if row.drafter is not None and min(most, left) > 0:
                ahead = min(most, left, self._speculator.ahead)
                nothing[number] = row.drafter.propose(row.request, row.history, ahead)[:ahead]
        return nothing

    def _take(
        self, logits: Tensor, counts: list[tuple[int, int]], proposed: list[list[int]]
    ) -> list[int]:
        """Choose after every token that was read, as far as what was proposed came true.

        `counts` are (row, tokens read), in the order of `logits`.
        """
        ended: list[int] = []  # tickets
        summary = self._rows.summary
        with self._rows.choosing():
            going = {}  # row -> (where its logits are, how many, what was proposed)
            start = 0
            for (number, count), guess in zip(counts, proposed, strict=True):
                going[number] = (start, count, guess)
                start += count
            depth = 0
            while going:
                rows = [self._batch[number] for number in going]
                places = [start + depth for start, _, _ in going.values()]
                tokens = self._choose(rows, logits, places)
                for index, (number, row) in enumerate(zip(list(going), rows, strict=True)):
                    # A listener of this very step may have cancelled the row, before or here.
                    place = places[index]
                    total = summary[1][place] if summary else np.nan
                    if not row.ended and self._accept(row, tokens[index], logits[place], total):
                        if not row.ended:
                            ended.append(row.ticket)
                        row.ended = True
                    _, count, guess = going[number]
                    if row.ended or depth == count - 1 or guess[depth] != tokens[index]:
                        del going[number]
                        self._rows.rewind(number, count - 1 - depth)
                depth += 1
        self._leave()
        return ended

    def _choose(self, rows: list[_Row], logits: Tensor, places: list[int]) -> list[int]:
        """The next id of each row from its place in the logits."""
        for row in rows:
            request = row.request
            early = len(row.completion.ids) < request.min_new_tokens
            row.history.forbidden = row.stop_ids if early else ()
            if request.constraint is not None:
                row.history.allowed = request.constraint.allowed()
        if self._rows.summary is not None and all(row.plain for row in rows):
            best, totals = self._rows.summary
            found = best[places].tolist()
            free = all(
                token not in row.request.policy.banned_ids
                for token, row in zip(found, rows, strict=True)
            )
            if free and np.isfinite(totals[places]).all():  # else, `choose` sees to it
                return found
        scores = logits if len(places) == len(logits) else logits[places]
        policy = rows[0].request.policy
        draws = torch.zeros(len(rows), dtype=torch.float64)
        if any(row.request.policy.temperature for row in rows):
            draws = uniform(
                [row.request.seed for row in rows],
                [row.request.sample for row in rows],
                [len(row.completion.ids) for row in rows],
            )
        if all(row.request.policy is policy for row in rows):
            return choose(scores, policy, [row.history for row in rows], draws).tolist()
        return [
            int(choose(scores[i : i + 1], row.request.policy, [row.history], draws[i : i + 1]))
            for i, row in enumerate(rows)
        ]

    def _accept(self, row: _Row, token: int, logits: Tensor, total: np.float32 | float) -> bool:
        """Add a token to a row; whether the row has ended by it.

        `total` is the logarithm of the sum of the logits' exponentials; NaN where it is not known.
        """
        request, completion = row.request, row.completion
        if token in request.stop_ids:
            completion.finish_reason = "stop"
            return True
        completion.ids.append(token)
        values = logits.numpy()
        if not np.isfinite(total):
            total = np.float32(logits.logsumexp(0))
        completion.logprobs.append(float(values[token] - total))
        if request.top_logprobs:
            best = logits.topk(request.top_logprobs)
            pairs = zip(best.indices.tolist(), (best.values - float(total)).tolist(), strict=True)
            completion.top_logprobs.append(list(pairs))
        row.history.append(token)
        row.pending = [token]
        if request.constraint is not None:
            request.constraint.accept(token)
        if request.on_token is not None and request.on_token(token):
            completion.finish_reason = "stop"
            return True
        return len(completion.ids) >= request.max_new_tokens

    def _leave(self) -> None:
        """Let all rows that have ended leave; the last row takes the place of each."""
        for number in reversed(range(len(self._batch))):
            if self._batch[number].ended:
                self._rows.drop(number)
                self._batch[number] = self._batch[-1]
                self._batch.pop()
