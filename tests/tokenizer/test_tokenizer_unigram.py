"""The unigram trainer against all segmentations written out, and against the library's trainer."""

import math
from collections import Counter

import numpy as np
import pytest
import tokenizers
from tokenizers import Regex, models, pre_tokenizers, trainers

from malmoi.tokenizer import train_tokenizer
from malmoi.tokenizer.pattern import PATTERN
from malmoi.tokenizer.unigram import _digamma, _Lattices, train_pieces


def _segmentations(text: str, pieces: dict[str, float]) -> list[list[str]]:
    if not text:
        return [[]]
    return [
        [text[:cut], *rest]
        for cut in range(1, len(text) + 1)
        if text[:cut] in pieces
        for rest in _segmentations(text[cut:], pieces)
    ]


def test_expected_counts_and_best_are_those_of_all_segmentations():
    scores = {"a": -2.0, "b": -2.5, "c": -3.0, "ab": -3.5, "bc": -3.0, "abc": -6.0, "ca": -4.0}
    words = {"abc": 3.0, "cabca": 2.0, "a": 1.0, "bbc": 5.0}
    names = list(scores)
    lattices = _Lattices(list(words), {name: i for i, name in enumerate(names)})
    values = np.array(list(scores.values()))
    expected = dict.fromkeys(names, 0.0)
    best = []
    for word, count in words.items():
        ways = _segmentations(word, scores)
        weights = [math.exp(sum(scores[p] for p in way)) for way in ways]
        best.append(math.log(max(weights)))
        for way, weight in zip(ways, weights, strict=True):
            for piece in way:
                expected[piece] += count * weight / sum(weights)
    found = lattices.expected(values, np.array(list(words.values())))
    assert found == pytest.approx(list(expected.values()))
    assert lattices.best(values) == pytest.approx(best)
    # The same with "bc" left out, and with no word in one piece.
    lattices.keep(np.array([name != "bc" for name in names]))
    fewer = {name: score for name, score in scores.items() if name != "bc"}
    lattices.drop_whole()
    by_hand = [
        max(sum(fewer[p] for p in way) for way in _segmentations(word, fewer) if way != [word])
        for word in words
        if len(word) > 1
    ]
    got = lattices.best(np.array(list(fewer.values())))
    assert got[[0, 1, 3]] == pytest.approx(by_hand)


def test_digamma_at_known_points():
    euler = 0.5772156649015329
    known = [-euler, 1 - euler, -euler - 2 * math.log(2), 2.2517525890667211]
    assert _digamma(np.array([1.0, 2.0, 0.5, 10.0])) == pytest.approx(known, abs=1e-7)


@pytest.mark.parametrize("extra", [0, 1, 20])
def test_pieces_are_a_distribution_over_all_letters_and_the_wanted_number(sample, extra):
    counts = Counter(sample.split())
    letters = sorted(set("".join(counts)))
    pieces = train_pieces(counts, letters, len(letters) + extra)
    assert {piece for piece, _ in pieces} >= set(letters)
    assert len(pieces) == len(letters) + extra
    assert 0.5 < sum(math.exp(score) for _, score in pieces) <= 1  # the prior takes some off
    assert pieces == sorted(pieces, key=lambda piece: -piece[1])


def test_it_writes_unseen_text_at_least_as_short_as_the_librarys(shakespeare):
    train, unseen = shakespeare[:150_000], shakespeare[900_000:]
    ours = train_tokenizer([train], "unigram", 1500)
    letters = 4 + 115 + 128
    theirs = tokenizers.Tokenizer(models.Unigram())
    theirs.pre_tokenizer = pre_tokenizers.Split(Regex(PATTERN), "isolated")
    theirs.train_from_iterator(
        train.splitlines(keepends=True),
        trainers.UnigramTrainer(
            vocab_size=1500 - letters + len(set(train)), show_progress=False, unk_token="<unk>"
        ),
    )
    assert len(ours.encode(unseen)) < 1.02 * len(theirs.encode(unseen).ids)
