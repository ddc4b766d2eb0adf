"""How the learning rate goes over a run: shares of its peak, as functions of progress alone.

A run may be counted in steps or in minutes, so nothing here knows of steps. What depends on losses
is not here either: `malmoi.train.stopping.Plateau` multiplies on top.
"""

import math
from typing import assert_never

from malmoi.config import OptimConfig, Schedule

# An exponential never reaches zero, so `exponential` ends here where `final_lr` is lower.
EXPONENTIAL_END = 0.01
# `inverse-sqrt` falls from the end of the warm-up; without one, from this share of the run.
INVERSE_SQRT_BEGIN = 0.01


def schedule(kind: Schedule, progress: float, config: OptimConfig) -> float:
    """Learning rate at `progress` (0 to 1) through the run, as a share of the peak, 0 to 1.

    All kinds rise linearly over the first `config.warmup` of the run. Then

    - `constant` and `plateau` stay there (`malmoi.train.stopping.Plateau` lowers the latter);
    - `cosine` falls all the way to `config.final_lr` (Loshchilov & Hutter 2017);
    - `cosine-restarts` does so `config.restarts` times, in cycles of equal length, each from the
      peak (the same paper's warm restarts); a single cycle is `cosine`;
    - `linear` and `wsd` stay at the peak until the last `config.decay` of the run, and end at
      `config.final_lr`; `wsd` falls as 1 - sqrt (Hägele et al. 2024). Where `warmup` and `decay`
      overlap, both drop at the end of the warm-up to where the fall has come by then;
    - `exponential` falls by the same factor in equal times, to the larger of `config.final_lr` and
      0.01;
    - `inverse-sqrt` falls as sqrt(warmup / progress) (Vaswani et al. 2017), but never below
      `config.final_lr`; without a warm-up as if it had been a hundredth of the run;
    - `step` falls to a third after 60 % of what follows the warm-up and to a tenth after 85 %.
    """
    progress = min(max(progress, 0.0), 1.0)
    if progress < config.warmup:
        # The very first step is not to be lost on a rate of zero.
        return min(1.0, max(progress, 1e-3) / config.warmup)
    after = (progress - config.warmup) / (1 - config.warmup) if config.warmup < 1 else 1.0
    final = config.final_lr
    match kind:
        case "constant" | "plateau":
            return 1.0
        case "step":
            return 1.0 if after < 0.6 else 1 / 3 if after < 0.85 else 0.1
        case "exponential":
            return max(final, EXPONENTIAL_END) ** after
        case "inverse-sqrt":
            begin = config.warmup or INVERSE_SQRT_BEGIN
            return max(final, math.sqrt(begin / max(progress, begin)))
        case "cosine":
            share = _half_cosine(after)
        case "cosine-restarts":
            # The run ends with the last cycle's end, not with one more restart.
            share = _half_cosine(after * config.restarts % 1 if after < 1 else 1.0)
        case "linear":
            share = 1 - _falling(progress, config.decay)
        case "wsd":
            share = 1 - math.sqrt(_falling(progress, config.decay))
        case _:
            assert_never(kind)
    return final + (1 - final) * share


def _half_cosine(share: float) -> float:
    """From 1 at 0 to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * share))


def _falling(progress: float, decay: float) -> float:
    """How much of the last `decay` of the run is over, 0 to 1."""
    return max(0.0, 1 - (1 - progress) / decay) if decay > 0 else 0.0
