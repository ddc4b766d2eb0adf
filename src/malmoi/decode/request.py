"""What is asked of the engine, and what it gives back: ids and numbers, no strings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from malmoi.decode.constraint import Constraint
from malmoi.decode.policy import Policy


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
