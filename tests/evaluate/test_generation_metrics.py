"""Measures of generated texts, against sacrebleu's own functions, loops and worked examples."""

import logging
import math
import sys

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from malmoi.evaluate.generation import (
    Bleu,
    Continuation,
    copied,
    distinct,
    is_korean,
    measure,
    perplexity,
    repetition,
    whole_words,
)
from malmoi.evaluate.overlap import SpanIndex

WORDS = ["a", "b", "the cat", "곰은", "산을 .", "\n", "x, y", "don't"]
texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join), min_size=2, max_size=6)
ids = st.lists(st.integers(0, 3), max_size=12)


def test_distinct_counts_words_over_all_texts() -> None:
    both = ["the cat the dog", "the cat"]
    assert distinct(both, 1) == 3 / 6
    assert distinct(both, 2) == 3 / 4  # the cat, cat the, the dog; the cat again
    assert distinct(both, 3) == 2 / 2
    assert distinct(both, 4) == 1
    assert distinct(both, 5) is None
    assert distinct([], 1) is None


def test_repetition_is_within_a_text() -> None:
    assert repetition([[1, 2, 3, 4, 1, 2, 3, 4]]) == pytest.approx(1 / 5)
    assert repetition([[1, 2, 3, 4], [1, 2, 3, 4]]) == 0
    assert repetition([[7] * 10]) == pytest.approx(6 / 7)
    assert repetition([[1, 2, 3], []]) is None


@given(st.lists(ids, max_size=5), st.integers(1, 4))
def test_repetition_by_a_loop(many: list[list[int]], n: int) -> None:
    before = total = 0
    for one in many:
        for end in range(n, len(one) + 1):
            total += 1
            before += any(one[at : at + n] == one[end - n : end] for at in range(end - n))
    if total:
        assert repetition(many, n) == pytest.approx(before / total)
    else:
        assert repetition(many, n) is None


def test_perplexity_of_a_uniform_guess_is_the_number_of_choices() -> None:
    assert perplexity([-math.log(50)] * 7) == pytest.approx(50)
    assert perplexity([-math.log(2), -math.log(8)]) == pytest.approx(4)
    assert perplexity([]) is None


@settings(deadline=None)
@given(texts)
def test_self_bleu_is_sacrebleus_with_the_others_as_references(many: list[str]) -> None:
    for tokenize in ("13a", "char"):
        metric = sacrebleu.BLEU(tokenize=tokenize, effective_order=True, force=True)
        right = [
            metric.sentence_score(one, many[:at] + many[at + 1 :]).score
            for at, one in enumerate(many)
        ]
        assert Bleu(many, tokenize).self_bleu(many) == pytest.approx(sum(right) / len(right))


def test_self_bleu_at_its_ends() -> None:
    bleu = Bleu(["x"])
    assert bleu.self_bleu(["the same five words here"] * 3) == pytest.approx(100)
    assert bleu.self_bleu(["one two three four", "five six seven eight"]) == 0
    assert bleu.self_bleu(["alone"]) is None


@settings(deadline=None)
@given(texts, st.randoms())
def test_bleu_and_chrf_are_sacrebleus(many: list[str], rng) -> None:
    other = rng.sample(many, len(many))
    found = Bleu(many, "13a").scores(other)
    assert found[0] == pytest.approx(sacrebleu.corpus_bleu(other, [many], force=True).score)
    assert found[1] == pytest.approx(sacrebleu.corpus_chrf(other, [many]).score)


