"""Scoring: how probable a model finds each id of a text that is there already.

Where `malmoi.decode.engine` makes a text, this reads one. It serves what asks for the
log-probabilities of a prompt; the mean losses of whole data sets are `malmoi.evaluate`'s.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from malmoi.model import GPT, KVCache

PIECE = 256
"""positions that are read at once: all the logits of a long text would not fit into memory"""


@dataclass(frozen=True)
class Score:
    """What a model says of a text of `T` ids.

    Attributes:
        logprobs: log-probability (nats) of each id after those before it; None for the first.
        top: for each place the most probable ids with their log-probabilities, best first; empty
            for the first place, and everywhere if none were asked for.

    """

    logprobs: list[float | None]
    top: list[list[tuple[int, float]]]


@torch.inference_mode()
def score(model: GPT, ids: Sequence[int], *, top: int = 0) -> Score:
    """The log-probability of each of `ids`, all read at once but for memory.

    What is longer than the context is read in windows of a context that overlap by half of it: each
    id is scored once, after all that is before it in the first window, and after at least half a
    context in the others.

    Args:
        model: in evaluation mode.
        ids: of the text, one id at least.
        top: how many of the most probable ids to tell at each place.

    Raises:
        ValueError: an empty text, ids outside the vocabulary, a `top` that is not from 0 to the
            vocabulary's size, logits that are not numbers.

    """
    _check(model, ids, top)
    result = Score([None], [[]])
    weight = model.output_weight
    text = torch.tensor(list(ids), device=weight.device)
    room = min(model.config.context_length, max(len(text) - 1, 1))
    cache = KVCache(model.config, 1, room, dtype=weight.dtype, device=weight.device)
    for start, end, scored in _windows(len(text) - 1, model.config.context_length):
        cache.lengths.zero_()
        for begin in range(start, end, PIECE):
            piece = text[None, begin : min(begin + PIECE, end)]
            hidden = model.hidden(piece, cache)[0]
            cache.advance(piece.shape[1])
            known = max(scored - begin, 0)  # what the window before has scored
            if known < len(hidden):
                after = begin + 1 + known
                logits = F.linear(hidden[known:], weight).float()
                _add(result, logits, text[after : after + len(logits)], top)
    return result


def _windows(inputs: int, context: int) -> Iterator[tuple[int, int, int]]:
    """Windows over `inputs` ids, the id after each of which is to be scored.

    Each is the first id to read, the end, and the first after which to score.
    """
    half = (context + 1) // 2
    start = scored = 0
    while scored < inputs:
        end = min(start + context, inputs)
        yield start, end, scored
        # The first to be scored next comes after place `end`, and has `half` ids before it then.
        start, scored = end + 1 - half, end


def _add(result: Score, logits: Tensor, targets: Tensor, top: int) -> None:
    """Score `targets` `[N]` by logits `[N, V]`."""
    total = logits.logsumexp(-1)
    if not total.isfinite().all():
        raise ValueError(
            "the model's logits are not numbers (NaN or infinite): its weights are damaged"
        )
    result.logprobs.extend((logits.gather(1, targets[:, None])[:, 0] - total).tolist())
    if not top:
        result.top.extend([] for _ in targets)
        return
    best = logits.topk(top)
    logprobs = (best.values - total[:, None]).tolist()
    for row, values in zip(best.indices.tolist(), logprobs, strict=True):
        result.top.append(list(zip(row, values, strict=True)))


def _check(model: GPT, ids: Sequence[int], top: int) -> None:
    size = model.config.vocab_size
    if not len(ids):
        raise ValueError("an empty text: give one token at least")
    if not 0 <= min(ids) <= max(ids) < size:
        raise ValueError("a text has ids outside the model's vocabulary")
    if not 0 <= top <= size:
        raise ValueError(
            f"top logprobs {top} (--top-logprobs): has to be from 0 to {size}, the size of the "
            "vocabulary"
        )
