"""Best-fit packing, and the encoding of documents that come in pieces."""

import json
import random
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from malmoi import data, packing
from malmoi.data import Batches, TokenStore, write_stores
from malmoi.model import GPT, build
from malmoi.packing import best_fit, cut_by_stream, place
from malmoi.tokenizer import Tokenizer, train_tokenizer

KOREAN = Path(__file__).parents[2] / "shared" / "data" / "python_docs_ko.jsonl"


class Letters:
    """A tokenizer of one id a character: a is 3, and so on."""

    vocab_size, bos_id, eos_id = 40, 0, 1

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[ord(c) - ord("a") + 3 for c in text] for text in texts]


class OneMark(Letters):
    """As GPT-2: one token both begins and ends a document."""

    eos_id = 0


def store(folder: Path, documents: Sequence[str], tokenizer: Letters | None = None) -> TokenStore:
    pieces = [("train", text, True) for text in documents]
    return write_stores(pieces, tokenizer or Letters(), folder)["train"]


def naive(sizes: Sequence[int], length: int) -> list[list[int]]:
    """Best fit, word for word: the window with the least room among those with enough."""
    windows: list[list[int]] = []
    for size in sizes:
        fits = [window for window in windows if length - sum(window) >= size]
        if fits:
            min(fits, key=lambda window: length - sum(window)).append(size)
        else:
            windows.append([size])
    return windows


@given(st.lists(st.integers(1, 20), max_size=60), st.integers(20, 40))
def test_best_fit_is_best_fit(sizes: list[int], length: int) -> None:
    given_sizes = np.array(sorted(sizes, reverse=True), np.int32)
    windows: dict[int, list[int]] = {}
    for size, window in zip(given_sizes, place(given_sizes, length), strict=True):
        windows.setdefault(int(window), []).append(int(size))
    # Which of two windows with the same room is taken makes no difference to the rooms left.
    expected = naive(given_sizes.tolist(), length)
    assert sorted(map(sum, windows.values())) == sorted(map(sum, expected))
    assert list(windows) == list(range(len(expected)))


def test_the_compiled_one_does_the_same() -> None:
    sizes = np.sort(np.random.default_rng(0).integers(1, 513, 20_000).astype(np.int32))[::-1]
    assert np.array_equal(packing._compiled()(sizes, 512), place(sizes, 512))


