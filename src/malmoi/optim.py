"""How the weights move: parameter groups, Muon beside AdamW, gradient clipping, running means.

The optimizer owns float32 master weights. The model computes in whatever precision its parameters
have; after each step they are rounded anew from the masters, so that updates smaller than a
bfloat16 digit are not lost, and no `autocast` has to convert weights at every use.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from malmoi.config import OptimConfig

# Coefficients of the odd polynomials, one triple an iteration, that bring all singular values in
# [0.001, 1] close to 1: the minimax choice of Amsel et al. 2025 (arXiv:2505.16932), which needs
# fewer iterations than one fixed polynomial.
POLYNOMIALS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
)


def orthogonalize(matrices: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrix to each of `matrices` `[N, R, C]`, approximately.

    Newton-Schulz iterations in bfloat16 on the whole stack at once: one call of a batched kernel
    for all layers costs a fraction of a call for each.
    """
    x = matrices.to(torch.bfloat16)
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / (torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) * 1.02 + 1e-7)
    for a, b, c in POLYNOMIALS:
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


Polar = Callable[[Tensor], Tensor]
"""Something that does what `orthogonalize` does."""


class _Matrices:
    """Matrices of one shape, stacked: master weights and momentum `[N, R, C]`."""

    def __init__(self, shape: tuple[int, int], device: torch.device) -> None:
        self.shape, self.device = shape, device
        self.places: list[tuple[str, int, int, bool]] = []
        self.master = self.momentum = torch.empty(0)

    def views(self, of: dict[str, Tensor]) -> list[Tensor]:
        """The part of each parameter's tensor in `of` that stands in the stack, `[R, C]`."""
        views = []
        for name, start, rows, turned in self.places:
            view = of[name].narrow(0, start, rows)
            views.append(view.mT if turned else view)
        return views

    def begin(self, values: dict[str, Tensor]) -> None:
        self.master = torch.stack(self.views(values)).float()
        self.momentum = torch.zeros_like(self.master)
        # An update of a matrix with more outputs than inputs is scaled to the same effect on
        # each output (Jordan et al. 2024); a turned one has more inputs than outputs.
        tall = math.sqrt(max(1.0, self.shape[0] / self.shape[1]))
        scale = [1.0 if turned else tall for *_, turned in self.places]
        self.scale = torch.tensor(scale, device=self.device)[:, None, None]

    def step(
        self, grads: dict[str, Tensor], lr: float, mu: float, decay: float, polar: Polar
    ) -> None:
        grad = torch.stack(self.views(grads)).float()
        self.momentum.lerp_(grad, 1 - mu)
        update = polar(grad.lerp_(self.momentum, mu)).float()  # Nesterov's look-ahead
        if decay:
            self.master.mul_(1 - lr * decay)
        self.master.addcmul_(update, self.scale, value=-lr)


def learning_rates(config: OptimConfig) -> tuple[float, float]:
    """Peak learning rates of the matrices and, beside Muon, of everything else.

    What the user did not give is what does well for the optimizer.
    """
    usual = 0.02 if config.optimizer == "muon" else 0.001
    lr = usual if config.lr is None else config.lr
    embedding_lr = 0.003 if config.embedding_lr is None else config.embedding_lr
    return lr, embedding_lr


