"""Flags that generating verbs share, and what is wrong with their values.

Everything that can be known without the model is checked before it is loaded. torch is not
imported here, so that `--help` comes at once.
"""

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from malmoi.decode import Policy
    from malmoi.tokenizer import Tokenizer


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen, in this order of the transforms."""

    logit_bias: tuple[str, ...] = ()
    """ID=VALUE pairs: what is added to the logit of an id"""
    repetition_penalty: float = 1.0
    """above 1: ids of the prompt and the text so far become less likely"""
    presence_penalty: float = 0.0
    """taken from the logit of each id that was generated"""
    frequency_penalty: float = 0.0
    """taken from the logit of each id as many times as it was generated"""
    no_repeat_ngram: int = 0
    """never repeat so many tokens in a row; 0: no such rule"""
    banned_ids: tuple[int, ...] = ()
    """ids that never come"""
    banned: tuple[str, ...] = ()
    """tokens that never come: those that are exactly such a text, with or without a space before"""
    temperature: float = 0.8
    """0: always the most probable token; 1: as the model has it"""
    top_k: int | None = None
    """choose among the k most probable tokens"""
    top_p: float | None = None
    """choose among the most probable tokens that together have probability p"""
    min_p: float | None = None
    """choose among tokens at least p times as probable as the most probable one"""
    typical_p: float | None = None
    """choose among the tokens of most typical surprise that together have probability p"""
    seed: int = 0
    """the same seed gives the same text"""

    def policy(self, tokenizer: "Tokenizer | None" = None) -> "Policy":
        """What is asked for; with a tokenizer, what it forbids and what `banned` means as well.

        Raises:
            ValueError: a value outside its range.

        """
        from malmoi.decode import Policy

        need("seed", self.seed, 0 <= self.seed < 1 << 64, "from 0 to 2**64 - 1")
        ids = self.banned_ids
        if tokenizer is not None:
            from malmoi.cli.constraint import token_ids
            from malmoi.speak import banned

            ids += banned(tokenizer)
            for text in self.banned:
                try:
                    ids += token_ids(tokenizer, text)
                except ValueError as error:
                    raise ValueError(f"--banned {error}; --stop ends at any text") from None
        own = {f.name for f in fields(self)} - {"banned", "banned_ids", "logit_bias", "seed"}
        return Policy(
            banned_ids=ids,
            logit_bias=tuple(map(_pair, self.logit_bias)),
            **{name: getattr(self, name) for name in own},
        )


@dataclass(frozen=True)
class Limits:
    """Where a text ends; always where the model ends it."""

    max_new_tokens: int = 200
    """limit of new tokens"""
    min_new_tokens: int = 0
    """no end before so many new tokens"""
    stop: tuple[str, ...] = ()
    """strings at which a text ends, without them"""
    stop_ids: tuple[int, ...] = ()
    """ids at which a text ends, beside the model's own"""

    def check(self) -> None:
        """Raise ValueError for a value outside its range."""
        from malmoi.tokenizer import StopText

        most, least = self.max_new_tokens, self.min_new_tokens
        need("max-new-tokens", most, most >= 0, "0 or more")
        need("min-new-tokens", least, 0 <= least <= most, f"from 0 to --max-new-tokens {most}")
        need("stop-ids", min(self.stop_ids, default=0), min(self.stop_ids, default=0) >= 0,
             "an id, 0 or more")  # fmt: skip
        StopText(self.stop)

    def check_ids(self, vocab_size: int) -> None:
        """Raise ValueError for a stop id that is not in the vocabulary."""
        most = max(self.stop_ids, default=0)
        need("stop-ids", most, most < vocab_size, f"from 0 to {vocab_size - 1}, the last token's")


@dataclass(frozen=True)
class Beams:
    """Beam search: the continuation that is most probable as a whole, instead of sampling."""

    beams: int | None = None
    """how many beginnings are kept at a time; --num gives the best N of them"""
    length_penalty: float = 1.0
    """above 0 favours long texts, below 0 short ones"""
    early_stopping: Literal["false", "true", "never"] = "false"
    """true: end with as many texts as beams; never: only when none can get better"""
    beam_groups: int = 1
    """so many searches that avoid each other's tokens"""
    diversity_penalty: float = 0.0
    """nats that a token costs for each beam of earlier groups that has just taken it"""
    tree: str | None = None
    """file for what was looked at: one line of JSON a prompt"""

    def check(self, sampling: Sampling, num: int) -> None:
        """Raise ValueError for a value outside its range, or one that does not go with beams."""
        if self.beams is None:
            for name, value in changed(self):
                raise ValueError(f"--{name} {value}: belongs to a beam search; add --beams N")
            return
        width, groups, cost = self.beams, self.beam_groups, self.diversity_penalty
        need("beams", width, 1 <= width <= 1024, "from 1 to 1024")
        need(
            "length-penalty", self.length_penalty, abs(self.length_penalty) <= 10, "from -10 to 10"
        )
        need("beam-groups", groups, groups >= 1 and width % groups == 0,
             f"1 or more and divide --beams {width} evenly")  # fmt: skip
        need("diversity-penalty", cost, 0 <= cost < math.inf, "0 or more, and finite")
        if cost and groups == 1:
            raise ValueError(f"--diversity-penalty {cost:g}: needs --beam-groups 2 or more")
        need("num", num, num <= width, f"from 1 to --beams {width}")
        for name, value in changed(sampling):
            greedy = name == "temperature" and value == 0
            if not greedy and name in ("temperature", "top-k", "top-p", "min-p", "typical-p"):
                raise ValueError(f"--{name} {value}: is for sampling; leave it out with --beams")


@dataclass(frozen=True)
class Form:
    """What the text has to look like."""

    forced: str = ""
    """text that the output begins with"""
    regex: str | None = None
    """a regular expression for the whole output, the space before a first word included"""
    json_schema: str | None = None
    """a JSON Schema for the output: a file, or the JSON itself"""
    choices: tuple[str, ...] = ()
    """the output is one of these; behind a word they begin with a space"""

    def check(self) -> None:
        """Raise ValueError for what does not go together."""
        given = [name for name, _ in changed(self)]
        if len(given) > 1:
            raise ValueError(f"--{given[0]} and --{given[1]} do not go together: give one of them")


def changed(flags: Any) -> list[tuple[str, Any]]:
    """Names and values of the flags that are not at their defaults."""
    return [
        (f.name.replace("_", "-"), getattr(flags, f.name))
        for f in fields(flags)
        if getattr(flags, f.name) != f.default
    ]


def need(flag: str, value: Any, right: bool, wanted: str) -> None:
    """Raise ValueError, naming flag, value and range, where a value is not right."""
    if not right:
        raise ValueError(f"--{flag} {value}: has to be {wanted}")


def _pair(text: str) -> tuple[int, float]:
    id, _, value = text.partition("=")
    try:
        return int(id), float(value)
    except ValueError:
        raise ValueError(f"--logit-bias {text!r}: has to be ID=VALUE, such as 42=-1.5") from None