def test_a_worked_example(tmp_path: Path) -> None:
    # With bos and eos 6, 5, 4, 3 and 2 tokens: 6 + 4 and 5 + 3 + 2 fill two windows of 10.
    tokens = store(tmp_path, ["aaaa", "b", "ccc", "dd", ""])
    found = best_fit(tokens.offsets, len(tokens), 10)
    assert (found.windows, found.padding, found.cut) == (2, 0.0, 0)
    places, foretold = found.places(np.array([1, 0]))
    assert tokens.ids[places].tolist() == [
        [0, 5, 5, 5, 1, 0, 4, 1, 0, 1],
        [0, 3, 3, 3, 3, 1, 0, 6, 6, 1],
    ]
    assert np.array_equal(foretold, tokens.ids[places] != 1)


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=30), st.integers(1, 16), st.booleans(),
)  # fmt: skip
def test_every_target_once_and_no_document_cut_that_fits(
    lengths: list[int], context: int, one_mark: bool
) -> None:
    with TemporaryDirectory() as folder:
        letters = ["abcdefgh"[number % 8] * length for number, length in enumerate(lengths)]
        tokens = store(Path(folder), letters, OneMark() if one_mark else None)
        found = best_fit(tokens.offsets, len(tokens), context)
        places, foretold = found.places(np.arange(found.windows))
        batches = Batches(tokens, context, found.windows, seed=1, pack="best-fit")
        ids, targets = batches[0]  # an epoch
        flat = np.asarray(tokens.ids, np.int64)
    begins = np.cumsum([0, *(length + 2 for length in lengths)])
    # What is learnt: all tokens but each document's first, by place and by value.
    expected = sorted(set(range(len(flat))) - set(begins.tolist()))
    assert sorted((places[foretold] + 1).tolist()) == expected
    assert Counter(targets[targets >= 0].tolist()) == Counter(flat[expected].tolist())
    # Within a window the places of a document run on without a gap, and padding comes last.
    number = np.where(places < 0, -1, np.searchsorted(begins, places, side="right"))
    for row, document in zip(places, number, strict=True):
        assert (np.diff((row < 0).astype(int)) >= 0).all()
        inside = document[1:] == document[:-1]
        assert (np.diff(row)[inside & (row[1:] >= 0)] == 1).all()
    # A document fits where all but its last token do.
    windows_of = [
        len({row for row in range(len(number)) if (number[row] == one + 1).any()})
        for one in range(len(lengths))
    ]
    least = [max(1, -(-(length + 1) // context)) for length in lengths]
    assert windows_of == least
    assert found.cut == sum(count > 1 for count in least)
    assert found.padding == pytest.approx((places < 0).mean())
    assert ids.shape == targets.shape == (found.windows, context)


@given(st.lists(st.integers(2, 40), min_size=1, max_size=30), st.integers(1, 16))
def test_documents_that_the_stream_cuts(lengths: list[int], context: int) -> None:
    begins = np.cumsum([0, *lengths])
    cut = sum(
        len({at // context for at in range(begin, begin + length - 1)}) > 1
        for begin, length in zip(begins, lengths, strict=False)
    )
    assert cut_by_stream(begins[:-1], int(begins[-1]), context) == cut


def test_an_epoch_visits_each_window_once_on_all_ranks(tmp_path: Path) -> None:
    generator = random.Random(0)
    texts = ["".join(generator.choices("abcdefgh", k=generator.randint(1, 30))) for _ in range(200)]
    tokens = store(tmp_path, texts)
    alone = Batches(tokens, 16, 6, seed=3, pack="best-fit")
    orders = []
    for epoch in range(2):
        rows = []
        for index in range(epoch * alone.windows, (epoch + 1) * alone.windows):
            rows.append(alone[index // 6][0][index % 6].tobytes())
        orders.append(rows)
    assert orders[0] != orders[1]
    assert Counter(orders[0]) == Counter(orders[1])
    for step in (0, 7, 40):
        ranks = [
            Batches(tokens, 16, 2, 3, pack="best-fit", world_size=3, rank=rank) for rank in range(3)
        ]
        for side in (0, 1):
            together = np.concatenate([rank[step][side] for rank in ranks])
            assert np.array_equal(together, alone[step][side])


def test_where_one_token_marks_both_ends_the_end_is_learnt(tmp_path: Path) -> None:
    tokens = store(tmp_path, ["abc"] * 40, OneMark())
    ids, targets = Batches(tokens, 10, 4, seed=0)[0]
    beginning = (ids[:, 1:] == 0) & (ids[:, :-1] == 0)  # a mark behind a mark
    assert np.array_equal(targets[:, :-1] == -1, beginning)
    assert ((targets == 0) & (ids == 5)).any()


def test_a_short_text_is_padded_and_an_empty_one_is_an_error(tmp_path: Path) -> None:
    ids, targets = Batches(store(tmp_path, ["abc"]), 10, 1, seed=0, pack="best-fit")[3]
    assert ids.tolist() == [[0, 3, 4, 5, 1, 0, 0, 0, 0, 0]]
    assert targets.tolist() == [[3, 4, 5, 1, -1, -1, -1, -1, -1, -1]]
    with pytest.raises(ValueError, match="less than one window of 10 tokens"):
        Batches(store(tmp_path, []), 10, 1, seed=0, pack="best-fit")


@pytest.mark.parametrize("pack", ["stream", "best-fit"])
def test_a_batch_of_documents_kept_apart_is_each_by_itself(tmp_path: Path, pack: str) -> None:
    generator = random.Random(1)
    texts = ["".join(generator.choices("abcdefgh", k=generator.randint(1, 30))) for _ in range(40)]
    batches = Batches(store(tmp_path, texts), 16, 8, seed=3, pack=pack)  # type: ignore[arg-type]
    ids, targets = (torch.from_numpy(array) for array in batches[1])
    sizes = {"context_length": 16, "d_model": 32, "num_layers": 2, "num_heads": 2, "ngram_rows": 64}
    model = GPT(build("malmoi", 40, **sizes)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
        total = torch.zeros(())
        for row, wanted in zip(ids, targets, strict=True):
            start = 0
            for end in [i + 1 for i in range(16) if wanted[i] < 0] + [16]:
                if (wanted[start:end] >= 0).any():
                    scored = int((wanted[start:end] >= 0).sum())
                    alone = model.loss(row[None, start:end], wanted[None, start:end])
                    total += alone * scored
                start = end
        together = model.loss(ids, targets)
        model.separate = True
        apart = model.loss(ids, targets)
    mean = total / (targets >= 0).sum()
    torch.testing.assert_close(apart, mean, rtol=1e-5, atol=1e-5)
    assert abs(together - mean) > 1e-3


@pytest.fixture(scope="module")
def korean() -> list[str]:
    if not KOREAN.exists():
        pytest.skip(f"{KOREAN} is not here")
    with KOREAN.open(encoding="utf-8") as lines:
        return [json.loads(line)["document"] for _, line in zip(range(60), lines, strict=False)]


@pytest.mark.parametrize("kind", ["bpe", "bytebpe", "unigram", "char"])
def test_a_long_document_gets_the_tokens_of_the_whole(
    korean: list[str], tmp_path: Path, kind: str
) -> None:
    trained = train_tokenizer(iter(korean[:10]), kind, 2000 if kind != "char" else None)
    trained.save(tmp_path / "tokenizer.json")
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    long = "\n".join(korean)[:600_000]
    expected = library.encode(long, add_special_tokens=False).ids
    generator = random.Random(kind)
    for most in (1_000, 300_000):  # pieces that end anywhere, within words too
        pieces, start = [], 0
        while start < len(long):
            size = generator.randint(1, most)
            pieces.append(("train", long[start : start + size], start == 0))
            start += size
        pieces[1:1] = [("test", "사이에", True)]
        pieces.append(("train", "끝", True))
        found = write_stores(pieces, Tokenizer.load(tmp_path), tmp_path / "data")["train"]
        assert found.ids[1 : len(expected) + 1].tolist() == expected
        assert found.offsets.tolist() == [0, len(expected) + 2]
        assert found.counts.chars == len(long) + 1
        assert found.counts.bytes == len(long.encode()) + 3


def test_packing_korean_documents(korean: list[str], tmp_path: Path) -> None:
    lines = [line + "\n" for text in korean for line in text.split("\n") if line]
    tokens = write_stores(
        (("train", line, True) for line in lines), train_tokenizer(iter(lines), "char"), tmp_path
    )["train"]
    found = Batches(tokens, 256, 8, seed=0, pack="best-fit").summary()
    lengths = np.diff(np.append(tokens.offsets, len(tokens)))
    assert found["cut"] == (lengths > 257).sum() < found["cut_by_stream"]
    assert found["padding"] < 0.01
    assert found["documents"] == len(lines)


def test_an_endless_word_is_cut_at_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_LONGEST_WORD", 200_000)
    lengths: list[int] = []

    class Counting(Letters):
        def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
            lengths.extend(map(len, texts))
            return super().encode_batch(texts)

    pieces = [("train", "a" * 50_000, number == 0) for number in range(20)]
    found = write_stores(pieces, Counting(), tmp_path)["train"]
    assert len(found) == 1_000_002
    assert max(lengths) == 200_000


def test_text_is_read_while_other_text_is_encoded(tmp_path: Path) -> None:
    encoding, reading = threading.Event(), threading.Event()

    class Waiting(Letters):
        def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
            if not encoding.is_set():
                encoding.set()
                assert reading.wait(20), "nothing is read meanwhile"
            return super().encode_batch(texts)

    def pieces() -> object:
        yield "train", "a" * (data._BATCH_CHARS + 1), True
        yield "train", "b", True
        assert encoding.wait(20)
        reading.set()
        yield "train", "c", True

    found = write_stores(pieces(), Waiting(), tmp_path)["train"]  # type: ignore[arg-type]
    assert found.ids[-6:].tolist() == [0, 4, 1, 0, 5, 1]


def test_what_goes_wrong_in_the_other_thread_is_raised(tmp_path: Path) -> None:
    class Broken(Letters):
        def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
            raise ValueError("a lone surrogate")

    big = [("train", "a" * (data._BATCH_CHARS + 1), True)] * 3
    with pytest.raises(ValueError, match="a lone surrogate"):
        write_stores(big, Broken(), tmp_path)
    with pytest.raises(ValueError, match="a lone surrogate"):
        write_stores([("train", "a", True)], Broken(), tmp_path)
