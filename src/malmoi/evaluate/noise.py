"""The gradient noise scale: how many tokens a batch needs before more of them stop helping.

The gradient of a batch is the true gradient G plus noise that falls with the number of tokens B in
the batch: E|g|^2 = |G|^2 + tr(Sigma) / B, where Sigma is the covariance of one token's gradient
(McCandlish et al. 2018, arXiv:1812.06162). Their ratio tr(Sigma) / |G|^2 is a number of tokens.
A batch far below it moves mostly by noise. A batch far above it costs more than it gives.

Two things to know when reading it. It depends on where the weights are: at a high learning rate
they stand off the valley's floor, where G is large. As the rate falls to nothing G does too, and in
the last steps of any good run the scale grows tenfold. And the parts below are made of whole
windows: tokens of one window are not independent, and this way that counts as noise.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Noise:
    """What the gradients of a few parts of text tell.

    Attributes:
        gradient: |G|^2, the squared norm of the true gradient. The estimate has no bias, so where
            the noise drowns it, it can come out below zero.
        variance: tr(Sigma), the variance of one token's gradient, summed over all parameters.
        error: what `gradient` comes out at by chance where there is none (one standard error).

    """

    gradient: float
    variance: float
    error: float

    @property
    def scale(self) -> float | None:
        """The noise scale in tokens; None where there is no gradient at all.

        A gradient below its own error cannot be told from it. The error takes its place then, and
        the scale is one that is likely exceeded.
        """
        gradient = max(self.gradient, self.error)
        return max(self.variance, 0.0) / gradient if gradient > 0 else None


def gradient_noise(model: nn.Module, backward: Callable[[int], int], parts: int = 8) -> Noise:
    """Measure the noise with `parts` passes forward and back, at the weights as they are.

    McCandlish et al. (appendix A) compare the norms of a small and of a large batch. Here the small
    batches are the parts and the large one is all of them, which makes |G|^2 the mean of the
    products of different parts' gradients: the noise of two parts is independent and drops out. Of
    the gradients only their running sum is kept, so it takes the memory of one copy in float32.

    Nothing is changed: the gradients in `.grad` and the state of the random generators (dropout
    draws from them) are afterwards what they were before.

    Args:
        model: in the mode to measure in; with dropout on, its noise counts too.
        backward: `backward(i)` adds the gradient of the mean loss of part `i` to `.grad`, and gives
            the number of tokens it is the mean over. Different parts hold different text.
        parts: 3 at least.

    Raises:
        ValueError: fewer than 3 parts, or a part without tokens.

    """
    if parts < 3:
        raise ValueError(f"gradient noise: {parts} parts are too few, it takes 3")
    parameters = [p for p in model.parameters() if p.requires_grad]
    kept = [p.grad for p in parameters]
    devices = sorted({p.device.index or 0 for p in parameters if p.device.type == "cuda"})
    tokens, norms = 0, 0.0  # the sums over parts of n_i and of n_i |g_i|^2
    pairs: list[float] = []  # for each part but the first: n_i n_j, and
    products: list[float] = []  # n_i n_j g_i g_j, both summed over the parts j before
    total: list[Tensor] = []  # the sum of n_i g_i
    try:
        with torch.random.fork_rng(devices):
            for part in range(parts):
                for parameter in parameters:
                    parameter.grad = None
                count = backward(part)
                if count < 1:
                    raise ValueError(f"gradient noise: part {part} has no tokens to score")
                gradient = [
                    torch.zeros_like(p, dtype=torch.float32) if p.grad is None else p.grad.float()
                    for p in parameters
                ]
                norms += count * _dot(gradient, gradient)
                if total:
                    pairs.append(float(count * tokens))
                    products.append(count * _dot(gradient, total))
                    torch._foreach_add_(total, gradient, alpha=count)
                else:
                    total = [g * count for g in gradient]
                tokens += count
    finally:
        for parameter, gradient_before in zip(parameters, kept, strict=True):
            parameter.grad = gradient_before
    squared = sum(products) / sum(pairs)
    # A product is `pairs` times |G|^2, give or take noise whose variance grows as `pairs` does.
    spread = sum((p - squared * n) ** 2 / n for p, n in zip(products, pairs, strict=True))
    error = (spread / (len(pairs) - 1) / sum(pairs)) ** 0.5
    variance = (norms - _dot(total, total) / tokens) / (parts - 1)
    return Noise(squared, variance, error)


def _dot(a: list[Tensor], b: list[Tensor]) -> float:
    """Inner product over all parameters."""
    return sum(float(torch.dot(x.flatten(), y.flatten())) for x, y in zip(a, b, strict=True))
