import hashlib
import random
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malmoi.text.sources import Piece, read
from malmoi.text.split import EXACT, SPLITS, Plan, Split, assign, plan

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA}")
DEFAULT = Split(0.8, 0.1, 0.1)


def docs(count: int, *, start: int = 0) -> list[Piece]:
    return [Piece(f"문서 {i}번", True, f"x:{i}") for i in range(start, start + count)]


def sides(pieces: list[Piece], split: Split = DEFAULT, seed: int = 0) -> dict[str, str]:
    return {piece.text: side for side, piece in assign(pieces, split, seed=seed)}


# The fractions


@pytest.mark.parametrize(
    ("text", "want", "printed"),
    [
        ("80/10/10", (0.8, 0.1, 0.1), "80/10/10"),
        ("90/10", (0.9, 0.1, 0), "90/10"),
        ("90/10/0", (0.9, 0.1, 0), "90/10"),
        ("0.9/0.05/0.05", (0.9, 0.05, 0.05), "90/5/5"),
        ("100", (1, 0, 0), "100"),
        ("1", (1, 0, 0), "100"),
        ("80/0/20", (0.8, 0, 0.2), "80/0/20"),
        ("33.3/33.3/33.3", (1 / 3, 1 / 3, 1 / 3), "33.33333333/33.33333333/33.33333333"),
        (" 99.5 / 0.5 ", (0.995, 0.005, 0), "99.5/0.5"),
    ],
)
def test_parse_and_print(text: str, want: tuple[float, float, float], printed: str) -> None:
    split = Split.parse(text)
    assert (split.train, split.validation, split.test) == pytest.approx(want)
    assert str(split) == printed
    assert Split.parse(str(split)).ends == split.ends


@pytest.mark.parametrize(
    "text",
    ["", "a/b", "80/10", "80/10/20", "0/50/50", "110/-10", "80//20", "nan", "inf", "25/25/25/25"],
)
def test_bad_splits_are_one_line(text: str) -> None:
    with pytest.raises(ValueError, match="split") as caught:
        Split.parse(text)
    assert "\n" not in str(caught.value)


def test_bad_fractions() -> None:
    for parts in ((0.5, 0.1, 0.1), (0.0, 0.5, 0.5), (1.2, -0.2, 0.0), (float("nan"), 0.0, 0.0)):
        with pytest.raises(ValueError, match="split"):
            Split(*parts)


# By document


def test_exact_counts() -> None:
    for count, want in (
        (426, (341, 42, 43)),
        (10, (8, 1, 1)),
        (100, (80, 10, 10)),
        (15, (12, 2, 1)),
    ):
        counts = Counter(sides(docs(count)).values())
        assert all(abs(counts[side] - w) <= 1 for side, w in zip(SPLITS, want, strict=True))
        assert sum(counts.values()) == count
    assert Counter(sides(docs(100)).values()) == {"train": 80, "validation": 10, "test": 10}


@given(count=st.integers(10, 300), parts=st.tuples(*[st.integers(0, 20)] * 3), seed=st.integers())
def test_nearest_whole_numbers_and_none_empty(
    count: int, parts: tuple[int, int, int], seed: int
) -> None:
    total = sum(parts)
    if not parts[0]:
        return
    split = Split(*(part / total for part in parts))
    counts = Counter(sides(docs(count), split, seed).values())
    for side, part in zip(SPLITS, parts, strict=True):
        share = count * part / total
        assert (counts[side] > 0) == (part > 0)
        # At least one in each part can take two from the others.
        assert abs(counts[side] - share) < (1.001 if share >= 1 else 3)


def test_order_and_seed() -> None:
    some = docs(200)
    shuffled = random.Random(1).sample(some, len(some))
    assert sides(some) == sides(shuffled) == sides(some)
    assert sides(some) != sides(some, seed=1)


def test_duplicates_share_a_side() -> None:
    some = docs(50) * 3 + docs(1) * 20
    random.Random(0).shuffle(some)
    seen = defaultdict(set)
    for side, piece in assign(some, DEFAULT):
        seen[piece.text].add(side)
    assert len(seen) == 50
    assert all(len(where) == 1 for where in seen.values())
    counts = Counter(side for side, _ in assign(some, DEFAULT))
    assert abs(counts["train"] - 0.8 * len(some)) <= 12  # half the largest group of duplicates


