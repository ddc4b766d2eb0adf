"""The optimizer against exact decompositions, torch's own AdamW and the written formulas."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from malmoi.config import OptimConfig
from malmoi.model import GPT, build
from malmoi.optim import Optimizer, orthogonalize

CONFIG = OptimConfig(clip=0.0)


def model(preset: str = "malmoi", **more: object) -> GPT:
    sizes = {"context_length": 8, "d_model": 16, "num_layers": 2, "num_heads": 2, "d_ff": 64}
    if preset == "malmoi":
        sizes["ngram_rows"] = 32
    return GPT(build(preset, 20, **sizes, **more))  # type: ignore[arg-type]


def with_gradients(model: GPT, seed: int = 0) -> GPT:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
    return model


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 64, 16), (2, 16, 64)])
def test_orthogonalize_is_near_the_polar_factor(shape: tuple[int, ...]) -> None:
    g = torch.randn(shape)
    u, _, vh = torch.linalg.svd(g, full_matrices=False)
    mine = orthogonalize(g).float()
    cosine = (mine * (u @ vh)).sum((1, 2)) / (mine.norm(dim=(1, 2)) * (u @ vh).norm(dim=(1, 2)))
    assert float(cosine.min()) > 0.9
    values = torch.linalg.svdvals(mine)
    assert float(values.median()) == pytest.approx(1, abs=0.3)


def test_adamw_alone_equals_torch() -> None:
    mine, theirs = model("gpt2"), model("gpt2")
    config = replace(CONFIG, optimizer="adamw", lr=0.01, weight_decay=0.1)
    optimizer = Optimizer(mine, config)
    matrices = [p for p in theirs.parameters() if p.ndim == 2]
    others = [p for p in theirs.parameters() if p.ndim != 2]
    reference = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=0.01, betas=(config.beta1, config.beta2), eps=1e-10,
    )  # fmt: skip
    for seed in range(3):
        with_gradients(mine, seed)
        optimizer.step(1.0)
        with_gradients(theirs, seed)
        reference.step()
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_muon_step_is_the_formula_on_each_matrix() -> None:
    mine = model()
    before = {name: p.detach().clone() for name, p in mine.named_parameters()}
    optimizer = Optimizer(mine, replace(CONFIG, lr=0.1, weight_decay=0.5))
    grads = {n: p.grad.clone() for n, p in with_gradients(mine).named_parameters()}  # type: ignore[union-attr]
    optimizer.step(0.5)

    def expected(w: Tensor, g: Tensor, scale: float = 1.0) -> Tensor:
        mu = 0.85  # momentum at the first step
        update = (1 - mu) * g + mu * (1 - mu) * g  # any multiple of g has the same factor
        return w * (1 - 0.05 * 0.5) - 0.05 * scale * orthogonalize(update[None]).float()[0]

    now = dict(mine.named_parameters())
    for layer in range(2):
        at = f"blocks.{layer}."
        for name, scale in (("attention.out", 1.0), ("feed_forward.up", 2.0)):
            key = f"{at}{name}.weight"
            torch.testing.assert_close(
                now[key], expected(before[key], grads[key], scale), rtol=1e-3, atol=2e-3
            )
        key = f"{at}feed_forward.down.weight"  # wide: no more outputs than inputs
        torch.testing.assert_close(
            now[key], expected(before[key], grads[key]), rtol=1e-3, atol=2e-3
        )
        key = f"{at}attention.qkv.weight"  # three matrices in one
        parts = [
            expected(w, g) for w, g in zip(before[key].chunk(3), grads[key].chunk(3), strict=True)
        ]
        torch.testing.assert_close(now[key], torch.cat(parts), rtol=1e-3, atol=2e-3)


def test_grouped_heads_are_split_where_they_end() -> None:
    mine = model("llama", num_kv_heads=1)
    optimizer = Optimizer(mine, CONFIG)
    covered = sum(rows * len(s.places) * cols for (rows, cols), s in optimizer.stacks.items())
    assert covered == sum(
        p.numel() for n, p in mine.named_parameters() if n.startswith("blocks.") and p.ndim == 2
    )


def test_clipping_bounds_the_norm_over_everything() -> None:
    a, b = model("gpt2"), model("gpt2")
    config = replace(CONFIG, optimizer="adamw", lr=0.01)
    first, second = Optimizer(a, replace(config, clip=1.0)), Optimizer(b, config)
    norm = first_norm(with_gradients(a))
    assert first.step(1.0) == pytest.approx(norm, rel=1e-5)
    with_gradients(b)
    for parameter in b.parameters():
        parameter.grad = parameter.grad / norm  # type: ignore[operator]
    second.step(1.0)
    for p, q in zip(first.rest.values(), second.rest.values(), strict=True):
        torch.testing.assert_close(
            first.adamw.state[p]["exp_avg"], second.adamw.state[q]["exp_avg"]
        )


def first_norm(module: nn.Module) -> float:
    return float(np.sqrt(sum(float(p.grad.square().sum()) for p in module.parameters())))  # type: ignore[union-attr]


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_clipping_by_value_comes_first_and_equals_torch(clip: float) -> None:
    a, b = model("gpt2"), model("gpt2")
    config = replace(CONFIG, optimizer="adamw", lr=0.01)
    first = Optimizer(a, replace(config, clip=clip, clip_value=0.4))
    second = Optimizer(b, config)
    norm = first_norm(with_gradients(a))
    assert first.step(1.0) == pytest.approx(norm, rel=1e-5)
    torch.nn.utils.clip_grad_value_(with_gradients(b).parameters(), 0.4)
    if clip:
        torch.nn.utils.clip_grad_norm_(b.parameters(), clip)
    second.step(1.0)
    for p, q in zip(first.rest.values(), second.rest.values(), strict=True):
        torch.testing.assert_close(
            first.adamw.state[p]["exp_avg"], second.adamw.state[q]["exp_avg"]
        )


def copied(optimizer: Optimizer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in optimizer.state().items()}


@pytest.mark.parametrize("bad", ["nan", "inf", "scale"])
@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_a_step_that_is_not_finite_changes_nothing(kind: str, steps: int, bad: str) -> None:
    mine = model().to(torch.bfloat16)
    config = OptimConfig(optimizer=kind, clip=1.0, clip_value=0.5, weight_decay=0.1, ema=0.9)  # type: ignore[arg-type]
    optimizer = Optimizer(mine, config)
    for seed in range(steps):
        with_gradients(mine, seed)
        optimizer.step(1.0)
    before, weights = copied(optimizer), [p.detach().clone() for p in mine.parameters()]
    gradient = next(p.grad for p in with_gradients(mine).parameters() if p.ndim == 2)
    assert gradient is not None
    if bad != "scale":
        gradient[0, 0] = float(bad)
    norm = optimizer.step(np.nan if bad == "scale" else 1.0)
    assert str(norm) == bad or bad == "scale"
    after = optimizer.state()
    assert after.keys() == before.keys()
    for name, value in after.items():
        assert torch.equal(value, before[name]), name
    for parameter, value in zip(mine.parameters(), weights, strict=True):
        assert parameter.grad is None
        assert torch.equal(parameter, value)


@pytest.mark.parametrize(("kind", "preset"), [("muon", "malmoi"), ("adamw", "gpt2")])
def test_running_means_are_the_formula(kind: str, preset: str) -> None:
    mine, plain = model(preset), model(preset)
    config = replace(CONFIG, optimizer=kind, ema=0.5)
    optimizer, without = Optimizer(mine, config), Optimizer(plain, replace(config, ema=0.0))
    means = {name: p.detach().double().numpy().copy() for name, p in mine.named_parameters()}
    for name, value in optimizer.averages().items():
        assert torch.equal(value, mine.state_dict()[name])
    for step in range(1, 13):  # the correction matters up to step 8
        with_gradients(mine, step)
        optimizer.step(1.0)
        with_gradients(plain, step)
        without.step(1.0)
        d = min(0.5, (1 + step) / (10 + step))
        for name, parameter in mine.named_parameters():
            means[name] = d * means[name] + (1 - d) * parameter.detach().double().numpy()
    averages = optimizer.averages()
    assert averages.keys() == means.keys()
    for name, value in averages.items():
        np.testing.assert_allclose(value, means[name], rtol=1e-5, atol=1e-6)
    for name, value in without.weights().items():  # they change nothing of the training
        assert torch.equal(value, optimizer.weights()[name])


def test_no_running_means_cost_nothing() -> None:
    mine = model()
    optimizer = Optimizer(mine, CONFIG)
    with_gradients(mine)
    optimizer.step(1.0)
    assert optimizer.means == []
    assert not [name for name in optimizer.state() if name.startswith("ema")]
    for name, value in optimizer.averages().items():
        assert torch.equal(value, optimizer.weights()[name])


@pytest.mark.parametrize(("saved", "loaded"), [(0.0, 0.9), (0.9, 0.0)])
def test_states_with_and_without_running_means_do_not_mix(saved: float, loaded: float) -> None:
    state = Optimizer(model(), replace(CONFIG, ema=saved)).state()
    with pytest.raises(ValueError, match=r"does not belong to this model: 'ema\."):
        Optimizer(model(), replace(CONFIG, ema=loaded)).load(state)


def test_small_updates_are_not_lost_in_bfloat16() -> None:
    mine = model().to(torch.bfloat16)
    optimizer = Optimizer(mine, replace(CONFIG, lr=1e-5, embedding_lr=1e-5))
    before = optimizer.weights()
    for _ in range(3):
        with_gradients(mine)
        optimizer.step(1.0)
    after = optimizer.weights()
    for name, value in after.items():
        if value.numel() > 1:
            assert not torch.equal(value, before[name]), name
    for name, parameter in mine.named_parameters():
        assert torch.equal(parameter, after[name].to(torch.bfloat16))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("steps", [0, 2])
def test_state_goes_on_exactly(steps: int, ema: float, dtype: torch.dtype) -> None:
    config = replace(CONFIG, ema=ema)
    a = model().to(dtype)
    first = Optimizer(a, config)
    for seed in range(steps):
        with_gradients(a, seed)
        first.step(1.0)
    state = copied(first)
    b = model().to(dtype)
    second = Optimizer(b, config)
    with_gradients(b, 5)
    second.step(1.0)  # what it did before is forgotten
    second.load(state)
    for optimizer, module in ((first, a), (second, b)):
        with_gradients(module, 7)
        optimizer.step(0.7)
    for of in (Optimizer.weights, Optimizer.averages, Optimizer.state):
        values, others = of(first), of(second)
        assert values.keys() == others.keys()
        for name, value in values.items():
            assert torch.equal(value, others[name]), name


def test_a_foreign_state_is_refused() -> None:
    state = Optimizer(model(), CONFIG).state()
    with pytest.raises(ValueError, match="does not belong to this model"):
        Optimizer(model("llama"), CONFIG).load(state)
