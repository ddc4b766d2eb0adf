"""Policies against the processors of transformers and against the exact distribution."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from malmoi.decode.history import History
from malmoi.decode.policy import Policy, choose, penalize, transform, uniform
from malmoi.mixing import mix


def history(
    prompt: list[int],
    new: list[int],
    forbidden: tuple[int, ...] = (),
    allowed: list[bool] | None = None,
) -> History:
    made = History(prompt)
    for token in new:
        made.append(token)
    made.forbidden = forbidden
    made.allowed = None if allowed is None else torch.tensor(allowed)
    return made


shapes = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([1.0, 0.1, 0.7, 1.6, 20.0]),
        "top_k": st.none() | st.integers(1, 20),
        "top_p": st.none() | st.floats(0, 1),
        "min_p": st.none() | st.floats(0, 1),
        "typical_p": st.none() | st.floats(0.001, 0.999),
    }
)
penalties = st.fixed_dictionaries(
    {
        "repetition_penalty": st.sampled_from([1.0, 0.8, 1.3, 3.0]),
        "no_repeat_ngram": st.integers(0, 4),
        "banned_ids": st.sampled_from([(), (0,), (1, 5)]),
    }
)


@settings(deadline=None, max_examples=200)
@given(
    shapes,
    penalties,
    st.integers(0, 2**32),
    st.sampled_from([(), (2,), (3, 4)]),
    st.booleans(),
)
def test_all_together_equal_transformers(
    shape: dict[str, Any],
    penalty: dict[str, Any],
    seed: int,
    forbidden: tuple[int, ...],
    constrained: bool,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows, vocab = 4, 40
    logits = torch.randn(rows, vocab, generator=generator) * 3
    ids = torch.randint(8, (rows, 30), generator=generator)
    allowed = torch.rand(rows, vocab, generator=generator) < 0.3
    allowed[:, 20] = True  # no rule above touches it, so something is always left
    lists = [row.nonzero().flatten().tolist() for row in allowed]

    processors: list[Any] = []
    if penalty["repetition_penalty"] != 1:
        processors += [transformers.RepetitionPenaltyLogitsProcessor(penalty["repetition_penalty"])]
    if penalty["no_repeat_ngram"]:
        processors += [transformers.NoRepeatNGramLogitsProcessor(penalty["no_repeat_ngram"])]
    if penalty["banned_ids"]:
        words = [[token] for token in penalty["banned_ids"]]
        processors += [transformers.NoBadWordsLogitsProcessor(words)]
    if forbidden:
        stop = list(forbidden)
        processors += [transformers.MinNewTokensLengthLogitsProcessor(20, 11, stop)]
    if constrained:
        processors += [transformers.PrefixConstrainedLogitsProcessor(lambda row, _: lists[row], 1)]
    processors += [transformers.TemperatureLogitsWarper(shape["temperature"])]
    if shape["top_k"] is not None:
        processors += [transformers.TopKLogitsWarper(shape["top_k"])]
    if shape["top_p"] is not None:
        processors += [transformers.TopPLogitsWarper(shape["top_p"])]
    if shape["min_p"] is not None:
        processors += [transformers.MinPLogitsWarper(shape["min_p"])]
    if shape["typical_p"] is not None:
        processors += [transformers.TypicalLogitsWarper(shape["typical_p"])]
    theirs = transformers.LogitsProcessorList(processors)(ids, logits.double())

    histories = [
        history(row[:20], row[20:], forbidden, mask if constrained else None)
        for row, mask in zip(ids.tolist(), allowed.tolist(), strict=True)
    ]
    mine = transform(logits, Policy(**shape, **penalty), histories)
    assert torch.equal(mine.isinf(), theirs.isinf())
    torch.testing.assert_close(mine.double(), theirs, atol=1e-4, rtol=1e-5)


def by_definition(scores: Tensor, draws: Tensor) -> Tensor:
    """The inverse of the distribution function of transformed logits `[B, V]`."""
    sums = torch.softmax(scores.double(), -1).cumsum(-1)
    return torch.searchsorted(sums / sums[:, -1:], draws[:, None], right=True).squeeze(1)


@settings(deadline=None, max_examples=400)
@given(
    shapes | st.fixed_dictionaries({}, optional={"top_k": st.integers(1, 3000)}),
    st.sampled_from([1, 2, 7, 64, 400, 3000]),
    st.integers(0, 2**32),
    st.sampled_from(["plain", "peaked", "flat", "ties", "holes", "equal"]),
)
def test_choosing_quickly_equals_the_definition(
    shape: dict[str, Any], vocab: int, seed: int, kind: str
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, vocab, generator=generator) * 3
    if kind == "peaked":
        logits[:, : vocab // 50 + 1] += 9
    elif kind == "flat":
        logits = logits / 100 - 30
    elif kind == "ties":
        logits = logits.round()
    elif kind == "holes":
        logits[torch.rand(logits.shape, generator=generator) < 0.95] = -torch.inf
        logits[:, -1] = 1.0
    elif kind == "equal":
        logits[:] = 0.25
    draws = uniform(seed, range(3), 0)
    policy = Policy(**shape)
    chosen = choose(logits, policy, (), draws)
    assert chosen.dtype == torch.long
    assert chosen.tolist() == by_definition(transform(logits, policy), draws).tolist()


def test_choosing_with_every_penalty_equals_the_definition() -> None:
    policy = Policy(
        0.8, 50, 0.95, 0.01, 0.9, 1.2, 0.3, 0.1, 2, banned_ids=(0, 9), logit_bias=((4, 2.0),)
    )
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(300, 400, generator=generator) * 3
    texts = torch.randint(400, (300, 60), generator=generator).tolist()
    allowed = torch.rand(400, generator=generator).gt(0.3).tolist()
    histories = [history(text[:40], text[40:], (3,), allowed) for text in texts]
    draws = uniform(3, range(300), 5)
    chosen = choose(logits, policy, histories, draws)
    assert chosen.tolist() == by_definition(transform(logits, policy, histories), draws).tolist()
    alone = [choose(logits[row : row + 1], policy, histories[row : row + 1], draws[row : row + 1])
             for row in range(20)]  # fmt: skip
    assert torch.equal(torch.cat(alone), chosen[:20])  # no row notices its neighbours


LOGITS = [0.0, 1.0, -1.0, 2.0, 0.5, -3.0, 1.5, 0.2]
PROMPT, NEW = [3, 1, 6, 3], [6, 4, 3, 4, 3]


def exact(policy: Policy) -> np.ndarray:
    """The distribution after PROMPT and NEW by the definitions, one token at a time."""
    scores = dict(enumerate(LOGITS))
    for token, bias in policy.logit_bias:
        scores[token] += bias
    for token in {*PROMPT, *NEW}:
        penalty = policy.repetition_penalty
        scores[token] *= penalty if scores[token] < 0 else 1 / penalty
    for token, count in Counter(NEW).items():
        scores[token] -= policy.presence_penalty + policy.frequency_penalty * count
    text = PROMPT + NEW
    for token in list(scores):
        last = [*text, token][-policy.no_repeat_ngram :]
        known = any(text[i : i + len(last)] == last for i in range(len(text) - len(last) + 1))
        if token in policy.banned_ids or (policy.no_repeat_ngram and known):
            del scores[token]
    if len(NEW) < len(policy.forced_ids):
        scores = {policy.forced_ids[len(NEW)]: 0.0}
    chances = {token: math.exp(score / policy.temperature) for token, score in scores.items()}

    def keep(tokens: list[int]) -> None:
        total = sum(chances[token] for token in tokens)
        for token in list(chances):
            chances[token] /= total
            if token not in tokens:
                del chances[token]

    def fewest(ordered: list[int], p: float) -> list[int]:
        total, kept = 0.0, []
        for token in ordered:
            kept.append(token)
            total += chances[token]
            if total >= p:
                break
        return kept

    keep(list(chances))
    if policy.top_k is not None:
        keep(sorted(chances, key=lambda token: -chances[token])[: policy.top_k])
    if policy.top_p is not None:
        keep(fewest(sorted(chances, key=lambda token: -chances[token]), policy.top_p))
    if policy.min_p is not None:
        least = policy.min_p * max(chances.values())
        keep([token for token in chances if chances[token] >= least])
    if policy.typical_p is not None:
        entropy = -sum(chance * math.log(chance) for chance in chances.values())
        distance = {token: abs(-math.log(chances[token]) - entropy) for token in chances}
        keep(fewest(sorted(chances, key=distance.__getitem__), policy.typical_p))
    return np.array([chances.get(token, 0.0) for token in range(len(LOGITS))])


EACH: dict[str, dict[str, Any]] = {
    "plain": {},
    "sharp": {"temperature": 0.5},
    "flat": {"temperature": 2.0},
    "top-k": {"top_k": 3},
    "top-p": {"top_p": 0.8},
    "min-p": {"min_p": 0.15},
    "typical": {"typical_p": 0.6},
    "repetition": {"repetition_penalty": 1.8},
    "presence": {"presence_penalty": 0.7},
    "frequency": {"frequency_penalty": 0.4},
    "n-gram": {"no_repeat_ngram": 2},
    "banned": {"banned_ids": (3, 0)},
    "bias": {"logit_bias": ((5, 4.0), (1, -1.0))},
    "forced": {"forced_ids": (0, 0, 0, 0, 0, 2)},
}
TOGETHER = {
    "temperature": 1.3, "top_k": 6, "top_p": 0.93, "min_p": 0.05, "typical_p": 0.92,
    "repetition_penalty": 1.2, "presence_penalty": 0.2, "frequency_penalty": 0.1,
    "no_repeat_ngram": 3, "banned_ids": (2,), "logit_bias": ((7, 0.5), (0, 1.0)),
}  # fmt: skip


@pytest.mark.parametrize("settings", [*EACH.values(), TOGETHER], ids=[*EACH, "together"])
def test_frequencies_follow_the_exact_distribution(settings: dict[str, Any]) -> None:
    policy, draws = Policy(**settings), 4000
    batch = torch.tensor(LOGITS).expand(draws, -1)
    rows = [history(PROMPT, NEW)] * draws
    chosen = choose(batch, policy, rows, uniform(11, range(draws), len(NEW)))
    counts = np.bincount(chosen.numpy(), minlength=len(LOGITS))
    chances = exact(policy)
    possible = chances > 0
    assert not counts[~possible].any()
    expected = chances[possible] * draws
    chi_square = float(((counts[possible] - expected) ** 2 / expected).sum())
    # The probability of a sum so large or larger, by the incomplete gamma function.
    half_freedom = torch.tensor((possible.sum() - 1) / 2)
    if half_freedom > 0:
        assert torch.special.gammaincc(half_freedom, torch.tensor(chi_square / 2)) > 1e-3


def test_all_together_leaves_a_choice() -> None:
    assert 2 <= (exact(Policy(**TOGETHER)) > 0).sum() < len(LOGITS) - 1


def test_forced_ids_come_in_order_whatever_is_banned() -> None:
    policy = Policy(forced_ids=(4, 0), banned_ids=(4,))
    row = History([1])
    for token in (4, 0):
        assert choose(torch.randn(1, 5), policy, [row], uniform(0, 0, len(row.new))) == token
        row.append(token)
    assert penalize(torch.zeros(1, 5), policy, [row]).isinf().tolist() == [[False] * 4 + [True]]


def test_penalize_does_nothing_and_copies_nothing_where_nothing_is_on() -> None:
    logits = torch.randn(2, 5)
    assert penalize(logits, Policy(0.3, 2, 0.5), [History([1]), History([2])]) is logits
    assert penalize(logits, Policy()) is logits
    before = logits.clone()
    everything = Policy(**TOGETHER | {"logit_bias": ((0, 1.0),)})
    assert penalize(logits, everything) is not logits
    choose(logits, everything, (), uniform(0, range(2), 0))
    assert torch.equal(logits, before)


def test_draws_are_uniform_and_independent() -> None:
    table = torch.stack([uniform(3, range(1000), position) for position in range(100)]).numpy()
    assert table.min() >= 0
    assert table.max() < 1
    counts = np.histogram(table, 100, (0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 165  # 99 degrees of freedom: 99.997 %
    assert abs(np.corrcoef(table[0], table[1])[0, 1]) < 0.1
    assert abs(np.corrcoef(table[:, 0], table[:, 1])[0, 1]) < 0.35


numbers = st.integers(-(2**63), 2**64 - 1)


@given(st.lists(st.tuples(numbers, numbers, numbers), max_size=20))
def test_a_draw_depends_on_its_three_numbers_alone(rows: list[tuple[int, int, int]]) -> None:
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    draws = uniform(*columns)
    assert draws.dtype == torch.float64
    assert draws.shape == (len(rows),)
    for draw, row in zip(draws.tolist(), rows, strict=True):
        assert uniform(*row).tolist() == [draw]
        hashed = int(mix(*(np.uint64(number % 2**64) for number in row)))
        assert draw == (hashed >> 11) / 2**53


def test_numbers_stand_for_all_rows() -> None:
    for rows in (3, 30):
        expected = uniform([5] * rows, range(rows), [8] * rows)
        assert torch.equal(uniform(5, range(rows), 8), expected)
        assert torch.equal(uniform([5], range(rows), [8]), expected)
        assert len(set(expected.tolist())) == rows


@settings(deadline=None)
@given(
    st.lists(st.floats(-1e4, 1e4, width=32) | st.just(-math.inf), min_size=1, max_size=20),
    st.sampled_from([0.0, 1e-320, 1e-30, 1e-4, 1.0, 1e6, 1e30, 1e300]),
    shapes,
    st.floats(0, 1, exclude_max=True),
)
@example([-math.inf, -2.0, -math.inf], 1e-30, {}, 1 - 2**-53)
@example([3e38, -3e38, 1.0], 0.5, {"top_p": 0.5}, 0.5)
@example([-math.inf, float(np.finfo(np.float32).min)], 1.0, {"top_p": 0.5, "min_p": 1e-300}, 0.5)
@example([0.0], 1e30, {"top_k": 5, "typical_p": 0.5}, 0.0)
def test_what_is_chosen_can_be(
    row: list[float], temperature: float, shape: dict[str, Any], draw: float
) -> None:
    policy = Policy(**shape | {"temperature": temperature})
    draws = torch.tensor([draw], dtype=torch.float64)
    if max(row) == -math.inf:
        with pytest.raises(ValueError, match="nothing may come next"):
            choose(torch.tensor([row]), policy, (), draws)
        return
    chosen = int(choose(torch.tensor([row]), policy, (), draws))
    assert row[chosen] > -math.inf
    if temperature == 0:
        assert chosen == row.index(max(row))
    elif temperature <= 1e-30 and "typical_p" not in shape:
        assert row[chosen] == max(row)


@pytest.mark.parametrize("temperature", [0.0, 1e-30, 1e-4, 1.0, 1e6, 1e30])
def test_one_possible_token_is_the_one_chosen(temperature: float) -> None:
    logits = torch.full((1, 5), -torch.inf)
    logits[0, 3] = -2.0
    for shape in ({}, {"top_k": 2}, {"top_p": 0.0}, {"min_p": 1.0}, {"typical_p": 0.1}):
        for draw in (0.0, 0.5, 1 - 2**-53):
            draws = torch.tensor([draw], dtype=torch.float64)
            policy = Policy(temperature, **shape)  # type: ignore[arg-type]
            assert choose(logits, policy, (), draws).tolist() == [3]
            assert choose(torch.zeros(1, 1), policy, (), draws).tolist() == [0]


def test_an_infinite_temperature_in_effect_is_uniform() -> None:
    draws = (torch.arange(10, dtype=torch.float64) + 0.5) / 10
    chosen = choose(torch.randn(10, 10), Policy(1e30), (), draws)
    assert chosen.tolist() == list(range(10))


def test_top_p_at_its_ends() -> None:
    logits = torch.randn(50, 9)
    draws = uniform(0, range(50), 0)
    assert torch.equal(choose(logits, Policy(top_p=0.0), (), draws), logits.argmax(-1))
    assert torch.equal(
        choose(logits, Policy(top_p=1.0), (), draws), choose(logits, Policy(), (), draws)
    )


def test_a_batch_without_rows() -> None:
    for policy in (Policy(), Policy(banned_ids=(1,))):
        assert choose(torch.zeros(0, 5), policy, (), uniform(0, [], 0)).shape == (0,)


@pytest.mark.parametrize("policy", [Policy(), Policy(0.0), Policy(forced_ids=(0,)),
                                    Policy(banned_ids=(1,)), Policy(top_k=1)])  # fmt: skip
@pytest.mark.parametrize(("bad", "message"), [(math.nan, "NaN"), (math.inf, "infinite")])
def test_damaged_logits_are_a_clear_error(policy: Policy, bad: float, message: str) -> None:
    logits = torch.zeros(2, 3)
    logits[1, 1] = bad
    with pytest.raises(ValueError, match=message):
        choose(logits, policy, (), uniform(0, range(2), 0))


def test_a_bias_that_makes_an_infinity_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="infinite"):
        choose(torch.tensor([[3e38]]), Policy(logit_bias=((0, 3e38),)), (), uniform(0, 0, 0))


def test_nothing_left_is_a_clear_error() -> None:
    row = history([], [], forbidden=(1,), allowed=[True, True, False])
    for temperature in (0.0, 1.0):
        with pytest.raises(ValueError, match="nothing may come next"):
            choose(torch.zeros(1, 3), Policy(temperature, banned_ids=(0,)), [row], uniform(0, 0, 0))


@pytest.mark.parametrize(
    "wrong",
    [
        *({field: math.nan} for field in (
            "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty",
            "presence_penalty", "frequency_penalty", "no_repeat_ngram")),
        *({field: math.inf} for field in (
            "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty",
            "presence_penalty", "frequency_penalty", "no_repeat_ngram")),
        {"temperature": -1.0}, {"top_k": 0}, {"top_p": 1.5}, {"top_p": -0.1}, {"min_p": 1.1},
        {"min_p": -1.0}, {"typical_p": 0.0}, {"typical_p": 1.1}, {"repetition_penalty": 0.0},
        {"repetition_penalty": -1.0}, {"presence_penalty": -math.inf}, {"no_repeat_ngram": -1},
        {"top_k": 2.5}, {"no_repeat_ngram": 1.5}, {"banned_ids": (-1,)}, {"forced_ids": (0, -5)},
        {"logit_bias": ((-1, 1.0),)},
        {"logit_bias": ((1, math.nan),)}, {"logit_bias": ((1, math.inf),)},
    ],
)  # fmt: skip
def test_values_out_of_range_are_errors_that_name_the_flag(wrong: dict[str, Any]) -> None:
    flag = next(iter(wrong)).replace("_", "-")
    with pytest.raises(ValueError, match=rf"^{flag} .+ \(--{flag}\): has to be"):
        Policy(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"top_k": 6}, "top-k 6 is more than the vocabulary of 5 tokens"),
        ({"banned_ids": (5,)}, "id 5 .--banned-ids.: the vocabulary has 5 tokens"),
        ({"forced_ids": (0, 7)}, "id 7 .--forced-ids."),
        ({"logit_bias": ((9, 1.0),)}, "id 9 .--logit-bias."),
        ({"banned_ids": (0, 1, 2, 3, 4)}, "all 5 tokens of the vocabulary are banned"),
    ],
)
def test_what_does_not_fit_the_vocabulary_is_an_error(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Policy(**wrong).check(5)


def test_what_fits_the_vocabulary_is_none() -> None:
    policy = Policy(top_k=5, banned_ids=(0, 1, 2, 3, 3), forced_ids=(4,), logit_bias=((4, 1.0),))
    policy.check(5)
