"""The rows of a batch against the whole text through the model without a cache."""

import random
from typing import Any

import pytest
import torch
from peers import random_model
from torch import Tensor, nn

import malmoi.decode.rows as module
from malmoi.decode.rows import Rows
from malmoi.model import GPT

PRESETS: list[Any] = ["gpt2", "llama", "malmoi", "bigram"]
CONTEXT = 16


def model(preset: Any = "malmoi", **sizes: Any) -> GPT:
    layers = {"num_layers": 0} if preset == "bigram" else {}
    return random_model(preset, **({"context_length": CONTEXT} | layers | sizes))


def whole(made: GPT, ids: list[int]) -> Tensor:
    """Logits `[T, V]` by the full forward."""
    with torch.inference_mode():
        return made(torch.tensor([ids]))[0].float()


def close(mine: Tensor, expected: Tensor, atol: float = 1e-4) -> None:
    assert mine.dtype == torch.float32
    torch.testing.assert_close(mine, expected, atol=atol, rtol=1e-4)


TEXTS = [[3, 4, 5], [9], [7, 7, 1, 2, 8, 20, 11, 4, 9, 12], [1, 2], list(range(16)), [5] * 15]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("chunk", [1, 3, 7, 512])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_prompts_in_pieces_are_prompts_as_a_whole(
    preset: Any, chunk: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = dtype == torch.float32
    made = model(preset, noise=0.3 if exact else 0.1)
    expected = torch.stack([whole(made, text)[-1] for text in TEXTS])
    after = torch.stack([whole(made, [*text, 7])[-1] for text in TEXTS[:4]])
    made = made.to(dtype)
    monkeypatch.setattr(module, "CHUNK", chunk)
    with torch.inference_mode(), Rows(made, 8, CONTEXT) as rows:
        assert rows.free == 8
        close(rows.admit(TEXTS), expected, 1e-4 if exact else 0.15)
        assert rows.free == 2
        assert rows.lengths == [len(text) for text in TEXTS]
        # What is in the cache is right too.
        rows.drop(5)
        rows.drop(4)
        close(rows.read([[7]] * 4), after, 1e-4 if exact else 0.15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("group", [1, 5, 12, 2048])
def test_prompts_read_together_are_prompts_one_by_one(
    dtype: torch.dtype, group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GROUP", group)
    made = model("llama", noise=0.1).to(dtype)
    with torch.inference_mode(), Rows(made, 6, CONTEXT) as together, Rows(made, 1, 16) as alone:
        logits = together.admit(TEXTS)
        for row, text in zip(logits, TEXTS, strict=True):
            (single,) = alone.admit([text])
            alone.drop(0)
            if dtype == torch.float32:
                assert torch.equal(row, single)
            else:
                close(row, single, 0.1)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("compiled", [None, False])
def test_any_way_of_reading_is_reading_it_all(preset: Any, compiled: bool | None) -> None:
    """Random admits, reads of uneven counts, rewinds, slides and drops, beside lists of ids."""
    rng = random.Random(0)
    made = model(preset)
    texts: list[list[int]] = []
    with torch.inference_mode(), Rows(made, 5, CONTEXT, ahead=4, compiled=compiled) as rows:
        for _ in range(250):
            action = rng.choice(["admit", "read", "read", "read", "rewind", "drop"])
            if action == "admit" and rows.free:
                new = [
                    [rng.randrange(30) for _ in range(rng.randint(1, 20))]
                    for _ in range(rng.randint(1, rows.free))
                ]
                logits = rows.admit(new)
                new = [text[-CONTEXT:] for text in new]
                close(logits, torch.stack([whole(made, text)[-1] for text in new]))
                texts += new
            elif action == "read" and texts:
                for row, text in enumerate(texts):
                    assert rows.room(row) == CONTEXT - len(text)
                    if len(text) == CONTEXT:
                        rows.slide(row)
                        texts[row] = text[CONTEXT // 2 :]
                most = min(4, *(CONTEXT - len(text) for text in texts))
                tokens = [[rng.randrange(30) for _ in range(rng.randint(1, most))] for _ in texts]
                logits = rows.read(tokens)
                for text, more in zip(texts, tokens, strict=True):
                    text += more
                expected = [
                    whole(made, text)[-len(more) :]
                    for text, more in zip(texts, tokens, strict=True)
                ]
                close(logits, torch.cat(expected))
            elif action == "rewind" and texts:
                row = rng.randrange(len(texts))
                count = rng.randint(0, len(texts[row]) - 1)
                rows.rewind(row, count)
                texts[row] = texts[row][: len(texts[row]) - count]
            elif action == "drop" and texts:
                row = rng.randrange(len(texts))
                rows.drop(row)
                texts[row] = texts[-1]
                texts.pop()
            assert rows.lengths == [len(text) for text in texts]


@pytest.mark.parametrize("preset", PRESETS)
def test_company_changes_no_bit(preset: Any) -> None:
    """In float32, by the compiled loops: alone, and as the last of five, later the third of four.

    Tokens one after another give the same as several at once.
    """
    made = model(preset)
    with torch.inference_mode(), Rows(made, 1, 16) as alone, Rows(made, 5, 16, ahead=3) as company:
        one = alone.admit([[3, 9]])
        many = company.admit([[7], [8, 8, 8], [1] * 14, [5, 6], [3, 9]])
        assert torch.equal(one[0], many[-1])
        for token in (4, 1):
            one = alone.read([[token]])
            many = company.read([[1], [2], [3], [4], [token]])
            assert torch.equal(one[0], many[-1])
        company.drop(2)
        singles = [alone.read([[token]])[0].clone() for token in (2, 29, 5)]
        many = company.read([[1], [2, 2], [2, 29, 5], [6]])
        assert torch.equal(torch.stack(singles), many[3:6])


def test_a_layer_of_another_kind_is_read_by_torch() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    made = model("llama")
    block: Any = made.blocks[0]
    old = block.feed_forward.up
    new = Doubled(old.in_features, old.out_features, bias=False)
    new.weight = old.weight
    block.feed_forward.up = new
    with torch.inference_mode(), Rows(made, 2, CONTEXT) as rows:
        rows.admit([[3, 4], [5]])
        logits = rows.read([[6], [7]])
    close(logits, torch.stack([whole(made, [3, 4, 6])[-1], whole(made, [5, 7])[-1]]))
