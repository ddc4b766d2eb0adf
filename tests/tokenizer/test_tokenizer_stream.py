"""Streaming: what comes out is what `decode` gives, as early as it can, never half a character."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malmoi.tokenizer import KINDS, StreamDecoder, Tokenizer


@pytest.fixture(scope="module")
def all_kinds(trained, sample, tmp_path_factory) -> dict[str, Tokenizer]:
    """The kinds trained here, and one that drops the first space."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sample.split("\n")),
        model_writer=model,
        vocab_size=420,
        byte_fallback=True,
        minloglevel=2,
        hard_vocab_limit=False,
    )
    path = tmp_path_factory.mktemp("stream") / "tokenizer.model"
    path.write_bytes(model.getvalue())
    return {**trained, "sentencepiece": Tokenizer.load(path)}


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
