"""The run folder: nothing half-written, nothing damaged believed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from malmoi.config import DataConfig, RunConfig, TrainConfig
from malmoi.model import GPT, build
from malmoi.run import Metrics, Run, check_new, read_metrics
from malmoi.storage import replacing

MODEL = build("malmoi", 20, d_model=16, num_layers=1, context_length=8, ngram_rows=16)
CONFIG = RunConfig(
    model=MODEL, data=DataConfig(("a b.txt", '한글"'), field="본문"), train=TrainConfig(minutes=0.5)
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run.create(tmp_path / "run", CONFIG)
    run.save_weights(GPT(MODEL).state_dict())
    return run


def test_a_run_comes_back_as_it_was(run: Run) -> None:
    again = Run.open(run.folder)
    assert again.config == CONFIG
    model = again.load_model()
    for name, value in GPT(MODEL).state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    run.write_config(CONFIG, {"steps": 3, "validation": {"loss": 1.5}, "none": None})
    assert Run.open(run.folder).config == CONFIG


def test_a_run_is_not_overwritten_unasked(run: Run) -> None:
    other = Run.create(run.folder.with_name("new"), replace(CONFIG, train=TrainConfig(steps=5)))
    with pytest.raises(ValueError, match="add --overwrite"):
        other.move(run.folder)
    assert Run.open(run.folder).config == CONFIG
    moved = other.move(run.folder, overwrite=True)
    assert Run.open(moved.folder).config == other.config
    assert not (moved.folder / "model.safetensors").exists()
    assert [path.name for path in moved.folder.parent.iterdir()] == ["run"]


def test_a_folder_that_is_no_run_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(ValueError, match="no run folder"):
        check_new(tmp_path, overwrite=True)
    with pytest.raises(ValueError, match="is a file"):
        check_new(tmp_path / "precious.txt", overwrite=True)
    assert (tmp_path / "precious.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.toml", b"[model\n", "damaged"),
        ("run.toml", b"[model]\nwings = 2\n", "unknown name 'wings'"),
        ("run.toml", b"[model]\nd_model = 'wide'\n", "damaged"),
        ("run.toml", b"[model]\nd_model = 16.5\n", "damaged"),
        ("run.toml", b"[model]\nnorm = 'batch'\n", "damaged"),
        ("run.toml", b"[model]\nnum_layers = 1000000000\n", "damaged"),
        ("run.toml", b"model = 5\n", "damaged"),
        ("run.toml", b"[data]\nsources = [1]\n", "damaged"),
        ("run.toml", b"a = " + b"[" * 5000, "damaged"),
        ("run.toml", None, "no run folder"),
        ("model.safetensors", b"\x10garbage", "damaged"),
        ("model.safetensors", None, "missing"),
    ],
)
def test_damage_is_one_clear_line(run: Run, name: str, content: bytes | None, message: str) -> None:
    if content is None:
        (run.folder / name).unlink()
    else:
        (run.folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        Run.open(run.folder).load_model()
    assert "\n" not in str(error.value)
    assert name in str(error.value)


def test_weights_of_another_model_are_refused(run: Run) -> None:
    save_file({"token_embedding.weight": torch.zeros(3, 3)}, run.folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"does not fit run\.toml") as error:
        run.load_model()
    assert "\n" not in str(error.value)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as beside:
            beside.write_text("new but unfinished")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_metrics_are_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = Metrics(path)
    log.add({"step": 1, "text": "한글"})
    size = log.size()
    log.add({"step": 2})
    log.close()
    assert [record["step"] for record in read_metrics(path)] == [1, 2]
    again = Metrics(path, size)  # from a checkpoint after the first step
    again.add({"step": 3})
    again.close()
    assert [record["step"] for record in read_metrics(path)] == [1, 3]
    with open(path, "ab") as file:
        file.write('{"step": 4, "한'.encode()[:-1])  # torn
    assert [record["step"] for record in read_metrics(path)] == [1, 3]
