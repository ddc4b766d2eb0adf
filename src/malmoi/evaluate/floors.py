"""The floors beside a model's loss: what uniform, unigram and trigram guessing reach.

A loss alone says little; a model that does not beat counting three tokens has learned nothing
that counting does not give in a second. Counted, not learned: no torch here.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]
_CHUNK = 1 << 20  # held-out tokens scored at once
# Subtracted from counts of one, two and more where too few n-grams were seen to estimate it.
_DISCOUNTS = (0.5, 1.0, 1.5)
_LEAST = 0.1  # the least discount: with none, nothing is left for what was never seen


@dataclass(frozen=True)
class Floors:
    """Losses that a model has to beat, in nats per scored token.

    Attributes:
        uniform: Knowing only the size of the vocabulary.
        unigram: Knowing how frequent each token is.
        trigram: Knowing what followed the last two tokens. Only where the order of tokens tells
            something is it below the unigram; in shuffled text it is a little above.

    """

    uniform: float
    unigram: float
    trigram: float


def floors(
    train: np.ndarray,
    held_out: np.ndarray,
    vocab_size: int,
    *,
    ignore: int | None = None,
    most_train: int = 20_000_000,
) -> Floors:
    """Count n-grams in `train` and score `held_out` with them.

    The means are over every token of `held_out` but `ignore`, which is what a model's loss is
    the mean over. Without an `ignore` in front, the first token is scored with the unigram.

    Args:
        train: Token ids in one dimension; a memory map will do. It takes 30 to 90 bytes a token.
        held_out: The same; of any length, in flat memory.
        vocab_size: The number of ids, at most 2^20.
        ignore: The id that begins each document: never scored, and no context reaches across it.
        most_train: Only so many tokens from the beginning of `train` are counted.

    Raises:
        ValueError: nothing to count or to score, or an id outside of the vocabulary; one line.

    """
    train = train[:most_train]
    if not len(train) or (ignore is not None and bool((train == ignore).all())):
        raise ValueError("floors: the training text has no tokens to count")
    unigram = KneserNey(train, vocab_size, order=1, ignore=ignore)
    trigram = KneserNey(train, vocab_size, order=3, ignore=ignore)
    count, total_1, total_3 = 0, 0.0, 0.0
    for begin in range(0, len(held_out), _CHUNK):
        before = min(begin, trigram.order - 1)
        tokens = held_out[begin - before : begin + _CHUNK]
        p_1, p_3 = unigram(tokens)[before:], trigram(tokens)[before:]
        if begin == 0:
            p_3[0] = p_1[0]  # the trigram's own lowest order knows less: see `KneserNey`
        scored = ~np.isnan(p_1)
        count += int(scored.sum())
        total_1 -= float(np.log(p_1[scored]).sum())
        total_3 -= float(np.log(p_3[scored]).sum())
    if not count:
        raise ValueError("floors: the held-out text has no tokens to score")
    return Floors(math.log(vocab_size), total_1 / count, total_3 / count)


class KneserNey:
    """An n-gram model with interpolated modified Kneser-Ney smoothing.

    From Chen and Goodman, "An empirical study of smoothing techniques for language modeling"
    (1998), with their discounts for counts of 1, 2, and 3 or more, from the training counts only.
    Each order takes a discount from its counts and gives what that frees to the order below, the
    lowest one to the uniform distribution, so that every context's probabilities sum to one and
    none is zero. Below the highest order an n-gram counts once for each token it was seen after,
    not once for each time: "Francisco" is frequent, but follows only "San". At the beginning of
    a document there is no token before, and n-grams count each time.
    """

    def __init__(
        self, tokens: np.ndarray, vocab_size: int, *, order: int, ignore: int | None = None
    ) -> None:
        if vocab_size < 1 or vocab_size**order >= 1 << 63:  # n-grams are packed into 64 bits
            raise ValueError(f"floors: a vocabulary of {vocab_size:,} tokens is out of range")
        self.vocab_size, self.order, self.ignore = vocab_size, order, ignore
        # By length, the n-grams with nothing before them; for the longest, all of them.
        begin = [key[depth == n] for n, (key, depth) in enumerate(self._ngrams(tokens))]
        self._levels: list[_Level] = []
        shorter = np.empty(0, np.int64)
        for n in reversed(range(order)):
            ngrams, counts = np.unique(np.concatenate([shorter, begin.pop()]), return_counts=True)
            self._levels.insert(0, _Level(ngrams, counts, vocab_size))
            shorter = ngrams % vocab_size**n

    def __call__(self, tokens: np.ndarray) -> _Floats:
        """Give the probability of each token after those before it, NaN for `ignore`.

        Raises:
            ValueError: an id is outside of the vocabulary.

        """
        p = np.full(len(tokens), np.nan)
        for n, (key, depth) in enumerate(self._ngrams(tokens)):
            there = depth >= n
            p[there] = self._levels[n](key[there], p[there] if n else 1 / self.vocab_size)
        return p

    def _ngrams(self, tokens: np.ndarray) -> Iterator[tuple[_Ints, NDArray[np.int8]]]:
        """For n = 0, 1, ...: each token with the n before it as one number, and its depth.

        The depth is how many tokens a document has before it, at most `order` - 1; -1 for
        `ignore`. Where it is less than n the number means nothing.
        """
        ids: _Ints = np.asarray(tokens, dtype=np.int64)
        assert ids.ndim == 1
        if len(ids) and not 0 <= ids.min() <= ids.max() < self.vocab_size:
            wrong = ids[(ids < 0) | (ids >= self.vocab_size)][0]
            raise ValueError(f"floors: id {wrong} in a vocabulary of {self.vocab_size:,} tokens")
        first = np.flatnonzero(ids == self.ignore) if self.ignore is not None else ids[:0]
        starts = np.concatenate([[0], first])
        depth = np.full(len(ids), self.order - 1, np.int8)
        for n in reversed(range(self.order - 1)):  # the nearest start is written last
            depth[(starts + n)[starts + n < len(ids)]] = n
        depth[first] = -1
        key = ids.copy()
        for n in range(self.order):
            if n:
                key[n:] += ids[:-n] * self.vocab_size**n
            yield key, depth


class _Level:
    """One order: what its n-grams add, and how much of the order below is mixed in."""

    def __init__(self, ngrams: _Ints, counts: _Ints, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        contexts, first = np.unique(ngrams // vocab_size, return_index=True)
        sizes = np.diff(first, append=len(ngrams))
        totals = np.add.reduceat(counts, first) if len(first) else first
        discounts = _discounts(counts)[np.minimum(counts, 3) - 1]
        self._ngrams, self._contexts = ngrams, contexts
        self._shares = (counts - discounts) / np.repeat(totals, sizes)
        freed = np.add.reduceat(discounts, first) if len(first) else discounts
        self._weights = freed / totals

    def __call__(self, key: _Ints, below: _Floats | float) -> _Floats:
        """Interpolate with the probabilities of the order below; an unseen context is all those."""
        weight = _find(self._contexts, key // self._vocab_size, self._weights, 1.0)
        return _find(self._ngrams, key, self._shares, 0.0) + weight * below


def _discounts(counts: _Ints) -> _Floats:
    """What to take from counts of one, two, and three or more."""
    n1, n2, n3, n4 = (int((counts == c).sum()) for c in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return np.array(_DISCOUNTS)
    y = n1 / (n1 + 2 * n2)
    estimate = np.array([max(y, _LEAST), 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    # Where few n-grams were seen the formula can give less for a larger count, even nothing.
    return np.maximum.accumulate(estimate)


def _find(keys: _Ints, wanted: _Ints, values: _Floats, default: float) -> _Floats:
    """Look `wanted` up among sorted keys."""
    if not len(keys):
        return np.full(len(wanted), default)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], default)
