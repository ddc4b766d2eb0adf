"""What all tests share."""

from pathlib import Path

import pytest
import torch

DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shakespeare() -> Path:
    """The English text, where it lies beside the repository."""
    path = DATA / "tinyshakespeare.txt"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path
