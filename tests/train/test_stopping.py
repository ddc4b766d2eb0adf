"""Early stopping against its definition, the plateau against torch's ReduceLROnPlateau."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from malmoi.train.stopping import EarlyStopping, Plateau

# Few different values, so that losses are often equal or exactly `min_delta` apart.
losses = st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, math.inf, math.nan]), max_size=30)
patiences = st.integers(0, 4)
deltas = st.sampled_from([0.0, 0.5, 0.7])


@given(losses, patiences)
def test_better_is_below_all_before_and_patience_counts_the_rest(
    values: list[float], patience: int
) -> None:
    stopping = EarlyStopping(patience, 0.0)
    told = [stopping.update(loss) for loss in values]
    expected = [
        math.isfinite(loss) and all(not loss >= earlier for earlier in values[:at])
        for at, loss in enumerate(values)
    ]
    assert [better for better, _ in told] == expected
    for at, (_, stop) in enumerate(told):
        last = expected[: at + 1][-patience:] if patience else []
        assert stop == (patience > 0 and len(last) == patience and not any(last))


def test_better_is_by_more_than_min_delta() -> None:
    stopping = EarlyStopping(3, 0.25)
    assert stopping.update(3.0) == (True, False)
    assert stopping.update(2.75) == (False, False)  # by min_delta, not by more
    assert stopping.update(2.5) == (True, False)  # than the best, not than the last
    assert stopping.update(2.4) == (False, False)
    assert stopping.update(2.3) == (False, False)
    assert stopping.update(math.nan) == (False, True)
    assert stopping.update(2.0) == (True, False)


@given(losses, patiences, deltas, st.sampled_from([0.0, 0.1, 0.5]))
def test_plateau_equals_torch(
    values: list[float], patience: int, min_delta: float, factor: float
) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=factor, patience=patience, threshold=min_delta, threshold_mode="abs",
        eps=0.0,
    )  # fmt: skip
    mine = Plateau(patience, factor, min_delta)
    for loss in values:
        theirs.step(loss)
        assert mine.update(loss) == optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize("make", [lambda: EarlyStopping(2, 0.5), lambda: Plateau(1, 0.5, 0.5)])
@given(losses, st.integers(0, 30))
def test_states_go_on_exactly(make, values: list[float], cut: int) -> None:  # type: ignore[no-untyped-def]
    whole, first, second = make(), make(), make()
    expected = [whole.update(loss) for loss in values]
    told = [first.update(loss) for loss in values[:cut]]
    second.load(json.loads(json.dumps(first.state(), allow_nan=False)))
    told += [second.update(loss) for loss in values[cut:]]
    assert told == expected


@pytest.mark.parametrize("state", [{}, {"best": 1.0}, {"best": "low", "waited": 0, "share": 1.0}])
@pytest.mark.parametrize("what", [EarlyStopping(1), Plateau(1, 0.5)])
def test_a_foreign_state_is_refused(
    what: EarlyStopping | Plateau, state: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match="not a state of"):
        what.load(state)
