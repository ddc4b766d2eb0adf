import math
import random
import tracemalloc
from collections import Counter
from itertools import pairwise, permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malmoi.text.duplicates import paragraphs
from malmoi.text.near import CROWD, PLACES, WIDTH, NearIndex, banding, signatures, similarity
from malmoi.text.sources import read

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA}")
SYLLABLES = [chr(0xAC00 + i) for i in range(0, 11172, 13)]


def shingles(text: str) -> set[str]:
    """The definition, for texts of Hangul, digits and small Latin letters."""
    kept = "".join(sign for sign in text if sign.isalnum())
    return {kept[i : i + WIDTH] for i in range(max(1, len(kept) - WIDTH + 1))}


def jaccard(a: str, b: str) -> float:
    one, other = shingles(a), shingles(b)
    return len(one & other) / len(one | other)


def prose(rng: random.Random, length: int) -> str:
    return "".join(rng.choices([*SYLLABLES, " "], k=length))


def edited(rng: random.Random, text: str, edits: int) -> str:
    signs = list(text)
    for at in rng.sample(range(len(signs)), min(edits, len(signs))):
        signs[at] = rng.choice(SYLLABLES)
    return "".join(signs)


def pairs(count: int, length: int, seed: int = 0, most: float = 0.04) -> list[tuple[str, str]]:
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        text = prose(rng, length)
        made.append((text, edited(rng, text, rng.randint(0, int(most * length)))))
    return made


# Signatures


def test_what_does_not_count() -> None:
    texts = ["나는 학교에 갑니다. GPT", "나는학교에 갑니다 gpt!", "나는\n\n학교에 갑니다, (Gpt)"]
    rows = signatures(texts)
    assert rows.shape == (3, PLACES)
    assert rows.dtype == np.uint8
    assert (rows == rows[0]).all()
    assert signatures([]).shape == (0, PLACES)


def test_bare_places_take_the_least_of_all_blocks() -> None:
    """Nine shingles, one in the first block of 4,096 only, another in the last only."""
    long, short = "가" * 5000 + "나" * 5000, "가" * 8 + "나" * 8
    assert len(shingles(long)) == 9
    assert shingles(long) == shingles(short)
    assert (signatures([long]) == signatures([short])).all()


@settings(deadline=None)
@given(st.lists(st.text(max_size=40), max_size=8))
def test_a_signature_does_not_depend_on_its_neighbours(texts: list[str]) -> None:
    together = signatures(texts)
    for text, row in zip(texts, together, strict=True):
        assert (signatures([text])[0] == row).all()


