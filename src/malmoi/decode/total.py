"""The logarithm of the sum of exponentials, without a copy of the logits.

Log-probabilities are wanted for one token of a row, and `log_softmax` would make, and give back to
the system, a vector as long as the vocabulary at every step.
"""

import numpy as np
from numba import njit

from malmoi.model import kernels as K


@njit(cache=True, fastmath=K.FAST)
def log_total(logits: np.ndarray) -> float:
    """log(sum(exp(logits))) of float32 logits `[V]`; subtract it for log-probabilities."""
    largest = logits[0]
    for i in range(logits.shape[0]):
        largest = max(largest, logits[i])
    total = np.float32(0)
    for i in range(logits.shape[0]):
        total += K.exp(logits[i] - largest)
    return largest + np.log(total)