def test_the_signature_tells_how_korean_was_split() -> None:
    korean = ["곰은 산에서 꿀을 먹었어요.", "토끼는 달을 봤어요."]
    bleu = Bleu(korean)
    assert "tok:char" in bleu.signatures["bleu"]
    assert f"version:{sacrebleu.__version__}" in bleu.signatures["bleu"]
    assert bleu.signatures["chrf"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0")
    assert bleu.scores(korean) == pytest.approx((100, 100))
    # Of 곰이산에서 five characters in a row are right but the second.
    [score, _] = Bleu(["곰은 산에서"]).scores(["곰이 산에서"])
    precisions = [4 / 5, 2 / 4, 1 / 3, 0.5 / 2]  # the last smoothed: none of 2 is right
    assert score == pytest.approx(100 * math.prod(precisions) ** (1 / 4))
    assert "tok:13a" in Bleu(["The bear went over the mountain."]).signatures["bleu"]


def test_what_is_wrong_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"no tokenizer 'word'; it has 13a, "):
        Bleu(["a"], "word")
    with pytest.raises(ValueError, match="2 texts for 1 references"):
        Bleu(["a"]).scores(["a", "b"])
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ValueError, match=r"pip install 'malmoi\[metrics\]'"):
        Bleu(["a"])


def test_nothing_is_logged_about_spaces_before_full_stops(
    caplog: pytest.LogCaptureFixture,
) -> None:
    many = ["It ends so ."] * 200
    with caplog.at_level(logging.INFO):
        bleu = Bleu(many)
        bleu.scores(many)
        bleu.self_bleu(many)
    assert not caplog.records


def test_korean_is_told_from_other_text() -> None:
    assert is_korean(["def f(x): return x + 1  # 하나를 더한다"])
    assert not is_korean(["The word 곰 means bear, and that is all the Korean there is."])
    assert not is_korean(["123", ""])


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("람은 산을 보고 나", "산을 보고 "),
        (" 산을 보", "산을 "),
        ("산을\n\n보고 ", "\n보고 "),
        ("하나", ""),
        ("하나 둘", ""),
        ("", ""),
    ],
)
def test_words_that_may_be_cut_are_left_out(text: str, inside: str) -> None:
    assert whole_words(text) == inside


def test_copied_counts_new_tokens_of_spans_that_may_begin_in_the_prompt() -> None:
    index = SpanIndex(np.arange(100, dtype=np.uint16), 32)

    def one(prompt: range, ids: list[int]) -> Continuation:
        return Continuation(prompt, ids, [], "")

    assert copied([one(range(0, 20), [*range(20, 32), 5, 5, 5, 5])], index) == 12 / 16
    assert copied([one(range(0, 19), [*range(19, 31), 5, 5, 5, 5])], index) == 0
    assert copied([one(range(2), [9]), one(range(40), [40, 41, 42])], index) == 3 / 4
    assert copied([], index) is None


def test_all_numbers_of_a_few_texts() -> None:
    references = ["곰은 산을 봤다 .", "나무는 물과 불을 봤다 ."]
    train = np.array([*range(40)], np.uint16)
    many = [
        Continuation([50], [51, 52, 53, 54, 51, 52, 53, 54], [-1.0] * 8, " 곰는 산을 봤다 ."),
        Continuation([0], [*range(1, 33)], [-2.0] * 32, references[1]),
    ]
    found = measure(many, Bleu(references), SpanIndex(train, 32))
    assert found.texts == 2
    assert found.tokens == 40
    assert found.perplexity == pytest.approx(math.exp((8 + 64) / 40))
    assert found.distinct_1 == pytest.approx(7 / 9)  # 봤다 and . twice
    assert found.repetition == pytest.approx(1 / (5 + 29))
    assert found.copied == 32 / 40
    # 곰는 is wrong; 산을, 물과 and 불을 are right; 나무는 may be the end of a longer word.
    assert (found.particles, found.particle_count) == (3 / 4, 4)
    assert found.bleu is not None
    assert 50 < found.bleu < 100
    own = measure(many, Bleu(references), SpanIndex(train, 32), reference=True)
    assert own.bleu is own.chrf is None
    assert own.dict() == {**found.dict(), "bleu": None, "chrf": None}


def test_texts_of_nothing_at_all() -> None:
    empty = [Continuation([1], [], [], "")] * 3
    found = measure(empty, Bleu(["a", "b", "c"]), SpanIndex(np.zeros(0, np.uint16), 32)).dict()
    assert found["tokens"] == found["bleu"] == found["chrf"] == 0
    for name in ("perplexity", "distinct_1", "repetition", "copied", "particles"):
        assert found[name] is None
