"""Streaming: what comes out is what `decode` gives, as early as it can, never half a character."""

from collections.abc import Iterator

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models

from malmoi.tokenizer import KINDS, StreamDecoder, Tokenizer
from malmoi.tokenizer.pieces import byte_level_alphabet

CHARACTERS = ["습", "한", "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467"]


@pytest.mark.parametrize("kind", [*KINDS, "sentencepiece"])
@pytest.mark.parametrize("skip_special", [True, False])
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_any_ids_come_out_as_decode_gives_them(all_kinds, kind, skip_special, data):
    tokenizer = all_kinds[kind]
    low = st.integers(0, min(260, tokenizer.vocab_size - 1))  # bytes and specials live here
    ids = data.draw(st.lists(st.one_of(low, st.integers(0, tokenizer.vocab_size - 1))))
    stream = StreamDecoder(tokenizer, skip_special)
    out = ""
    for count, id in enumerate(ids, start=1):
        out += stream.push(id)
        so_far = tokenizer.decode(ids[:count], skip_special)
        assert so_far.startswith(out)
        assert so_far[len(out) :].strip("\ufffd") == ""  # held back: no whole character
        assert len(so_far) - len(out) <= 2
    assert out + stream.finish() == tokenizer.decode(ids, skip_special)


@pytest.mark.parametrize("kind", KINDS)
def test_a_syllable_and_an_emoji_come_out_whole(trained, kind):
    text = "한뷁\U0001f600!"
    stream = StreamDecoder(trained[kind])
    parts = [stream.push(id) for id in trained[kind].encode(text)]
    assert "".join(parts) == text
    assert not any("\ufffd" in part for part in parts)
    assert stream.finish() == ""


def test_broken_bytes_come_out_at_the_end_of_their_run(trained):
    tokenizer = trained["bpe"]
    first, second, _ = tokenizer.encode("뷁")
    letter = tokenizer.encode("a")[0]
    stream = StreamDecoder(tokenizer)
    assert [stream.push(id) for id in (first, second, letter)] == ["", "", "\ufffda"]
    assert [stream.push(first), stream.finish()] == ["", "\ufffd"]
    assert stream.push(letter) == "a"  # afresh after finish


def test_a_special_token_adds_nothing_or_its_name(trained):
    tokenizer = trained["bpe"]
    assert StreamDecoder(tokenizer).push(tokenizer.eos_id) == ""
    assert StreamDecoder(tokenizer, skip_special=False).push(tokenizer.eos_id) == "<|eos|>"


# --- every way to cut a character into tokens


def cuts(data: bytes, pieces: dict[bytes, int]) -> Iterator[list[int]]:
    """All lists of ids whose bytes, joined, are `data`."""
    if not data:
        yield []
    for size in range(1, len(data) + 1):
        if data[:size] in pieces:
            for rest in cuts(data[size:], pieces):
                yield [pieces[data[:size]], *rest]


def whole_characters(data: bytes) -> str:
    """The characters of `data` that have all their bytes; a cut last one is left out."""
    return data.decode("utf-8", "ignore")


def see_each_step(tokenizer: Tokenizer, ids: list[int], before: str = "") -> None:
    stream = StreamDecoder(tokenizer)
    shown, came = before, before.encode()
    for id in tokenizer.encode(before):
        stream.push(id)
    for id in ids:
        shown += stream.push(id)
        came += tokenizer.token_bytes(id)
        assert shown == whole_characters(came)  # none is late, none is broken
    assert stream.finish() == ""
    assert shown == before + tokenizer.decode(ids)


@pytest.fixture(scope="module")
def all_pieces() -> Tokenizer:
    """Byte-level, with every piece of the characters' bytes as a token."""
    names = {byte: char for char, byte in byte_level_alphabet().items()}
    data = [text.encode() for text in CHARACTERS]
    pieces = {d[i:j] for d in data for i in range(len(d)) for j in range(i + 1, len(d) + 1)}
    pieces |= {bytes([byte]) for byte in range(256)}
    words = ["".join(names[byte] for byte in piece) for piece in sorted(pieces)]
    backend = tokenizers.Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, []))
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<s>", "</s>", "<pad>", "<unk>"])
    roles = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>"}
    return Tokenizer(backend, {role: backend.token_to_id(name) for role, name in roles.items()})


def pieces_of(tokenizer: Tokenizer) -> dict[bytes, int]:
    pieces = {tokenizer.token_bytes(id): id for id in range(tokenizer.vocab_size)}
    del pieces[b""]
    return pieces


@pytest.mark.parametrize("text", CHARACTERS)
def test_every_cut_of_the_bytes(all_pieces, text):
    size = len(text.encode())
    count = 0
    for ids in cuts(text.encode(), pieces_of(all_pieces)):
        see_each_step(all_pieces, ids)
        count += 1
    assert count == 2 ** (size - 1)


@pytest.mark.parametrize("kind", [*KINDS, "sentencepiece"])
@pytest.mark.parametrize("text", CHARACTERS)
def test_every_cut_that_a_kind_has(all_kinds, kind, text):
    found = list(cuts(text.encode(), pieces_of(all_kinds[kind])))
    assert found
    for ids in found:
        see_each_step(all_kinds[kind], ids, before="가")


def test_bytes_are_held_back_only_while_they_may_become_a_character(all_pieces):
    """All first and second bytes, and all that matter of the third and fourth."""
    pieces = pieces_of(all_pieces)
    edges = [0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xE0, 0xED, 0xF4, 0xFF]
    characters = [chr(c).encode() for c in range(0x80, 0x110000) if not 0xD800 <= c < 0xE000]
    beginnings = {data[:n] for data in characters for n in range(1, len(data))}
    some = [bytes([a, b]) for a in range(256) for b in range(256)]
    some += [bytes([a, b, c, d]) for a in edges for b in edges for c in edges for d in edges]
    for data in some:
        stream, shown = StreamDecoder(all_pieces), ""
        for at, byte in enumerate(data, start=1):
            shown += stream.push(pieces[bytes([byte])])
            ends = [n for n in (1, 2, 3) if n <= at and data[at - n : at] in beginnings]
            certain = data[: at - max(ends, default=0)]
            assert shown == certain.decode("utf-8", "replace"), data[:at]
        assert shown + stream.finish() == data.decode("utf-8", "replace")


@given(st.lists(st.binary(min_size=1, max_size=3), max_size=12))
@settings(max_examples=300, deadline=None)
def test_random_bytes_in_random_pieces_none_vanish(all_pieces, chunks):
    pieces = pieces_of(all_pieces)
    ids = [
        id
        for chunk in chunks
        for id in ([pieces[chunk]] if chunk in pieces else [pieces[bytes([b])] for b in chunk])
    ]
    stream = StreamDecoder(all_pieces)
    text = "".join(map(stream.push, ids)) + stream.finish()
    assert text == all_pieces.decode(ids) == b"".join(chunks).decode("utf-8", "replace")
