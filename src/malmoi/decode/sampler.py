"""Drawing one token of a row quickly: the same as `transform` and a draw, without sorting it all.

What top-k, top-p and min-p keep are the most probable tokens, so a bound on the logits leaves a few
candidates to look at. Everything here is numpy on one row, whose calls cost a microsecond where
torch's cost several; where torch is quicker on a whole vocabulary, it is used.
"""

import math

import numpy as np
import torch

_SMALLEST = float(np.finfo(np.float32).min)


def draw_token(
    logits: np.ndarray,
    draw: float,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    typical_p: float | None = None,
) -> int:
    """The id that `draw` stands for in the distribution of a row.

    That is the inverse of the distribution function, the ids in ascending order: one draw, one
    token.

    Args:
        logits: float32 `[V]`, after the temperature; one finite at least, none NaN or +infinity.
        draw: in [0, 1).
        top_k: as in `Policy`.
        top_p: as in `Policy`.
        min_p: as in `Policy`.
        typical_p: as in `Policy`.

    """
    top_p = None if top_p == 1 else top_p
    ids = None
    values = logits
    if top_k is not None or top_p is not None or min_p:
        ids, values = _candidates(logits, top_k, top_p, min_p)
    if typical_p is not None and typical_p < 1:
        kept = _typical(values, typical_p)
        ids, values = kept if ids is None else ids[kept], values[kept]
    index = _invert(_weights(values, values.max()), draw)
    return index if ids is None else int(ids[index])


def _candidates(
    logits: np.ndarray, top_k: int | None, top_p: float | None, min_p: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Ids that top-k, top-p and min-p leave, in ascending order, and their logits."""
    peak = float(logits.max())
    rest = 0.0
    if top_k is not None:
        ids = _largest(logits, top_k)
    else:
        bound = peak + math.log(min_p) if min_p else _SMALLEST
        if top_p is not None:
            weights = _weights(logits, peak)
            total = float(weights.sum())
            # Tokens that each have less than (1 - p) / V of all have less than 1 - p together.
            bound = max(bound, peak + math.log((1 - top_p) * total / len(logits)))
        # Lower by more than float32 rounds, so that no candidate is lost, but not so low that
        # what is ruled out would be one.
        ids = np.flatnonzero(logits >= max(bound - 1e-6 * (1 + abs(bound)), _SMALLEST))
        if top_p is not None:
            rest = total - float(weights[ids].sum())
    values = logits[ids]
    if top_p is not None:
        kept = _nucleus(values, top_p, rest)
        ids, values = ids[kept], values[kept]
    if min_p:
        enough = _weights(values, peak) >= min_p
        ids, values = ids[enough], values[enough]
    return ids, values


def _largest(logits: np.ndarray, k: int) -> np.ndarray:
    """Ids of the `k` largest, in ascending order, with all that equal the k-th."""
    bound = _SMALLEST  # what is ruled out is never among them
    size = min(len(logits) // (4 * k), 32)
    if size > 1:
        # The k-th largest of the maxima of groups is no larger than the k-th largest of all, and
        # leaves few more than k. A group is a column: which ids are in one does not matter.
        groups = len(logits) // size
        table = torch.from_numpy(logits[: groups * size]).view(size, groups)
        maxima = np.partition(table.amax(0).numpy(), -k)
        bound = max(bound, float(maxima[-k]))
    ids = np.flatnonzero(logits >= bound)
    values = logits[ids]
    return ids[values >= np.partition(values, -k)[-k]] if len(ids) > k else ids


def _weights(logits: np.ndarray, peak: float) -> np.ndarray:
    """Probabilities in double precision, but for a factor: 1 for the largest logit."""
    weights = logits.astype(np.float64)
    weights -= peak
    return np.exp(weights, out=weights)


def _nucleus(values: np.ndarray, p: float, rest: float) -> np.ndarray:
    """Indices of the candidates that top-p keeps, as `apply_top_p` does.

    Args:
        values: logits of the candidates.
        p: the probability to reach.
        rest: the `_weights` of all that is less probable than the candidates, summed.

    """
    ordered = np.sort(values)  # of values alone, which is several times as fast as an argsort
    below = _running_sums(_weights(ordered, ordered[-1])) + rest
    out = int(below[:-1].searchsorted((1 - p) * below[-1], "right"))
    least = ordered[out]
    kept = np.flatnonzero(values >= least)
    # Of those that equal the least, the ones with the lowest ids are out.
    surplus = out - int(ordered.searchsorted(least))
    return np.delete(kept, np.flatnonzero(values[kept] == least)[:surplus]) if surplus else kept


def _typical(values: np.ndarray, mass: float) -> np.ndarray:
    """Indices of the candidates that are typical, as `apply_typical` has it."""
    weights = _weights(values, values.max())
    total = weights.sum()
    probabilities = weights / total
    with np.errstate(divide="ignore"):
        surprise = -np.log(weights) + math.log(total)
    possible = weights > 0
    entropy = float(probabilities[possible] @ surprise[possible])  # 0 log 0 is 0, not NaN
    distance = np.abs(surprise - entropy)
    order = np.argsort(distance)
    last = int(np.count_nonzero(_running_sums(probabilities[order]) < mass))
    return np.flatnonzero(distance <= distance[order[min(last, len(order) - 1)]])


def _running_sums(weights: np.ndarray) -> np.ndarray:
    """`cumsum`, which torch does several times as fast as numpy where there are many."""
    if len(weights) < 1000:
        return weights.cumsum()
    return torch.from_numpy(weights).cumsum(0).numpy()


def _invert(weights: np.ndarray, draw: float) -> int:
    """The first index up to which the weights sum to more than `draw` of all."""
    sums = _running_sums(weights)
    index = int(sums.searchsorted(draw * sums[-1], "right"))
    # A draw near 1 may round to all: the last that has any weight is meant then.
    return index if index < len(weights) else int(np.flatnonzero(weights)[-1])
