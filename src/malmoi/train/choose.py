"""Which size of the `malmoi` preset learns most from a text in a given time on this machine.

A large model learns more from each token, a small one sees more tokens in the same time. What
pays best was measured (docs/LOG.md, `benchmarks/sizes.py`): so many training tokens for each
parameter that is multiplied. How many tokens there will be is not guessed but measured, by a few
real steps of a size or two.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from malmoi.config import ModelConfig

LADDER = (
    (64, 2), (96, 2), (128, 2), (128, 3), (128, 4), (160, 4), (192, 4), (224, 4), (256, 4),
    (256, 6), (320, 6), (384, 6), (448, 8), (512, 8), (640, 10), (768, 12), (1024, 16), (1280, 20),
)  # fmt: skip
"""widths and numbers of layers to choose among, the smallest first"""
