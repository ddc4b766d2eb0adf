"""Scores against the full forward, `transformers`' loss, and the obvious way through windows."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import gpt2, llama, random_model

import malmoi.decode.score as module
from malmoi.decode.score import score
from malmoi.model import GPT, build

PRESETS: list[Any] = ["gpt2", "llama", "malmoi", "bigram"]


def random_ids(count: int, vocab_size: int = 30) -> list[int]:
    return torch.randint(vocab_size, (count,)).tolist()


def small(preset: Any, **sizes: Any) -> GPT:
    layers = {"num_layers": 0} if preset == "bigram" else {}
    return random_model(preset, noise=0.2, **layers, **sizes)


def full_logprobs(made: GPT, ids: list[int]) -> torch.Tensor:
    """Log-probabilities `[T - 1, V]` of what comes after each id but the last."""
    with torch.no_grad():
        return made(torch.tensor([ids[:-1]]))[0].log_softmax(-1)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("piece", [1, 7, 256])
def test_equals_the_full_forward(preset: Any, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", piece)
    made = small(preset)
    for count in (1, 2, 3, 8, 40, 64):
        ids = random_ids(count)
        found = score(made, ids, top=5)
        assert len(found.logprobs) == len(found.top) == count
        assert (found.logprobs[0], found.top[0]) == (None, [])
        if count == 1:
            continue
        expected = full_logprobs(made, ids)
        said = expected.gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()
        assert found.logprobs[1:] == pytest.approx(said, abs=1e-4)
        for place, row in zip(found.top[1:], expected, strict=True):
            best = row.topk(5)
            assert [value for _, value in place] == pytest.approx(best.values.tolist(), abs=1e-4)
            for token, value in place:
                assert value == pytest.approx(float(row[token]), abs=1e-4)


@pytest.mark.parametrize("preset", ["gpt2", "llama"])
def test_equals_the_loss_of_transformers(preset: str) -> None:
    made = small(preset)
    theirs = {"gpt2": gpt2, "llama": llama}[preset](made)
    ids = random_ids(50)
    with torch.no_grad():
        loss = float(theirs(torch.tensor([ids]), labels=torch.tensor([ids])).loss)
    logprobs = [value for value in score(made, ids).logprobs if value is not None]
    assert -sum(logprobs) / len(logprobs) == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("context", [1, 2, 5, 8])
def test_a_text_longer_than_the_context(preset: Any, context: int) -> None:
    """Each id by itself, after the window that is documented."""
    made = small(preset, context_length=context)
    half = math.ceil(context / 2)
    for count in range(1, 4 * context + 3):
        ids = random_ids(count)
        found = score(made, ids, top=1)
        assert len(found.logprobs) == len(found.top) == count
        for place in range(1, count):
            start = 0
            while place - start > context:
                start += context + 1 - half
            assert place - start >= min(half, place)
            logprobs = full_logprobs(made, ids[start : place + 1])[-1]
            assert found.logprobs[place] == pytest.approx(float(logprobs[ids[place]]), abs=1e-4)
            assert found.top[place][0][1] == pytest.approx(float(logprobs.max()), abs=1e-4)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 29), min_size=1, max_size=150), st.integers(0, 30))
def test_any_text(ids: list[int], top: int) -> None:
    made = small("malmoi", context_length=16)
    found = score(made, ids, top=top)
    assert len(found.logprobs) == len(found.top) == len(ids)
    for token, logprob, best in zip(ids[1:], found.logprobs[1:], found.top[1:], strict=True):
        assert logprob is not None
        assert logprob <= 1e-6
        values = [value for _, value in best]
        assert len(best) == top
        assert values == sorted(values, reverse=True)
        assert dict(best).get(token, logprob) == pytest.approx(logprob, abs=1e-5)
        if top == 30:
            assert sum(map(math.exp, values)) == pytest.approx(1, abs=1e-4)


def test_logits_of_a_long_text_are_never_together() -> None:
    made = small("llama", context_length=2000)
    sizes: list[int] = []
    made.final_norm.register_forward_hook(lambda _, x, __: sizes.append(x[0].shape[1]))
    score(made, random_ids(1500))
    assert max(sizes) <= module.PIECE <= 512
    assert sum(sizes) == 1499


def test_bfloat16_is_near_float32() -> None:
    made = small("llama")
    ids = random_ids(60)
    exact = score(made, ids).logprobs[1:]
    near = score(made.bfloat16(), ids).logprobs[1:]
    assert near == pytest.approx(exact, abs=0.3)


def test_a_vocabulary_of_one_token() -> None:
    made = GPT(build("bigram", 1, d_model=4, context_length=3))
    found = score(made, [0] * 8, top=1)
    assert found.logprobs == [None] + [0.0] * 7
    assert found.top == [[]] + [[(0, 0.0)]] * 7


@pytest.mark.parametrize(
    ("ids", "top", "message"),
    [
        ([], 0, "an empty text"),
        ([3, 30], 0, "outside the model's vocabulary"),
        ([-1, 3], 0, "outside the model's vocabulary"),
        ([3], -1, "top-logprobs.*from 0 to 30"),
        ([3, 4], 31, "top-logprobs.*from 0 to 30"),
    ],
)
def test_wrong_texts_are_errors(ids: list[int], top: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score(small("llama"), ids, top=top)


def test_damaged_weights_are_a_clear_error() -> None:
    made = small("llama")
    with torch.no_grad():
        made.token_embedding.weight[3] = math.nan
    with pytest.raises(ValueError, match="weights are damaged"):
        score(made, [3, 4])
