"""Several processes, started by torchrun, train what one process trains; and outlive a kill -9."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from malmoi.data import TokenStore, write_stores
from malmoi.model import GPT, build
from malmoi.optim import Optimizer
from malmoi.run import read_metrics
from malmoi.shards import read_shards
from malmoi.storage import read_tensors

sys.path.insert(0, str(Path(__file__).parent))

from ranks_work import CASES, SIZES, STEPS

WORK = str(Path(__file__).with_name("ranks_work.py"))
TORCHRUN = (
    sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
)  # fmt: skip
TEXT = "".join(
    f"{n} 다람쥐가 {n * 7 % 13} 알의 도토리를 {n * 3 % 11} 번 굴렸습니다.\n" for n in range(90)
)
TRAIN = (
    "--tokenizer", "char", "--context-length", "32", "--d-model", "32", "--num-layers", "2",
    "--num-heads", "2", "--d-ff", "64", "--ngram-rows", "256", "--ngram-dropout", "0",
    "--batch-size", "8", "--device", "cpu", "--precision", "fp32", "--steps", "120",
    "--evals", "4", "--checkpoints", "12",
)  # fmt: skip


class Processes:
    """A command with all that it starts; it has ended after `seconds`, whatever happens."""

    def __init__(self, *command: str, seconds: float = 100) -> None:
        self.end = time.monotonic() + seconds
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def workers(self) -> list[int]:
        """The processes that it started, the ranks in order."""
        folder = Path(f"/proc/{self.process.pid}/task/{self.process.pid}")
        return [int(number) for number in (folder / "children").read_text().split()]

    def until(self, there: Callable[[], bool]) -> None:
        while not there():
            if self.process.poll() is not None or time.monotonic() > self.end:
                self.end = 0.0
                pytest.fail(f"it did not come to that:\n{self.finish(None)}")
            time.sleep(0.001)

    def finish(self, code: int | None = 0) -> str:
        """All that was said, once it has ended by itself."""
        try:
            said, _ = self.process.communicate(timeout=max(0.1, self.end - time.monotonic()))
        except subprocess.TimeoutExpired:
            for process in (*self.workers(), self.process.pid):  # those are in no group with it
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            said, _ = self.process.communicate()
            pytest.fail(f"it took too long:\n{said}")
        assert code is None or self.process.returncode == code, said
        return said


class Letters:
    """A tokenizer of one id a character."""

    vocab_size, bos_id, eos_id = 40, 0, 1

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[ord(c) - ord("a") + 3 for c in text] for text in texts]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases of `ranks_work`: in one process, as copies on two, as shards on two."""
    out, chance = tmp_path_factory.mktemp("ranks"), random.Random(3)
    # Documents of all lengths: the ranks' windows have unlike numbers of tokens to score.
    lengths = [chance.choice([1, 2, 3, 9, 70]) for _ in range(120)]
    texts = ["".join(chance.choice("abcabcd") for _ in range(length)) for length in lengths]
    write_stores([("train", text, True) for text in texts], Letters(), out)
    Processes(sys.executable, "-W", "error", WORK, str(out)).finish()
    Processes(*TORCHRUN, WORK, str(out)).finish()
    return out


def told(folder: Path, case: str) -> dict[str, list[float]]:
    return json.loads((folder / f"{case}.json").read_text())


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize("case", CASES)
def test_two_processes_are_one(trained: Path, case: str, parallel: str) -> None:
    alone, both = told(trained / "alone", case), told(trained / parallel, case)
    # In bfloat16 the sums of one process and of two are rounded otherwise.
    near = 2e-2 if case == "bf16" else 1e-5
    for name, values in alone.items():
        np.testing.assert_allclose(both[name], values, rtol=0, atol=near, err_msg=name)
    assert len(alone["losses"]) == STEPS
    assert alone["losses"][-1] < 0.8 * alone["losses"][0]
    for kind in ("weights", "averages"):
        one, two = (read_tensors(trained / of / f"{case}.{kind}") for of in ("alone", parallel))
        assert one.keys() == two.keys()
        if case != "bf16":
            for name, value in one.items():
                torch.testing.assert_close(two[name], value, rtol=0, atol=2e-4, msg=name)


