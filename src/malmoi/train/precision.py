"""Which device, and in which precision: decided by measuring for a moment, not by a table."""

import time

import torch

from malmoi.config import ModelConfig, Precision


def choose_device(name: str) -> torch.device:
    """The device that `name` means; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        ValueError: a device that is not here.

    """
    here = ["cpu"]
    if torch.backends.mps.is_available():
        here.insert(0, "mps")
    if torch.cuda.is_available():
        here.insert(0, "cuda")
    if name == "auto":
        return torch.device(here[0])
    if name.split(":")[0] not in here:
        raise ValueError(f"device {name!r} is not available here; there are: {', '.join(here)}")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except RuntimeError:
        raise ValueError(f"device {name!r} is not available here") from None
    return device


def choose_dtype(precision: Precision, device: torch.device, config: ModelConfig) -> torch.dtype:
    """bfloat16 where a micro-benchmark shows it faster, float32 elsewhere.

    The benchmark multiplies matrices of the model's feed-forward shape for some 100 ms in all. A
    processor without bfloat16 instructions emulates them several times slower than float32.
    """
    if precision != "auto":
        return torch.bfloat16 if precision == "bf16" else torch.float32
    inner, outer = max(config.d_model, 128), max(config.d_ff, 256)
    fp32 = matmul_seconds(torch.float32, device, inner, outer)
    bf16 = matmul_seconds(torch.bfloat16, device, inner, outer)
    return torch.bfloat16 if bf16 < 0.8 * fp32 else torch.float32


def matmul_seconds(
    dtype: torch.dtype, device: torch.device, inner: int, outer: int, rows: int = 2048
) -> float:
    """Best time of `[rows, inner] @ [inner, outer]` in seconds, over about 50 ms of trying."""
    a = torch.ones(rows, inner, dtype=dtype, device=device)
    b = torch.ones(inner, outer, dtype=dtype, device=device)
    best, end = float("inf"), time.perf_counter() + 0.05
    while True:
        begin = time.perf_counter()
        a @ b
        if device.type != "cpu":
            torch.ones((), device=device).item()  # wait for the queue
        now = time.perf_counter()
        best = min(best, now - begin)
        if now > end:
            return best
