"""Which size of the `malmoi` preset learns most from a text in a given time on this machine.

A large model learns more from each token, a small one sees more tokens in the same time. What
pays best was measured (docs/LOG.md, `benchmarks/sizes.py`): so many training tokens for each
parameter that is multiplied. How many tokens there will be is not guessed but measured, by a few
real steps of a size or two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Size = tuple[int, int]
"""width and number of layers"""

LADDER: tuple[Size, ...] = (
    (96, 2), (128, 2), (128, 3), (128, 4), (160, 4), (192, 4), (224, 4), (256, 4), (256, 6),
    (320, 6), (384, 6), (448, 8), (512, 8), (640, 10), (768, 12), (1024, 16), (1280, 20),
)  # fmt: skip
"""what there is to choose among, the smallest first"""
FIRST: Size = (128, 4)
"""the first to be measured"""
TOKENS_PER_PARAMETER = 1.5
"""training tokens for each multiplied parameter that a run should have; fewer, and a smaller model
learns more in the time"""


@dataclass(frozen=True)
class Choice:
    """A size, and what was measured on the way to it."""

    d_model: int
    num_layers: int
    step_seconds: float
    multiplied: int
    """parameters that each token is multiplied with"""
    measured: tuple[Size, ...]
    """sizes that were tried, in this order"""


def choose(
    multiplied: Callable[[Size], int],
    step_seconds: Callable[[Size], float],
    seconds: float,
    step_tokens: int,
    ladder: Sequence[Size] = LADDER,
) -> Choice:
    """The largest size that will see enough tokens for each of its parameters.

    The number of tokens falls as the size rises, so the search goes up or down the ladder from
    `FIRST`, at once as far as the size just measured promises, and ends between two neighbours.

    Args:
        multiplied: a size's parameters that each token is multiplied with.
        step_seconds: measures a step of a size.
        seconds: for training steps.
        step_tokens: in a step.
        ladder: to choose among, the smallest first.

    """
    weights = [multiplied(size) for size in ladder]
    times: dict[int, float] = {}
    low, high = 0, len(ladder)  # ladder[low] is taken to do, ladder[high] not
    at = min(range(len(ladder)), key=lambda i: abs(weights[i] - multiplied(FIRST)))
    while True:
        times[at] = step_seconds(ladder[at])
        share = seconds / times[at] * step_tokens / (TOKENS_PER_PARAMETER * weights[at])
        if share >= 1:
            low = at
        else:
            high = at
        if high - low <= 1 and (low in times or low == 0):
            break
        # A step takes about as long as there are weights, and tokens are wanted for each of them.
        aim = weights[at] * share**0.5
        best = max((i for i in range(low, high) if weights[i] <= aim), default=low)
        at = best if best not in times else best + 1
    if low not in times:
        times[low] = step_seconds(ladder[low])
    return Choice(*ladder[low], times[low], weights[low], tuple(ladder[i] for i in times))
