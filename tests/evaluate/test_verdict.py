"""The verdict: short real runs, healthy ones and ones made ill on purpose, and what it may not say.

`benchmarks/verdict.py` has the cases' machinery and a longer list of them.
"""

import importlib.util
import json
import string
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from malmoi.config import ModelConfig, RunConfig, TrainConfig
from malmoi.evaluate.copies import Leak, Recital
from malmoi.evaluate.curves import Curves
from malmoi.evaluate.facts import Facts, Finding
from malmoi.evaluate.floors import Floors
from malmoi.evaluate.sentences import EN, KO
from malmoi.evaluate.verdict import RULES, judge, not_looked_at
from malmoi.evaluate.words import say, say_missing
from malmoi.run import read_metrics


def _benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "verdict.py"
    spec = importlib.util.spec_from_file_location("verdict_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


bench = _benchmark()
Case, size, ADAMW = bench.Case, bench.size, bench.ADAMW
TINY = size(48, 1, 32)
STORIES = "builtin:stories:200"
PRESETS: dict[str, Any] = {
    "gpt2": {"preset": "gpt2", "sizes": TINY}, "llama": {"preset": "llama", "sizes": TINY},
}  # fmt: skip

HEALTHY = {
    "bpe": Case(
        "builtin:stories:400", sizes=size(48, 1, 64), tokenizer="bpe", vocab_size=600,
        train={"steps": 240},
    ),
    "unigram, cosine": Case(
        "builtin:stories:400", sizes=size(48, 1, 64), tokenizer="unigram", vocab_size=800,
        optim={"schedule": "cosine"}, train={"steps": 240},
    ),
}  # fmt: skip
ILL = {
    "overfitting": Case(
        "builtin:stories:40", ("overfitting",), sizes=size(64, 1, 64, ngram_dropout=0.0),
        train={"steps": 130},
    ),
    "stopped at once": Case(STORIES, ("underfitting",), sizes=TINY, train={"steps": 24}),
    "diverged": Case(
        STORIES, ("diverged", "lr_too_high"), **PRESETS["gpt2"], train={"steps": 48},
        optim=ADAMW | {"lr": 3.0, "clip": 0.0, "schedule": "constant"},
    ),
    "numbers lost": Case(
        STORIES, ("diverged",), **PRESETS["gpt2"], train={"steps": 48},
        optim=ADAMW | {"lr": 1e30, "clip": 0.0, "schedule": "constant"},
    ),
    "rate too high": Case(
        STORIES, ("lr_too_high",), **PRESETS["llama"], train={"steps": 100},
        optim=ADAMW | {"lr": 0.1, "clip": 0.0},
    ),
    "rate too low": Case(
        STORIES, ("lr_too_low",), **PRESETS["llama"], train={"steps": 60},
        optim=ADAMW | {"lr": 1e-6},
    ),
    "tiny batches": Case(
        STORIES, ("batch_too_small",), sizes=size(48, 1, 16),
        train={"steps": 300, "batch_size": 1},
    ),
    "leaking": Case(bench.editions, ("leaking",), sizes=TINY, train={"steps": 30}),
    "memorising": Case(
        "builtin:stories:8", ("memorising",), sizes=size(64, 1, 48, ngram_dropout=0.0),
        split="100", train={"steps": 150},
    ),
    "bigram": Case(
        STORIES, ("worse_than_trigram", "underfitting"), preset="bigram",
        sizes={"d_model": 32, "context_length": 32}, optim=ADAMW | {"lr": 0.03},
        train={"steps": 300},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Finding]]:
    """A run in which nothing is the matter, and its verdict."""
    out = tmp_path_factory.mktemp("healthy") / "run"
    return out, bench.diagnose(HEALTHY["bpe"], out)


def test_a_healthy_run_is_called_healthy(healthy: tuple[Path, list[Finding]]) -> None:
    [finding] = healthy[1]
    assert (finding.kind, finding.severity, finding.step) == ("healthy", 0, 240)
    assert 0 < finding.evidence["best"] < finding.evidence["trigram"]


def test_another_healthy_run_is_called_healthy(tmp_path: Path) -> None:
    found = bench.diagnose(HEALTHY["unigram, cosine"], tmp_path / "run")
    assert [finding.kind for finding in found] == ["healthy"]


@pytest.mark.parametrize("name", list(ILL))
def test_an_illness_made_on_purpose_is_found(name: str, tmp_path: Path) -> None:
    case = ILL[name]
    found = {finding.kind: finding for finding in bench.diagnose(case, tmp_path / "run")}
    assert set(case.find) <= set(found)
    assert "healthy" not in found
    severities = [finding.severity for finding in found.values()]
    assert severities == sorted(severities, reverse=True)
    for finding in found.values():
        for language, other in (("ko", "en"), ("en", "ko")):
            said, also = say(finding, language), say(finding, other)  # type: ignore[arg-type]
            assert said.what != also.what
            assert said.quotes == also.quotes
        assert finding.command.startswith("malmoi ")
    if name == "overfitting":
        records = read_metrics(tmp_path / "run" / "metrics.jsonl")
        best = min((r for r in records if "progress" in r), key=lambda r: r["validation_loss"])
        assert found["overfitting"].step == best["step"] < 130
    if name == "memorising":
        texts = [piece.text for piece in bench.read(("builtin:stories:8",))]
        spans = [found["memorising"].evidence[f"span_{n}"] for n in (1, 2, 3)]
        for span in map(str, spans):
            assert len(span) >= 90
            assert any(span.strip() in text for text in texts)
        assert len(set(spans)) == 3
    if name == "leaking":
        assert found["leaking"].evidence["share"] > 0.5


def test_what_is_missing_is_told_and_not_guessed(healthy: tuple[Path, list[Finding]]) -> None:
    records = read_metrics(healthy[0] / "metrics.jsonl")
    old = [
        {k: v for k, v in record.items() if k != "noise_scale"}
        for record in records if "progress" in record
    ]  # fmt: skip
    facts = Facts(held_out=False)
    assert [finding.kind for finding in judge(old, facts)] == ["healthy"]
    assert not_looked_at(old, facts) == {
        "floors": ["lr_too_high", "worse_than_trigram", "underfitting"],
        "steps": ["lr_too_high"],
        "spans": ["leaking"],
        "held_out": ["overfitting", "worse_than_trigram"],
        "speech": ["memorising"],
        "noise": ["batch_too_small"],
    }
    whole = Facts(
        floors=Floors(6.0, 5.0, 3.0), leak=Leak("test", 0.0, 50, ""),
        recital=Recital(0.0, 0.0, 100, 50, ()),
    )  # fmt: skip
    assert not_looked_at(records, whole) == {}
    without = [*old[:-1], {k: v for k, v in old[-1].items() if k != "train_loss"}]
    [finding] = judge(without, facts)  # the last steps were all skipped, say
    assert finding.evidence["train"] == old[-2]["train_loss"]
    for few in ([], old[:3], [{k: v for k, v in r.items() if k != "train_loss"} for r in old]):
        [finding] = judge(few, Facts())
        assert finding.kind == "unclear"
        assert "overfitting" in not_looked_at(few, Facts())["curve"]


def test_numbers_lost_on_the_way_are_told_but_do_not_spoil_the_run(
    healthy: tuple[Path, list[Finding]],
) -> None:
    records = read_metrics(healthy[0] / "metrics.jsonl")
    at = next(i for i, record in enumerate(records) if record["step"] == 100)
    skipped = [{"step": s, "skipped": True, "reason": "the loss is not finite"} for s in (101, 102)]
    back = {"step": 103, "rollback_to": 80, "lr_factor": 0.5}
    again = [record for record in records[: at + 1] if record["step"] > 80]
    whole = [*records[: at + 1], *skipped, back, *again, *records[at + 1 :]]
    [finding] = judge(whole, Facts())
    assert (finding.kind, finding.severity, finding.step) == ("diverged", 1, 101)
    assert (finding.evidence["skipped"], finding.evidence["rollbacks"]) == (2, 1)
    assert finding.evidence["last"] == pytest.approx(records[-1]["validation_loss"])
    kept, before = Curves.of(whole), Curves.of(records)
    assert np.array_equal(kept.step, before.step)  # each step once, as it was done last
    assert kept.evaluations == before.evaluations
    assert judge([*records, *skipped[:1]], Facts())[0].severity == 1
    ended = [*records, {"step": 241, "skipped": True, "reason": "the loss is not finite"}]
    assert judge(ended, Facts())[0].severity == 3


def curve(validation: list[float], train: list[float]) -> list[dict[str, Any]]:
    """Records of evaluations, 50 steps apart."""
    return [
        {"step": 50 * n, "progress": n / 10, "validation_loss": v, "train_loss": t, "lr": 0.01}
        for n, (v, t) in enumerate(zip(validation, train, strict=True))
    ]


def test_measures_of_a_curve_are_what_was_put_in() -> None:
    steps = np.arange(17)
    line = Curves.of(curve(list(9 - 0.1 * steps), [1.0] * 17))
    assert line.straightness() == pytest.approx(0.5)
    assert line.jitter() == pytest.approx(0, abs=1e-9)
    power = 1 + np.maximum(steps, 0.1) ** -0.5
    fall = (power[16] - (1 + 32**-0.5)) / power[16]  # of the next doubling
    found = Curves.of(curve(list(power), [1.0] * 17))
    assert found.promise() == pytest.approx(0.7 * fall)
    rng = np.random.default_rng(0)
    noisy = Curves.of(curve(list(9 - 0.1 * np.arange(400) + 0.2 * rng.normal(size=400)), [1] * 400))
    assert noisy.jitter() == pytest.approx(0.2, rel=0.2)
    norms = np.full(200, 2.0)
    norms[[3, 50, 51, 120]] = 11.0  # the first is too early to be compared with anything
    told = [{"step": n + 1, "loss": 1.0, "grad_norm": norm} for n, norm in enumerate(norms)]
    assert Curves.of(told).spikes(5.0) == 3


def test_a_rise_that_does_not_last_is_no_overfitting() -> None:
    falling = [6.0, 3.0, 2.5, 2.3, 2.2, 2.1, 2.0, 1.9, 1.8, 1.7, 1.6]
    rising = [6.0, 3.0, 2.5, 2.3, 2.2, 2.25, 2.3, 2.35, 2.4, 2.45, 2.5]
    wave = [6.0, 3.0, 2.5, 2.3, 2.2, 2.25, 2.3, 2.35, 2.3, 2.2, 2.19]
    restless = [6.0, 3.0, 2.5, 2.7, 2.2, 2.5, 2.2, 2.5, 2.2, 2.45, 2.3]
    [finding] = judge(curve(rising, falling), Facts())
    assert (finding.kind, finding.step) == ("overfitting", 200)
    kinds = [judge(curve(c, falling), Facts())[0].kind for c in (wave, restless, falling)]
    assert kinds == ["healthy"] * 3
    # Where the training loss rises as well it is something else.
    assert judge(curve(rising, rising), Facts())[0].kind != "overfitting"


def test_copies_count_beside_what_texts_of_the_kind_have_in_common(
    healthy: tuple[Path, list[Finding]],
) -> None:
    records = read_metrics(healthy[0] / "metrics.jsonl")

    def kinds(**found: Any) -> list[str]:
        return [finding.kind for finding in judge(records, Facts(**found))]

    spans = ("하나", "둘")
    assert kinds(recital=Recital(0.3, 0.0, 4096, 40, spans)) == ["memorising"]
    assert kinds(recital=Recital(0.3, 0.2, 4096, 40, spans)) == ["healthy"]
    assert kinds(recital=Recital(0.3, None, 4096, 40, spans)) == ["memorising"]
    assert kinds(leak=Leak("test", 0.1, 40, "하나")) == ["leaking"]
    assert kinds(leak=Leak("test", 0.01, 40, "하나")) == ["healthy"]


def test_a_record_that_is_none_is_an_error() -> None:
    for wrong in ({"loss": 1.0}, {"step": 3}, {"step": 1, "loss": "low"}, [1]):
        with pytest.raises(ValueError, match="not a record of a run"):
            judge([wrong], Facts())  # type: ignore[list-item]


def test_every_sentence_is_there_in_both_languages() -> None:
    def names(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert KO.keys() == EN.keys()
    kinds = {key.split(".")[0] for key in KO}
    assert kinds == {*RULES, "healthy", "unclear"}
    for key, korean in KO.items():
        for one, other in zip(korean, EN[key], strict=True):
            assert names(one) == names(other), key
    for missing in ("curve", "held_out", "steps", "noise", "floors", "spans", "speech"):
        for language in ("ko", "en"):
            assert "(" in say_missing(missing, list(RULES), language)  # type: ignore[arg-type]


def test_facts_are_plain_values(healthy: tuple[Path, list[Finding]]) -> None:
    finding = healthy[1][0]
    assert json.loads(json.dumps(finding.evidence)) == finding.evidence
    config = RunConfig(model=ModelConfig(context_length=64), train=TrainConfig(batch_size=4))
    assert Facts(config=config).batch_tokens == 256
