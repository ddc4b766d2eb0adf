"""The same numbers for those who watch elsewhere, as their own readers read them."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from malmoi.run import read_metrics

SMALL = (
    "--tokenizer", "char", "--context-length", "16", "--d-model", "32", "--num-layers", "1",
    "--num-heads", "2", "--d-ff", "64", "--ngram-rows", "64", "--batch-size", "4", "--device",
    "cpu", "--evals", "2", "--precision", "fp32", "--steps", "8",
)  # fmt: skip


def train(folder: Path, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    text = folder / "text.txt"
    text.write_text("다람쥐 헌 쳇바퀴에 타고파. " * 60, "utf-8")
    command = [sys.executable, "-m", "malmoi", "train", str(text), "--out", str(folder / "run")]
    return subprocess.run(
        [*command, *SMALL, *more], capture_output=True, text=True, timeout=200,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )  # fmt: skip


def test_tensorboard_reads_what_was_logged(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    done = train(tmp_path, "--tensorboard")
    assert done.returncode == 0, done.stderr
    found = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    found.Reload()
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    for name in ("loss", "lr", "grad_norm", "validation_loss"):
        ours = [(r["step"], pytest.approx(r[name], rel=1e-6)) for r in records if name in r]
        if name in ("lr", "grad_norm"):  # of steps and of evaluations
            ours = [(r["step"], pytest.approx(r[name], rel=1e-6)) for r in records]
        assert [(event.step, event.value) for event in found.Scalars(name)] == ours


def test_weights_and_biases_gets_the_run_without_a_network(tmp_path: Path) -> None:
    """Offline, where it writes its own file, which its own tool could send later."""
    done = train(tmp_path, "--wandb", "malmoi-test", "--json", WANDB_MODE="offline")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 8  # nothing of theirs among our results
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    content = file.read_bytes()
    for name in (b"validation_loss", b"grad_norm", b"malmoi-test"):
        assert name in content


def test_a_missing_package_is_one_line(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    for name in ("tensorboard", "wandb"):
        (hidden / name).mkdir(parents=True)
        (hidden / name / "__init__.py").write_text("raise ImportError('hidden by the test')")
    for flags in (["--tensorboard"], ["--wandb", "p"]):
        done = train(tmp_path, *flags, "--overwrite", PYTHONPATH=str(hidden))
        assert done.returncode == 2
        assert f"pip install 'malmoi[{flags[0][2:]}]'" in done.stderr.strip().splitlines()[-1]
        assert "Traceback" not in done.stderr
