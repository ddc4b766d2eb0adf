"""Randomness without a state: hashes of counters, the same on every machine and in any order."""

from typing import Any

import numpy as np


def mix(*values: int | np.uint64 | np.ndarray) -> Any:
    """A well-mixed 64-bit hash of the values, for arrays element by element.

    Each value goes through the increment and the finalizer of splitmix64 (Steele et al. 2014).
    """
    state: Any = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):
        for value in values:
            state = (state ^ np.asarray(value).astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return state
