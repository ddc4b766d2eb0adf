"""Whether something fits into memory, asked before it is made."""

import os
from pathlib import Path

import torch


def available_bytes(device: torch.device) -> int | None:
    """Memory that is free on a device; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "cpu":
        try:
            lines = Path("/proc/meminfo").read_text("ascii").splitlines()
            return 1024 * next(int(x.split()[1]) for x in lines if x.startswith("MemAvailable"))
        except (OSError, StopIteration):
            if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):  # Windows has none
                return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def check_room(size: int, device: torch.device, what: str) -> None:
    """See that `size` bytes are free.

    Raises:
        ValueError: they are not; `what` says what they are for.

    """
    free = available_bytes(device)
    if free is not None and size > 0.9 * free:
        raise ValueError(
            f"{what} takes {size / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free on "
            f"{device}: give a smaller --batch-size or --max-new-tokens"
        )
