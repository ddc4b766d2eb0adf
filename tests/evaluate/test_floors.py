import math
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malmoi.evaluate import floors as module
from malmoi.evaluate.floors import KneserNey, floors

DATA = Path(__file__).parents[2].parent / "shared" / "data"
BOS = 0


def ids(*tokens: int) -> np.ndarray:
    return np.array(tokens, dtype=np.uint16)


def text(seed: int, documents: int, vocab_size: int, longest: int = 12) -> np.ndarray:
    """Documents of words where one word makes the next likelier, each after a BOS."""
    rng = random.Random(seed)
    out = []
    for _ in range(documents):
        out.append(BOS)
        word = rng.randrange(1, vocab_size)
        for _ in range(rng.randrange(longest + 1)):
            out.append(word)
            step = min(int(rng.expovariate(0.4)), vocab_size - 2)
            word = 1 + (word * 3 + step) % (vocab_size - 1)
    return ids(*out)


# Against the definition


class Naive:
    """Interpolated modified Kneser-Ney as Chen and Goodman write it, one n-gram at a time."""

    def __init__(self, train: np.ndarray, vocab_size: int, ignore: int | None) -> None:
        self.vocab_size, self.ignore = vocab_size, ignore
        documents = self.documents(train)
        trigrams: Counter[tuple[int, ...]] = Counter()
        bigrams: Counter[tuple[int, ...]] = Counter()
        unigrams: Counter[tuple[int, ...]] = Counter()
        for document in documents:
            trigrams.update(zip(document, document[1:], document[2:], strict=False))
            bigrams.update([tuple(document[:2])] if len(document) > 1 else [])
            unigrams.update([(document[0],)] if document[0] != ignore else [])
        bigrams.update(trigram[1:] for trigram in set(trigrams))
        unigrams.update(bigram[1:] for bigram in set(bigrams))
        self.orders = [unigrams, bigrams, trigrams]

    def documents(self, tokens: np.ndarray) -> list[list[int]]:
        documents: list[list[int]] = []
        for token in tokens.tolist():
            if token == self.ignore or not documents:
                documents.append([])
            documents[-1].append(token)
        return documents

    def p(self, *ngram: int) -> float:
        if not ngram:
            return 1 / self.vocab_size
        below = self.p(*ngram[1:])
        counts = self.orders[len(ngram) - 1]
        n = Counter(counts.values())
        discount = {1: 0.5, 2: 1.0, 3: 1.5}
        if n[1] and n[2] and n[3] and n[4]:
            y = n[1] / (n[1] + 2 * n[2])
            discount[1] = max(1 - 2 * y * n[2] / n[1], 0.1)
            discount[2] = max(2 - 3 * y * n[3] / n[2], discount[1])
            discount[3] = max(3 - 4 * y * n[4] / n[3], discount[2])
        after = {key: c for key, c in counts.items() if key[:-1] == ngram[:-1]}
        if not after:
            return below
        total = sum(after.values())
        freed = sum(discount[min(c, 3)] for c in after.values())
        kept = after[ngram] - discount[min(after[ngram], 3)] if ngram in after else 0
        return kept / total + freed / total * below

    def all(self, tokens: np.ndarray) -> list[float]:
        out = []
        for document in self.documents(tokens):
            for i, token in enumerate(document):
                if token != self.ignore:
                    out.append(self.p(*document[max(0, i - 2) : i + 1]))
        return out


@pytest.mark.parametrize("ignore", [BOS, None])
@pytest.mark.parametrize(("documents", "vocab_size"), [(3, 4), (40, 9), (150, 60)])
def test_trigram_is_the_definition(documents: int, vocab_size: int, ignore: int | None) -> None:
    train = text(1, documents, vocab_size)
    held_out = text(2, 12, vocab_size + 5)  # with words never seen
    naive = Naive(train, vocab_size + 5, ignore)
    p = KneserNey(train, vocab_size + 5, order=3, ignore=ignore)(held_out)
    assert list(np.isnan(p)) == [token == ignore for token in held_out]
    np.testing.assert_allclose(p[~np.isnan(p)], naive.all(held_out), rtol=1e-12)


