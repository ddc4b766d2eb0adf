"""The search for a size, against trying every one of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from malmoi.run import Run
from malmoi.train.choose import LADDER, TOKENS_PER_PARAMETER, Size, choose

STEP = 4096


@given(
    st.floats(1e8, 1e15), st.floats(0, 0.2), st.floats(1, 1e5), st.integers(50, 60_000),
    st.floats(0.5, 1.5),
)  # fmt: skip
def test_it_finds_what_trying_all_would_find(
    speed: float, overhead: float, seconds: float, vocab: int, power: float
) -> None:
    tried = []

    def weights(size: Size) -> int:
        return 12 * size[0] ** 2 * size[1] + vocab * size[0]

    def step(size: Size) -> float:
        tried.append(size)
        return overhead + (6 * weights(size) * STEP) ** power / speed

    enough = [
        size for size in LADDER
        if seconds / step(size) * STEP >= TOKENS_PER_PARAMETER * weights(size)
    ]  # fmt: skip
    tried.clear()
    found = choose(weights, step, seconds, STEP)
    assert (found.d_model, found.num_layers) == (enough[-1] if enough else LADDER[0])
    assert len(tried) == len(set(tried)) <= 8
    assert found.step_seconds == step((found.d_model, found.num_layers))
    assert found.multiplied == weights((found.d_model, found.num_layers))


def test_a_run_by_the_clock_gets_a_size_and_keeps_it(tmp_path: Path) -> None:
    text, out = tmp_path / "text.txt", tmp_path / "run"
    text.write_text("다람쥐 헌 쳇바퀴에 타고파. 도토리는 데굴데굴 굴러갑니다.\n" * 200, "utf-8")
    command = [
        sys.executable, "-m", "malmoi", "train", str(text), "--out", str(out), "--tokenizer",
        "char", "--ngram-rows", "64", "--device", "cpu", "--precision", "fp32", "--minutes", "0.4",
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *more], capture_output=True, text=True, timeout=200, env=environment
        )

    done = run()
    assert done.returncode == 0, done.stderr
    assert "chosen by the time" in done.stderr
    model = Run.open(out).config.model
    assert (model.d_model, model.num_layers) in LADDER
    # As if it had been stopped: whatever a size takes by now, the run's own is gone on with.
    config = (out / "run.toml").read_text("utf-8")
    head, _, result = config.partition("[result]")
    assert "steps" in result
    (out / "run.toml").write_text(head, "utf-8")
    done = run("--resume", "--json")
    assert done.returncode == 0, done.stderr
    assert "chosen by the time" not in done.stderr
    assert json.loads(done.stdout)["steps"] > 0
    assert Run.open(out).config.model == model
