"""Schedules against torch's and transformers' own, the papers' formulas, and what they promise."""

import math
import typing
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from malmoi.config import OptimConfig, Schedule
from malmoi.schedules import schedule

KINDS: tuple[Schedule, ...] = typing.get_args(Schedule)
STEPS = 128


def theirs(make: Callable[[torch.optim.Optimizer], Any], steps: int = STEPS) -> list[float]:
    """Learning rates of a scheduler at steps 0 to `steps`, from a peak of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, rates = make(optimizer), []
    for _ in range(steps + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def mine(kind: Schedule, config: OptimConfig, steps: int = STEPS) -> list[float]:
    return [schedule(kind, step / steps, config) for step in range(steps + 1)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_warms_up_as_linear_lr(kind: Schedule) -> None:
    config = OptimConfig(warmup=0.25, decay=0.5)
    rates = theirs(lambda o: lr_scheduler.LinearLR(o, 1e-9, 1.0, total_iters=32), 32)
    assert mine(kind, config)[1:33] == pytest.approx(rates[1:])


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_cosine_equals_torch(final: float) -> None:
    rates = theirs(lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=final))
    assert mine("cosine", OptimConfig(warmup=0.0, final_lr=final)) == pytest.approx(rates)


@pytest.mark.parametrize("final", [0.0, 0.1])
@pytest.mark.parametrize("restarts", [1, 4])
def test_cosine_restarts_equal_torch(restarts: int, final: float) -> None:
    config = OptimConfig(warmup=0.0, final_lr=final, restarts=restarts)
    rates = theirs(
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, STEPS // restarts, eta_min=final)
    )
    ours = mine("cosine-restarts", config)
    assert ours[:-1] == pytest.approx(rates[:-1])
    assert ours[-1] == pytest.approx(final)  # where theirs would start once more


def test_cosine_restarts_after_a_warm_up_equal_transformers() -> None:
    rates = theirs(
        lambda o: transformers.get_cosine_with_hard_restarts_schedule_with_warmup(
            o, num_warmup_steps=32, num_training_steps=STEPS, num_cycles=3
        )
    )
    ours = mine("cosine-restarts", OptimConfig(warmup=0.25, restarts=3))
    assert ours[1:] == pytest.approx(rates[1:], abs=1e-12)
    assert ours[64] == ours[96] == 1.0


@pytest.mark.parametrize("final", [0.0, 0.05])
def test_exponential_equals_torch(final: float) -> None:
    gamma = (final or 0.01) ** (1 / STEPS)
    rates = theirs(lambda o: lr_scheduler.ExponentialLR(o, gamma))
    assert mine("exponential", OptimConfig(warmup=0.0, final_lr=final)) == pytest.approx(rates)


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_linear_equals_torch(final: float) -> None:
    rates = theirs(lambda o: lr_scheduler.LinearLR(o, 1.0, final, total_iters=STEPS))
    config = OptimConfig(warmup=0.0, decay=1.0, final_lr=final)
    assert mine("linear", config) == pytest.approx(rates, abs=1e-12)


@pytest.mark.parametrize(("kind", "decay_type"), [("linear", "linear"), ("wsd", "1-sqrt")])
def test_a_fall_at_the_end_equals_transformers(kind: Schedule, decay_type: str) -> None:
    rates = theirs(
        lambda o: transformers.get_wsd_schedule(
            o,
            num_warmup_steps=16,
            num_decay_steps=64,
            num_training_steps=STEPS,
            decay_type=decay_type,
            min_lr_ratio=0.1,
        )
    )
    ours = mine(kind, OptimConfig(warmup=0.125, decay=0.5, final_lr=0.1))
    assert ours[16:] == pytest.approx(rates[16:])  # their minimum lifts the warm-up as well


def test_step_equals_torch_up_to_its_second_fall() -> None:
    rates = theirs(lambda o: lr_scheduler.StepLR(o, step_size=60, gamma=1 / 3), 84)
    ours = mine("step", OptimConfig(warmup=0.0), 100)
    assert ours[:85] == pytest.approx(rates)
    assert ours[85:] == [0.1] * 16


def test_inverse_sqrt_is_the_formula_of_attention_is_all_you_need() -> None:
    def formula(step: int, warmup: int) -> float:
        return 512**-0.5 * min(step**-0.5, step * warmup**-1.5)

    ours = mine("inverse-sqrt", OptimConfig(warmup=0.125))
    expected = [formula(step, 16) / formula(16, 16) for step in range(1, STEPS + 1)]
    assert ours[1:] == pytest.approx(expected)


def test_inverse_sqrt_without_a_warm_up_and_with_a_floor() -> None:
    bare = mine("inverse-sqrt", OptimConfig(warmup=0.0), 100)
    assert bare[:2] == [1.0, 1.0]
    assert bare[4] == pytest.approx(1 / 2)
    assert bare[100] == pytest.approx(1 / 10)
    floored = mine("inverse-sqrt", OptimConfig(warmup=0.0, final_lr=0.3), 100)
    assert floored == [max(rate, 0.3) for rate in bare]


def test_constant_and_plateau_stay_at_the_peak() -> None:
    config = OptimConfig(warmup=0.25, final_lr=0.1)
    assert mine("constant", config)[32:] == mine("plateau", config)[32:] == [1.0] * 97


shares = st.floats(0, 1)
configs = st.builds(
    OptimConfig, warmup=shares, decay=shares, final_lr=shares, restarts=st.integers(1, 10)
)


@given(st.sampled_from(KINDS), st.floats(-0.5, 1.5), configs)
def test_rates_are_shares(kind: Schedule, progress: float, config: OptimConfig) -> None:
    assert 0 <= schedule(kind, progress, config) <= 1


@given(st.sampled_from(KINDS), shares, shares, configs)
def test_rates_rise_in_the_warm_up(kind: Schedule, a: float, b: float, config: OptimConfig) -> None:
    early, late = sorted((a * config.warmup, b * config.warmup))
    if late < config.warmup:
        assert schedule(kind, early, config) <= schedule(kind, late, config)


@given(st.sampled_from(sorted(set(KINDS) - {"cosine-restarts"})), shares, shares, configs)
def test_rates_never_rise_again(kind: Schedule, a: float, b: float, config: OptimConfig) -> None:
    early, late = sorted(config.warmup + x * (1 - config.warmup) for x in (a, b))
    assert schedule(kind, late, config) <= schedule(kind, early, config) + 1e-12


@given(
    st.sampled_from(sorted(set(KINDS) - {"step", "cosine-restarts"})),
    shares,
    st.builds(
        OptimConfig,
        warmup=st.just(0.0) | st.floats(0.01, 0.5),
        decay=st.just(0.0) | st.floats(0.05, 0.5),
        final_lr=shares,
    ),
)
def test_rates_do_not_jump(kind: Schedule, progress: float, config: OptimConfig) -> None:
    # the steepest is wsd, which begins to fall as sqrt(1e-9 / 0.05)
    after = schedule(kind, progress + 1e-9, config)
    assert after == pytest.approx(schedule(kind, progress, config), abs=1e-3)


@given(configs, st.floats(0.01, 1))
def test_rates_end_where_they_should(config: OptimConfig, decay: float) -> None:
    config = OptimConfig(
        warmup=config.warmup, decay=decay, final_lr=config.final_lr, restarts=config.restarts
    )
    for kind in ("cosine", "cosine-restarts", "linear", "wsd"):
        assert schedule(kind, 1.0, config) == pytest.approx(config.final_lr, abs=1e-12)
    assert schedule("exponential", 1.0, config) == pytest.approx(max(config.final_lr, 0.01))
    assert math.isclose(schedule("constant", 1.0, config), 1.0)