@pytest.mark.parametrize("period", [1, 2, 7, 300])
def test_only_the_set_of_shingles_counts(period: int) -> None:
    """A text that repeats itself has the shingles of two periods, however long it is.

    The long ones take several blocks of 4,096 shingles, with and without bare places.
    """
    unit = "".join(SYLLABLES[:period])
    short = (unit * (2 * WIDTH + 2))[: period + WIDTH - 1]
    for length in (4000, 4102, 4103, 4104, 4105, 9000, 20_000):
        long = (unit * (length // period + 1))[:length]
        assert shingles(long) == shingles(short)
        assert (signatures([long]) == signatures([short])).all()


@pytest.mark.parametrize("length", [20, 45, 130, 400, 3000])
def test_estimates_are_right_on_average_and_as_exact_as_promised(length: int) -> None:
    """Also where there are fewer shingles than places, and about as many."""
    made = pairs(1200 if length < 1000 else 300, length, seed=length, most=0.1)
    true = np.array([jaccard(a, b) for a, b in made])
    found = similarity(signatures(a for a, _ in made), signatures(b for _, b in made))
    inner = (true > 0.02) & (true < 0.98)
    spread = np.sqrt(true[inner] * (1 - true[inner]) / PLACES)
    z = (found[inner] - true[inner]) / spread
    assert len(z) > 100
    assert abs(z.mean()) < 5 / math.sqrt(len(z))
    # Bytes that agree by accident add a little; places that exclude each other take a little off.
    assert 0.5 < z.std() < 1.15
    assert (found[true == 1] == 1).all()


def test_different_short_texts_are_not_near() -> None:
    rng = random.Random(1)
    texts = {chr(0xAC00 + i) for i in range(11172)}
    texts |= {"".join(rng.choices(SYLLABLES, k=rng.randint(2, 9))) for _ in range(5000)}
    texts |= {"---", "***", "!", "?", "", "...", "가" * 7, "가" * 9}
    some = sorted(texts)
    found = NearIndex(0.8).add_all(signatures(some), range(len(some)))
    assert [(some[i], some[j]) for i, j in enumerate(found) if j >= 0] == []


# The index


def find_rate(same: float, least: int, bands: int, rows: int) -> float:
    """The chance that a pair is found, from the definition: m places agree, in a whole band."""
    total = 0.0
    for m in range(least, PLACES + 1):
        chance = math.comb(PLACES, m) * same**m * (1 - same) ** (PLACES - m)
        # No band agrees as a whole: inclusion and exclusion over all places of the m.
        none = sum(
            (-1) ** k * math.comb(bands, k) * math.comb(PLACES - rows * k, m - rows * k)
            for k in range(min(bands, m // rows) + 1)
        ) / math.comb(PLACES, m)
        total += chance * (1 - none)
    return min(total, 1.0)


@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.9])
def test_recall_and_precision_around_the_threshold(threshold: float) -> None:
    """Thousands of pairs against the naive Jaccard similarity, as sums of Bernoulli draws."""
    made = pairs(4000, 300, seed=int(100 * threshold), most=0.06)
    true = np.array([jaccard(a, b) for a, b in made])
    index = NearIndex(threshold)
    assert (index.add_all(signatures(a for a, _ in made), range(4000)) == -1).all()
    partners = signatures(b for _, b in made)
    found = np.empty(4000, bool)
    for i, row in enumerate(partners):
        near = NearIndex(threshold)  # of its own: partners of one text must not help each other
        near.add_all(signatures([made[i][0]]), [i])
        found[i] = near.add(row, -1) == i
    least = math.ceil(PLACES * (threshold + (1 - threshold) / 256) - 1e-9)
    chances = np.array([find_rate(j + (1 - j) / 256, least, *banding(threshold)) for j in true])
    for low, high in pairwise([0, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.01]):
        some = (true >= low) & (true < high)
        expected = chances[some].sum()
        spread = math.sqrt((chances[some] * (1 - chances[some])).sum())
        assert abs(found[some].sum() - expected) <= 4.5 * spread + 1, (low, high)
    assert found[true >= threshold + 0.1].all()
    assert not found[true <= threshold - 0.2].any()
    # In one index of all texts the answers are the same: nothing else is near.
    assert (index.add_all(partners, range(4000)) == np.where(found, np.arange(4000), -1)).all()


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 1.0])
def test_banding(threshold: float) -> None:
    bands, rows = banding(threshold)
    assert bands * rows <= PLACES < (bands + 1) * rows
    assert (1 - threshold**rows) ** bands <= 0.01
    for more in range(rows + 1, PLACES + 1):
        assert (1 - threshold**more) ** (PLACES // more) > 0.01


def test_banding_of_the_default() -> None:
    assert banding(0.8) == (21, 6)  # 0.8^6 = 0.262, 0.738^21 = 0.0017; 0.79^18 = 0.014


def families(seed: int, count: int, members: int, kept: float) -> tuple[np.ndarray, list[int]]:
    """Signatures that agree with their family's in so many places, shuffled; and the families."""
    rng = np.random.default_rng(seed)
    heads = rng.integers(0, 256, (count, 1, PLACES), dtype=np.uint8)
    own = rng.integers(0, 256, (count, members, PLACES), dtype=np.uint8)
    rows = np.where(rng.random(own.shape) < kept, heads, own).reshape(-1, PLACES)
    order = rng.permutation(len(rows))
    return rows[order], (order // members).tolist()


@pytest.mark.parametrize("chain", [False, True])
def test_families_that_lie_apart_are_found_exactly(chain: bool) -> None:
    rows, family = families(0, 400, 7, 0.97)
    index = NearIndex(chain=chain)
    keys = [10_000 - 3 * i for i in range(len(rows))]
    first: dict[int, int] = {}
    for i, row in enumerate(rows):
        near = index.add(row, keys[i])
        want = first.setdefault(family[i], keys[i])
        if want == keys[i]:
            assert near is None
        elif chain:
            assert near is not None
            assert family[(10_000 - near) // 3] == family[i]
        else:
            assert near == want  # others were never remembered
    assert len(index) == len(rows)
    assert index.groups().tolist() == [first[one] for one in family]


@pytest.mark.parametrize("chain", [False, True])
def test_against_comparing_all_with_all(chain: bool) -> None:
    """Similarities on both sides of the threshold; only what no band shows may be missing."""
    rows, _ = families(1, 60, 12, 0.9)
    index = NearIndex(0.8, chain=chain)
    found = index.add_all(rows, range(len(rows)))
    bands, width = banding(0.8)
    kept: list[int] = []
    missed = looked = 0
    for i, row in enumerate(rows):
        alike = similarity(rows[kept], row)
        same = (rows[kept, : bands * width] == row[: bands * width]).reshape(-1, bands, width)
        shown = same.all(2).any(1)
        near = [(-alike[k], j) for k, j in enumerate(kept) if alike[k] >= 0.8 and shown[k]]
        looked += (alike >= 0.8).sum()
        missed += (alike >= 0.8).sum() - len(near)
        assert found[i] == (min(near)[1] if near else -1)  # the most similar, then the first
        if chain or not near:
            kept.append(i)
    assert looked > 100
    assert missed <= 0.01 * looked + 3
    assert 0 < (found >= 0).sum() < len(rows)


def test_chains() -> None:
    """A ~ B ~ C, but not A ~ C: C stays when texts are left out, and is one of the group."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, PLACES, dtype=np.uint8)
    b, other = a.copy(), rng.integers(0, 256, PLACES, dtype=np.uint8)
    b[5::9] = ~a[5::9]
    c = b.copy()
    c[2::9] = ~b[2::9]
    assert similarity(a, b) > 0.85 < similarity(b, c)
    assert similarity(a, c) < 0.8
    index = NearIndex(0.8)
    assert [index.add(row, key) for key, row in enumerate([a, b, c])] == [None, 0, None]
    for order in permutations([a, b, c]):
        index = NearIndex(0.8, chain=True)
        index.add_all(np.stack([other, *order]), [7, 6, 5, 4])
        assert index.groups().tolist() == [7, 6, 6, 6]


def test_twins_cost_little_and_are_found_however_many() -> None:
    rows, _ = families(2, 50, 400, 1.0)
    index = NearIndex(chain=True)
    index.add_all(rows, range(len(rows)))
    before = index.nbytes
    index.add_all(rows, range(len(rows), 2 * len(rows)))
    assert len(np.unique(index.groups())) == 50
    assert index.nbytes - before <= 16 * len(rows)


def test_a_band_that_all_share_takes_a_few_only() -> None:
    """Otherwise every text would be compared with all before it."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (3000, PLACES), dtype=np.uint8)
    rows[:, :6] = 7
    index = NearIndex(0.8, chain=True)
    assert (index.add_all(rows, range(3000)) == -1).all()
    bands, _ = banding(0.8)
    assert np.count_nonzero(index._slots) == 3000 * (bands - 1) + CROWD
    assert (index.add_all(rows, range(3000)) == np.arange(3000)).all()


def test_memory_of_many_texts() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (40_000, PLACES), dtype=np.uint8)
    NearIndex().add_all(rows[:2000], range(2000))  # so that all loops are compiled
    tracemalloc.start()
    try:
        index = NearIndex()
        for part in range(0, len(rows), 5000):
            index.add_all(rows[part : part + 5000], range(part, part + 5000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(index) == len(rows)
    assert 250 <= index.nbytes / len(rows) <= 420  # a quarter of it may be room for more
    assert peak <= 430 * len(rows) + 2_000_000
    found = index.add_all(rows, range(len(rows)))
    assert (found == np.arange(len(rows))).all()


def test_thresholds_outside_are_refused_in_one_line() -> None:
    for threshold in (0.49, 1.01, -1, float("nan")):
        with pytest.raises(ValueError, match="give a threshold") as caught:
            NearIndex(threshold)
        assert "\n" not in str(caught.value)
    index = NearIndex(1.0)
    row = signatures(["같은 글은 같은 글이다"])
    assert index.add(row[0], 5) is None
    assert index.add(row[0], 6) == 5
    assert NearIndex().groups().tolist() == []


# Real data


@needs_data
def test_planted_documents_are_found_and_hardly_others() -> None:
    rng = random.Random(0)
    texts = [piece.text for piece in read([str(DATA / "python_docs_ko.jsonl")])]
    copies = {}
    for i in rng.sample(range(len(texts)), 100):
        words = texts[i].split()
        for at in rng.sample(range(len(words)), len(words) // 100):
            words[at] = "바뀐말"
        copies[i] = " ".join(words)
    index = NearIndex(0.8)
    found = index.add_all(signatures(texts), range(len(texts)))
    for i, j in enumerate(found):
        if j >= 0:  # the documentation itself has a few pages that are one notice
            assert jaccard(texts[i].lower(), texts[j].lower()) > 0.7
    assert (found >= 0).sum() < 10
    again = index.add_all(signatures(copies.values()), list(copies))
    stays = [i for i in copies if found[i] < 0]
    near = {i: j for i, j in zip(copies, again, strict=True) if i in stays}
    assert Counter(near[i] == i for i in stays)[False] == 0


@needs_data
def test_planted_paragraphs_are_found() -> None:
    rng = random.Random(0)
    texts = [piece.text for piece in read([str(DATA / "python_docs_ko.jsonl")])][:60]
    spans = [(i, a, b) for i, text in enumerate(texts) for a, b in paragraphs(text, 200)]
    i, a, b = rng.choice([span for span in spans if span[2] - span[1] > 400])
    part = texts[i][a:b]
    near = part.replace(part[150:152], "다른", 1)
    index = NearIndex(0.8)
    index.add_all(signatures(texts[i][a:b] for i, a, b in spans), range(len(spans)))
    key = index.add(signatures([near])[0], -1)
    assert key is not None
    j, c, d = spans[key]
    assert jaccard(texts[j][c:d].lower(), near.lower()) >= 0.7
