"""The few operations that decide the speed of training on a CPU, with backward passes by hand.

Autograd would give the same gradients from the plain formulas (the tests hold them equal), but on a
CPU a small model spends as long on moving activations as on multiplying them: each function here
saves what its backward needs and nothing else, and works in place where the value is its own.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function


class _RMSNorm(Function):
    """x / rms(x), over the last dimension (Zhang & Sennrich 2019, without the learned scale)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        # vector_norm sums in float32 without a float32 copy of x
        rms = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        scale = rms.square_().div_(x.shape[-1]).add_(eps).rsqrt_().to(x.dtype)
        y = x * scale
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        y, scale = ctx.saved_tensors
        along = (grads[0] * y).mean(-1, keepdim=True)
        return torch.addcmul(grads[0], y, along, value=-1).mul_(scale), None


def rms_norm(x: Tensor, eps: float = 1e-6) -> Tensor:
    """Divide `x` by its root mean square over the last dimension."""
    if x.device.type != "cpu":
        return F.rms_norm(x, x.shape[-1:], eps=eps)  # a GPU has a kernel for it
    return _RMSNorm.apply(x, eps)


class _ReluSquared(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        relu = x.relu()
        ctx.save_for_backward(relu)
        return relu * relu

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (relu,) = ctx.saved_tensors
        return (grads[0] * relu).mul_(2)


def relu_squared(x: Tensor) -> Tensor:
    """max(x, 0)^2 (So et al. 2021)."""
    if x.device.type != "cpu":
        return F.relu(x).square()
    return _ReluSquared.apply(x)


class _CausalAttention(Function):
    """softmax(q k^T * scale + mask) v, keeping the probabilities for the backward pass."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
        scores = torch.matmul(q, k.transpose(-1, -2)).mul_(scale).add_(mask)
        weights = torch.softmax(scores, -1)
        ctx.save_for_backward(q, k, v, weights)
        ctx.scale = scale
        return torch.matmul(weights, v)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k, v, weights = ctx.saved_tensors
        grad = grads[0]
        grad_v = torch.matmul(weights.transpose(-1, -2), grad)
        grad_weights = torch.matmul(grad, v.transpose(-1, -2))
        grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
        grad_scores.mul_(ctx.scale)
        grad_q = torch.matmul(grad_scores, k)
        grad_k = torch.matmul(grad_scores.transpose(-1, -2), q)
        return grad_q, grad_k, grad_v, None, None


def causal_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention with explicit weights: `q, k, v` `[B, H, T, D]`, additive `mask` `[T, T]`.

    The mask may be another one for each row of the batch, `[B, 1, T, T]`.

    On the CPU the backward of torch's fused kernel takes several times as long (docs/LOG.md).
    """
    return _CausalAttention.apply(q, k, v, mask, scale)


class _Rotary(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotate(x, cos, sin, 1.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotate(grads[0], cos, sin, -1.0), None, None


def _rotate(x: Tensor, cos: Tensor, sin: Tensor, sign: float) -> Tensor:
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    out = torch.empty_like(x)
    torch.mul(a, cos, out=out[..., :half]).addcmul_(b, sin, value=-sign)
    torch.mul(b, cos, out=out[..., half:]).addcmul_(a, sin, value=sign)
    return out


def rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (x[i], x[i + D/2]) by the angles of their positions (Su et al. 2021).

    `cos` and `sin` broadcast against `x[..., : D // 2]`. The pairing is that of `transformers`.
    """
    return _Rotary.apply(x, cos, sin)


class _LinearCrossEntropy(Function):
    """Cross-entropy of `x @ weight.T`, whose logits exist only a slice of tokens at a time.

    The gradients of both inputs are made on the way forward, while a slice is in the cache: with
    a vocabulary of 50,000 the logits of one batch would otherwise be the largest thing in memory.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, tokens: int, smoothing: float,
        needs_grad: bool,
    ) -> Tensor:  # fmt: skip
        scored = (targets >= 0).sum().clamp(min=1)
        grad_x = torch.empty_like(x) if needs_grad else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_grad else None
        loss = x.new_zeros((), dtype=torch.float32)
        for start in range(0, len(x), tokens):
            rows = slice(start, start + tokens)
            keep = targets[rows] >= 0
            index = targets[rows].clamp(min=0).unsqueeze(1)
            logits = torch.matmul(x[rows], weight.T).float()
            log_z = torch.logsumexp(logits, -1, keepdim=True)
            score = logits.gather(1, index)
            if smoothing:
                # What is taken from the target's score goes to the mean of all of them.
                score.lerp_(logits.mean(-1, keepdim=True), smoothing)
            loss += ((log_z - score).squeeze(1) * keep).sum()
            if grad_x is None or grad_weight is None:
                continue
            grad = logits.sub_(log_z).exp_()
            grad.scatter_add_(1, index, grad.new_full(index.shape, smoothing - 1.0))
            if smoothing:
                grad.sub_(smoothing / len(weight))
            grad.mul_(keep.unsqueeze(1) / scored)
            grad = grad.to(x.dtype)
            torch.matmul(grad, weight, out=grad_x[rows])
            grad_weight += torch.matmul(grad.T, x[rows])
        if grad_x is not None and grad_weight is not None:
            ctx.save_for_backward(grad_x, grad_weight.to(weight.dtype))
        return loss / scored

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        grad_x, grad_weight = ctx.saved_tensors
        return grad_x * grads[0], grad_weight * grads[0], None, None, None, None


def linear_cross_entropy(
    x: Tensor, weight: Tensor, targets: Tensor, smoothing: float = 0.0
) -> Tensor:
    """Mean loss in nats of `targets` `[N]` (negative: not scored) given `x` `[N, C]`.

    `weight` `[V, C]` is the output matrix. `smoothing`, from 0 to 1, is the share of each target
    that is spread evenly over all `V` tokens, the target's own among them (Szegedy et al. 2016).
    """
    # On a CPU a slice of logits stays in the cache (4 MB), unless the vocabulary is so large that
    # adding to the weight's gradient would cost more; a GPU wants few and large slices (1 GB).
    if x.device.type == "cpu":
        tokens = max(weight.shape[1], (1 << 20) // len(weight))
    else:
        tokens = max(64, (1 << 28) // len(weight))
    # Inside `forward` autograd is always off, so whether gradients are wanted is asked here.
    wanted = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    return _LinearCrossEntropy.apply(x, weight, targets, tokens, smoothing, wanted)
