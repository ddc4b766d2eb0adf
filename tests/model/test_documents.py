"""Documents side by side in one window, kept apart: the same as each document by itself."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from malmoi.config import ModelConfig
from malmoi.model import GPT, build, layers

SIZES = {"context_length": 24, "d_model": 32, "num_layers": 3, "num_heads": 4, "d_ff": 48}
WINDOWS = ([24], [1, 1, 22], [7, 3, 14], [12, 11, 1])
"""lengths of the documents in each window"""


def small(preset: str) -> ModelConfig:
    more: dict[str, int] = {"ngram_rows": 64} if preset == "malmoi" else {}
    if preset in ("malmoi", "llama"):
        more["num_kv_heads"] = 2
    sizes = SIZES | more if preset != "bigram" else {"d_model": 32, "context_length": 24}
    return build(preset, 50, **sizes)  # type: ignore[arg-type]


def shaken(preset: str) -> GPT:
    """A model none of whose weights is zero, so that every part of it matters."""
    model = GPT(small(preset)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def windows() -> tuple[Tensor, Tensor, list[tuple[int, slice]]]:
    """Random ids `[B, T]`, where a document begins in them, and where each document is."""
    ids, begins = torch.randint(50, (len(WINDOWS), 24)), torch.zeros(len(WINDOWS), 24).bool()
    places = []
    for row, lengths in enumerate(WINDOWS):
        start = 0
        for length in lengths:
            begins[row, start] = True
            places.append((row, slice(start, start + length)))
            start += length
    return ids, begins, places


@pytest.fixture(params=["explicit", "fused", "tapped"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ways in which attention is computed without a cache."""
    if request.param == "fused":
        monkeypatch.setattr(layers, "_fits", lambda q: False)
    return str(request.param)


@pytest.mark.parametrize("preset", ["gpt2", "llama", "malmoi", "bigram"])
def test_logits_and_gradients_are_those_of_documents_alone(preset: str, way: str) -> None:
    model = shaken(preset)
    ids, begins, places = windows()
    seen: list[Tensor] = []

    def tap(what: str, layer: int, value: Tensor) -> None:
        if what == "attention":
            seen.append(value)

    logits = model(ids, tap=tap if way == "tapped" else None, begins=begins)
    weight = torch.randn_like(logits)
    (logits * weight).sum().backward()
    together = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    for row, span in places:
        alone = model(ids[row : row + 1, span])
        torch.testing.assert_close(logits[row : row + 1, span], alone, rtol=1e-5, atol=1e-5)
        (alone * weight[row : row + 1, span]).sum().backward()
    assert together.keys() == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        # Sums over all tokens, in another order: to a millionth of the largest.
        scale = float(parameter.grad.abs().max())
        torch.testing.assert_close(
            together[name], parameter.grad, rtol=1e-4, atol=1e-5 * max(1.0, scale)
        )
    number = begins.cumsum(1)
    for weights in seen:
        assert (weights.sum(1)[number[:, :, None] != number[:, None, :]] == 0).all()
    assert len(seen) == (model.config.num_layers if way == "tapped" else 0)


@pytest.mark.parametrize("preset", ["gpt2", "llama", "malmoi"])
def test_kept_apart_is_something_else_than_run_together(preset: str) -> None:
    model = shaken(preset)
    ids, begins, _ = windows()
    with torch.no_grad():
        together, apart = model(ids), model(ids, begins=begins)
    torch.testing.assert_close(together[0], apart[0], rtol=1e-5, atol=1e-5)  # one document
    torch.testing.assert_close(together[2, :7], apart[2, :7], rtol=1e-5, atol=1e-5)
    assert (together[2, 7:] - apart[2, 7:]).abs().amax(-1).min() > 1e-3


@pytest.mark.parametrize("way", ["explicit", "fused"], indirect=True)
@pytest.mark.parametrize("preset", ["gpt2", "llama", "malmoi"])
def test_the_loss_knows_documents_by_their_missing_targets(preset: str, way: str) -> None:
    model = shaken(preset)
    model.separate = True
    ids, begins, places = windows()
    targets = torch.randint(50, ids.shape)
    targets[:, :-1][begins[:, 1:]] = -1
    loss = model.loss(ids, targets)
    grads = torch.autograd.grad(loss, list(model.parameters()))
    total = torch.zeros(())
    for row, span in places:
        alone, wanted = model(ids[row : row + 1, span])[0], targets[row, span]
        total = total + F.cross_entropy(alone, wanted, ignore_index=-1, reduction="sum")
    mean = total / (targets >= 0).sum()
    torch.testing.assert_close(loss, mean, rtol=1e-5, atol=1e-5)
    for mine, plain in zip(grads, torch.autograd.grad(mean, list(model.parameters())), strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-4, atol=1e-5)


def test_padding_between_documents_changes_nothing() -> None:
    model = shaken("malmoi")
    model.separate = True
    ids, targets = torch.randint(50, (1, 10)), torch.randint(50, (1, 10))
    targets[0, 9] = -1
    padded = F.pad(ids, (0, 6)), F.pad(targets, (0, 6), value=-1)
    with torch.no_grad():
        torch.testing.assert_close(model.loss(*padded), model.loss(ids, targets))


def test_dropout_of_attention_goes_the_fused_way_and_stays_apart() -> None:
    model = GPT(replace(small("llama"), attention_dropout=0.5)).train()
    ids, begins, _ = windows()
    other = torch.where(begins.cumsum(1) == 1, (ids + 1) % 50, ids)  # other first documents
    torch.manual_seed(5)
    first = model(ids, begins=begins)
    torch.manual_seed(5)
    second = model(other, begins=begins)
    later = begins.cumsum(1) > 1
    assert torch.equal(first[later], second[later])
    assert not torch.equal(first[~later], second[~later])
