"""Generation: requests come in at any time, share one batch, and leave when they are done.

Ids in, ids out, no strings. The engine decides who is in the batch and what is read next; the rows
and their cache are `malmoi.decode.rows`, and how a token is chosen is `malmoi.decode.policy`.
A token depends on the request, its seed and what was read: not on the other requests, nor on
when or where in the batch its row stood (to the last bit in float32 on the CPU; in bfloat16 a
batch's matrix products round otherwise than a single row's, so texts may come to differ).
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from malmoi.decode.constraint import Constraint
from malmoi.decode.history import History
from malmoi.decode.memory import check_room
from malmoi.decode.policy import Policy, choose, uniform
from malmoi.decode.rows import Rows
from malmoi.decode.speculate import Drafter, Speculator
from malmoi.model import GPT, cache_bytes

SLOTS = 16
"""rows of a batch when nothing else is asked for"""


@dataclass(frozen=True)
class Request:
    """One text to be continued.

    Raises:
        ValueError: an empty prompt, a limit below 0.

    """

    prompt: Sequence[int]
    """ids, one at least (`<bos>` for an empty text)"""
    policy: Policy = field(default_factory=Policy)
    max_new_tokens: int = 200
    min_new_tokens: int = 0
    """no stop id before so many new tokens"""
    stop_ids: tuple[int, ...] = ()
    seed: int = 0
    sample: int = 0
    """which of several continuations of the same prompt this is: each draws differently"""
    top_logprobs: int = 0
    """how many of the most probable ids are noted beside each chosen one"""
    constraint: Constraint | None = None
    """what may come next; changed as it goes"""
    on_token: Callable[[int], bool | None] | None = None
    """hears of each new id; a true answer ends this row"""

    def __post_init__(self) -> None:
        if not len(self.prompt):
            raise ValueError("an empty prompt: give one token at least, such as <bos>")
        for name in ("max_new_tokens", "min_new_tokens", "top_logprobs"):
            if getattr(self, name) < 0:
                words, flag = name.replace("_", " "), name.replace("_", "-")
                raise ValueError(f"{words} {getattr(self, name)} (--{flag}): has to be 0 or more")

    def check(self, vocab_size: int) -> None:
        """See that ids and policy fit a vocabulary, or raise `ValueError`."""
        if not 0 <= min(self.prompt) <= max(self.prompt) < vocab_size:
            raise ValueError("a prompt has ids outside the model's vocabulary")
        if self.top_logprobs > vocab_size:
            raise ValueError(
                f"top logprobs {self.top_logprobs} (--top-logprobs): the vocabulary has "
                f"{vocab_size} tokens"
            )
        self.policy.check(vocab_size)


@dataclass
class Completion:
    """What was generated for one request.

    Attributes:
        ids: the new ids, without the stop id.
        logprobs: log-probability (nats) of each under the model itself, before any transform.
        top_logprobs: for each, the most probable ids with theirs, if the request asked for them.
        finish_reason: `stop` at a stop id or where the listener said so, `length` at the limit.

    """

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top_logprobs: list[list[tuple[int, float]]] = field(default_factory=list)
    finish_reason: Literal["stop", "length"] = "length"


@dataclass
class _Row:
    """A request in the batch; `drafter` and `proposed` matter to speculation alone."""

    ticket: int
    request: Request
    completion: Completion
    history: History
    drafter: Drafter | None
    pending: list[int] = field(default_factory=list)


class Engine:
    """A batch that requests join and leave. Use it as a context: its threads live inside it.

    Args:
        model: in evaluation mode.
        slots: most rows at a time.
        capacity: most tokens, prompt and new, of a row; the model's context when not given.
        speculator: proposes tokens that are then only checked (`malmoi.decode.speculate`).
        compiled: whether few rows are read by compiled loops; where possible when not given.

    Raises:
        ValueError: the cache is larger than the memory that is free.

    """

    def __init__(
        self,
        model: GPT,
        *,
        slots: int = SLOTS,
        capacity: int | None = None,
        speculator: Speculator | None = None,
        compiled: bool | None = None,
    ) -> None:
        self.model = model
        context = model.config.context_length
        self.capacity = min(capacity or context, context)
        weight = model.output_weight
        self.cache_bytes = cache_bytes(model.config, slots, self.capacity, weight.dtype)
        check_room(self.cache_bytes, weight.device, f"a cache of {slots} x {self.capacity} tokens")
        self._speculator = speculator
        ahead = 1 + (speculator.ahead if speculator else 0)
        self._rows = Rows(model, slots, self.capacity, ahead=ahead, compiled=compiled)
        self._batch: list[_Row] = []
        self._waiting: deque[_Row] = deque()
        self._tickets = 0

    def __enter__(self) -> "Engine":
        self._rows.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._rows.__exit__(*error)

    @property
    def busy(self) -> bool:
        """Whether anything is waiting or running."""
        return bool(self._batch or self._waiting)

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
        drafter = self._speculator.start(request.prompt) if self._speculator else None
        completion = Completion()
        row = _Row(self._tickets, request, completion, History(request.prompt), drafter)
        if request.max_new_tokens:
            self._waiting.append(row)
        return self._tickets, completion

    def cancel(self, ticket: int) -> None:
        """Let a request leave, wherever it is; one that has ended is gone already."""
        self._waiting = deque(row for row in self._waiting if row.ticket != ticket)
        for number, row in enumerate(self._batch):
            if row.ticket == ticket:
                self._leave(number)
                return

    @torch.inference_mode()
    def step(self) -> list[int]:
        """One more token (or several, speculating) for every row; the tickets that ended.

        Raises:
            ValueError: a row's logits are not numbers, or nothing may come next in it.

        """
        ended = self._read_batch() if self._batch else []
        return ended + self._admit()

    def run(self) -> None:
        """Step until nothing is left to do."""
        while self.busy:
            self.step()

    def _admit(self) -> list[int]:
        count = min(self._rows.free, len(self._waiting))
        if not count:
            return []
        # By length, so that prompts which are read together have little padding.
        new = sorted(
            (self._waiting.popleft() for _ in range(count)), key=lambda row: len(row.request.prompt)
        )
        logits = self._rows.admit([row.request.prompt for row in new])
        first = len(self._batch)
        self._batch += new
        return self._take(logits, [(first + i, 1) for i in range(count)], [[]] * count)

    def _read_batch(self) -> list[int]:
        for number in range(len(self._batch)):
            if not self._rows.room(number):
                self._rows.slide(number)
        proposed = self._propose()
        tokens = [row.pending + more for row, more in zip(self._batch, proposed, strict=True)]
        logits = self._rows.read(tokens)
        return self._take(logits, [(i, len(t)) for i, t in enumerate(tokens)], proposed)

    def _propose(self) -> list[list[int]]:
        """What each row's drafter expects to come after the token that is about to be read."""
        nothing: list[list[int]] = [[] for _ in self._batch]
        if self._speculator is None:
            return nothing
        # Rows are read side by side, so the one with the least room limits all.
        most = min(self._rows.room(number) for number in range(len(self._batch))) - 1
        for number, row in enumerate(self._batch):
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
        ended: list[int] = []
        with self._rows.choosing():
            going = {}  # row -> (where its logits are, how many, what was proposed)
            start = 0
            for (number, count), guess in zip(counts, proposed, strict=True):
                going[number] = (start, count, guess)
                start += count
            depth = 0
            while going:
                rows = [self._batch[number] for number in going]
                scores = (
                    logits
                    if len(going) == len(logits)
                    else (logits[[start + depth for start, _, _ in going.values()]])
                )
                tokens = self._choose(rows, scores)
                logprobs = scores.log_softmax(-1)
                for index, (number, row) in enumerate(zip(list(going), rows, strict=True)):
                    done = self._accept(row, tokens[index], logprobs[index])
                    _, count, guess = going[number]
                    if done or depth == count - 1 or guess[depth] != tokens[index]:
                        del going[number]
                        self._rows.rewind(number, count - 1 - depth)
                    if done:
                        ended.append(number)
                depth += 1
        tickets = [self._batch[number].ticket for number in ended]
        for number in sorted(ended, reverse=True):
            self._leave(number)
        return tickets

    def _choose(self, rows: list[_Row], scores: Tensor) -> list[int]:
        for row in rows:
            request = row.request
            early = len(row.completion.ids) < request.min_new_tokens
            row.history.forbidden = request.stop_ids if early else ()
            if request.constraint is not None:
                row.history.allowed = request.constraint.allowed()
        draws = uniform(
            [row.request.seed for row in rows],
            [row.request.sample for row in rows],
            [len(row.completion.ids) for row in rows],
        )
        policy = rows[0].request.policy
        if all(row.request.policy is policy for row in rows):
            return choose(scores, policy, [row.history for row in rows], draws).tolist()
        return [
            int(choose(scores[i : i + 1], row.request.policy, [row.history], draws[i : i + 1]))
            for i, row in enumerate(rows)
        ]

    def _accept(self, row: _Row, token: int, logprobs: Tensor) -> bool:
        """Add a token to a row; whether the row has ended."""
        request, completion = row.request, row.completion
        if token in request.stop_ids:
            completion.finish_reason = "stop"
            return True
        completion.ids.append(token)
        completion.logprobs.append(float(logprobs[token]))
        if request.top_logprobs:
            best = logprobs.topk(request.top_logprobs)
            pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            completion.top_logprobs.append(list(pairs))
        row.history.append(token)
        row.pending = [token]
        if request.constraint is not None:
            request.constraint.accept(token)
        if request.on_token is not None and request.on_token(token):
            completion.finish_reason = "stop"
            return True
        return len(completion.ids) >= request.max_new_tokens

    def _leave(self, number: int) -> None:
        self._rows.drop(number)
        self._batch[number] = self._batch[-1]
        self._batch.pop()


