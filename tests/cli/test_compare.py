"""`malmoi compare`: what is the same in all runs, what differs, and what is said of it."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from malmoi.checkpoint import Checkpoints
from malmoi.cli.compare import Args, plan
from malmoi.cli.comparison import T90, WORDS, compare, conclusion, noise_of, table
from malmoi.cli.main import main
from malmoi.cli.remedies import REMEDIES, bare
from malmoi.config import OptimConfig, RunConfig, TrainConfig, to_dict
from malmoi.data import TokenStore
from malmoi.evaluate.loss import evaluate
from malmoi.model import GPT, build
from malmoi.run import Run

ANIMALS = ("다람쥐", "토끼", "여우", "곰")
TEXTS = [
    f"{n}번째 밤에 {ANIMALS[n % 4]} {n % 7}마리가 도토리를 주웠어요." * (1 + n % 5)
    for n in range(120)
]
TINY = [
    "--tokenizer", "char", "--d-model", "32", "--num-layers", "1", "--context-length", "32",
    "--ngram-rows", "64", "--batch-size", "4", "--evals", "3", "--steps", "12", "--device", "cpu",
    "--lang", "en",
]  # fmt: skip


def malmoi(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "malmoi", "compare", *map(str, args)],
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "nights.jsonl"
    lines = (json.dumps({"text": text}, ensure_ascii=False) for text in TEXTS)
    path.write_text("\n".join(lines), "utf-8")
    return path


@pytest.fixture(scope="module")
def compared(text: Path) -> tuple[Path, dict[str, Any], str]:
    """A comparison of everything: its folder, what it printed as JSON and on stderr."""
    out = text.parent / "all"
    done = malmoi(text, "--out", out, *TINY, "--json")
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout), done.stderr


def test_every_run_is_a_run_folder(compared: tuple[Path, dict[str, Any], str]) -> None:
    out, result, _ = compared
    names = ["base", "base-2", *REMEDIES]
    assert [run["name"] for run in result["runs"]] == names
    files = {"compare.json", "compare.png"}
    assert {path.name for path in out.iterdir()} == {*names, *files}
    for name in names:
        here = {path.name for path in (out / name).iterdir()}
        assert {"run.toml", "tokenizer.json", "model.safetensors", "metrics.jsonl", "data"} <= here
    assert json.loads((out / "compare.json").read_text("utf-8")) == result
    assert (out / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_runs_differ_in_their_remedy_only(compared: tuple[Path, dict[str, Any], str]) -> None:
    out, _, _ = compared
    base = to_dict(Run.open(out / "base").config)
    assert base["model"]["ngram_dropout"] == base["model"]["dropout"] == 0
    assert base["train"]["precision"] in ("bf16", "fp32")  # not measured for each by itself
    differs = {
        "base-2": {"train.seed"},
        "ngram-dropout": {"model.ngram_dropout"},
        "dropout": {"model.dropout"},
        "early-stopping": {"train.patience"},
        "weight-decay": {"optim.weight_decay"},
        "label-smoothing": {"train.label_smoothing"},
        "ema": {"optim.ema"},
        "smaller-model": {"model.d_model", "model.d_ff"},
        "half-data": set(),
    }
    for name, wanted in differs.items():
        other = to_dict(Run.open(out / name).config)
        changed = {
            f"{part}.{field}"
            for part, values in other.items()
            for field, value in values.items()
            if base[part].get(field) != value
        }
        assert changed == wanted, name


def test_all_have_the_same_tokens(compared: tuple[Path, dict[str, Any], str]) -> None:
    out, _, _ = compared
    train = np.asarray(TokenStore(out / "base" / "data", "train").ids)
    held_out = np.asarray(TokenStore(out / "base" / "data", "validation").ids)
    for name in ("base-2", *REMEDIES):
        here = np.asarray(TokenStore(out / name / "data", "validation").ids)
        assert np.array_equal(here, held_out), name
        if name != "half-data":
            here = np.asarray(TokenStore(out / name / "data", "train").ids)
            assert np.array_equal(here, train), name


def test_half_the_text_is_whole_documents_of_it(
    compared: tuple[Path, dict[str, Any], str],
) -> None:
    out, _, _ = compared

    def documents(name: str) -> list[tuple[int, ...]]:
        store = TokenStore(out / name / "data", "train")
        return [tuple(part) for part in np.split(store.ids, store.offsets[1:])]

    whole, half = documents("base"), documents("half-data")
    assert set(half) < set(whole)
    assert sum(map(len, half)) == pytest.approx(sum(map(len, whole)) / 2, rel=0.05)


def test_half_of_one_long_text_is_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "nights.txt"
    path.write_text("\n".join(TEXTS), "utf-8")
    main([
        "compare", str(path), "--out", str(tmp_path / "out"), "--remedies", "half-data",
        "--repeats", "1", *TINY, "--steps", "2", "--evals", "1",
    ])  # fmt: skip
    whole, half = (
        np.asarray(TokenStore(tmp_path / "out" / run / "data", "train").ids)
        for run in ("base", "half-data")
    )
    assert len(half) == pytest.approx(len(whole) / 2, abs=2)
    assert np.array_equal(half[:-1], whole[: len(half) - 1])


def test_figures_in_the_table_are_those_of_the_runs(
    compared: tuple[Path, dict[str, Any], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The losses, taken anew from the folders by `evaluate` and from the last checkpoint."""
    out, result, _ = compared
    runs = {run["name"]: run for run in result["runs"]}
    precision = Run.open(out / "base").config.train.precision
    for name in ("base", "dropout"):
        main(["evaluate", str(out / name), "--precision", precision, "--json", "--device", "cpu"])
        loss = json.loads(capsys.readouterr().out)["validation"]
        assert runs[name]["loss"] == pytest.approx(loss["loss"], rel=1e-4)
        assert runs[name]["bits_per_byte"] == pytest.approx(loss["bits_per_byte"], rel=1e-4)
        run = Run.open(out / name)
        checkpoint, _ = Checkpoints(out / name / "checkpoints").newest()
        assert checkpoint is not None
        model = GPT(run.config.model).eval()
        model.load_state_dict(checkpoint.weights())
        last = evaluate(model, TokenStore(out / name / "data", "validation")).loss
        assert runs[name]["last_validation"] == pytest.approx(last, rel=0.01)  # it may be bf16
        gap = runs[name]["last_validation"] - runs[name]["last_train"]
        assert runs[name]["gap"] == pytest.approx(gap)
        assert runs[name]["parameters"] == sum(p.numel() for p in model.parameters())
    base = (runs["base"]["loss"] + runs["base-2"]["loss"]) / 2
    assert result["noise"]["mean"] == pytest.approx(base)
    assert runs["ema"]["difference"] == pytest.approx(runs["ema"]["loss"] - base)
    assert result["best"] == min(runs, key=lambda name: runs[name]["loss"])


