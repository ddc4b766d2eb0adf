"""Ctrl-C and a polite kill while training: the step at hand is finished, and nothing is lost."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """Raised inside `Interrupts.breakable` when the run is asked to stop."""


class Interrupts:
    """Notes SIGINT and SIGTERM instead of dying of them; a second Ctrl-C interrupts at once.

    Outside the main thread, where no handler can be set, it notes nothing.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        """the signal that came, if any"""
        self._breakable = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as of a job in the background
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = number
        if self._breakable:
            raise Stopped

    @contextmanager
    def breakable(self) -> Iterator[None]:
        """For what changes nothing and takes long: it is left at once, by `Stopped`."""
        if self.asked is not None:
            raise Stopped
        self._breakable = True
        try:
            yield
        finally:
            self._breakable = False
