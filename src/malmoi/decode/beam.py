"""Beam search: the continuation that is most probable as a whole, rather than token by token.

Where `malmoi.decode.engine` commits to one token at a time, a beam search keeps the `width` best
beginnings found so far, continues all of them, and keeps the best of what comes out. What it finds
and when it stops equal `transformers` 5 with `num_beams`. With groups it is the diverse beam search
of Vijayakumar et al. 2016 (arXiv:1610.02424).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from malmoi.decode.group import Beam, Group
from malmoi.decode.history import History
from malmoi.decode.policy import Policy, penalize
from malmoi.decode.tree import Tree
from malmoi.model import GPT, KVCache

EarlyStopping = bool | Literal["never"]
NO_PENALTIES = Policy()
MOST_LENGTH_PENALTY = 10.0  # a context's length to a power far beyond it is no longer a float


@dataclass(frozen=True)
class Hypothesis:
    """A finished continuation.

    Attributes:
        ids: the new ids, without the stop id.
        logprobs: log-probability (nats) of each of `ids` under the model itself.
        score: `total / length**length_penalty`, by which hypotheses are ranked.
        total: sum (nats) of the log-probabilities after the policy's penalties, the stop id's too.
        length: how many tokens the score counts: the new ids, and the stop id where there is one.
        finish_reason: `stop` at a stop id, `length` at the limit (or where nothing may follow).
        stop_id: the stop id, if that ended it.
        group: the group of beams that found it.

    """

    ids: list[int]
    logprobs: list[float]
    score: float
    total: float
    length: int
    finish_reason: Literal["stop", "length"]
    stop_id: int | None
    group: int


@dataclass(frozen=True)
class BeamResult:
    """What was found for one prompt.

    Attributes:
        hypotheses: best first; fewer than asked for where there are fewer continuations at all.
        tree: everything that was looked at, if it was to be recorded.

    """

    hypotheses: list[Hypothesis]
    tree: Tree | None


@torch.inference_mode()
def beam_search(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    *,
    width: int,
    max_new_tokens: int,
    stop_ids: Sequence[int] = (),
    length_penalty: float = 1.0,
    early_stopping: EarlyStopping = False,
    groups: int = 1,
    diversity_penalty: float = 0.0,
    policy: Policy = NO_PENALTIES,
    min_new_tokens: int = 0,
    num_return: int = 1,
    record: bool = False,
) -> list[BeamResult]:
    """The best continuations of each prompt.

    A step looks at all continuations of a prompt's beams by one token. Those among the `width` best
    that end (by a stop id, or at the limit) become hypotheses, of which the `width` with the best
    scores are remembered; the `width` best that do not end go on. One beam, or a
    group of one, is greedy decoding and ends at its first stop id.

    With `groups`, the beams are divided into so many searches that step one after the other. A
    token costs a group `diversity_penalty` nats for each beam of earlier groups that goes on with
    that token in the same step ("Hamming diversity"). That cost stays in the sum by which the group
    searches, but not in the score of a hypothesis. Hypotheses are returned in rounds, the best of
    each group, then the second of each, so as not to lose what the groups are for.

    Args:
        model: in evaluation mode.
        prompts: ids of each prompt, one id at least. But for rounding, the result of one does not
            depend on the others.
        width: beams for each prompt.
        max_new_tokens: limit of new tokens; a stop id counts.
        stop_ids: ids that end a hypothesis. The same ids before two different stop ids are two.
        length_penalty: exponent of the length (with the stop id) by which a sum of
            log-probabilities is divided: above 0 favours long hypotheses, below 0 short ones.
        early_stopping: when a prompt that has `width` hypotheses is done. True: at once. False:
            when the best beam, were it to end now, would not enter among them. "never": when it
            would not at any length, taking its sum to stay as it is.
        groups: into how many groups the beams are divided.
        diversity_penalty: nats for each repetition of another group.
        policy: its penalties act on log-probabilities, which are not normalised anew; the rest of
            it is for sampling and changes nothing here.
        min_new_tokens: no stop id before so many new ids.
        num_return: hypotheses to return for each prompt.
        record: return the trees as well.

    Raises:
        ValueError: an empty prompt, ids outside the vocabulary, a value outside its range, a prompt
            that leaves no room for `max_new_tokens` in the context (beams do not slide on).

    """
    policy.check(model.config.vocab_size)
    _check(model, prompts, max_new_tokens, min_new_tokens)
    _check_beams(width, length_penalty, early_stopping, groups, diversity_penalty, num_return)
    stops = set(stop_ids)
    forbidden = [token for token in sorted(stops) if 0 <= token < model.config.vocab_size]
    trees = [
        Tree(
            list(prompt), width, groups, max_new_tokens, sorted(stops), length_penalty,
            early_stopping, diversity_penalty,
        )
        for prompt in prompts
    ]  # fmt: skip
    beams = [Beam(0, -1, row, History(prompt)) for row, prompt in enumerate(prompts)]
    searches = [
        [Group(tree, group, root) for group in range(groups)]
        for tree, root in zip(trees, beams, strict=True)
    ]
    reader = _Reader(model, prompts, width, max_new_tokens)
    for step in range(1, max_new_tokens + 1):
        if not beams:
            break
        logits = reader.read_prompts(prompts) if step == 1 else reader.read(beams)
        logprobs = logits.log_softmax(-1)
        if torch.isnan(logprobs).any():
            raise ValueError("the model's logits are not numbers (NaN): its weights are damaged")
        for beam in beams:
            beam.history.forbidden = forbidden if step <= min_new_tokens else ()
        allowed = penalize(logprobs, policy, [beam.history for beam in beams])
        for search in searches:
            taken: list[int] = []  # by the groups before, in this step
            for group in search:
                taken += group.step(step, logprobs, allowed, taken)
        beams = [beam for search in searches for group in search for beam in group.open]
    return [
        BeamResult(_returned(tree, search, num_return), tree if record else None)
        for tree, search in zip(trees, searches, strict=True)
    ]


class _Reader:
    """The model and one cache: a row for each beam of each prompt."""

    def __init__(self, model: GPT, prompts: Sequence[Sequence[int]], width: int, new: int) -> None:
        self.model = model
        weight = next(model.parameters())
        self.cache = KVCache(
            model.config,
            len(prompts) * width,
            max(map(len, prompts), default=0) + new,
            dtype=weight.dtype,
            device=weight.device,
        )
        self.used = len(prompts)  # rows; the others hold nothing

    def read_prompts(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Logits `[B, V]` after each prompt, which is read once for all its beams."""
        counts = torch.tensor([len(prompt) for prompt in prompts])
        ids = torch.zeros(len(prompts), int(counts.max()), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)] = torch.tensor(prompt)
        return self._forward(ids, counts)

    def read(self, beams: Sequence[Beam]) -> Tensor:
        """Logits `[R, V]` after the last token of each beam, whose rows become 0, 1, ..."""
        rows = [beam.row for beam in beams]
        if rows != list(range(self.used)):
            # Beams become fewer when a prompt is done, and more where a vocabulary is smaller than
            # the width; reordering wants as many rows after as before.
            touched = max(self.used, len(rows))
            view = self.cache.rows(slice(0, touched))
            view.reorder(torch.tensor(rows + [0] * (touched - len(rows)), device=view.ids.device))
            self.cache.lengths[:touched] = view.lengths
        self.used = len(rows)
        for row, beam in enumerate(beams):
            beam.row = row
        ids = torch.tensor([[beam.token] for beam in beams])
        return self._forward(ids, torch.ones(len(beams), dtype=torch.long))

    def _forward(self, ids: Tensor, counts: Tensor) -> Tensor:
        device = self.cache.ids.device
        view = self.cache.rows(slice(0, len(ids)))
        hidden = self.model.hidden(ids.to(device), view)
        view.advance(counts.to(device))
        self.cache.lengths[: len(ids)] = view.lengths
        last = hidden[torch.arange(len(ids), device=device), counts.to(device) - 1]
        # Penalties work on the CPU, as in the engine.
        return F.linear(last, self.model.output_weight).float().cpu()