def test_what_is_finished_is_not_trained_again(
    compared: tuple[Path, dict[str, Any], str], text: Path, tmp_path: Path
) -> None:
    out = tmp_path / "again"
    shutil.copytree(compared[0], out)
    shutil.rmtree(out / "dropout")  # as if it had not come to that
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/model.safetensors")}
    done = malmoi(text, "--out", out, *TINY, "--json")
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    was, now = (
        {run["name"]: run["loss"] for run in result["runs"]}
        for result in (compared[1], json.loads(done.stdout))
    )
    assert now == pytest.approx(was, rel=1e-3)
    refused = malmoi(text, "--out", out, *TINY, "--steps", "13")
    assert refused.returncode == 2
    assert "--steps is 13" in refused.stderr
    assert "--resume" not in refused.stderr


def test_without_matplotlib_there_is_a_table(
    compared: tuple[Path, dict[str, Any], str], text: Path, tmp_path: Path
) -> None:
    out = tmp_path / "plain"
    shutil.copytree(compared[0], out)
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"  # `import matplotlib` fails then
        "from malmoi.cli.main import main; main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "compare", str(text), "--out", str(out), *TINY],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "malmoi[figures]" in done.stderr.splitlines()[-1]
    assert "vs base" in done.stdout
    assert "smaller-model" in done.stdout
    assert "compare.png" not in done.stdout


