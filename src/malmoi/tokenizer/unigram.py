"""Training of a unigram language model of pieces (Kudo 2018), in numpy.

The `tokenizers` library has such a trainer; its result changes from run to run in the last digits
and with them the order of the ids, since it sums in the order of a randomly seeded hash table. Here
the same text gives the same pieces. The way is the usual one: many substrings as seeds, EM for
their probabilities, the least useful quarter dropped, again until few enough are left.
"""

from collections import Counter
from itertools import pairwise

import numpy as np
import numpy.typing as npt

_MAX_PIECE = 16  # characters, as in SentencePiece
_MAX_WORDS = 300_000  # the most frequent words stand for all: bounds time and memory
_MAX_SEEDS = 400_000
# Longer words are cut: a product of 24 probabilities of at least e**-25 stays above the smallest
# double, so that the sums need no logarithms.
_MAX_WORD = 24
_MIN_SCORE = -25.0

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def train_pieces(
    words: Counter[str], letters: list[str], size: int, min_frequency: int = 2
) -> list[tuple[str, float]]:
    """Pieces with their log-probabilities, likely ones first: all `letters`, and longer ones.

    `words` and their counts hold no other characters than `letters`. There are `size` pieces, or
    fewer where the words do not have so many substrings that occur `min_frequency` times.
    """
    cut: Counter[str] = Counter()
    for word, count in sorted(words.items(), key=lambda item: (-item[1], item[0]))[:_MAX_WORDS]:
        for start in range(0, len(word), _MAX_WORD):
            cut[word[start : start + _MAX_WORD]] += count
    texts = sorted(cut)
    counts = np.array([cut[text] for text in texts], dtype=np.float64)
    pieces, mass = _seeds(cut, letters, size, min_frequency)
    fixed = len(letters)  # letters come first and always stay
    scores = np.log(mass / mass.sum())
    index = {piece: i for i, piece in enumerate(pieces)}
    corpus = _Lattices(texts, index)
    themselves = _Lattices(pieces, index)
    themselves.drop_whole()
    alive = np.arange(len(pieces))  # which seeds are left, as indices of `pieces`
    while True:
        for _ in range(2):
            expected = corpus.expected(scores, counts)
            useful = np.where(np.arange(len(alive)) < fixed, np.inf, expected)
            keep = useful >= 0.5
            if keep.sum() < size:  # rather a piece of little use than fewer than asked for
                keep = _top(useful, size)
            alive, expected = alive[keep], expected[keep]
            for lattices in (corpus, themselves):
                lattices.keep(keep)
            # The sparse prior of the "Bayesian" EM: rare pieces lose more than their share.
            scores = _digamma(np.maximum(expected, 0.5)) - _digamma(expected.sum(keepdims=True))
            scores = np.maximum(scores, _MIN_SCORE)
        if len(alive) <= size:
            break
        # What the text's log-probability loses when the piece is written by others.
        loss = expected * (scores - themselves.best(scores)[alive])
        loss[:fixed] = np.inf
        keep = _top(loss, max(size, int(0.75 * len(alive))))
        alive, scores = alive[keep], scores[keep]
        for lattices in (corpus, themselves):
            lattices.keep(keep)
    # Rounded, so that another processor's last digit makes no other file.
    found = [(pieces[i], round(float(score), 6)) for i, score in zip(alive, scores, strict=True)]
    return sorted(found, key=lambda item: (-item[1], item[0]))


def _seeds(
    words: Counter[str], letters: list[str], size: int, min_frequency: int
) -> tuple[list[str], Floats]:
    """Letters, then the substrings that cover the most text; how much text each covers."""
    found: Counter[str] = Counter()
    for word, count in words.items():
        length = len(word)
        for start in range(length):
            for end in range(start + 1, min(length, start + _MAX_PIECE) + 1):
                found[word[start:end]] += count
    longer = [
        (-count * len(piece), piece)
        for piece, count in found.items()
        if len(piece) > 1 and count >= min_frequency
    ]
    longer.sort()
    longer = longer[: min(_MAX_SEEDS, max(20 * size, 50_000))]
    mass = [max(found[letter], 1) for letter in letters] + [-cover for cover, _ in longer]
    return [*letters, *(piece for _, piece in longer)], np.array(mass, dtype=np.float64)