def test_estimated_discounts_were_under_test() -> None:
    naive = Naive(text(1, 150, 60), 65, BOS)
    assert any({1, 2, 3, 4} <= set(order.values()) for order in naive.orders)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=40).filter(any),
    st.lists(st.integers(0, 4), min_size=1, max_size=20).filter(any),
)
def test_any_layout_of_documents(train: list[int], held_out: list[int]) -> None:
    p = KneserNey(ids(*train), 5, order=3, ignore=BOS)(ids(*held_out))
    expected = Naive(ids(*train), 5, BOS).all(ids(*held_out))
    np.testing.assert_allclose(p[~np.isnan(p)], expected, rtol=1e-12)


def test_worked_example() -> None:
    # a b a b a c: too little to estimate discounts from, so they are 0.5, 1 and 1.5.
    # Counts a 3, b 2, c 1: 3 of 6 are freed, and P(a) = 1.5/6 + 3/6 * 1/3.
    # Different tokens before: a 2 (b, and nothing), b 1, c 1: freed 2 of 4, P1(b) = 0.5/4 + 1/6.
    # After a, b follows 2 (b, and nothing), c 1: freed 1.5 of 3, P2(b|a) = 1/3 + P1(b)/2.
    # After b, a follows 1: P2(a|b) = 0.5 + P1(a)/2, with P1(a) = 1/4 + 1/6.
    # After a b, a twice: P3(a|ab) = 1/2 + P2(a|b)/2.
    train, held_out = ids(0, 1, 0, 1, 0, 2), ids(0, 1, 0)
    first = 1.5 / 6 + 1 / 6
    second = 1 / 3 + (0.5 / 4 + 1 / 6) / 2
    third = 1 / 2 + (0.5 + (1 / 4 + 1 / 6) / 2) / 2
    result = floors(train, held_out, 3)
    assert result.uniform == pytest.approx(math.log(3))
    unigram = (first, 1.0 / 6 + 1 / 6, first)
    assert result.unigram == pytest.approx(-sum(map(math.log, unigram)) / 3, rel=1e-12)
    trigram = (first, second, third)
    assert result.trigram == pytest.approx(-sum(map(math.log, trigram)) / 3, rel=1e-12)


# A distribution


@pytest.mark.parametrize("train", [text(3, 60, 7), text(3, 1, 7, 3), ids(1)])
def test_sums_to_one_over_the_vocabulary(train: np.ndarray) -> None:
    every = range(8)  # 7 is never seen
    for order in (1, 2, 3, 4):
        model = KneserNey(train, 8, order=order)
        for before in [(), *((u,) for u in every), *((u, v) for u in every for v in every)]:
            p = [model(ids(*before, word))[-1] for word in every]
            assert sum(p) == pytest.approx(1, abs=1e-12)
            assert min(p) > 0


def test_sums_to_one_with_documents() -> None:
    model = KneserNey(text(4, 60, 7), 8, order=3, ignore=BOS)
    for before in [(), *((u,) for u in range(1, 8)), *((u, 3) for u in range(1, 8))]:
        p = [model(ids(BOS, *before, word))[-1] for word in range(1, 8)]
        # BOS never follows anything, so that it is as likely as 7, which was never seen.
        assert sum(p) + p[-1] == pytest.approx(1, abs=1e-12)


# Documents


def test_no_context_reaches_across_a_document() -> None:
    train = text(5, 30, 9)
    model = KneserNey(train, 9, order=3, ignore=BOS)
    one, other = model(ids(BOS, 3, 4, BOS, 5, 6)), model(ids(BOS, 7, 8, 2, 1, BOS, 5, 6))
    assert list(one[-2:]) == list(other[-2:])
    assert list(one[-2:]) == list(model(ids(BOS, 5, 6))[-2:])
    assert one[-2] != model(ids(3, 5))[-1]


def test_mean_is_over_all_tokens_but_bos() -> None:
    train, held_out = text(6, 50, 9), text(7, 10, 9)
    result = floors(train, held_out, 9, ignore=BOS)
    counts = Counter(train[train != BOS].tolist())
    scored = [token for token in held_out.tolist() if token != BOS]
    # Every count is over three, so that 1.5 of each is freed.
    assert min(counts.values()) > 3
    total, freed = sum(counts.values()), 1.5 * len(counts)
    loss = [-math.log((counts[token] - 1.5) / total + freed / total / 9) for token in scored]
    assert result.unigram == pytest.approx(sum(loss) / len(scored), rel=1e-12)
    nats = -np.log(Naive(train, 9, BOS).all(held_out))
    assert result.trigram == pytest.approx(float(nats.mean()), rel=1e-12)


