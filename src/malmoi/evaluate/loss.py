"""The loss over every token of a text, in all the units that people compare.

A document is read from its beginning in windows of the context length, one behind the other, and
every token is scored exactly once with what precedes it in its window. The end of each document is
scored too. Nats per token depend on the tokenizer; bits per byte do not.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch

from malmoi.data import TokenStore, documents_in_windows
from malmoi.model import GPT


@dataclass(frozen=True)
class Loss:
    """Mean loss of one part of a corpus.

    Attributes:
        loss: nats per token.
        perplexity: e to the loss.
        bits_per_byte: of the text in UTF-8.
        bits_per_char: of the text's code points.
        tokens: how many were scored.

    """

    loss: float
    perplexity: float
    bits_per_byte: float
    bits_per_char: float
    tokens: int

    @classmethod
    def of(cls, loss: float, tokens: int, store: TokenStore) -> "Loss":
        """In all units, from nats per token over a whole store."""
        bits = loss * tokens / math.log(2)
        return cls(
            loss=loss,
            perplexity=math.exp(min(loss, 700.0)),
            bits_per_byte=bits / max(store.counts.bytes, 1),
            bits_per_char=bits / max(store.counts.chars, 1),
            tokens=tokens,
        )

    def dict(self) -> dict[str, float]:
        """As plain values."""
        return asdict(self)


def scored_tokens(store: TokenStore) -> int:
    """How many tokens of a store are scored: all but the marks where documents begin."""
    return len(store) - store.counts.documents


def spans_of(store: TokenStore, context_length: int) -> np.ndarray:
    """The windows `[N, 2]` of a store's evaluation, as (start, end)."""
    return np.array(list(documents_in_windows(store, context_length)), np.int64)


@torch.no_grad()
def evaluate(
    model: GPT,
    store: TokenStore,
    *,
    most_tokens: int | None = None,
    spans: np.ndarray | None = None,
    progress: Callable[[int], None] | None = None,
) -> Loss:
    """Loss of `model` over every token of `store`.

    Args:
        model: in whatever precision and on whatever device its weights are; its mode is kept.
        store: what to score.
        most_tokens: stop early, after evenly chosen windows with about this many tokens: an
            estimate, scaled to the whole, for use while training.
        spans: what `spans_of` gives, if it is at hand already.
        progress: called with the number of tokens done.

    Raises:
        ValueError: nothing to score.

    """
    if len(store) < 2:
        raise ValueError("there is no text to evaluate on in this part of the split")
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    context = model.config.context_length
    spans = spans_of(store, context) if spans is None else spans
    if most_tokens is not None and len(store) > most_tokens:
        wanted = max(1, most_tokens // context)
        spans = spans[np.linspace(0, len(spans) - 1, min(wanted, len(spans))).astype(np.int64)]
    total, count = 0.0, 0
    try:
        for ids, targets in _batches(store, spans, rows=max(1, 4096 // context)):
            scored = int((targets >= 0).sum())
            ids, targets = ids.to(device), targets.to(device)
            total += float(model.loss(ids, targets)) * scored
            count += scored
            if progress is not None:
                progress(count)
    finally:
        model.train(training)
    mean = total / max(count, 1)
    return Loss.of(mean, scored_tokens(store), store)


def _batches(
    store: TokenStore, spans: np.ndarray, rows: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Spans of like length together, padded on the right with targets that are not scored."""
    lengths = spans[:, 1] - spans[:, 0]
    order = np.argsort(-lengths, kind="stable")
    for first in range(0, len(order), rows):
        batch = spans[order[first : first + rows]]
        width = int((batch[:, 1] - batch[:, 0]).max())
        ids = np.zeros((len(batch), width), np.int64)
        targets = np.full((len(batch), width), -1, np.int64)
        for row, (start, end) in enumerate(batch):
            tokens = store.ids[start : end + 1].astype(np.int64)
            ids[row, : end - start] = tokens[:-1]
            targets[row, : end - start] = tokens[1:]
            # By where documents begin, not by bos: a foreign tokenizer may end them with the same.
            first, last = np.searchsorted(store.offsets, (start + 1, end + 1))
            targets[row, store.offsets[first:last] - start - 1] = -1
        yield torch.from_numpy(ids), torch.from_numpy(targets)
