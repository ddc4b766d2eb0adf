"""What a run would take, before it is started, against what it takes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from malmoi.config import OptimConfig
from malmoi.model import GPT, build
from malmoi.optim import Optimizer
from malmoi.train.speed import least_bytes

SIZES = (
    "--context-length", "16", "--d-model", "32", "--num-layers", "2", "--num-heads", "2", "--d-ff",
    "64", "--ngram-rows", "64", "--batch-size", "4", "--tokenizer", "char", "--device", "cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("다람쥐 헌 쳇바퀴에 타고파. " * 60, "utf-8")
    return path


def malmoi(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "malmoi", *map(str, words)], capture_output=True, text=True,
        timeout=200, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )  # fmt: skip


def plan(text: Path, *more: object) -> dict[str, Any]:
    done = malmoi("plan", text, *SIZES, "--measure", 0.2, "--json", *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_counts_as_the_run_does(text: Path, tmp_path: Path) -> None:
    found = plan(text, "--steps", 9, "--precision", "fp32")
    done = malmoi("train", text, *SIZES, "--steps", 9, "--out", tmp_path / "run", "--json")
    report = json.loads(done.stdout)
    assert (found["steps"], found["parameters"]) == (report["steps"], report["parameters"])
    store = json.loads((tmp_path / "run" / "data" / "train.json").read_text())
    assert found["train_tokens"] == store["counts"]["tokens"]
    assert found["tokens"] == 9 * 4 * 16
    assert found["epochs"] == pytest.approx(9 * 4 * 16 / store["counts"]["tokens"])
    # two layers of qkv and out, up and down, and the output matrix
    layers = 2 * (3 * 32 * 32 + 32 * 32 + 2 * 32 * 64)
    assert found["multiplied"] == layers + found["vocab_size"] * 32
    assert found["peak_bytes"] > 50 << 20  # torch alone takes that
    assert found["tokens_per_second"] == pytest.approx(4 * 16 / found["step_seconds"])
    assert found["measured_steps"] >= 3


def test_what_it_advises(text: Path) -> None:
    assert plan(text, "--steps", 2)["advice"] == ["too_large"]
    assert plan(text, "--steps", 5000)["advice"] == ["small_text", "more_parameters"]
    small = ("--d-model", 2, "--num-heads", 1, "--num-layers", 0, "--preset", "bigram")
    assert plan(text, "--steps", 5000, *small)["advice"][0] == "small_text"


def test_it_speaks_both_languages(text: Path) -> None:
    flags = ("plan", text, *SIZES, "--measure", 0.1, "--steps", 9)
    assert "매개변수" in malmoi(*flags, LC_ALL="ko_KR.UTF-8").stdout
    assert "매개변수" in malmoi(*flags, "--lang", "ko", LC_ALL="C.UTF-8").stdout
    english = malmoi(*flags, LC_ALL="C.UTF-8").stdout
    assert "parameters" in english
    assert english.isascii()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--d-model", 100_000, "--num-heads", 2, "--num-layers", 40), "GiB are free on cpu"),
        (("--measure", 0), "--measure 0: has to be more than 0"),
        (("--context-length", 5000), "less than one window"),
    ],
)
def test_what_cannot_be_is_one_line(text: Path, flags: tuple[object, ...], words: str) -> None:
    done = malmoi("plan", text, *SIZES, *flags)
    assert done.returncode == 2
    assert words in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_least_memory_is_that_of_the_tensors(optimizer: Any, dtype: torch.dtype) -> None:
    model = GPT(build("llama", 50, d_model=32, num_layers=2, num_heads=2, d_ff=64)).to(dtype)
    config = OptimConfig(optimizer=optimizer, ema=0.9)
    made = Optimizer(model, config)
    model.loss(torch.zeros(1, 4, dtype=torch.long), torch.ones(1, 4, dtype=torch.long)).backward()
    held = [p for p in model.parameters()] + [p.grad for p in model.parameters()]  # noqa: C416
    size = sum(t.nbytes for t in held if t is not None)
    made.step(1.0)
    state = [value for name, value in made.state().items() if not name.endswith("step")]
    size += sum(t.nbytes for t in state) - state[0].nbytes  # the first is a counter of steps
    assert least_bytes(model, config, dtype.itemsize) == size
