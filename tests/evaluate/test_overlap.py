"""Shared spans, against trying every place with every other."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malmoi.evaluate import overlap
from malmoi.evaluate.overlap import SpanIndex

few = st.lists(st.integers(0, 2), max_size=60)


def ids(values: object) -> np.ndarray:
    return np.array(values, dtype=np.uint16)


def longest(corpus: list[int], query: list[int], at: int, place: int) -> int:
    count = 0
    while (
        max(at, place - len(corpus) + len(query)) + count < len(query)
        and query[at + count] == corpus[place + count]
    ):
        count += 1
    return count


def brute(corpus: list[int], query: list[int], length: int) -> list[tuple[int, int, int]]:
    """For each place of the query the longest span from there, at its first place in the corpus."""
    spans = []
    reached = 0
    for at in range(len(query)):
        best = max(
            ((longest(corpus, query, at, place), -place) for place in range(len(corpus))),
            default=(0, 0),
        )
        if best[0] >= length and at + best[0] > reached:
            reached = at + best[0]
            spans.append((at, reached, -best[1]))
    return spans


def marked(spans: list[tuple[int, int, int]], size: int) -> list[bool]:
    return [any(start <= at < end for start, end, _ in spans) for at in range(size)]


@settings(max_examples=400, deadline=None)
@given(few, few, st.integers(1, 9))
def test_all_that_is_promised_holds_against_trying_everything(
    corpus: list[int], query: list[int], length: int
) -> None:
    index = SpanIndex(ids(corpus), length)
    found, true = index.matches(ids(query)), brute(corpus, query, length)
    assert index.covered(ids(query)).tolist() == marked(true, len(query))
    short = [span for span in true if span[1] - span[0] <= 2 * length]
    assert [span for span in found if span in short] == short
    for start, end, place in found:
        assert end - start == longest(corpus, query, start, place) >= length
        assert not start or not place or query[start - 1] != corpus[place - 1]
    # None lies in another, and they come in order.
    for one, other in pairwise(found):
        assert one[0] < other[0]
        assert one[1] < other[1]


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(4, 16))
def test_where_little_repeats_every_span_is_exact(data: st.DataObject, length: int) -> None:
    """The query is made of pieces of the corpus, which says nothing twice."""
    corpus = list(range(200))
    query: list[int] = []
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, 199))
        query += corpus[start : data.draw(st.integers(start, 200))]
        query += [999] * data.draw(st.integers(0, 2))
    assert SpanIndex(ids(corpus), length).matches(ids(query)) == brute(corpus, query, length)


def test_a_worked_example() -> None:
    corpus = ids([7, 7, 1, 2, 3, 4, 5, 8, 8, 3, 4, 5, 6, 9])
    query = ids([0, 1, 2, 3, 4, 5, 6, 0])
    index = SpanIndex(corpus, 3)
    # 1 2 3 4 5 at place 2, and 3 4 5 6 at place 9: they overlap and neither lies in the other.
    assert index.matches(query) == [(1, 6, 2), (3, 7, 9)]
    assert index.covered(query).tolist() == [False] + [True] * 6 + [False]
    assert SpanIndex(corpus, 5).matches(query) == [(1, 6, 2)]
    assert SpanIndex(corpus, 6).matches(query) == []


@pytest.mark.parametrize("length", [1, 2, 5, 8, 32])
def test_one_id_again_and_again(length: int) -> None:
    run = ids([5] * 500)
    index = SpanIndex(run, length)
    assert index.matches(ids([5] * 100)) == [(0, 100, 0)]
    assert index.matches(ids([4, *[5] * 100, 4])) == [(1, 101, 0)]
    assert index.matches(ids([5] * 502)) == [(0, 500, 0), (1, 501, 0), (2, 502, 0)]
    # Only where its neighbourhood differs is a block kept, or this would take quadratic time.
    assert len(index._hashes) <= 3 * length + 2


@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_across_the_borders_of_chunks(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(overlap, "_CHUNK", chunk)
    monkeypatch.setattr(overlap, "_CELLS", 4 * chunk)
    random = np.random.default_rng(0)
    corpus = random.integers(0, 50, 400).tolist()
    query = [*corpus[100:300], 51, *corpus[:90], *corpus[350:]]
    for length in (2, 8, 33):
        assert SpanIndex(ids(corpus), length).matches(ids(query)) == brute(corpus, query, length)


def test_nothing_to_look_for_or_to_look_in() -> None:
    some = ids(range(10))
    for corpus, query in ((some, ids([])), (ids([]), some), (some, some[:3]), (some[:3], some)):
        index = SpanIndex(corpus, 4)
        assert index.matches(query) == []
        assert index.covered(query).tolist() == [False] * len(query)
    with pytest.raises(ValueError, match="span of 0 ids"):
        SpanIndex(some, 0)


def test_large_ids_and_maps_on_disk(tmp_path: object) -> None:
    path = f"{tmp_path}/ids.bin"
    random = np.random.default_rng(1)
    random.integers(0, 1 << 32, 5000, dtype=np.uint32).tofile(path)
    corpus = np.memmap(path, dtype=np.uint32, mode="r")
    query = np.concatenate([corpus[4000:4100], corpus[10:60]]).astype(np.int64)
    index = SpanIndex(corpus, 32)
    assert index.matches(query) == [(0, 100, 4000), (100, 150, 10)]
    assert index.covered(query).all()
    query[50] += 1 << 32  # the same in its low bits only
    assert index.matches(query) == [(0, 50, 4000), (51, 100, 4051), (100, 150, 10)]


def test_a_hash_is_not_taken_for_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a base of 1 all orders of the same ids have one hash."""
    monkeypatch.setattr(overlap, "_BASE", np.uint64(1))
    index = SpanIndex(ids([1, 2, 3, 4, 5, 6]), 4)
    assert index.matches(ids([4, 3, 2, 1, 3, 4, 5, 6])) == [(4, 8, 2)]
    assert index.matches(ids([2, 1, 4, 3, 6, 5])) == []
