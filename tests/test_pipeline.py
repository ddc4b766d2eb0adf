"""The whole way, on the built-in corpus: text in, a trained, measured, talking model out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from malmoi.cli.main import main


def malmoi(capsys: pytest.CaptureFixture[str], *args: str) -> dict:
    main([*args, "--json"])
    return json.loads(capsys.readouterr().out)


def test_stories_are_learnt_measured_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "run")
    report = malmoi(
        capsys, "train", "builtin:stories:400", "--out", out, "--steps", "60",
        "--vocab-size", "800", "--d-model", "64", "--num-layers", "2", "--batch-size", "8",
        "--evals", "2", "--device", "cpu",
    )  # fmt: skip
    assert report["best_step"] == 60
    result = malmoi(capsys, "evaluate", out, "--precision", "fp32")
    source = result["source_entropy"]["bits_per_byte"]
    bits = result["test"]["bits_per_byte"]
    assert 0.15 < source < 0.25
    assert source < bits < result["floors"]["trigram"]["bits_per_byte"] * 1.5
    assert bits < result["floors"]["unigram"]["bits_per_byte"] / 2
    assert bits == pytest.approx(report["validation"]["bits_per_byte"], rel=0.1)
    spoken = malmoi(
        capsys,
        "generate",
        out,
        "--prompt",
        "옛날 옛적에",
        "--temperature",
        "0",
        "--max-new-tokens",
        "60",
    )["outputs"][0]
    assert "살" in spoken["text"]  # somebody lived somewhere, in every story there is


def test_demo_tells_everything(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    command = [sys.executable, "-m", "malmoi", "demo", "--minutes", "0.3", "--out", str(out)]
    done = subprocess.run(
        [*command, "--stories", "500", "--json"], capture_output=True, text=True, check=True
    )
    result = json.loads(done.stdout)
    assert {"train", "validation", "test", "floors", "source_entropy", "samples"} <= set(result)
    assert len(result["samples"]) == 5
    assert "옛날 옛적에" in (out / "samples.md").read_text("utf-8")