def test_the_windows_have_unlike_numbers_of_scored_tokens(trained: Path) -> None:
    from malmoi.data import Batches

    store = TokenStore(trained, "train")
    ranks = [Batches(store, 16, 4, 0, world_size=2, rank=rank) for rank in range(2)]
    scored = [[int((rank[step][1] >= 0).sum()) for step in range(STEPS)] for rank in ranks]
    assert sum(a != b for a, b in zip(*scored, strict=True)) > STEPS / 2


@pytest.mark.parametrize("case", ["malmoi", "llama", "gpt2"])
def test_shards_on_the_disk_are_what_one_process_keeps(trained: Path, case: str) -> None:
    made = CASES[case]
    model = GPT(build(made.preset, 40, **(SIZES | made.sizes)))  # type: ignore[arg-type]
    optimizer = Optimizer(model, made.optim)
    folder = trained / "fsdp" / f"{case}.optimizer"
    assert len(list(folder.glob("shard-*.safetensors"))) == 2
    optimizer.load(read_shards(folder))
    assert optimizer.steps == STEPS
    for kind, values in (("weights", optimizer.weights()), ("averages", optimizer.averages())):
        expected = read_tensors(trained / "fsdp" / f"{case}.{kind}")
        assert expected.keys() == values.keys()
        for name, value in values.items():
            assert torch.equal(value, expected[name]), name


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT, "utf-8")
    return path


def start(kind: tuple[str, ...], text: Path, out: Path, *more: str) -> Processes:
    return Processes(*kind, "-m", "malmoi", "train", str(text), "--out", str(out), *TRAIN, *more)


def numbers(out: Path) -> list[dict[str, Any]]:
    """What was logged, without the times and what is measured on rank 0's windows alone."""
    left = ("seconds", "tokens_per_second", "noise_scale")
    records = read_metrics(out / "metrics.jsonl")
    return [{k: v for k, v in record.items() if k not in left} for record in records]


def test_a_killed_rank_is_started_anew_and_nothing_is_lost(text: Path, tmp_path: Path) -> None:
    alone, out = tmp_path / "alone", tmp_path / "run"
    start((sys.executable,), text, alone, "--accumulate", "2").finish()  # adds as two ranks do
    running = start((*TORCHRUN, "--max-restarts", "2"), text, out)
    running.until(lambda: len(list((out / "checkpoints").glob("step-*"))) > 1)
    os.kill(running.workers()[-1], signal.SIGKILL)
    said = running.finish()
    assert said.count("resuming   after step") == 1
    assert "Traceback" not in said  # torchrun may end rank 0 before it can say why it does
    mine, theirs = numbers(out), numbers(alone)
    assert [record["step"] for record in mine] == [record["step"] for record in theirs]
    for here, there in zip(mine, theirs, strict=True):
        assert here == pytest.approx(there, abs=1e-5)
    assert "interrupted" not in (out / "run.toml").read_text()


def test_a_run_goes_from_shards_to_one_process_to_copies(text: Path, tmp_path: Path) -> None:
    adamw = ("--optimizer", "adamw", "--ema", "0.9", "--resume")
    alone, out = tmp_path / "alone", tmp_path / "run"
    start((sys.executable,), text, alone, *adamw).finish()
    folder = out / "checkpoints"
    ways = ((TORCHRUN, ("--parallel", "fsdp")), ((sys.executable,), ()), (TORCHRUN, ()))
    for kind, more in ways:
        found = set(folder.glob("step-*")) if folder.exists() else set()
        running = start(kind, text, out, *adamw, *more)
        if more == () and kind == TORCHRUN:
            said = running.finish()
            break
        running.until(lambda found=found: len(set(folder.glob("step-*")) - found) > 1)  # type: ignore[misc]
        running.process.terminate()
        assert "stopped by SIGTERM" in running.finish(None)
        assert any(folder.glob("*/optimizer/shard-*")) == (kind == TORCHRUN)
    assert "the run had processes 1, here it is 2" in said
    mine, theirs = numbers(out), numbers(alone)
    assert [record["step"] for record in mine] == [record["step"] for record in theirs]
    for here, there in zip(mine, theirs, strict=True):
        assert here == pytest.approx(there, abs=1e-5)


def test_windows_that_cannot_be_shared_are_one_clear_line(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    said = start(TORCHRUN, text, out, "--batch-size", "7").finish(1)
    lines = [line for line in said.splitlines() if "malmoi" in line and "batch" in line]
    assert len(lines) == 1
    assert "2 processes cannot share so many windows equally" in lines[0]
    assert list(tmp_path.iterdir()) == []
