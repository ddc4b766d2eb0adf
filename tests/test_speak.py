"""Strings around the decoder: what may be shown, and when."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from malmoi.config import ModelConfig
from malmoi.decode import Engine, Policy, Request
from malmoi.model import GPT
from malmoi.speak import Ask, Prompt, Speaker, TextStream, speak
from malmoi.tokenizer import Tokenizer, train_tokenizer

TEXT = "다람쥐 한 마리가 도토리를 주웠어요. A squirrel gathers words. " * 20


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([TEXT], "bpe", 290)


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> GPT:
    torch.manual_seed(1)
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, context_length=32, d_model=16, num_layers=1, num_heads=2,
        num_kv_heads=2, d_ff=32, ngram_orders=0,
    )  # fmt: skip
    return GPT(config).eval()


def naive(text: str, stops: list[str]) -> tuple[str, str | None]:
    """The text before the stop string whose end comes first; of equals the longest one."""
    for end in range(1, len(text) + 1):
        here = [stop for stop in stops if text[:end].endswith(stop)]
        if here:
            stop = max(here, key=len)
            return text[: end - len(stop)], stop
    return text, None


@settings(max_examples=150, deadline=None)
@given(
    st.text("ab다람 😀", max_size=20),
    st.lists(st.text("ab다람 😀", min_size=1, max_size=4), max_size=4),
)
def test_a_text_is_cut_where_the_naive_way_cuts_it(text: str, stops: list[str]) -> None:
    tokenizer = train_tokenizer([TEXT], "char", None)
    heard: list[str] = []
    stream = TextStream(tokenizer, [tokenizer.bos_id], stops, on_text=heard.append)
    for id in tokenizer.encode(text):
        shown = "".join(heard)
        assert naive(text, stops)[0].startswith(shown)  # never more than will stay
        if stream.push(id):
            break
    assert (stream.finish(), stream.stop) == naive(text, stops)
    assert "".join(heard) == stream.text


def test_a_torn_character_comes_out_at_the_end(tokenizer: Tokenizer) -> None:
    stream = TextStream(tokenizer, stop=["\ufffd"])
    whole = tokenizer.encode("漢")
    assert len(whole) == 3
    for id in whole[:2]:
        assert not stream.push(id)
    assert stream.text == ""
    assert stream.finish() == ""  # the stop string came with the end
    assert stream.stop == "\ufffd"


def test_no_stop_before_the_least(tokenizer: Tokenizer) -> None:
    stream = TextStream(tokenizer, stop=["a"], least=3)
    ended = [stream.push(id) for id in tokenizer.encode("a a")]
    assert ended[0] is False
    assert stream.text.startswith("a")


def test_a_prompt_keeps_its_end(tokenizer: Tokenizer) -> None:
    short, long = Prompt.all(tokenizer, ["", "다람쥐 " * 50], 8)
    assert (short.ids, short.total) == ([tokenizer.bos_id], 1)
    whole = tokenizer.encode("다람쥐 " * 50, bos=True)
    assert (long.ids, long.total) == (whole[-8:], len(whole))


def test_speaking_is_what_the_engine_says(tokenizer: Tokenizer, model: GPT) -> None:
    prompts = Prompt.all(tokenizer, ["다람쥐", "", "漢"], 32)
    asks = [Ask(p.text, Request(p.ids, Policy(0.0), max_new_tokens=n * 20)) for n, p in
            enumerate(prompts)]  # fmt: skip
    with Engine(model, slots=2, compiled=False) as engine:
        found = dict(Speaker(engine, tokenizer).run(asks))
    assert sorted(found) == [0, 1, 2]
    for number, output in found.items():
        said = tokenizer.decode([*prompts[number].ids, *output.ids])
        assert said.startswith(prompts[number].text)
        assert output.text == said.removeprefix(prompts[number].text)
        assert len(output.ids) == number * 20
    assert speak(model, tokenizer, "漢", Policy(0.0), most=40) == found[2].text


def test_what_was_made_before_an_interrupt(tokenizer: Tokenizer, model: GPT) -> None:
    def interrupt(text: str) -> None:
        heard.append(text)
        if len(heard) == 5:
            raise KeyboardInterrupt

    heard: list[str] = []
    ids = Prompt.all(tokenizer, ["다람쥐"], 32)[0].ids
    policy = Policy(1.0, banned_ids=tuple(sorted(tokenizer.special_ids)))
    ask = Ask("다람쥐", Request(ids, policy, max_new_tokens=400), on_text=interrupt)
    with Engine(model, slots=1, compiled=False) as engine:
        speaker = Speaker(engine, tokenizer)
        with pytest.raises(KeyboardInterrupt):
            list(speaker.run([ask]))
        [(number, output)] = speaker.unfinished()
    assert (number, output.finish_reason) == (0, "interrupted")
    assert len(output.ids) >= 5
    assert output.text.startswith("".join(heard[:5]))


def test_an_empty_stop_string() -> None:
    with pytest.raises(ValueError, match="--stop"):
        Ask("", Request([0]), stop=("",))
