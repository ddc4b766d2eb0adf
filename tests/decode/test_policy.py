"""Policies against `transformers`' processors and against the exact distribution."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from malmoi.decode.policy import Policy, apply_top_k, apply_top_p, choose, transform, uniform


def test_transforms_equal_transformers() -> None:
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = torch.randn(64, 40) * 3
    ids = torch.zeros(64, 1, dtype=torch.long)
    for t, k, p in ((0.7, 10, 0.9), (1.3, 40, 0.5), (1.0, 1, 0.01), (0.2, 5, 1.0)):
        theirs = TemperatureLogitsWarper(t)(ids, logits) if t != 1 else logits
        theirs = TopKLogitsWarper(k)(ids, theirs)
        theirs = TopPLogitsWarper(p)(ids, theirs) if p < 1 else theirs
        mine = transform(logits, Policy(t, k, p))
        assert torch.equal(torch.isinf(mine), torch.isinf(theirs))
        torch.testing.assert_close(mine, theirs)


def sampled(logits: list[float], policy: Policy, draws: int = 20_000) -> np.ndarray:
    rows = torch.arange(draws)
    batch = torch.tensor(logits).expand(draws, -1)
    chosen = choose(batch, policy, 5, rows, torch.zeros_like(rows))
    return np.bincount(chosen.numpy(), minlength=len(logits))


@pytest.mark.parametrize(
    "policy",
    [Policy(1.0), Policy(0.5), Policy(2.0), Policy(1.0, top_k=3), Policy(1.0, top_p=0.8),
     Policy(0.7, top_k=4, top_p=0.9)],
)  # fmt: skip
def test_frequencies_follow_the_exact_distribution(policy: Policy) -> None:
    logits = [0.0, 1.0, -1.0, 2.0, 0.5, -3.0]
    # the distribution by the definition, one token at a time
    weights = np.exp(np.array(logits) / policy.temperature)
    order = np.argsort(-weights)
    kept = list(order[: policy.top_k or len(order)])
    if policy.top_p is not None:
        share = weights[kept] / weights[kept].sum()
        kept = kept[: int(np.searchsorted(np.cumsum(share), policy.top_p)) + 1]
    exact = np.zeros(len(logits))
    exact[kept] = weights[kept] / weights[kept].sum()
    counts = sampled(logits, policy)
    assert not counts[exact == 0].any()
    expected = exact[exact > 0] * counts.sum()
    chi_square = ((counts[exact > 0] - expected) ** 2 / expected).sum()
    assert chi_square < 25  # 5 degrees of freedom at most: 99.98 %


def test_draws_are_uniform_and_independent() -> None:
    rows = torch.arange(1000).repeat_interleave(100)
    positions = torch.arange(100).repeat(1000)
    draws = uniform(3, rows, positions).numpy()
    assert draws.min() >= 0
    assert draws.max() < 1
    counts = np.histogram(draws, 100, (0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 165  # 99 degrees of freedom: 99.997 %
    table = draws.reshape(1000, 100)
    assert abs(np.corrcoef(table[:, 0], table[:, 1])[0, 1]) < 0.1
    assert abs(np.corrcoef(table[0], table[1])[0, 1]) < 0.35


def test_a_draw_depends_on_its_row_and_position_alone() -> None:
    alone = uniform(9, torch.tensor([7]), torch.tensor([3]))
    among = uniform(9, torch.tensor([1, 7, 2]), torch.tensor([0, 3, 5]))
    assert alone[0] == among[1]
    assert uniform(10, torch.tensor([7]), torch.tensor([3])) != alone


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=20), st.floats(0, 1), st.integers(1, 30))
def test_something_is_always_left(logits: list[float], p: float, k: int) -> None:
    row = torch.tensor([logits])
    for kept in (apply_top_p(row, p), apply_top_k(row, k)):
        assert kept.max() == row.max()
    chosen = choose(row, Policy(0.9, None, p), 0, torch.tensor([0]), torch.tensor([0]))
    assert torch.isfinite(apply_top_p(row / 0.9, p)[0, chosen]).all()


@pytest.mark.parametrize("temperature", [0.0, 1e-4, 1.0, 1e6])
def test_one_possible_token_is_the_one_chosen(temperature: float) -> None:
    logits = torch.full((1, 5), -torch.inf)
    logits[0, 3] = -2.0
    zero = torch.tensor([0])
    assert choose(logits, Policy(temperature), 0, zero, zero).tolist() == [3]
    one = torch.zeros(1, 1)
    assert choose(one, Policy(temperature), 0, zero, zero).tolist() == [0]


def test_top_p_of_zero_is_greedy() -> None:
    logits = torch.randn(50, 9)
    rows = torch.arange(50)
    chosen = choose(logits, Policy(1.0, top_p=0.0), 0, rows, rows)
    assert torch.equal(chosen, logits.argmax(-1))


def test_nan_is_a_clear_error() -> None:
    zero = torch.tensor([0])
    with pytest.raises(ValueError, match="NaN"):
        choose(torch.tensor([[0.0, torch.nan]]), Policy(), 0, zero, zero)


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1}, {"temperature": float("inf")}, {"top_k": 0}, {"top_p": 1.5}]
)
def test_values_out_of_range_are_errors(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="has to be"):
        Policy(**wrong)  # type: ignore[arg-type]
