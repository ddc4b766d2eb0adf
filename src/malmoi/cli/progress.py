"""Progress on stderr: a bar with time left on a terminal, a line now and then elsewhere."""

import sys
import time
from types import TracebackType


class Progress:
    """One line that is rewritten in place on a terminal, or printed every few seconds.

    Args:
        total: of `update`'s `done`; 0: not known.
        quiet: show nothing.

    """

    def __init__(self, label: str, total: float = 0.0, *, quiet: bool = False) -> None:
        self.label, self.total = label, total
        self.terminal = sys.stderr.isatty()
        self.quiet = quiet
        self.began = self.shown = time.monotonic()
        self.every = 0.2 if self.terminal else 10.0
        self.dirty = False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()

    def update(self, done: float, note: str = "", eta: float | None = None) -> None:
        """Say how far it is: `done` of the total, with `eta` seconds left if known better."""
        now = time.monotonic()
        if self.quiet or now - self.shown < self.every or now - self.began < 1.0:
            return
        self.shown = now
        share = min(1.0, done / self.total) if self.total else 0.0
        if eta is None and share > 0.01:
            eta = (now - self.began) * (1 - share) / share
        left = f"  {_clock(eta)} left" if eta is not None else ""
        bar = ""
        if self.total:
            filled = int(share * 20)
            bar = f" {'━' * filled}{'┄' * (20 - filled)} {share:4.0%}"
        self._write(f"{self.label}{bar}{left}  {note}".rstrip())

    def line(self, text: str) -> None:
        """A line that stays."""
        if not self.quiet:
            self.clear()
            print(text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line that is rewritten away."""
        if self.dirty:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self.dirty = False

    def _write(self, text: str) -> None:
        if self.terminal:
            sys.stderr.write(f"\r\x1b[K{text}")
            self.dirty = True
        else:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()


def _clock(seconds: float) -> str:
    seconds = max(0, round(seconds))
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
