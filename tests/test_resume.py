"""A run that is killed, whenever that is, and taken up again is the run that was never killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from malmoi.run import read_metrics

TEXT = "".join(
    f"{n} 다람쥐가 {n * 7 % 13} 알의 도토리를 {n * 3 % 11} 번 굴렸습니다.\n" for n in range(90)
)
SETTING = (
    "--tokenizer", "char", "--context-length", "32", "--d-model", "32", "--num-layers", "2",
    "--num-heads", "2", "--d-ff", "64", "--ngram-rows", "256", "--batch-size", "4",
    "--device", "cpu", "--precision", "fp32",
)  # fmt: skip
STEPS = (
    "--steps", "120", "--evals", "6", "--checkpoints", "12", "--dropout", "0.1", "--ema", "0.9",
    "--schedule", "plateau", "--plateau-patience", "1", "--patience", "50",
)  # fmt: skip


def start(text: Path, out: Path, *more: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "malmoi", "train", str(text), "--out", str(out)]
    return subprocess.Popen(
        [*command, *SETTING, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    return out + err


def until(process: subprocess.Popen[str], there: Callable[[], bool]) -> None:
    """Wait for something that the process does."""
    end = time.monotonic() + 100
    while process.poll() is None and not there():
        assert time.monotonic() < end
        time.sleep(0.0005)


def numbers(out: Path) -> list[dict[str, Any]]:
    """What was logged, without the times."""
    times = ("seconds", "tokens_per_second")
    records = read_metrics(out / "metrics.jsonl")
    return [{k: v for k, v in record.items() if k not in times} for record in records]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT, "utf-8")
    return path


@pytest.fixture(scope="module")
def whole(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that was never killed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    finish(start(text, out, *STEPS))
    records = numbers(out)
    assert [r["step"] for r in records if "loss" in r] == list(range(1, 121))
    tokens = json.loads((out / "data" / "train.json").read_text())["counts"]["tokens"]
    assert 2 * tokens < 120 * 4 * 32  # into the third epoch
    return out


def test_killed_again_and_again_it_is_the_same_run(text: Path, whole: Path, tmp_path: Path) -> None:
    out, chance = tmp_path / "run", random.Random(7)
    folder = out / "checkpoints"
    kills = 0
    for sitting in range(8):
        process = start(text, out, *STEPS, "--resume")
        if sitting % 2:  # in the middle of a save, but for the first of this sitting
            found = set(folder.glob("step-*")) if folder.exists() else set()
            until(process, lambda found=found: bool(set(folder.glob("step-*")) - found))  # type: ignore[misc]
            until(process, lambda: any(folder.glob(".step-*.part")))
        else:
            until(process, (out / "metrics.jsonl").exists)
            time.sleep(chance.random() * 0.4)
        kills += process.poll() is None
        process.kill()
        process.communicate()
    assert kills >= 5
    finish(start(text, out, *STEPS, "--resume"))
    assert numbers(out) == numbers(whole)
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    left = [path.name for path in [*folder.iterdir(), *tmp_path.iterdir()] if path.name[0] == "."]
    assert not left, "what kills left behind is cleared away"


def test_a_polite_kill_saves_and_is_no_error(text: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(text, out, *STEPS)
    until(process, lambda: any((out / "checkpoints").glob("step-*")))
    process.send_signal(signal.SIGTERM)
    assert "--resume" in finish(process)
    finish(start(text, out, *STEPS, "--resume"))
    assert numbers(out) == numbers(whole)
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_ctrl_c_saves_too_and_tells_how_to_go_on(text: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(text, out, *STEPS)
    until(process, lambda: any((out / "checkpoints").glob("step-*")))
    process.send_signal(signal.SIGINT)
    assert "--resume goes on" in finish(process, 2)
    finish(start(text, out, *STEPS, "--resume"))
    assert numbers(out) == numbers(whole)


@pytest.mark.parametrize("how", ["cut", "flipped", "unsigned"])
def test_a_damaged_newest_checkpoint_is_passed_over(
    text: Path, whole: Path, tmp_path: Path, how: str
) -> None:
    out = tmp_path / "run"
    process = start(text, out, *STEPS)
    until(process, lambda: len(list((out / "checkpoints").glob("step-*"))) > 1)
    process.kill()
    process.communicate()
    newest = sorted((out / "checkpoints").glob("step-*"))[-1]
    file = newest / "optimizer.safetensors"
    if how == "cut":
        os.truncate(file, file.stat().st_size // 2)
    elif how == "flipped":
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 16
        file.write_bytes(content)
    else:
        (newest / "MANIFEST").unlink()
    said = finish(start(text, out, *STEPS, "--resume"))
    assert f"{newest.name}: " in said
    assert "going back" in said
    assert numbers(out) == numbers(whole)


def test_another_text_or_command_is_refused(text: Path, tmp_path: Path) -> None:
    out, own = tmp_path / "run", tmp_path / "text.txt"
    own.write_text(TEXT, "utf-8")
    process = start(own, out, *STEPS)
    until(process, lambda: any((out / "checkpoints").glob("step-*")))
    process.kill()
    process.communicate()
    said = finish(start(own, out, *STEPS, "--resume", "--lr", "0.5"), 2)
    assert "--lr is 0.5, the run was started with 0.02" in said
    own.write_text(TEXT.replace("도토리", "알밤"), "utf-8")
    said = finish(start(own, out, *STEPS, "--resume"), 2)
    assert "the text has changed" in said
    assert "bytes" in said
    own.write_text(TEXT, "utf-8")
    store = out / "data" / "train.bin"
    content = bytearray(store.read_bytes())
    content[40] ^= 1
    store.write_bytes(content)
    assert "damaged" in finish(start(own, out, *STEPS, "--resume"), 2)


def test_a_run_by_the_clock_goes_on_where_it_was(text: Path, tmp_path: Path) -> None:
    out, setting = tmp_path / "run", ("--minutes", "0.25", "--checkpoints", "10")
    process = start(text, out, *setting)
    until(process, lambda: len(list((out / "checkpoints").glob("step-*"))) > 1)
    process.kill()
    process.communicate()
    before = [r["step"] for r in numbers(out) if "loss" in r]
    begin = time.monotonic()
    report = json.loads(start(text, out, *setting, "--resume", "--json").communicate()[0])
    assert report["seconds"] >= 10
    assert time.monotonic() - begin < 15, "the time before the kill counts"
    after = [r["step"] for r in numbers(out) if "loss" in r]
    assert after == list(range(1, report["steps"] + 1))
    assert len(after) > len(before)


def test_a_complete_run_stays_as_it_is(text: Path, whole: Path) -> None:
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    said = finish(start(text, whole, *STEPS, "--resume"))
    assert "nothing to resume" in said
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before