class _Lattices:
    """All ways to write each of many texts in pieces: an edge for each piece at each place.

    Nodes are the places between characters, numbered through all texts. Edges are taken position by
    position, for all texts at once.
    """

    def __init__(self, texts: list[str], index: dict[str, int]) -> None:
        start: list[int] = []
        end: list[int] = []
        piece: list[int] = []
        first = [0]
        for text in texts:
            base, length = first[-1], len(text)
            for i in range(length):
                for j in range(i + 1, min(length, i + _MAX_PIECE) + 1):
                    id = index.get(text[i:j])
                    if id is not None:
                        start.append(base + i)
                        end.append(base + j)
                        piece.append(id)
            first.append(base + length + 1)
        self._first = np.array(first[:-1], dtype=np.int64)
        self._last = np.array(first[1:], dtype=np.int64) - 1
        lengths = self._last - self._first + 1
        self._owner = np.repeat(np.arange(len(texts)), lengths)  # of each node
        self._place = np.arange(first[-1]) - np.repeat(self._first, lengths)  # in its text
        self._start, self._end = np.array(start, dtype=np.int64), np.array(end, dtype=np.int64)
        self._piece = np.array(piece, dtype=np.int64)
        self._order_edges()

    def _order_edges(self) -> None:
        order = np.lexsort((self._end, self._place[self._end]))
        self._start, self._end, self._piece = (
            array[order] for array in (self._start, self._end, self._piece)
        )
        self._forward = _steps(self._end, self._place[self._end])
        self._by_start = np.lexsort((self._start, -self._place[self._start]))
        starts = self._start[self._by_start]
        self._backward = _steps(starts, -self._place[starts])

    def _select(self, mask: npt.NDArray[np.bool_]) -> None:
        self._start, self._end = self._start[mask], self._end[mask]
        self._piece = self._piece[mask]
        self._order_edges()

    def drop_whole(self) -> None:
        """Leave out the edges that write a whole text of two characters or more in one piece."""
        owner = self._owner[self._start]
        whole = (self._start == self._first[owner]) & (self._end == self._last[owner])
        self._select(~whole | (self._end - self._start == 1))

    def keep(self, kept: npt.NDArray[np.bool_]) -> None:
        """Leave out the pieces that are not kept; the others are numbered afresh."""
        if kept.all():
            return
        number = np.where(kept, np.cumsum(kept) - 1, -1)
        self._piece = number[self._piece]
        self._select(self._piece >= 0)

    def expected(self, scores: Floats, counts: Floats) -> Floats:
        """How often each piece is expected in texts that occur `counts` times (the E step)."""
        chance = np.exp(scores)[self._piece]
        before = np.zeros(len(self._owner))
        before[self._first] = 1.0
        for edges, nodes, cuts in self._forward:
            before[nodes] = np.add.reduceat(before[self._start[edges]] * chance[edges], cuts)
        after = np.zeros(len(self._owner))
        after[self._last] = 1.0
        ends = self._end[self._by_start]
        backward_chance = chance[self._by_start]
        for edges, nodes, cuts in self._backward:
            after[nodes] = np.add.reduceat(after[ends[edges]] * backward_chance[edges], cuts)
        weight = (counts / before[self._last])[self._owner[self._start]]
        flow = weight * before[self._start] * chance * after[self._end]
        return np.bincount(self._piece, weights=flow, minlength=len(scores)).astype(np.float64)

    def best(self, scores: Floats) -> Floats:
        """Log-probability of the best way to write each text (Viterbi)."""
        score = scores[self._piece]
        best = np.full(len(self._owner), -np.inf)
        best[self._first] = 0.0
        for edges, nodes, cuts in self._forward:
            best[nodes] = np.maximum.reduceat(best[self._start[edges]] + score[edges], cuts)
        return best[self._last]


def _steps(nodes: Ints, places: Ints) -> list[tuple[slice, Ints, Ints]]:
    """For each place: its edges, the nodes they lead to, and where each node's edges begin.

    `nodes` is sorted by place, then by node.
    """
    steps = []
    bounds = [*np.flatnonzero(np.diff(places, prepend=places[:1] - 1)), len(places)]
    for low, high in pairwise(bounds):
        part = nodes[low:high]
        cuts = np.flatnonzero(np.diff(part, prepend=part[:1] - 1))
        steps.append((slice(int(low), int(high)), part[cuts], cuts))
    return steps


def _top(values: Floats, count: int) -> npt.NDArray[np.bool_]:
    """Marks the `count` largest values, the first ones among equals."""
    mask = np.zeros(len(values), dtype=bool)
    mask[np.argsort(-values, kind="stable")[:count]] = True
    return mask


def _digamma(x: Floats) -> Floats:
    """Derivative of log gamma for x > 0: recurrence up to 7, then the asymptotic series."""
    x = x.astype(np.float64)
    shift = np.zeros_like(x)
    while (small := x < 7).any():
        shift = shift - np.where(small, 1 / x, 0.0)
        x = x + small
    square = 1 / (x * x)
    series = square * (1 / 12 - square * (1 / 120 - square / 252))
    return shift + np.log(x) - 0.5 / x - series