class Optimizer:
    """Muon (Jordan et al. 2024) on the matrices inside the blocks, AdamW on everything else.

    With `config.optimizer == "adamw"`, AdamW on everything. Weight decay is on matrices only; with
    Muon, on those inside the blocks. With `config.ema` a running mean of all weights is kept
    beside them, in float32 as they are.

    Args:
        model: its parameters are changed in place by `step`.
        config: learning rates, betas, momentum, decay, clipping, the running mean.
        polar: how to orthogonalize a stack; `malmoi.sharding` has one for several processes.

    """

    def __init__(self, model: nn.Module, config: OptimConfig, polar: Polar = orthogonalize) -> None:
        self.config, self.polar = config, polar
        self.mesh: Any = None  # of the ranks over which it lies in shards
        self.parameters = dict(model.named_parameters())
        self.stacks: dict[tuple[int, int], _Matrices] = {}
        self.steps = 0
        rest = []
        for name, parameter in self.parameters.items():
            if config.optimizer == "muon" and name.startswith("blocks.") and parameter.ndim == 2:
                self._stack(name, parameter, model)
            else:
                rest.append(name)
        values = self._begin_stacks()
        self.rest = {name: values[name].detach().float().clone().requires_grad_() for name in rest}
        muon = config.optimizer == "muon"
        decayed = [p for p in self.rest.values() if p.ndim == 2 and not muon]
        other = [p for p in self.rest.values() if p.ndim != 2 or muon]
        self.matrix_lr, embedding_lr = learning_rates(config)
        self.lr = embedding_lr if muon else self.matrix_lr
        self.adamw = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": config.weight_decay},
                {"params": other, "weight_decay": 0.0},
            ],
            lr=self.lr,
            betas=(config.beta1, config.beta2),
            eps=1e-10,
            fused=True,
        )
        self.means = [master.detach().clone() for master in self._masters()] if config.ema else []

    def _begin_stacks(self) -> dict[str, Tensor]:
        """Fill the stacks' masters from the model; gives where its own weights lie."""
        values = self._places()
        for stack in self.stacks.values():
            stack.begin(values)
        return values

    def _masters(self) -> list[Tensor]:
        """All master weights: the stacks', then the rest's."""
        return [*(s.master for s in self.stacks.values()), *(m.data for m in self.rest.values())]

    def _stack(self, name: str, parameter: nn.Parameter, model: nn.Module) -> None:
        """Queries, keys and values are three matrices; wide ones are turned to join the tall."""
        rows = [parameter.shape[0]]
        if name.endswith("qkv.weight"):
            attention = model.get_submodule(name.removesuffix(".qkv.weight"))
            size = parameter.shape[0] // (attention.q_heads + 2 * attention.kv_heads)  # type: ignore[operator]
            rows = [attention.q_heads * size, *[attention.kv_heads * size] * 2]  # type: ignore[operator, list-item]
        start = 0
        for count in rows:
            turned = count < parameter.shape[1]
            shape = (parameter.shape[1], count) if turned else (count, parameter.shape[1])
            stack = self.stacks.setdefault(shape, _Matrices(shape, parameter.device))
            stack.places.append((name, start, count, turned))
            start += count

    @torch.no_grad()
    def step(self, scale: float) -> float:
        """Move the weights by the gradients in `parameter.grad`, then clear those.

        Each number of the gradient is cut to `config.clip_value`, then all of it is scaled to a
        norm of at most `config.clip`. A gradient that is not finite changes nothing: no weights, no
        moments, no `steps`; it is cleared as well.

        Args:
            scale: of the peak learning rates, from `schedule`; NaN has the effect of a gradient
                that is not finite.

        Returns:
            The norm of the whole gradient before any clipping; infinite or NaN: nothing was done.

        """
        grads = self._gradients()
        every = list(grads.values())
        norm = self._norm(every)
        if not (math.isfinite(norm) and math.isfinite(scale)):
            return norm
        clipped = norm
        if self.config.clip_value:
            torch._foreach_clamp_min_(every, -self.config.clip_value)
            torch._foreach_clamp_max_(every, self.config.clip_value)
            clipped = self._norm(every) if self.config.clip else norm
        if self.config.clip and clipped > self.config.clip:
            torch._foreach_mul_(every, self.config.clip / clipped)
        # Momentum rises over the first steps, when the directions still change quickly.
        mu = max(0.0, self.config.momentum - max(0.0, 1 - self.steps / 300) * 0.1)
        self._step_stacks(grads, self.matrix_lr * scale, mu)
        for name, master in self.rest.items():
            master.grad = grads[name].float()
        for group in self.adamw.param_groups:
            group["lr"] = self.lr * scale
        self.adamw.step()
        self.steps += 1
        if self.means:
            # The first weights know little: a mean that is still short forgets them sooner.
            kept = min(self.config.ema, (1 + self.steps) / (10 + self.steps))
            torch._foreach_lerp_(self.means, self._masters(), 1 - kept)
        self._write(self._masters(), self._places())
        return norm

    def _gradients(self) -> dict[str, Tensor]:
        """The gradient of each parameter, which is taken from it; zeros where there is none."""
        grads = {
            name: parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
            for name, parameter in self.parameters.items()
        }
        for parameter in self.parameters.values():
            parameter.grad = None
        return grads

    def _norm(self, tensors: list[Tensor]) -> float:
        """The Euclidean norm of all numbers together."""
        return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)).float()))

    def _step_stacks(self, grads: dict[str, Tensor], lr: float, mu: float) -> None:
        for stack in self.stacks.values():
            stack.step(grads, lr, mu, self.config.weight_decay, self.polar)

    def _places(self) -> dict[str, Tensor]:
        """Where the model's own weights lie."""
        return {name: parameter.data for name, parameter in self.parameters.items()}

    def _write(self, source: list[Tensor], values: dict[str, Tensor]) -> None:
        """Copy `source`, in the order of `_masters`, into `values`, rounding to their precision."""
        stacks, rest = source[: len(self.stacks)], source[len(self.stacks) :]
        for stack, matrices in zip(self.stacks.values(), stacks, strict=True):
            torch._foreach_copy_(stack.views(values), list(matrices.unbind()))
        if rest:
            torch._foreach_copy_([values[name] for name in self.rest], rest)

    def _copies(self, source: list[Tensor]) -> dict[str, Tensor]:
        values = {
            name: torch.empty_like(parameter, dtype=torch.float32)
            for name, parameter in self.parameters.items()
        }
        self._write(source, values)
        return values

    @torch.no_grad()
    def put(self, averages: bool) -> None:
        """Give the model the running means of its weights, or its own weights back."""
        self._write(self.means if averages and self.means else self._masters(), self._places())

    @torch.no_grad()
    def weights(self) -> dict[str, Tensor]:
        """The float32 weights by the model's parameter names, as copies."""
        return self._copies(self._masters())

    @torch.no_grad()
    def averages(self) -> dict[str, Tensor]:
        """The running means of the weights, as `weights` gives those; with `ema` 0 the same.

        Step t, from 1, makes each mean d * mean + (1 - d) * weight, with d = min(ema, (1 + t) /
        (10 + t)), the early correction of TensorFlow's `ExponentialMovingAverage`.
        """
        return self._copies(self.means or self._masters())

    def state(self) -> dict[str, Tensor]:
        """Everything besides the weights' names that `load` needs to go on exactly."""
        state = {"steps": torch.tensor(self.steps)}
        for (rows, columns), stack in self.stacks.items():
            state[f"muon.{rows}x{columns}.master"] = stack.master
            state[f"muon.{rows}x{columns}.momentum"] = stack.momentum
        for name, master in self.rest.items():
            state[f"adamw.{name}.master"] = master.detach()
            for key, value in self.adamw.state.get(master, {}).items():
                state[f"adamw.{name}.{key}"] = value
        state.update(self._named_means())
        return state

    def _named_means(self) -> dict[str, Tensor]:
        """The running means by their names in `state`."""
        if not self.means:
            return {}
        names = [f"ema.muon.{rows}x{columns}" for rows, columns in self.stacks]
        names += [f"ema.adamw.{name}" for name in self.rest]
        return dict(zip(names, self.means, strict=True))

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave, and write the weights into the model.

        Raises:
            ValueError: the state is of another model or optimizer, or only one of the two keeps
                running means.

        """
        state = dict(state)
        try:
            self.steps = int(state.pop("steps"))
            for (rows, columns), stack in self.stacks.items():
                _restore(stack.master, state.pop(f"muon.{rows}x{columns}.master"))
                _restore(stack.momentum, state.pop(f"muon.{rows}x{columns}.momentum"))
            for name, master in self.rest.items():
                _restore(master, state.pop(f"adamw.{name}.master"))
                mine = f"adamw.{name}."
                # Before the first step there are none, and those that are here have to go.
                self.adamw.state[master] = {
                    key.removeprefix(mine): state.pop(key).to(master.device, copy=True)
                    for key in list(state) if key.startswith(mine)
                }  # fmt: skip
            for name, mean in self._named_means().items():
                _restore(mean, state.pop(name))
            if state:
                raise KeyError(min(state))
        except KeyError as error:
            raise ValueError(f"optimizer state does not belong to this model: {error}") from None
        self._write(self._masters(), self._places())


def _restore(place: Tensor, value: Tensor) -> None:
    """Copy without the broadcasting that `copy_` would allow itself."""
    if place.shape != value.shape:
        raise KeyError(f"{tuple(value.shape)} where {tuple(place.shape)} is needed")
    place.copy_(value)