def test_minutes_are_the_same_steps_for_all(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the clock, whatever else the machine does would pass for a remedy's effect."""
    tiny = [word for word in TINY if word not in ("--steps", "12")]
    command = ["compare", str(text), "--out", str(tmp_path / "out"), *tiny, "--json"]
    command += ["--remedies", "dropout", "smaller-model"]
    main([*command, "--minutes", "0.005"])
    result = json.loads(capsys.readouterr().out)
    steps = {run["steps"] for run in result["runs"]}
    assert len(steps) == 1
    assert {Run.open(tmp_path / "out" / name).config.train.steps for name in ("base", "dropout")} \
        == steps  # fmt: skip
    main([*command, "--minutes", "0.005"])  # and they are not measured anew
    assert {run["steps"] for run in json.loads(capsys.readouterr().out)["runs"]} == steps
    with pytest.raises(SystemExit):
        main([*command, "--minutes", "0.5"])
    assert "started with --minutes 0.005" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    process = subprocess.Popen(
        [sys.executable, "-m", "malmoi", "compare", str(text), "--out", str(out), *TINY,
         "--steps", "100000"],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    metrics = out / "base" / "metrics.jsonl"
    for _ in range(900):
        if metrics.exists() and metrics.read_text():
            break
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    last = stderr.strip().splitlines()[-1]
    assert last.startswith("malmoi compare: stopped. 0 of 10 runs are finished")
    assert (stdout, "Traceback" in stderr) == ("", False)
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--repeats", "0"], "--repeats"),
        (["--split", "100"], "--split 100"),
        (["--context-length", "100000"], "less than one window"),
        (["--dropout", "0.1", "--remedies", "dropout"], "--dropout 0.1"),
        (["--preset", "llama", "--remedies", "ngram-dropout"], "n-grams"),
        (["--remedies", "prayer"], "prayer"),
        (["--vocab-size", "60000"], "too large"),
    ],
)
def test_bad_input_leaves_nothing_behind(
    flags: list[str], says: str, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = [*TINY, "--tokenizer", "bpe"] if "--vocab-size" in flags else TINY
    with pytest.raises(SystemExit) as stop:
        main(["compare", str(text), "--out", str(tmp_path / "new" / "out"), *tiny, *flags])
    assert stop.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("malmoi compare: ")
    assert says in last
    assert not list(tmp_path.iterdir())


def test_other_folders_are_left_alone(
    compared: tuple[Path, dict[str, Any], str],
    text: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for out in (tmp_path, compared[0] / "base"):
        before = sorted(out.iterdir())
        with pytest.raises(SystemExit):
            main(["compare", str(text), "--out", str(out), *TINY])
        assert str(out) in capsys.readouterr().err
        assert sorted(out.iterdir()) == before


def test_flags_hold_for_every_run_and_are_not_tried_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    args = Args(
        ("x",), Path("y"), repeats=1, optim=OptimConfig(weight_decay=0.2, ema=0.9),
        train=TrainConfig(steps=3, checkpoints=0),
    )  # fmt: skip
    trials = {trial.name: trial for trial in plan(args)}
    assert {"weight-decay", "ema", "base-2"}.isdisjoint(trials)
    assert all(trial.config.optim.weight_decay == 0.2 for trial in trials.values())
    assert "without ema: --ema 0.9" in capsys.readouterr().err


def test_neither_minutes_nor_steps_is_two_minutes() -> None:
    assert {trial.config.train.minutes for trial in plan(Args(("x",), Path("y")))} == {2.0}


@pytest.mark.parametrize("preset", ["bigram", "gpt2", "llama", "malmoi"])
@pytest.mark.parametrize("sizes", [{}, {"d_model": 48}, {"num_heads": 4, "d_model": 64}])
def test_a_smaller_model_is_half_as_wide(preset: Any, sizes: dict[str, int]) -> None:
    config, base = bare(RunConfig(model=build(preset, 0)), dict(sizes))
    _, smaller = REMEDIES["smaller-model"].change(config, base)
    full, half = (build(preset, 99, **values) for values in (base, smaller))
    assert half.d_model == full.d_model // 2
    assert half.num_layers == full.num_layers
    if "num_heads" in sizes:
        assert half.num_heads == full.num_heads


def test_a_model_that_cannot_be_halved() -> None:
    config, sizes = bare(RunConfig(), {"d_model": 4, "num_heads": 2})
    with pytest.raises(ValueError, match="cannot be halved"):
        REMEDIES["smaller-model"].change(config, sizes)


@pytest.mark.parametrize(("freedom", "quantile"), list(enumerate(T90, 1)))
def test_the_quantiles_hold_nine_tenths(freedom: int, quantile: float) -> None:
    """Student's density, integrated."""
    x = np.linspace(-quantile, quantile, 200_001)
    scale = math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2) / math.sqrt(freedom * math.pi)
    density = scale * (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
    assert np.trapezoid(density, x) == pytest.approx(0.9, abs=2e-4)


def test_the_band_holds_another_run_nine_times_in_ten() -> None:
    random = np.random.default_rng(0)
    for runs in (2, 3, 5):
        held = 0
        for _ in range(4000):
            *base, other = random.normal(1.7, 0.02, runs + 1)
            noise = noise_of(base)
            held += abs(other - noise["mean"]) <= noise["band"]
        assert held / 4000 == pytest.approx(0.9, abs=0.015)
    assert noise_of([1.5]) == {"mean": 1.5, "band": None, "runs": 1}


def record(name: str, loss: float, **more: Any) -> dict[str, Any]:
    curve = [
        {"step": step, "seconds": step / 10, "train": 2 - step / 100, "validation": height}
        for step, height in ((0, 4.0), (50, loss), (100, loss + 0.3))
    ]
    values = {
        "name": name, "remedy": None if name.startswith("base") else name, "loss": loss,
        "titles": {"en": name, "ko": name}, "bits_per_byte": loss / 3,
        "best_step": 50, "last_validation": loss + 0.3, "last_train": 1.0, "gap": loss - 0.7,
        "parameters": 1_300_000, "steps": 100, "seconds": 10.0, "stopped_early": False,
        "curve": curve,
    }  # fmt: skip
    return values | more


def test_sentences_keep_to_what_the_noise_allows() -> None:
    base = [record("base", 2.01), record("base-2", 1.99), record("base-3", 2.0)]
    tried = [
        record("dropout", 1.9), record("ema", 1.97), record("weight-decay", 2.02),
        record("smaller-model", 2.2), record("half-data", 2.3),
        record("early-stopping", 2.01, stopped_early=True, steps=75),
    ]  # fmt: skip
    result = compare([*base, *tried])
    # s = 0.01, t(2) = 2.92, sqrt(4 / 3): the interval by hand
    assert result["noise"]["band"] == pytest.approx(0.01 * 2.92 * math.sqrt(4 / 3))
    assert result["best"] == "dropout"
    overfits, groups, *more = conclusion(result, "en")
    assert "step 50" in overfits
    assert "0.300" in overfits
    better, worse, unclear = groups.split(". ")
    assert "dropout (-0.1000)" in better
    assert "smaller-model (+0.2000)" in worse
    for name in ("ema", "weight-decay", "early-stopping"):
        assert name in unclear
    said = " ".join(more)
    assert "0.300 higher, which is more than any remedy" in said
    assert "step 75" in said
    for language in ("ko", "en"):
        assert len(conclusion(result, language)) == 4
        assert "{" not in "".join(conclusion(result, language))


def test_one_base_run_allows_no_verdict() -> None:
    result = compare([record("base", 2.0), record("dropout", 1.0), record("half-data", 3.0)])
    said = " ".join(conclusion(result, "en"))
    assert "dropout (-1.0000)" in said
    assert "not known" in said
    assert "Better" not in said
    assert "Half the text" not in said
    assert "--repeats" in table(result, "en")


def test_a_run_that_still_learns_does_not_overfit() -> None:
    curve = [{"step": 0, "seconds": 0.0, "validation": 3.0},
             {"step": 9, "seconds": 1.0, "train": 2.0, "validation": 2.0}]  # fmt: skip
    result = compare([record("base", 2.0, curve=curve), record("base-2", 2.0, curve=curve)])
    assert conclusion(result, "en") == [WORDS["en"]["no_overfit"]]


@pytest.mark.parametrize("language", ["ko", "en"])
def test_columns_stand_below_their_heads(language: Any) -> None:
    """As a terminal shows them, where a Hangul syllable is two columns wide."""
    values = {"last_validation": None, "gap": None}
    result = compare([record("base", 2.0), record("early-stopping", 1.95, **values)])
    head, *rows = table(result, language).splitlines()[:3]
    widths = {sum(2 if "가" <= c <= "힣" else 1 for c in line) for line in (head, *rows)}
    assert len(widths) == 1
    assert rows[1].startswith("early-stopping *")