def generate(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    policy: Policy,
    *,
    max_new_tokens: int,
    stop_ids: Sequence[int] = (),
    seed: int = 0,
    on_token: Callable[[int, int], bool | None] | None = None,
    slots: int = SLOTS,
    speculator: Speculator | None = None,
    compiled: bool | None = None,
) -> list[Completion]:
    """Continue each prompt by one policy: the `Engine` in one call.

    Args:
        model: in evaluation mode.
        prompts: ids of each prompt, one id at least (`<bos>` for an empty text).
        policy: how the next token is chosen.
        max_new_tokens: limit of new tokens for each row.
        stop_ids: ids that end a row.
        seed: the same seed gives the same continuation of a prompt, whatever is beside it.
        on_token: hears of each new token as (prompt's number, id); a true answer ends that row.
        slots: most rows at a time; more prompts wait.
        speculator: see `malmoi.decode.speculate`.
        compiled: see `Engine`.

    Raises:
        ValueError: an empty prompt, ids outside the vocabulary, a policy that does not fit, a
            cache that does not fit into memory.

    """

    def listener(number: int) -> Callable[[int], bool | None] | None:
        return None if on_token is None else lambda token: on_token(number, token)

    requests = [
        Request(
            prompt, policy, max_new_tokens, stop_ids=tuple(stop_ids), seed=seed,
            on_token=listener(number),
        )
        for number, prompt in enumerate(prompts)
    ]  # fmt: skip
    return complete(model, requests, slots=slots, speculator=speculator, compiled=compiled)


def complete(
    model: GPT,
    requests: Sequence[Request],
    *,
    slots: int = SLOTS,
    speculator: Speculator | None = None,
    compiled: bool | None = None,
) -> list[Completion]:
    """Serve all of some requests with a cache just large enough.

    Raises:
        ValueError: as `Engine`, before anything is generated.

    """
    if not requests:
        return []
    longest = max(len(request.prompt) + request.max_new_tokens for request in requests)
    with Engine(
        model,
        slots=min(slots, len(requests)),
        capacity=longest,
        speculator=speculator,
        compiled=compiled,
    ) as engine:
        completions = [engine.add(request)[1] for request in requests]
        engine.run()
    return completions