def test_many_documents_stay_where_they_are_when_others_come() -> None:
    some = docs(EXACT + 1000)
    before = sides(some)
    after = sides(docs(500, start=10**6) + some + docs(500, start=2 * 10**6))
    assert all(after[text] == side for text, side in before.items())
    counts = Counter(before.values())
    assert abs(counts["train"] / len(some) - 0.8) < 0.03
    assert abs(counts["test"] / len(some) - 0.1) < 0.02


def test_many_documents_follow_the_hash() -> None:
    """An independent reading of the rule: the hash, as a fraction, against 0.8 and 0.9."""
    some = docs(EXACT + 10)
    for text, side in list(sides(some, seed=5).items())[:500]:
        digest = hashlib.blake2b(text.encode(), digest_size=8, key=b"5").digest()
        at = int.from_bytes(digest) / 2**64
        assert side == ("train" if at < 0.8 else "validation" if at < 0.9 else "test")


def test_many_documents_are_not_read_twice() -> None:
    read_so_far = 0

    def endless() -> Iterator[Piece]:
        nonlocal read_so_far
        for piece in docs(3 * EXACT):
            read_so_far += 1
            yield piece

    plan(endless, DEFAULT)
    assert read_so_far == EXACT + 1


def test_later_pieces_follow_their_document() -> None:
    pieces = []
    for i, piece in enumerate(docs(40)):
        pieces += [piece] + [Piece(f"이어서 {i}.{k}", False, piece.source) for k in range(3)]
    out = list(assign(pieces, DEFAULT))
    assert [piece for _, piece in out] == pieces
    for start in range(0, len(out), 4):
        assert len({side for side, _ in out[start : start + 4]}) == 1


# Groups


def grouped(count: int, groups: object, **how: object) -> list[str]:
    """The side of each of `count` documents, in order."""
    out = assign(docs(count), DEFAULT, groups=groups, **how)  # type: ignore[arg-type]
    return [side for side, _ in out]


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), min_size=30, max_size=120), st.integers(0, 9))
def test_a_group_goes_where_its_first_document_goes(groups: list[int], seed: int) -> None:
    if len(set(groups)) < 10:
        return  # cut by position
    sides = grouped(len(groups), groups, seed=seed)
    side_of: dict[int, str] = {}
    for group, side in zip(groups, sides, strict=True):
        assert side_of.setdefault(group, side) == side
    assert set(sides) == set(SPLITS)
    assert grouped(len(groups), np.array(groups), seed=seed) == sides
    by_text = {f"문서 {i}번": group for i, group in enumerate(groups)}
    assert grouped(len(groups), lambda piece: by_text[piece.text], seed=seed) == sides


def test_groups_of_one_change_nothing() -> None:
    for count in (100, EXACT + 50):
        alone = [side for side, _ in assign(docs(count), DEFAULT)]
        assert grouped(count, range(count)) == alone
        assert grouped(count, np.arange(count)[::-1] - 7) == alone


def test_groups_of_many_documents() -> None:
    """Beyond `EXACT` a group follows the hash of its first document, wherever its others are."""
    count = EXACT + 1000
    groups = [i % (count - 500) for i in range(count)]
    sides = grouped(count, groups)
    alone = [side for side, _ in assign(docs(count), DEFAULT)]
    assert sides[: count - 500] == alone[: count - 500]
    assert sides[count - 500 :] == alone[:500] != alone[count - 500 :]


def test_the_parts_count_documents_not_groups() -> None:
    """One of 60 and 40 others: where at most 20 of these come before it, 80 documents train."""
    counts = [Counter(grouped(100, [0] * 60 + list(range(1, 41)), seed=i)) for i in range(12)]
    assert all(sum(one.values()) == 100 for one in counts)
    assert all(one["train"] < 40 or 80 <= one["train"] <= 98 for one in counts)
    assert {"train": 80, "validation": 10, "test": 10} in counts


def test_groups_for_another_number_of_documents() -> None:
    for groups in ([0] * 12 + [1] * 11, list(range(19)), list(range(21))):
        with pytest.raises(ValueError, match="groups for ") as caught:
            grouped(20, groups)
        assert "\n" not in str(caught.value)


