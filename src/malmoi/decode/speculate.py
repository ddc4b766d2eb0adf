"""Speculative decoding: guess a few tokens cheaply, check them all in one pass.

Reading one token costs a pass over all the weights, and reading five costs hardly more. So
something quick proposes what may come next, the model reads the proposals together, and the token
at each place is chosen just as it would have been without them: by the policy, from the model's
own distribution, with the draw of that place. As long as the choice is what was proposed, the
reading goes on to count. A wrong guess costs a little time and changes nothing: the text is the
same, draw by draw, which is more than the equal distribution of Leviathan et al. (2023), and the
probability that a proposed token holds, p(token), is the same as there for a proposer without
randomness. A draft model is given the target's own draws, so that where the two distributions
agree they choose alike.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from malmoi.decode.history import History
from malmoi.decode.policy import choose, uniform
from malmoi.decode.rows import Rows
from malmoi.model import GPT

if TYPE_CHECKING:
    from malmoi.decode.request import Request


class Drafter(Protocol):
    """Proposes for one row."""

    def propose(self, request: "Request", history: History, count: int) -> list[int]:
        """Up to `count` ids expected after `history` (which ends with the last one chosen)."""
        ...


class Speculator(Protocol):
    """Makes a drafter for each row."""

    ahead: int
    """most ids proposed at a time"""

    def start(self, prompt: Sequence[int]) -> Drafter:
        """The drafter of a new row."""
        ...


class PromptLookup:
    """Proposes what followed the last few ids where they stood before (Saxena 2023).

    No second model: it pays where a text repeats itself, as code, lists and summaries do.

    Args:
        ahead: most ids proposed at a time.
        longest: ids that have to agree; fewer, down to 2, where so many were not found.

    Raises:
        ValueError: a value outside its range.

    """

    def __init__(self, ahead: int = 8, longest: int = 4) -> None:
        if not 1 <= ahead <= 64:
            raise ValueError(f"speculate {ahead} (--speculate): has to be from 1 to 64")
        if longest < 2:
            raise ValueError(f"prompt lookup by {longest} ids: has to be 2 or more")
        self.ahead, self.longest = ahead, longest

    def start(self, prompt: Sequence[int]) -> Drafter:
        """The drafter of a new row."""
        return _Lookup(self.longest)


class _Lookup:
    def __init__(self, longest: int) -> None:
        # Where the id after each n-gram last stood; every id is looked at once.
        self._after: dict[tuple[int, ...], int] = {}
        self._text: list[int] = []
        self._sizes = range(longest, 1, -1)

    def propose(self, request: "Request", history: History, count: int) -> list[int]:
        """What came after the longest run of ids that ends here and stood here before."""
        known = len(self._text)
        text = self._text
        text += (
            [*history.prompt, *history.new][known:]
            if not known
            else (history.new[known - len(history.prompt) :])
        )
        for end in range(max(known, 1), len(text)):
            for size in self._sizes:
                if end >= size:
                    self._after[tuple(text[end - size : end])] = end
        for size in self._sizes:
            place = self._after.get(tuple(text[-size:]))
            if place is not None:
                # What reaches the end of the text goes round: a loop is most of what is found.
                period = len(text) - place
                return [text[place + i % period] for i in range(count)]
        return []


class DraftModel:
    """Proposes what a smaller model of the same vocabulary chooses.

    Raises:
        ValueError: another vocabulary size than the model's it drafts for.

    """

    def __init__(self, draft: GPT, vocab_size: int, ahead: int = 4) -> None:
        if not 1 <= ahead <= 64:
            raise ValueError(f"speculate {ahead} (--speculate): has to be from 1 to 64")
        if draft.config.vocab_size != vocab_size:
            raise ValueError(
                f"the draft model has {draft.config.vocab_size} tokens and the model {vocab_size}: "
                "the two have to share one tokenizer (--draft)"
            )
        self.draft, self.ahead = draft, ahead

    def start(self, prompt: Sequence[int]) -> Drafter:
        """The drafter of a new row, with a cache of its own."""
        return _Draft(self.draft)


class _Draft:
    def __init__(self, draft: GPT) -> None:
        self._draft = draft
        self._rows: Rows | None = None  # made when the row is: requests may wait in great numbers
        self._read: list[int] = []
        self._start = 0  # of the window of the text that the draft reads

    def propose(self, request: "Request", history: History, count: int) -> list[int]:
        """The next ids as the draft chooses them, with the draws that the target will use."""
        if self._rows is None:
            need = len(request.prompt) + request.max_new_tokens
            self._rows = Rows(self._draft, 1, need, compiled=False)
        rows, full = self._rows, self._rows.capacity
        # The rule of `Rows.slide`, as if all but the last id were read: a draft of the target's
        # own context sees just what the target does.
        if len(history) - 1 - self._start >= full:
            self._start = len(history) - 1 - full // 2
        text = [*history.prompt, *history.new][self._start :]
        count = min(count, full - len(text) + 1)
        with torch.inference_mode():
            logits = self._read_text(rows, text)
            proposed: list[int] = []
            own = history.copy()
            own.allowed = None  # what a constraint allows is known for the next token alone
            while token := self._choose(logits, request, own):
                own.append(token[0])
                proposed += token
                # Nothing comes after a stop id.
                if len(proposed) == count or token[0] in request.stop_ids:
                    break
                logits = rows.read([token])
        self._read = [*text, *proposed[: rows.lengths[0] - len(text)]]
        return proposed

    def _read_text(self, rows: Rows, text: list[int]) -> Tensor:
        """Logits `[1, V]` after a text, of which most was read before."""
        agreed = 0
        for ours, theirs in zip(self._read, text[:-1], strict=False):
            if ours != theirs:
                break
            agreed += 1
        if agreed:
            rows.rewind(0, rows.lengths[0] - agreed)
            return rows.read([text[agreed:]])[-1:]
        if rows.lengths:
            rows.drop(0)
        return rows.admit([text])

    def _choose(self, logits: Tensor, request: "Request", own: History) -> list[int]:
        """The draft's next id; none where nothing may come next, which is not an error in a guess.

        The target may well have stopped before.
        """
        draw = uniform(request.seed, request.sample, len(own.new))
        try:
            return [int(choose(logits, request.policy, [own], draw))]
        except ValueError:
            if not logits.isfinite().all():
                raise ValueError(
                    "the draft model's logits are not numbers: its weights are damaged (--draft)"
                ) from None
            return []
