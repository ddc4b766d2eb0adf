"""Prompts of held-out text: of many documents, of one, of short ones."""

from pathlib import Path

import pytest

from malmoi.data import TokenStore, write_stores
from malmoi.evaluate.prompts import held_out
from malmoi.tokenizer import train_tokenizer

LETTERS = "가나다라마바사아자차카타파하"


def store_of(documents: list[str], folder: Path) -> tuple[TokenStore, list[list[int]]]:
    """A token is a letter; the documents' own ids as well."""
    tokenizer = train_tokenizer(iter([LETTERS]), "char", min_frequency=1)
    store = write_stores([("test", text, True) for text in documents], tokenizer, folder)["test"]
    return store, tokenizer.encode_batch(documents)


def test_of_many_documents_the_beginnings(tmp_path: Path) -> None:
    documents = [LETTERS[n % 14] * 3 + LETTERS * 3 for n in range(100)]
    store, ids = store_of(documents, tmp_path)
    found = held_out(store, 10, 8, 20)
    assert len(found) == 10
    for one in found:
        assert one.prompt[0] == store.bos_id
        assert len(one.prompt) == 8
        assert len(one.reference) == 20
        assert any(one.prompt[1:] + one.reference == document[:27] for document in ids)
    assert found[0].prompt[1:] == ids[0][:7]
    assert found[-1].prompt[1:] == ids[-1][:7]
    assert held_out(store, 10, 8, 20) == found


def test_of_one_document_windows_one_behind_the_other(tmp_path: Path) -> None:
    store, [ids] = store_of([LETTERS * 20], tmp_path)
    every = held_out(store, 1000, 8, 20)
    whole = [id for one in every for id in one.prompt + one.reference]
    assert whole == [store.bos_id, *ids][: len(whole)]
    assert len(ids) + 1 - len(whole) < 28
    few = held_out(store, 3, 8, 20)
    assert few == [every[0], every[(len(every) - 1) // 2], every[-1]]
    assert [len(one.prompt) for one in few] == [8, 8, 8]


def test_short_documents_are_halved(tmp_path: Path) -> None:
    store, ids = store_of(["가나다라마바", "가", "", "가나다라", "사아자차카타파하가"], tmp_path)
    found = held_out(store, 3, 8, 20)
    assert [(one.prompt[1:], one.reference) for one in found] == [
        (ids[0][:3], ids[0][3:]),
        (ids[3][:2], ids[3][2:]),
        (ids[4][:4], ids[4][4:]),
    ]
    # A prompt of one token would be the mark alone; some text is there all the same.
    assert [len(one.prompt) for one in held_out(store, 3, 1, 20)] == [2, 2, 2]
    assert [len(one.reference) for one in held_out(store, 3, 1, 3)] == [3, 3, 3]


def test_no_document_is_long_enough(tmp_path: Path) -> None:
    store, _ = store_of(["가", "나다"], tmp_path)
    with pytest.raises(ValueError, match=r"test\.bin: no document of 4 tokens"):
        held_out(store, 3, 8, 20)