def test_parts_of_zero_stay_empty() -> None:
    for many in (3, 50, EXACT + 1):
        some = docs(many)
        assert {side for side, _ in assign(some, Split.parse("100"))} == {"train"}
        assert {side for side, _ in assign(some, Split.parse("50/50"))} == {"train", "validation"}
        assert {side for side, _ in assign(some, Split.parse("50/0/50"))} == {"train", "test"}


# By position


@given(
    texts=st.lists(st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=5), max_size=4),
    parts=st.tuples(st.integers(1, 20), st.integers(0, 20), st.integers(0, 20)),
)
def test_by_position_like_slicing(texts: list[list[str]], parts: tuple[int, int, int]) -> None:
    if not texts:
        return
    total = sum(parts)
    pieces = [Piece(t, i == 0, "x") for text in texts for i, t in enumerate(text)]
    want: dict[str, list[str]] = {side: [] for side in SPLITS}
    for text in map("".join, texts):
        a = len(text) * parts[0] // total
        b = len(text) * (parts[0] + parts[1]) // total
        for side, cut in zip(SPLITS, (text[:a], text[a:b], text[b:]), strict=True):
            want[side] += [cut] if cut else []
    got: dict[str, list[str]] = {side: [] for side in SPLITS}
    for side, piece in assign(pieces, Split(*(part / total for part in parts))):
        assert piece.text
        if piece.first:
            got[side].append("")
        got[side][-1] += piece.text
    assert got == want


def test_nine_documents_by_position_ten_by_document() -> None:
    assert plan(docs(9), DEFAULT).by_position
    assert plan(docs(9) * 5, DEFAULT).by_position  # nine distinct ones
    assert not plan(docs(10), DEFAULT).by_position


def test_the_plan_is_one_line() -> None:
    assert str(plan(docs(2), Split.parse("90/10"))) == "90/10 by position in each document"
    assert str(plan(docs(20), DEFAULT, seed=3)) == "80/10/10 by document (seed 3)"


def test_a_text_that_changes_between_the_readings() -> None:
    before, longer = [Piece("열 글자입니다.", True, "x")], [Piece("열 글자입니다. 더", True, "x")]
    made: Plan = plan(before, DEFAULT)
    for after in (longer, [Piece("열", True, "x")], before * 2, []):
        with pytest.raises(ValueError, match="while it was read"):
            list(made.assign(after))


def test_generators_and_nothing_are_refused() -> None:
    with pytest.raises(TypeError, match="once only"):
        list(assign(iter(docs(3)), DEFAULT))
    with pytest.raises(ValueError, match="no text"):
        list(assign([], DEFAULT))


def test_memory_stays_flat_for_one_long_text(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    line = b"The quick brown fox jumps over the lazy dog, again and again.\n"
    with path.open("wb") as file:
        for _ in range(60):
            file.write(line * (2**20 // len(line)))
    size = path.stat().st_size
    tracemalloc.start()
    try:
        counts: Counter[str] = Counter()
        for side, piece in assign(lambda: read([str(path)]), DEFAULT):
            counts[side] += len(piece.text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 60_000_000
    assert peak < 16 * 2**20
    assert counts["train"] == size * 8 // 10
    assert counts["train"] + counts["validation"] == size * 9 // 10
    assert sum(counts.values()) == size


# Real data


@needs_data
def test_tinyshakespeare() -> None:
    path = DATA / "tinyshakespeare.txt"
    out: dict[str, str] = defaultdict(str)
    for side, piece in assign(lambda: read([str(path)]), Split.parse("90/10")):
        out[side] += piece.text
    assert {side: len(text) for side, text in out.items()} == {
        "train": 1_003_854,
        "validation": 111_540,
    }
    assert out["train"] + out["validation"] == path.read_text(encoding="utf-8")


@needs_data
def test_python_docs() -> None:
    path = str(DATA / "python_docs_ko.jsonl")
    out = list(assign(lambda: read([path]), DEFAULT))
    assert len(out) == 426
    counts = Counter(side for side, _ in out)
    assert counts["train"] == 341
    assert {counts["validation"], counts["test"]} <= {42, 43}
