"""A tiny run that all tests of generating verbs share, and the command line called in place."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from malmoi.cli.main import main

NIGHTS = "\n".join(f"{n}번째 밤에 다람쥐 {n % 7}마리가 도토리를 주웠어요." for n in range(400))


@dataclass
class Answer:
    """What a command printed, and how it ended."""

    out: str
    err: str
    code: int

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


Call = Callable[..., Answer]


@pytest.fixture(scope="session")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of pieces of words, trained for two seconds."""
    folder = tmp_path_factory.mktemp("speaker")
    (folder / "text.txt").write_text(NIGHTS, "utf-8")
    sizes = [
        "--tokenizer", "bpe", "--vocab-size", "300", "--steps", "100", "--d-model", "32",
        "--num-layers", "1", "--context-length", "64", "--ngram-rows", "64",
        "--batch-size", "8", "--evals", "1", "--device", "cpu",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "malmoi", "train", str(folder / "text.txt"), "--out",
         str(folder / "run"), *sizes],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """The command line in this process, which spares importing torch each time."""
    before = signal.getsignal(signal.SIGTERM)

    def run(*args: object) -> Answer:
        capsys.readouterr()
        code = 0
        try:
            main([str(arg) for arg in args])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Answer(*capsys.readouterr(), code)

    with contextlib.ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGTERM, before)
        yield run