def test_first_token_without_bos_is_scored_with_the_unigram() -> None:
    train = text(8, 50, 9)
    alone = floors(train, ids(4), 9, ignore=BOS)
    assert alone.trigram == alone.unigram
    after = floors(train, ids(BOS, 4), 9, ignore=BOS)
    assert after.unigram == alone.unigram
    assert after.trigram == pytest.approx(-math.log(Naive(train, 9, BOS).p(BOS, 4)))


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    train, held_out = text(9, 50, 9), text(10, 20, 9)
    whole = floors(train, held_out, 9, ignore=BOS)
    for chunk in (1, 2, 3, 7):
        monkeypatch.setattr(module, "_CHUNK", chunk)
        split = floors(train, held_out, 9, ignore=BOS)
        assert split.unigram == pytest.approx(whole.unigram, rel=1e-12)
        assert split.trigram == pytest.approx(whole.trigram, rel=1e-12)


# Sizes and what goes wrong


def test_memory_map_and_most_train(tmp_path: Path) -> None:
    tokens = text(11, 100, 9)
    tokens.tofile(tmp_path / "tokens.bin")
    mapped = np.memmap(tmp_path / "tokens.bin", dtype=np.uint16, mode="r")
    held_out = text(12, 10, 9)
    expected = floors(tokens[:200].astype(np.uint32), held_out, 9, ignore=BOS)
    assert floors(mapped, held_out, 9, ignore=BOS, most_train=200) == expected
    assert floors(mapped, held_out, 9, ignore=BOS) != expected


def test_large_vocabulary() -> None:
    last = (1 << 20) - 1
    train = np.array([last, last - 1, last] * 3, dtype=np.uint32)
    result = floors(train, train[:3], 1 << 20)
    assert result.trigram < result.unigram < result.uniform
    assert result.uniform == pytest.approx(20 * math.log(2))


def test_unseen_words_cost_more_but_not_everything() -> None:
    train = text(13, 50, 9)
    seen, unseen = (floors(train, ids(BOS, *tokens), 100) for tokens in [(1, 4), (98, 99)])
    assert seen.unigram < unseen.unigram < math.inf
    assert seen.trigram < unseen.trigram < math.inf


def test_one_token_each() -> None:
    same, other = floors(ids(1), ids(1), 3), floors(ids(1), ids(2), 3)
    assert same.unigram == same.trigram == pytest.approx(-math.log(0.5 + 0.5 / 3))
    assert other.unigram == other.trigram == pytest.approx(-math.log(0.5 / 3))
    assert floors(ids(0), ids(0, 0, 0), 1) == module.Floors(0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("train", "held_out", "vocab_size", "match"),
    [
        (ids(), ids(1), 3, "no tokens to count"),
        (ids(BOS, BOS), ids(1), 3, "no tokens to count"),
        (ids(1), ids(), 3, "no tokens to score"),
        (ids(1), ids(BOS), 3, "no tokens to score"),
        (ids(1, 3), ids(1), 3, "id 3 in a vocabulary of 3"),
        (ids(1), ids(1, 7), 3, "id 7 in a vocabulary of 3"),
        (ids(1), ids(1), 0, "out of range"),
        (ids(1), ids(1), 1 << 21, "out of range"),
    ],
)
def test_one_line_errors(
    train: np.ndarray, held_out: np.ndarray, vocab_size: int, match: str
) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        floors(train, held_out, vocab_size, ignore=BOS)
    assert "\n" not in str(caught.value)


# Real text


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA}")
def test_shakespeare() -> None:
    text = (DATA / "tinyshakespeare.txt").read_text(encoding="utf-8")
    characters = {c: i for i, c in enumerate(sorted(set(text)))}
    tokens = np.array([characters[c] for c in text], dtype=np.uint16)
    cut = len(tokens) * 9 // 10
    result = floors(tokens[:cut], tokens[cut:], len(characters))
    # What frequencies and pairs cannot beat: the entropy of the held-out text's own.
    unigrams = Counter(tokens[cut:].tolist())
    pairs = Counter(pairwise(tokens[cut:].tolist()))
    entropy = [_entropy(unigrams), _entropy(pairs) - _entropy(unigrams)]
    assert result.uniform == pytest.approx(math.log(65))
    assert entropy[0] < result.unigram < entropy[0] + 0.02
    assert result.trigram < entropy[1] < result.unigram < result.uniform


def _entropy(counts: Counter) -> float:
    total = counts.total()
    return -sum(c / total * math.log(c / total) for c in counts.values())
