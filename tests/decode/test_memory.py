"""What is asked of memory before it is taken."""

import os

import pytest
import torch

from malmoi.decode.memory import available_bytes, check_room

CPU = torch.device("cpu")


def test_what_is_free_is_less_than_what_there_is() -> None:
    free = available_bytes(CPU)
    assert free is not None
    assert 0 < free <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_what_does_not_fit_is_refused() -> None:
    check_room(1 << 20, CPU, "a megabyte")
    with pytest.raises(
        ValueError, match=r"a cache takes 1048576.0 GiB, and .* GiB are free on cpu"
    ):
        check_room(1 << 50, CPU, "a cache")


def test_a_system_that_does_not_tell_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("malmoi.decode.memory.Path.read_text", _missing)
    monkeypatch.delattr(os, "sysconf_names")  # as on Windows
    assert available_bytes(CPU) is None
    check_room(1 << 50, CPU, "a cache")


def _missing(*args: object, **kwargs: object) -> str:
    raise FileNotFoundError
