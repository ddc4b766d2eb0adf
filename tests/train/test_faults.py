"""What goes wrong on the way: numbers that are none, disks that are full, clocks that jump."""

import ast
import errno
import itertools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from malmoi.checkpoint import Checkpoint, Checkpoints
from malmoi.cli.pipeline import train_run
from malmoi.config import DataConfig, OptimConfig, RunConfig, TokenizerConfig, TrainConfig
from malmoi.data import Batches, write_stores
from malmoi.model import GPT, build
from malmoi.optim import Optimizer
from malmoi.run import Run, read_metrics
from malmoi.storage import read_tensors
from malmoi.tokenizer import train_tokenizer
from malmoi.train import Budget, Diverged, Event, Hooks, Result, Trainer
from malmoi.train.loop import BAD_STEPS, ROLLBACKS

TEXT = "다람쥐 헌 쳇바퀴에 타고파. " * 40
OPTIM = OptimConfig(schedule="constant", warmup=0.0, lr=0.01, embedding_lr=0.01, ema=0.9)


class Training:
    """A small run with checkpoints, whose gradients are spoilt at some steps."""

    def __init__(self, folder: Path, steps: int = 40) -> None:
        tokenizer = train_tokenizer(iter([TEXT]), "char")
        store = write_stores([("train", TEXT, True)], tokenizer, folder / "data")["train"]
        sizes: dict[str, Any] = {
            "context_length": 16, "d_model": 32, "num_layers": 2, "num_heads": 2, "d_ff": 64
        }  # fmt: skip
        self.model = GPT(build("llama", tokenizer.vocab_size, **sizes))
        self.checkpoints = Checkpoints(folder / "checkpoints")
        self.optimizer = Optimizer(self.model, OPTIM)
        self.events: list[Event] = []
        self.spoilt: dict[int, float] = {}  # the n-th gradient that is made -> what it is
        self.made = itertools.count()
        self.model.output_weight.register_hook(self._spoil)
        self.trainer = Trainer(
            self.model, Batches(store, 16, 8, seed=0), self.optimizer,
            TrainConfig(steps=steps, evals=4, checkpoints=4), OPTIM,
            Budget(time.monotonic(), steps=steps),
            Hooks(self._evaluate, self.events.append, save=self._save, restore=self._restore),
        )  # fmt: skip
        self.batches = self.trainer.batches

    def _spoil(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * self.spoilt.get(next(self.made), 1.0)

    def _evaluate(self) -> float:
        ids, targets = (torch.from_numpy(array) for array in self.batches[10_000])
        with torch.no_grad():
            return float(self.model.loss(ids, targets))

    def _save(self, state: dict[str, Any]) -> None:
        optimizer = self.optimizer
        self.checkpoints.save(state["steps"], optimizer.weights(), optimizer.state(), state)

    def _restore(self) -> dict[str, Any] | None:
        found, _ = self.checkpoints.newest()
        if found is None:
            return None
        self.optimizer.load(found.optimizer())
        return found.state

    def run(self, *spoilt: int, how: float = float("nan")) -> Result:
        self.spoilt = dict.fromkeys(spoilt, how)
        return self.trainer.run()

    def losses(self) -> list[float]:
        """Of the steps that counted."""
        found = [e for e in self.events if e.validation_loss is None and e.rollback_from is None]
        return [e.loss for e in found if e.skipped is None]


@pytest.mark.parametrize("how", [float("nan"), float("inf")])
def test_a_bad_step_changes_nothing_and_the_run_goes_on(tmp_path: Path, how: float) -> None:
    training = Training(tmp_path)
    result = training.run(7, 20, 21, how=how)
    assert (result.steps, result.skipped, result.rollbacks) == (40, 3, 0)
    assert training.optimizer.steps == 37
    bad = [event for event in training.events if event.skipped is not None]
    assert [event.step for event in bad] == [8, 21, 22]
    assert bad[0].record() == {"step": 8, "skipped": True, "reason": "the gradient is not finite"}
    assert all(torch.isfinite(p).all() for p in training.model.parameters())
    assert result.best_loss < 1.0
    # Up to the first bad step it is the run that has none.
    whole = Training(tmp_path / "whole")
    whole.run()
    assert whole.losses()[:7] == training.losses()[:7]


def test_too_many_bad_steps_lead_back_to_the_last_checkpoint(tmp_path: Path) -> None:
    training = Training(tmp_path)
    spoilt = range(24, 24 + BAD_STEPS)
    result = training.run(*spoilt)
    assert (result.steps, result.skipped, result.rollbacks) == (40, BAD_STEPS, 1)
    (back,) = (event for event in training.events if event.rollback_from is not None)
    assert (back.rollback_from, back.step, back.lr_factor) == (24 + BAD_STEPS, 20, 0.5)
    assert back.record() == {"step": 24 + BAD_STEPS, "rollback_to": 20, "lr_factor": 0.5}
    steps = [e for e in training.events if e.validation_loss is None and e.rollback_from is None]
    place = steps.index(next(e for e in steps if e.lr < 0.01))
    assert [e.step for e in steps[place:]] == list(range(21, 41))
    assert {round(e.lr, 6) for e in steps[:place]} == {0.01}
    assert {round(e.lr, 6) for e in steps[place:]} == {0.005}
    # The step after the roll-back starts from the very weights that step 21 started from before.
    assert steps[place].loss == steps[20].loss
    assert steps[place + 1].loss != steps[21].loss
    assert result.best_loss < 1.0


def test_going_back_again_and_again_is_divergence(tmp_path: Path) -> None:
    training = Training(tmp_path)
    with pytest.raises(Diverged, match=f"after {ROLLBACKS} roll-backs: try a smaller --lr"):
        training.run(*range(24, 1000))
    backs = [event for event in training.events if event.rollback_from is not None]
    assert [event.lr_factor for event in backs] == [0.5**n for n in range(1, ROLLBACKS + 1)]
    assert all(torch.isfinite(p).all() for p in training.model.parameters())
    assert training.trainer.result.best_loss < 1.5


def test_a_step_after_divergence_in_bfloat16_too(tmp_path: Path) -> None:
    """A learning rate beyond all measure, in a real process: the end is one line, exit code 2."""
    text = tmp_path / "text.txt"
    text.write_text(TEXT * 4, "utf-8")
    done = _malmoi("train", text, "--out", tmp_path / "run", "--steps", 200, "--lr", "1e30",
                   "--embedding-lr", "1e30", "--clip", 0, "--preset", "llama")  # fmt: skip
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("malmoi train: the ")
    assert "try a smaller --lr" in last
    assert str(tmp_path / "run") in last
    assert "Traceback" not in done.stderr
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert any("rollback_to" in record for record in records)


@pytest.mark.parametrize(
    ("size", "code", "what"),
    [("900k", 0, "a checkpoint"), ("700k", 0, "a checkpoint"), ("260k", 2, "the best weights")],
)
def test_a_disk_that_fills_up_costs_no_training(
    tmp_path: Path, size: str, code: int, what: str
) -> None:
    """On a real small file system.

    There is no room for checkpoints; or for one, and then not for better weights beside it; or not
    even for better weights.
    """
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare here, with which a small file system can be had")
    text, disk, copy = tmp_path / "text.txt", tmp_path / "disk", tmp_path / "copy"
    text.write_text(TEXT * 4, "utf-8")
    disk.mkdir()
    copy.mkdir()
    command = " ".join(_command("train", text, "--out", disk / "run", "--steps", 60))
    script = (
        f"mount -t tmpfs -o size={size} none {disk} && {{ {command}; code=$?; "
        f"cp -r {disk}/. {copy}; exit $code; }}"
    )
    done = subprocess.run(
        [unshare, "-rm", "sh", "-c", script], capture_output=True, text=True, timeout=200,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip(f"no small file system can be had here: {done.stderr.strip()}")
    assert done.returncode == code, done.stderr
    assert f"{what} could not be written" in done.stderr
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    run = copy / "run"
    if code:
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("malmoi train: ")
        assert str(disk / "run") in last
    _, warnings = Checkpoints(run / "checkpoints").newest()
    assert not warnings, "nothing half-written"
    assert not list(run.rglob(".*")), "nothing left lying about"
    left = _malmoi("score", run, "다람쥐")
    assert left.returncode == 0, left.stderr  # what was written before is whole


def test_no_clock_that_can_be_set_is_looked_at() -> None:
    """The wall clock jumps, by hand, by summer time or by NTP; `time.monotonic` does not."""
    source = Path(__file__).parents[2] / "src" / "malmoi"
    wrong = []
    for path in source.rglob("*.py"):
        if path.name == "chat.py":  # a chat template may ask for today's date
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                name = f"{node.value.id}.{node.attr}"
                if name in ("time.time", "datetime.now", "time.time_ns", "date.today"):
                    wrong.append(f"{path.relative_to(source)}: {name}")
    assert not wrong


SMALL = (
    "--tokenizer", "char", "--context-length", "16", "--d-model", "32", "--num-layers", "1",
    "--num-heads", "2", "--d-ff", "64", "--ngram-rows", "64", "--batch-size", "4", "--device",
    "cpu", "--evals", "6", "--precision", "bf16",
)  # fmt: skip


def _command(*words: object) -> list[str]:
    small = SMALL if words[0] == "train" else ()
    return [sys.executable, "-m", "malmoi", *map(str, words), *small]


def _malmoi(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*words), capture_output=True, text=True, timeout=200,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_a_checkpoint_goes_with_the_best_weights_of_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Better weights could not be written once; the next checkpoint must not keep the old ones."""
    text = tmp_path / "text.txt"
    text.write_text(TEXT * 4, "utf-8")
    written, calls, save = [], itertools.count(), Run.save_weights

    def full_for_a_moment(run: Run, weights: dict[str, torch.Tensor]) -> None:
        if next(calls) == 2:  # after those of the untrained model, twice
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append({name: value.clone() for name, value in weights.items()})
        save(run, weights)

    monkeypatch.setattr(Run, "save_weights", full_for_a_moment)
    size = {"context_length": 16, "d_model": 32, "num_layers": 1, "num_heads": 2, "d_ff": 64}
    setting = TrainConfig(steps=30, batch_size=4, evals=3, checkpoints=15, keep=50, device="cpu")
    config = RunConfig(
        data=DataConfig((str(text),)), tokenizer=TokenizerConfig("char"), train=setting
    )
    out = tmp_path / "run"
    train_run(config, {**size, "ngram_rows": 64}, out, time.monotonic(), quiet=True)
    records = read_metrics(out / "metrics.jsonl")
    steps = [r["step"] for r in records if r.get("best")]
    assert len(steps) > 2
    best = dict(zip(steps, written[1:], strict=True))
    found = [Checkpoint.at(place) for place in (out / "checkpoints").iterdir()]
    assert len(found) > 10
    for checkpoint in found:
        assert checkpoint.best is not None
        weights = read_tensors(checkpoint.best)
        expected = best[checkpoint.state["best_step"]]
        assert all(torch.equal(weights[name], expected[name]) for name in expected)
