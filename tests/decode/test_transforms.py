"""Each transform against that of Hugging Face transformers, or the formula it comes from."""

from collections.abc import Callable

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from malmoi.decode import transforms
from malmoi.decode.history import History

ROWS, VOCAB = 64, 30


def cases(seed: int) -> Tensor:
    """Random logits: plain ones, ones with many equals, ones with much ruled out, and all but one.

    In double, in which the processors of transformers compute as ours decide.
    """
    generator = torch.Generator().manual_seed(seed)
    plain = torch.randn(ROWS // 4, VOCAB, generator=generator) * 3
    ties = torch.randint(-2, 3, (ROWS // 4, VOCAB), generator=generator).float()
    holes = plain.masked_fill(torch.rand(plain.shape, generator=generator) < 0.7, -torch.inf)
    holes[:, 3] = 0.5
    one = torch.full_like(plain, -torch.inf)
    one[:, 7] = -2.0
    return torch.cat([plain, ties, holes, one])


def texts(seed: int, length: int = 40, vocab: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocab, (ROWS, length), generator=generator)


def equal(mine: Tensor, theirs: Tensor) -> None:
    assert not mine.isnan().any()
    assert torch.equal(mine.isinf(), theirs.isinf())
    torch.testing.assert_close(mine.double(), theirs.double(), atol=1e-4, rtol=1e-5)


SHAPES: list[tuple[Callable[..., Tensor], Callable[..., Callable[..., Tensor]], list[float]]] = [
    (
        transforms.apply_temperature,
        transformers.TemperatureLogitsWarper,
        [0.01, 0.3, 1.0, 1.7, 100.0],
    ),
    (transforms.apply_top_k, transformers.TopKLogitsWarper, [1, 2, 7, VOCAB, VOCAB + 5]),
    (transforms.apply_top_p, transformers.TopPLogitsWarper, [0.0, 0.01, 0.4, 0.77, 0.99, 1.0]),
    (transforms.apply_min_p, transformers.MinPLogitsWarper, [0.0, 0.03, 0.2, 0.9, 1.0]),
    (transforms.apply_typical, transformers.TypicalLogitsWarper, [0.01, 0.2, 0.6, 0.9, 0.999]),
]


@pytest.mark.parametrize(("mine", "theirs", "values"), SHAPES)
def test_shapes_equal_transformers(
    mine: Callable[..., Tensor],
    theirs: Callable[..., Callable[..., Tensor]],
    values: list[float],
) -> None:
    for seed, value in enumerate(values):
        logits = cases(seed)
        before = logits.clone()
        expected = theirs(value)(texts(seed), logits.double())
        out = mine(logits, value)
        if mine is transforms.apply_top_p:
            # Which of several equals at the edge stay is left open by the sort of transformers.
            plain = ROWS // 4
            equal(out[:plain], expected[:plain])
            out, expected = out.sort(-1).values, expected.sort(-1).values
        equal(out, expected)
        assert torch.equal(logits, before)


def test_top_p_keeps_the_higher_of_equal_ids() -> None:
    kept = transforms.apply_top_p(torch.tensor([[0.0, 5.0, 0.0, 5.0, 5.0] + [0.0] * 30]), 0.5)
    assert kept[0].isfinite().nonzero().flatten().tolist() == [3, 4]


def histories(ids: Tensor, given: int = 25) -> list[History]:
    """Histories of texts `[B, T]` whose first `given` ids are the prompt."""
    made = []
    for row in ids.tolist():
        history = History(row[:given])
        for token in row[given:]:
            history.append(token)
        made.append(history)
    return made


@pytest.mark.parametrize("penalty", [0.5, 1.0, 1.3, 4.0])
def test_repetition_penalty_equals_transformers(penalty: float) -> None:
    logits, ids = cases(0), texts(1, vocab=VOCAB)
    before = logits.clone()
    seen = [history.seen for history in histories(ids)]
    mine = transforms.apply_repetition_penalty(logits, seen, penalty)
    equal(mine, transformers.RepetitionPenaltyLogitsProcessor(penalty)(ids, logits))
    assert torch.equal(logits, before)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 40, 41])
@pytest.mark.parametrize("vocab", [2, 6])
def test_no_repeat_ngram_equals_transformers(n: int, vocab: int) -> None:
    logits, ids = cases(2), texts(3, vocab=vocab)
    mine = transforms.apply_no_repeat_ngram(logits, histories(ids), n)
    equal(mine, transformers.NoRepeatNGramLogitsProcessor(n)(ids, logits))


def test_bans_equal_transformers() -> None:
    logits, ids = cases(4), texts(5)
    before = logits.clone()
    theirs = transformers.NoBadWordsLogitsProcessor([[0], [17]])(ids, logits)
    equal(transforms.forbid(logits, [[0, 17]] * ROWS), theirs)
    equal(transforms.forbid(logits, [torch.tensor([17, 0])] * ROWS), theirs)
    equal(transforms.forbid(logits, [[]] * ROWS), logits)
    assert torch.equal(logits, before)


def test_bias_equals_transformers() -> None:
    logits, ids = cases(6), texts(7)
    theirs = transformers.SequenceBiasLogitsProcessor({(2,): 1.5, (29,): -100.0})(ids, logits)
    mine = transforms.apply_bias(logits, torch.tensor([2, 29]), torch.tensor([1.5, -100.0]))
    equal(mine, theirs)


def test_a_constraint_equals_transformers() -> None:
    logits, ids = cases(8)[: ROWS // 2], texts(9)[: ROWS // 2]
    lists = [[row % VOCAB, (7 * row + 1) % VOCAB, 3] for row in range(len(ids))]
    allowed = torch.zeros(len(ids), VOCAB, dtype=torch.bool)
    for row, tokens in enumerate(lists):
        allowed[row, tokens] = True
    theirs = transformers.PrefixConstrainedLogitsProcessor(lambda row, _: lists[row], 1)
    equal(transforms.allow(logits, allowed), theirs(ids, logits))
    each = transforms.allow(logits, allowed[5])  # one mask for all rows
    assert torch.equal(each.isfinite(), allowed[5].expand_as(each))
    assert torch.equal(each[:, 3], logits[:, 3])


def test_a_forced_token_equals_transformers() -> None:
    logits = cases(10)
    theirs = transformers.ForcedBOSTokenLogitsProcessor(11)(texts(11, length=1), logits)
    equal(transforms.force(logits, 11), theirs)


def test_count_penalties_follow_the_formula_of_the_api() -> None:
    logits, ids = cases(12), texts(13, vocab=VOCAB)
    made = histories(ids)
    mine = transforms.apply_count_penalties(logits, [row.counts() for row in made], 0.4, 0.3)
    expected = logits.clone()
    for row in range(ROWS):
        for token in range(VOCAB):
            count = ids[row, 25:].tolist().count(token)  # the prompt, the first 25, is not counted
            expected[row, token] -= 0.4 * (count > 0) + 0.3 * count
    equal(mine, expected)


@given(
    st.lists(st.floats(-1e4, 1e4, width=32) | st.just(-torch.inf), min_size=1, max_size=12),
    st.floats(1e-320, 1e300),
)
def test_no_temperature_makes_nan_or_loses_all(row: list[float], temperature: float) -> None:
    logits = torch.tensor([row, [0.0] * len(row)])
    scaled = transforms.apply_temperature(logits, temperature)
    assert not scaled.isnan().any()
    assert not (scaled == torch.inf).any()
    if logits[0].max() > -torch.inf:
        assert scaled[0].max().isfinite()
        assert scaled[0, logits[0].argmax()] == scaled[0].max()
    else:
        assert scaled[0].isinf().all()
    # a row does not notice the one beside it
    assert torch.equal(scaled[:1], transforms.apply_temperature(logits[:1], temperature))


@given(
    st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=12),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(1, 30),
)
def test_the_most_probable_stays(row: list[float], p: float, mass: float, k: int) -> None:
    logits = torch.tensor([row])
    for kept in (
        transforms.apply_top_p(logits, p),
        transforms.apply_top_k(logits, k),
        transforms.apply_min_p(logits, p),
    ):
        assert kept.max() == logits.max()
    assert transforms.apply_typical(logits, mass).isfinite().any()
