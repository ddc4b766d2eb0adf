"""The token store, the permutation of windows, and the windows of evaluation."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from malmoi.data import Batches, TokenStore, documents_in_windows, permute, write_stores


class Letters:
    """A tokenizer of one id a character: a is 3, and so on."""

    vocab_size, bos_id, eos_id = 40, 0, 1

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[ord(c) - ord("a") + 3 for c in text] for text in texts]


def store(folder: Path, *documents: str) -> TokenStore:
    pieces = [("train", text, True) for text in documents]
    return write_stores(pieces, Letters(), folder)["train"]


def test_documents_stand_between_bos_and_eos(tmp_path: Path) -> None:
    pieces = [
        ("train", "ab", True),
        ("test", "z", True),
        ("train", "c", False),
        ("train", "d", True),
    ]
    stores = write_stores(pieces, Letters(), tmp_path)
    assert stores["train"].ids.tolist() == [0, 3, 4, 5, 1, 0, 6, 1]
    assert stores["train"].offsets.tolist() == [0, 5]
    assert stores["test"].ids.tolist() == [0, 28, 1]
    assert len(stores["validation"]) == 0
    counts = stores["train"].counts
    assert (counts.documents, counts.chars, counts.bytes, counts.tokens) == (2, 4, 4, 8)
    assert stores["train"].ids.dtype == np.uint16


def test_a_damaged_store_is_one_clear_line(tmp_path: Path) -> None:
    store(tmp_path, "abc")
    (tmp_path / "train.bin").write_bytes(b"123")
    with pytest.raises(ValueError, match="missing or damaged"):
        TokenStore(tmp_path, "train")
    (tmp_path / "train.json").unlink()
    with pytest.raises(ValueError, match="missing or damaged"):
        TokenStore(tmp_path, "train")


@given(st.integers(1, 5000), st.integers(0, 2**63))
def test_permute_is_a_permutation(size: int, key: int) -> None:
    assert sorted(permute(np.arange(size), size, key)) == list(range(size))


def test_permutations_of_two_keys_differ_and_look_random() -> None:
    a, b = (permute(np.arange(10_000), 10_000, key) for key in (1, 2))
    assert (a == b).mean() < 0.01
    assert abs(np.corrcoef(a, np.arange(10_000))[0, 1]) < 0.05


class Numbers(Letters):
    """Every token is another one, so that a window tells where it stood."""

    vocab_size = 5000

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[2 + number for number in range(len(text))] for text in texts]


def test_an_epoch_visits_each_window_once(tmp_path: Path) -> None:
    tokens = write_stores([("train", "x" * 1003, True)], Numbers(), tmp_path)["train"]
    batches = Batches(tokens, context_length=10, batch_size=1, seed=3)
    assert batches.windows == 99
    orders = []
    for epoch in range(2):
        starts = []
        for step in range(epoch * 99, (epoch + 1) * 99):
            ids, targets = batches[step]
            assert ids.shape == targets.shape == (1, 10)
            assert np.array_equal(ids[0, 1:], targets[0, :-1])
            starts.append(max(1, int(ids[0, 0])))
        first = min(starts)
        assert sorted(start - first for start in starts) == list(range(0, 990, 10))
        orders.append(starts)
    assert orders[0] != orders[1]


def test_ranks_share_a_step_between_them(tmp_path: Path) -> None:
    tokens = write_stores([("train", "x" * 1003, True)], Numbers(), tmp_path)["train"]
    alone = Batches(tokens, 10, 6, seed=3)
    for step in (0, 7, 40):
        ranks = [Batches(tokens, 10, 2, seed=3, world_size=3, rank=rank) for rank in range(3)]
        together = np.concatenate([rank[step][0] for rank in ranks])
        assert np.array_equal(together, alone[step][0])


def test_windows_do_not_overlap(tmp_path: Path) -> None:
    documents = ["".join(np.random.default_rng(0).choice(list("abcdefgh"), 5000))]
    tokens = store(tmp_path, *documents)
    flat = tokens.ids.astype(np.int64).tobytes()
    batches = Batches(tokens, 16, 8, seed=0)
    places = []
    for step in range(batches.windows // 8):
        for row in batches[step][0]:
            places.append(flat.index(row.tobytes()) // 8)
    gaps = np.diff(sorted(places))
    assert gaps.min() >= 16
    assert len(set(places)) == len(places)


def test_a_batch_depends_on_seed_and_step_alone(tmp_path: Path) -> None:
    tokens = store(tmp_path, "abcdefghij" * 50)
    a, b = Batches(tokens, 8, 4, seed=1), Batches(tokens, 8, 4, seed=1)
    for _ in range(3):
        a[0]
    assert np.array_equal(a[40][0], b[40][0])
    assert not np.array_equal(a[40][0], Batches(tokens, 8, 4, seed=2)[40][0])


@pytest.mark.parametrize(
    ("name", "content"),
    [("train.bin", b"\xff\xff" * 5), ("train.offsets", b"\x05" + b"\0" * 7)],
)
def test_ids_out_of_range_are_found(tmp_path: Path, name: str, content: bytes) -> None:
    store(tmp_path, "abc").check(40)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="out of range"):
        TokenStore(tmp_path, "train").check(40)


@pytest.mark.parametrize("meta", ['{"dtype": "O"}', "[" * 100_000, "{}", "3"])
def test_a_hostile_description_is_one_clear_line(tmp_path: Path, meta: str) -> None:
    store(tmp_path, "abc")
    (tmp_path / "train.json").write_text(meta)
    with pytest.raises(ValueError, match="missing or damaged"):
        TokenStore(tmp_path, "train")


def test_nobody_has_to_guess_which_document_comes_next(tmp_path: Path) -> None:
    batches = Batches(store(tmp_path, *["abc"] * 40), 10, 4, seed=0)
    ids, targets = batches[0]
    assert not (targets == 0).any()
    assert ((targets == -1)[:, :-1] == (ids[:, 1:] == 0)).all()


def test_a_text_shorter_than_one_window_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="less than one window of 10 tokens"):
        Batches(store(tmp_path, "abc"), 10, 1, seed=0)


def test_exactly_one_window_is_enough(tmp_path: Path) -> None:
    ids, _ = Batches(store(tmp_path, "abcdefghi"), 10, 2, seed=0)[5]
    assert ids.shape == (2, 10)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(2, 12))
def test_every_token_is_scored_once(lengths: list[int], context: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        tokens = store(Path(folder), *("a" * length for length in lengths))
        targets: Counter[int] = Counter()
        for start, end in documents_in_windows(tokens, context):
            assert 0 < end - start <= context
            targets.update(range(start + 1, end + 1))
        assert targets == Counter(range(1, len(tokens)))


def test_documents_that_fit_are_read_from_their_beginning(tmp_path: Path) -> None:
    tokens = store(tmp_path, "aaa", "bbb", "ccc")  # 5 tokens each
    assert list(documents_in_windows(tokens, 10)) == [(0, 10), (10, 14)]
    assert list(documents_in_windows(tokens, 9)) == [(0, 5), (5, 10), (10, 14)]
    assert list(documents_in_windows(tokens, 4)) == [(0, 4), (4, 5), (5, 9), (9, 10), (10, 14)]
