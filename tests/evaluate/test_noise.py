"""The gradient noise scale, against a linear regression whose noise is known on paper."""

import math

import pytest
import torch
from torch import Tensor, nn

from malmoi.evaluate.noise import Noise, gradient_noise

SIZE, SPREAD, ERROR = 20, 0.7, 1.5  # inputs, their standard deviation, that of the answers
TRUE_GRADIENT = SPREAD**4 * SIZE  # of the weights' distance from the truth, which is all ones
TRUE_VARIANCE = SPREAD**4 * SIZE * (SIZE + 1) + ERROR**2 * SPREAD**2 * SIZE


class Regression(nn.Module):
    """Half the squared error of `y = x w + noise` at weights that are off by one everywhere.

    With x ~ N(0, s^2 I) in d dimensions, e the distance of the weights and noise of variance r, an
    example's gradient is (x e - noise) x. Its mean is s^2 e. As E[(x e)^2 |x|^2] is
    s^4 |e|^2 (d + 2), the trace of its covariance is s^4 |e|^2 (d + 1) + r s^2 d.
    """

    def __init__(self, at: float = 0.0) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.full((SIZE,), at))

    def part(self, size: int) -> int:
        x = SPREAD * torch.randn(size, SIZE)
        y = x.sum(1) + ERROR * torch.randn(size)
        (0.5 * (x @ self.weights - y) ** 2).mean().backward()
        return size


def repeated(sizes: list[int], times: int, at: float = 0.0) -> list[Noise]:
    """Measured anew each time, on fresh examples."""
    model = Regression(at)
    found = []
    for seed in range(times):

        def backward(part: int, seed: int = seed) -> int:
            torch.manual_seed(1000 * seed + part)
            return model.part(sizes[part])

        found.append(gradient_noise(model, backward, len(sizes)))
    return found


@pytest.mark.parametrize("sizes", [[16] * 6, [4, 40, 7, 23, 16], [200, 100, 300]])
def test_both_estimates_are_right_in_the_mean(sizes: list[int]) -> None:
    found = repeated(sizes, 250)
    for values, truth in (
        ([f.gradient for f in found], TRUE_GRADIENT),
        ([f.variance for f in found], TRUE_VARIANCE),
    ):
        numbers = torch.tensor(values, dtype=torch.float64)
        error = float(numbers.std()) / math.sqrt(len(found))
        assert error < 0.1 * truth
        assert float(numbers.mean()) == pytest.approx(truth, abs=3.5 * error)


def test_the_error_is_what_comes_out_where_there_is_no_gradient() -> None:
    found = repeated([16] * 8, 250, at=1.0)  # at the optimum
    spread = float(torch.tensor([f.gradient for f in found]).std())
    told = float(torch.tensor([f.error**2 for f in found]).mean()) ** 0.5
    assert told == pytest.approx(spread, rel=0.2)


def test_much_text_gives_the_scale_itself() -> None:
    [noise] = repeated([1000] * 100, 1)
    assert noise.scale == pytest.approx(TRUE_VARIANCE / TRUE_GRADIENT, rel=0.1)


def test_it_agrees_with_the_formula_of_the_paper() -> None:
    model, size, parts = Regression(), 10, 4
    noise = gradient_noise(
        model, lambda part: (torch.manual_seed(part), model.part(size))[1], parts
    )
    gradients = []
    for part in range(parts):
        model.zero_grad()
        torch.manual_seed(part)
        model.part(size)
        assert model.weights.grad is not None
        gradients.append(model.weights.grad.clone())
    small = float(sum(g.square().sum() for g in gradients)) / parts
    large = float((sum(gradients) / parts).square().sum())
    all_of_it = size * parts
    squared = (all_of_it * large - size * small) / (all_of_it - size)
    variance = (small - large) / (1 / size - 1 / all_of_it)
    assert noise.gradient == pytest.approx(squared, rel=1e-4)
    assert noise.variance == pytest.approx(variance, rel=1e-4)


def test_a_gradient_drowned_in_noise_gives_a_scale_that_is_at_least_large() -> None:
    assert Noise(gradient=-0.5, variance=100.0, error=0.25).scale == 400
    assert Noise(gradient=0.1, variance=100.0, error=0.25).scale == 400
    assert Noise(gradient=1.0, variance=100.0, error=0.25).scale == 100
    assert Noise(gradient=0.0, variance=0.0, error=0.0).scale is None


def test_nothing_is_changed_by_measuring() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 1), nn.Linear(1, 1))
    model[3].weight.requires_grad_(False)
    x = torch.randn(40, 6)
    model(x).mean().backward()
    model[0].bias.grad = None  # one that had no gradient is to have none again
    before = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    same = [p.grad for p in model.parameters()]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()

    def backward(part: int) -> int:
        rows: Tensor = x[part * 10 : part * 10 + 10]
        (model(rows) ** 2).mean().backward()
        return len(rows)

    first, second = (gradient_noise(model, backward, 4) for _ in range(2))
    assert first == second  # the same dropout, as the generator was put back
    assert first.variance > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    for parameter, was, is_same in zip(model.parameters(), before, same, strict=True):
        assert parameter.grad is is_same
        assert was is None or torch.equal(parameter.grad, was)  # type: ignore[arg-type]
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name])


def test_gradients_come_back_even_after_an_error() -> None:
    model = Regression()
    model.part(4)
    mine = model.weights.grad
    with pytest.raises(ValueError, match="no tokens"):
        gradient_noise(model, lambda part: 0, 4)
    assert model.weights.grad is mine
    with pytest.raises(ValueError, match="too few"):
        gradient_noise(model, model.part, 2)
