"""Checkpoints: whole or not there, whatever happens to the process and the disk."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from malmoi.checkpoint import Checkpoints


def save(folder: Path, step: int, keep: int = 2, best: Path | None = None) -> Path:
    weights = {"w": torch.full((4,), float(step))}
    state = {"step": step}
    return Checkpoints(folder, keep).save(step, weights, {"m": torch.ones(2) * step}, state, best)


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_they_come_back_and_old_ones_go(tmp_path: Path, keep: int) -> None:
    assert Checkpoints(tmp_path).newest() == (None, [])
    for step in (5, 10, 15, 9_999_999, 10_000_000):  # the last has a digit more
        save(tmp_path, step, keep)
    steps = (10_000_000, 9_999_999, 15)[:keep]
    assert sorted(tmp_path.iterdir()) == sorted(tmp_path / f"step-{step:07d}" for step in steps)
    found, warnings = Checkpoints(tmp_path).newest()
    assert found is not None
    assert found.weights()["w"].tolist() == [1e7] * 4
    assert found.optimizer()["m"].tolist() == [1e7] * 2
    assert (found.state, found.best, warnings) == ({"step": 10_000_000}, None, [])


def test_the_best_weights_stay_those_of_its_time(tmp_path: Path) -> None:
    best = tmp_path / "best"
    best.write_bytes(b"of step 3")
    place = save(tmp_path / "all", 5, best=best)
    assert best.stat().st_ino == (place / "best.safetensors").stat().st_ino, "no second copy"
    new = tmp_path / "new"
    new.write_bytes(b"of step 6")
    os.replace(new, best)  # as the run folder does it
    found, _ = Checkpoints(tmp_path / "all").newest()
    assert found is not None
    assert found.best is not None
    assert found.best.read_bytes() == b"of step 3"


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.safetensors", "state.json", "MANIFEST"]
)
@pytest.mark.parametrize("how", ["cut", "flipped", "gone"])
def test_a_torn_one_is_passed_over_with_a_warning(tmp_path: Path, name: str, how: str) -> None:
    save(tmp_path, 5)
    path = save(tmp_path, 10) / name
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    found, warnings = Checkpoints(tmp_path).newest()
    assert found is not None
    assert found.state == {"step": 5}
    assert "step-0000010" in warnings[0]


def test_one_that_is_replaced_is_there_all_the_time(tmp_path: Path) -> None:
    """Killed between two renames, the old one stands beside its place."""
    place = save(tmp_path, 5)
    os.replace(place, tmp_path / f".{place.name}.old")
    (tmp_path / f".{place.name}.part").mkdir()
    found, _ = Checkpoints(tmp_path).newest()
    assert found is not None
    assert found.state == {"step": 5}
    save(tmp_path, 5)
    assert [path.name for path in tmp_path.iterdir()] == [place.name]


SAVER = """
import sys
from pathlib import Path
import torch
from malmoi.checkpoint import Checkpoints
from malmoi.config import RunConfig
from malmoi.run import Run
folder = Path(sys.argv[1])
run, checkpoints = Run(folder, RunConfig()), Checkpoints(folder / "checkpoints")
step = 0
while True:
    step += 1
    value = torch.full((300_000,), float(step))
    run.save_weights({"w": value})
    checkpoints.save(step, {"w": value}, {"w": value}, {"step": step})
    print(step, flush=True)
"""


def test_a_process_killed_while_saving_leaves_whole_files(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SAVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(3):
        process.stdout.readline()
    time.sleep(0.0137)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    weights = load_file(tmp_path / "model.safetensors")["w"]
    assert (weights == weights[0]).all()
    found, warnings = Checkpoints(tmp_path / "checkpoints").newest()
    assert found is not None
    assert float(found.weights()["w"][0]) == found.state["step"] >= 2
    assert not warnings


FILLER = """
import sys
from pathlib import Path
import torch
from malmoi.checkpoint import Checkpoints
checkpoints = Checkpoints(Path(sys.argv[1]), keep=2)
for step in (1, 2, 3):
    value = torch.full((100_000,), float(step))
    try:
        checkpoints.save(step, {"w": value}, {"m": value, "v": value}, {"step": step})
    except OSError as error:
        print(step, type(error).__name__)
"""


def test_a_full_disk_costs_the_new_one_only(tmp_path: Path) -> None:
    """A real file system of 3 MB, where two checkpoints of 1.2 MB fit and no third beside them."""
    python = f"{sys.executable} -c '{FILLER}' {tmp_path}"
    show = f"ls -A {tmp_path}; cp -r {tmp_path}/. $OUT"
    script = f"mount -t tmpfs -o size=3m none {tmp_path} && {python} && {show}"
    out = tmp_path.with_name(tmp_path.name + "-copy")
    out.mkdir()
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare here, with which a small file system can be had")
    done = subprocess.run(
        [unshare, "-rm", "sh", "-c", script], capture_output=True, text=True,
        env=os.environ | {"OUT": str(out)},
    )  # fmt: skip
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"no small file system can be had here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3", "OSError", "step-0000001", "step-0000002"]
    found, warnings = Checkpoints(out).newest()
    assert found is not None
    assert (found.state, warnings) == ({"step": 2}, [])
