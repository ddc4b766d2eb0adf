"""The hand-written backward passes against autograd over the plain formulas."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from malmoi.model import ops


def compare(mine: Callable[..., Tensor], plain: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Values and gradients of both, for a random direction."""
    results = []
    for function in (mine, plain):
        leaves = [x.clone().requires_grad_() for x in inputs]
        out = function(*leaves)
        torch.manual_seed(1)
        grads = torch.autograd.grad(out, leaves, torch.randn_like(out))
        results.append((out, *grads))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_rms_norm() -> None:
    def plain(x: Tensor) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()

    compare(ops.rms_norm, plain, torch.randn(3, 5, 16))


def test_relu_squared() -> None:
    compare(ops.relu_squared, lambda x: torch.clamp(x, min=0) ** 2, torch.randn(4, 33))


def test_relu_squared_leaves_its_input_alone() -> None:
    x = torch.randn(8)
    before = x.clone()
    ops.relu_squared(x)
    assert torch.equal(x, before)


def test_attention() -> None:
    mask = torch.full((7, 7), -torch.inf).triu(1)

    def mine(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return ops.causal_attention(q, k, v, mask, 0.3)

    def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return torch.softmax(q @ k.mT * 0.3 + mask, -1) @ v

    compare(mine, plain, *torch.randn(3, 2, 3, 7, 8).unbind())


def test_rotary_is_a_rotation_by_position() -> None:
    angles = torch.randn(1, 1, 5, 4)

    def mine(x: Tensor) -> Tensor:
        return ops.rotary(x, angles.cos(), angles.sin())

    def plain(x: Tensor) -> Tensor:
        turned = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(
            torch.ones_like(angles), angles
        )
        return torch.cat([turned.real, turned.imag], -1)

    compare(mine, plain, torch.randn(2, 3, 5, 8))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("tokens", [1, 3, 64])
def test_linear_cross_entropy(tokens: int, smoothing: float) -> None:
    targets = torch.tensor([3, -1, 0, 9, 2, -1, 9])

    def mine(x: Tensor, w: Tensor) -> Tensor:
        return ops._LinearCrossEntropy.apply(x, w, targets, tokens, smoothing, True)

    def plain(x: Tensor, w: Tensor) -> Tensor:
        logits = (x @ w.T).double()  # a reference more exact than what it judges
        loss = F.cross_entropy(logits, targets, ignore_index=-1, label_smoothing=smoothing)
        return loss.to(x.dtype)

    compare(mine, plain, torch.randn(7, 5), torch.randn(10, 5))
    compare(mine, plain, 9 * torch.randn(7, 5), torch.randn(10, 5))  # far from uniform


def test_linear_cross_entropy_smooths_when_asked() -> None:
    x, weight, targets = torch.randn(6, 5), torch.randn(10, 5), torch.arange(6)
    sharp, smooth = (ops.linear_cross_entropy(x, weight, targets, s) for s in (0.0, 0.2))
    assert torch.equal(sharp, ops.linear_cross_entropy(x, weight, targets))
    torch.testing.assert_close(smooth, F.cross_entropy(x @ weight.T, targets, label_smoothing=0.2))


def test_linear_cross_entropy_of_nothing_is_zero() -> None:
    x = torch.randn(2, 4, requires_grad=True)
    loss = ops.linear_cross_entropy(x, torch.randn(5, 4), torch.tensor([-1, -1]))
    loss.backward()
    assert float(loss.detach()) == 0
    assert x.grad is not None
    assert not x.grad.any()