def _returned(tree: Tree, search: list[Group], num_return: int) -> list[Hypothesis]:
    """The best hypotheses of all groups, which are noted in the tree."""
    rounds = [
        group.best[place][1]
        for place in range(search[0].width)
        for group in search
        if place < len(group.best)
    ]
    # The prompt itself may be the only hypothesis of every group.
    chosen = list(dict.fromkeys(rounds))[:num_return]
    tree.returned = sorted(chosen, key=lambda number: -(tree.nodes[number].score or 0.0))
    return [_hypothesis(tree, number) for number in tree.returned]


def _hypothesis(tree: Tree, number: int) -> Hypothesis:
    end, path = tree.nodes[number], tree.path(number)
    assert end.score is not None
    stopped = end.token in tree.stop_ids and end.step > 0
    said = path[:-1] if stopped else path
    return Hypothesis(
        ids=[node.token for node in said],
        logprobs=[node.logprob for node in said],
        score=end.score,
        total=end.total,
        length=end.step,
        finish_reason="stop" if stopped else "length",
        stop_id=end.token if stopped else None,
        group=end.group,
    )


def _check(model: GPT, prompts: Sequence[Sequence[int]], new: int, least: int) -> None:
    config = model.config
    if new < 0:
        raise ValueError(f"--max-new-tokens {new}: has to be 0 or more")
    if not 0 <= least <= new:
        raise ValueError(f"--min-new-tokens {least}: has to be from 0 to --max-new-tokens {new}")
    for prompt in prompts:
        if not prompt:
            raise ValueError("an empty prompt: give one token at least, such as <bos>")
        if not 0 <= min(prompt) <= max(prompt) < config.vocab_size:
            raise ValueError("a prompt has ids outside the model's vocabulary")
        if len(prompt) + new > config.context_length:
            room = config.context_length - len(prompt)
            advice = f"give --max-new-tokens {room} or less" if room > 0 else "shorten the prompt"
            raise ValueError(
                f"a prompt of {len(prompt)} tokens and {new} new ones do not fit the context of "
                f"{config.context_length}, on which beams cannot slide: {advice}"
            )


def _check_beams(
    width: int, length: float, early: EarlyStopping, groups: int, diversity: float, num: int
) -> None:
    if width < 1:
        raise ValueError(f"--beams {width}: has to be 1 or more")
    if not -MOST_LENGTH_PENALTY <= length <= MOST_LENGTH_PENALTY:
        most = MOST_LENGTH_PENALTY
        raise ValueError(f"--length-penalty {length:g}: has to be from {-most:g} to {most:g}")
    if not (isinstance(early, bool) or early == "never"):
        raise ValueError(f"--early-stopping {early!r}: has to be true, false or never")
    if groups < 1 or width % groups:
        raise ValueError(
            f"--beam-groups {groups}: has to be 1 or more and divide --beams {width} evenly"
        )
    if not 0 <= diversity < float("inf"):
        raise ValueError(f"--diversity-penalty {diversity:g}: has to be 0 or more, and finite")
    if diversity and groups == 1:
        raise ValueError(
            f"--diversity-penalty {diversity:g}: has to be 0 without --beam-groups 2 or more"
        )
    if not 1 <= num <= width:
        raise ValueError(f"--num {num}: has to be from 1 to --beams {width}")
