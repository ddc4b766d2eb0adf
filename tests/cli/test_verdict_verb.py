"""`malmoi verdict`: sentences in both languages, the JSON, and commands that can be run."""

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from malmoi.cli import train as train_verb
from malmoi.cli.language import choose_language
from malmoi.cli.main import _parse
from malmoi.cli.resume import settle
from malmoi.config import DataConfig, OptimConfig, RunConfig, TokenizerConfig, TrainConfig
from malmoi.evaluate.facts import Facts
from malmoi.model import build
from malmoi.run import Run

Call = Callable[..., Any]


@pytest.fixture
def copy(speaker: Path, tmp_path: Path) -> Path:
    """The shared run, to be changed."""
    return Path(shutil.copytree(speaker, tmp_path / "run"))


def test_the_contract_of_the_json(speaker: Path, call: Call) -> None:
    result = call("verdict", speaker, "--json", "--lang", "en").json
    assert set(result) == {"verdict", "not_looked_at"}
    for finding in result["verdict"]:
        assert set(finding) == {"kind", "severity", "step", "evidence", "command", "text"}
    # One evaluation at the end says nothing about a curve.
    curve = next(entry for entry in result["not_looked_at"] if entry["missing"] == "curve")
    assert {"overfitting", "underfitting"} <= set(curve["kinds"])
    assert "fewer than four evaluations" in curve["text"]


def test_people_read_sentences_in_their_language(
    speaker: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    korean = call("verdict", speaker, "--lang", "ko").out
    english = call("verdict", speaker, "--lang", "en").out
    assert "보지 못한 것:" in korean
    assert "Not looked at:" in english
    for name in ("LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "ko_KR.UTF-8")
    assert call("verdict", speaker).out == korean
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    assert call("verdict", speaker).out == english


def test_the_locale_is_read_as_posix_reads_it() -> None:
    assert choose_language("auto", {"LANG": "ko_KR.UTF-8"}) == "ko"
    assert choose_language("auto", {"LANG": "ko_KR.UTF-8", "LC_MESSAGES": "en_US"}) == "en"
    assert choose_language("auto", {"LANG": "en_US", "LC_ALL": "ko"}) == "ko"
    assert choose_language("auto", {"LANG": "ko_KR", "LC_ALL": ""}) == "ko"


def test_a_run_that_is_still_going_on_can_be_judged(copy: Path, call: Call) -> None:
    path = copy / "metrics.jsonl"
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([*lines, lines[-1][:20]]), "utf-8")  # a line half written
    assert call("verdict", copy).code == 0
    path.write_text("\n".join([lines[0], lines[-1][:20], *lines[1:]]), "utf-8")
    answer = call("verdict", copy)
    assert answer.code == 2
    assert "line 2 is damaged" in answer.err


def test_errors_are_one_line(copy: Path, call: Call) -> None:
    answer = call("verdict", copy / "nowhere")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    (copy / "metrics.jsonl").write_text('{"step": "seven"}\n', "utf-8")
    answer = call("verdict", copy)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "not a record of a run" in answer.err
    (copy / "metrics.jsonl").unlink()
    answer = call("verdict", copy)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "metrics.jsonl" in answer.err


def test_a_diverged_run_is_told_at_once(copy: Path, call: Call) -> None:
    records = [
        {"step": 10 * n, "progress": n / 8, "validation_loss": loss, "train_loss": loss, "lr": 0.1}
        for n, loss in enumerate([6.0, 4.0, 3.0, 9.0, 20.0, 30.0, 40.0, 50.0, 60.0])
    ]  # fmt: skip
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (copy / "metrics.jsonl").write_text(lines, "utf-8")
    answer = call("verdict", copy, "--lang", "ko")
    assert "20스텝 뒤로 학습이 발산했어요." in answer.out
    assert "--lr 0.005" in answer.out


@pytest.mark.parametrize(
    ("preset", "sizes", "optim", "train", "changes"),
    [
        ("malmoi", {}, {}, {"minutes": 3.0}, {"minutes": 12.0}),
        ("malmoi", {"d_model": 96, "ngram_dropout": 0.0}, {"ema": 0.9}, {"steps": 7},
         {"lr": 0.005}),
        ("llama", {"d_model": 64, "num_layers": 2, "context_length": 32, "dropout": 0.1},
         {"optimizer": "adamw", "lr": 1e-5, "clip": 0.0}, {"steps": 9, "compile": True},
         {"lr": 0.001, "clip": 1.0}),
        ("llama", {"num_heads": 4, "num_kv_heads": 2, "d_model": 64}, {"embedding_lr": 0.1},
         {"steps": 9, "batch_size": 3}, {"d_model": 128}),
        ("gpt2", {"d_model": 60, "num_heads": 5, "d_ff": 77}, {"schedule": "wsd"},
         {"steps": 9, "seed": 4}, {"dropout": 0.2, "patience": 3}),
        ("bigram", {"d_model": 32, "context_length": 32}, {}, {"steps": 9}, {"preset": "malmoi"}),
    ],
)  # fmt: skip
def test_the_next_command_is_the_run_once_more_with_a_change(
    preset: Any, sizes: dict, optim: dict, train: dict, changes: dict, tmp_path: Path
) -> None:
    model = build(preset, 500, **sizes)
    config = RunConfig(
        model=model,
        data=DataConfig(("내 글.txt", "b.jsonl"), field="A", split="90/10"),
        tokenizer=TokenizerConfig("char"),
        optim=settle(OptimConfig(**optim), model),
        train=TrainConfig(**train),
    )
    config = Run.create(tmp_path / "run", config).config  # as it stands in a run folder
    program, verb, *flags = shlex.split(Facts(run="a run", config=config).again(**changes))
    assert (program, verb) == ("malmoi", "train")
    args = _parse("train", train_verb, flags)
    again, given = train_verb.to_config(args)
    assert args.out == Path("a run-2")
    built = build(again.model.preset, 500, **given)
    found = replace(again, model=built, optim=settle(again.optim, built))
    if "preset" in changes:
        assert built == build(changes["preset"], 500)
        return
    wanted = model if "d_model" not in changes else build(preset, 500, d_model=128)
    parts = {"model": wanted, "optim": config.optim, "train": config.train}
    for name, part in parts.items():
        mine = {k: v for k, v in changes.items() if hasattr(part, k) and k != "d_model"}
        if "minutes" in changes and name == "train":
            mine["steps"] = None
        assert getattr(found, name) == replace(part, **mine)
    assert (found.data, found.tokenizer) == (config.data, config.tokenizer)
