"""Is the verdict right? Healthy runs must give no false alarm, illnesses made on purpose be found.

    python benchmarks/verdict.py [--out DIR] [--only NAME...]

Every case is trained by the pipeline that `malmoi train` uses, with everything the verdict looks
at. It took forty minutes on two busy cores; `tests/evaluate/test_verdict.py` runs a shorter form.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from malmoi.cli.pipeline import train_run
from malmoi.cli.progress import Progress
from malmoi.cli.speak import open_run
from malmoi.cli.verdict import look
from malmoi.config import (
    DataConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    TokenizerConfig,
    TrainConfig,
)
from malmoi.data import SPLITS, TokenStore
from malmoi.evaluate.facts import Finding
from malmoi.evaluate.verdict import judge
from malmoi.run import read_metrics
from malmoi.text.sources import read
from malmoi.train import Diverged

DATA = Path(__file__).parents[2] / "shared" / "data"
PLAYS, DOCS, CHATS = (
    str(DATA / name) for name in ("tinyshakespeare.txt", "python_docs_ko.jsonl", "chatbot_ko.csv")
)
ADAMW = {"optimizer": "adamw"}


@dataclass(frozen=True)
class Case:
    """One run, and what has to be found in it; nothing: it is healthy."""

    source: str | Callable[[Path], Path]
    """as on the command line, or what writes the text into a folder"""
    find: tuple[str, ...] = ()
    preset: Any = "malmoi"
    sizes: dict[str, Any] = field(default_factory=dict)
    tokenizer: str = "char"
    vocab_size: int | None = None
    split: str = "80/10/10"
    field_name: str | None = None
    optim: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)

    def config(self, source: str) -> RunConfig:
        setting = {"device": "cpu", "precision": "fp32", "checkpoints": 0} | self.train
        return RunConfig(
            model=ModelConfig(preset=self.preset),
            data=DataConfig((source,), field=self.field_name, split=self.split),
            tokenizer=TokenizerConfig(self.tokenizer, self.vocab_size),
            optim=OptimConfig(**self.optim),
            train=TrainConfig(**setting),
        )


def size(d_model: int, layers: int, context: int, **more: Any) -> dict[str, Any]:
    return {"d_model": d_model, "num_layers": layers, "context_length": context, **more}


def editions(folder: Path) -> Path:
    """Each story twice, under another heading: equal ones would be kept on one side."""
    path = folder / "editions.jsonl"
    texts = [piece.text for piece in read(("builtin:stories:300",))]
    with open(path, "w", encoding="utf-8") as file:
        for number, text in enumerate(texts):
            for edition in ("초판", "개정판"):
                whole = {"text": f"{edition} {number}\n{text}"}
                file.write(json.dumps(whole, ensure_ascii=False) + "\n")
    return path


SMALL = size(64, 2, 64)
HEALTHY = {
    "plays, malmoi": Case(PLAYS, sizes=SMALL, train={"steps": 400}),
    "plays, llama": Case(PLAYS, preset="llama", sizes=SMALL, train={"steps": 800}),
    "plays, gpt2": Case(PLAYS, preset="gpt2", sizes=SMALL, train={"steps": 1500}),
    "plays, 100 steps": Case(PLAYS, sizes=SMALL, train={"steps": 100}),
    "plays, batches of 32": Case(PLAYS, sizes=SMALL, train={"steps": 600, "batch_size": 32}),
    "plays, batches of 4": Case(PLAYS, sizes=SMALL, train={"steps": 1000, "batch_size": 4}),
    "plays, cosine": Case(
        PLAYS, preset="llama", sizes=size(96, 2, 64), optim={"schedule": "cosine"},
        train={"steps": 600},
    ),
    "plays, constant": Case(
        PLAYS, sizes=size(96, 2, 64), optim={"schedule": "constant", "lr": 0.01},
        train={"steps": 400},
    ),
    "plays, running mean": Case(
        PLAYS, sizes=SMALL, optim={"schedule": "constant", "ema": 0.98}, train={"steps": 500}
    ),
    "plays, dropout, 90/10": Case(
        PLAYS, preset="llama", sizes=size(64, 2, 128, dropout=0.1), split="90/10",
        train={"steps": 1200, "batch_size": 8},
    ),
    "plays, label smoothing": Case(
        PLAYS, sizes=SMALL, train={"steps": 400, "label_smoothing": 0.1}
    ),
    "plays, wide, bf16": Case(
        PLAYS, sizes=size(128, 3, 128), train={"steps": 300, "precision": "bf16"}
    ),
    "docs, malmoi": Case(DOCS, sizes=size(64, 2, 128), train={"steps": 500}),
    "docs, bpe": Case(
        DOCS, sizes=size(128, 2, 128), tokenizer="bpe", vocab_size=1500, train={"steps": 900}
    ),
    "chats": Case(
        CHATS, sizes=SMALL, field_name="A", train={"steps": 400}
    ),
    "stories, bpe": Case(
        "builtin:stories:3000", sizes=size(64, 2, 128), tokenizer="bpe", train={"steps": 700}
    ),
    "stories, bytebpe, wsd": Case(
        "builtin:stories:2000", sizes=size(96, 2, 128), tokenizer="bytebpe",
        optim={"schedule": "wsd", "decay": 0.2}, train={"steps": 700},
    ),
    "stories, unigram": Case(
        "builtin:stories:1500", sizes=size(96, 2, 128), tokenizer="unigram", vocab_size=1500,
        train={"steps": 700},
    ),
    "stories, words, llama": Case(
        "builtin:stories:3000", preset="llama", sizes=SMALL, tokenizer="word",
        train={"steps": 1200},
    ),
    "stories, the usual sizes": Case(
        "builtin:stories:4000", tokenizer="bpe", train={"steps": 300}
    ),
}  # fmt: skip

LLAMA = Case(PLAYS, preset="llama", sizes=SMALL, train={"steps": 300})
ILL = {
    "overfitting": Case(
        "builtin:stories:60", ("overfitting",), sizes=SMALL | {"ngram_dropout": 0.0},
        train={"steps": 240},
    ),
    "overfitting, plays": Case(
        PLAYS, ("overfitting",), sizes=size(128, 2, 64, ngram_dropout=0.0), split="4/10/86",
        train={"steps": 500},
    ),
    "stopped after 24 steps": Case(
        "builtin:stories:300", ("underfitting",), sizes=SMALL, train={"steps": 24}
    ),
    "stopped while falling": Case(
        "builtin:stories:1500", ("underfitting",), preset="llama", sizes=size(64, 2, 128),
        train={"steps": 200},
    ),
    "too small": Case(
        PLAYS, ("underfitting", "worse_than_trigram"), preset="bigram",
        sizes={"d_model": 32, "context_length": 64}, optim=ADAMW | {"lr": 0.03},
        train={"steps": 1000},
    ),
    "diverged": replace(
        LLAMA, find=("diverged", "lr_too_high"), preset="gpt2",
        optim=ADAMW | {"lr": 3.0, "clip": 0.0, "schedule": "constant"},
    ),
    "numbers lost": replace(
        LLAMA, find=("diverged",), preset="gpt2",
        optim=ADAMW | {"lr": 1e30, "clip": 0.0, "schedule": "constant"},
    ),
    "rate 1, came back": replace(
        LLAMA, find=("lr_too_high",), optim=ADAMW | {"lr": 1.0, "clip": 0.0}
    ),
    "rate 0.1": replace(LLAMA, find=("lr_too_high",), optim=ADAMW | {"lr": 0.1, "clip": 0.0}),
    "rate 0.03": replace(LLAMA, find=("lr_too_high",), optim=ADAMW | {"lr": 0.03}),
    "rate 1e-6": replace(LLAMA, find=("lr_too_low",), optim=ADAMW | {"lr": 1e-6}),
    "rate 1e-5": replace(LLAMA, find=("lr_too_low",), optim=ADAMW | {"lr": 1e-5}),
    "rate 1e-4": replace(LLAMA, find=("lr_too_low",), optim=ADAMW | {"lr": 1e-4}),
    "batches of 16 tokens": Case(
        PLAYS, ("batch_too_small",), sizes=size(64, 2, 16), train={"steps": 1500, "batch_size": 1}
    ),
    "batches of 64, adamw": Case(
        PLAYS, ("batch_too_small",), preset="llama", sizes=SMALL, optim=ADAMW | {"lr": 0.003},
        train={"steps": 1500, "batch_size": 1},
    ),
    "leaking": Case(editions, ("leaking",), sizes=SMALL, train={"steps": 150}),
    "memorising": Case(
        "builtin:stories:30", ("memorising",), sizes=SMALL | {"ngram_dropout": 0.0}, split="100",
        train={"steps": 300},
    ),
    "worse than a trigram": Case(
        DOCS, ("worse_than_trigram",), preset="llama", sizes=SMALL, tokenizer="bpe",
        train={"steps": 150},
    ),
}  # fmt: skip


def diagnose(case: Case, out: Path) -> list[Finding]:
    """Train a case into the folder `out` and judge it."""
    source = case.source if isinstance(case.source, str) else str(case.source(out.parent))
    with contextlib.suppress(Diverged):  # its folder tells
        train_run(case.config(source), case.sizes, out, time.monotonic(), quiet=True)
    run, model, tokenizer = open_run(out, "cpu", "fp32")
    stores = {name: TokenStore(out / "data", name) for name in SPLITS}
    with Progress("", quiet=True) as progress:
        facts = look(run, model, tokenizer, stores, progress)
    return judge(read_metrics(out / "metrics.jsonl"), facts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="keep the runs here")
    parser.add_argument("--only", nargs="*", help="names of cases, or how they begin")
    args = parser.parse_args()
    right = total = 0
    print(f"{'case':<26} {'seconds':>7}  found (the ones in brackets were not asked for)")
    with tempfile.TemporaryDirectory() as temporary:
        for name, case in (HEALTHY | ILL).items():
            if args.only and not name.startswith(tuple(args.only)):
                continue
            if isinstance(case.source, str) and "/" in case.source and not DATA.exists():
                print(f"{name:<26} {'':>7}  left out: {DATA} is not here")
                continue
            out = (args.out or Path(temporary)) / name.replace(", ", "-").replace(" ", "-")
            out.parent.mkdir(parents=True, exist_ok=True)
            begin = time.monotonic()
            found = [finding.kind for finding in diagnose(case, out)]
            wanted = set(case.find or ["healthy"])
            good = wanted <= set(found)
            total, right = total + 1, right + good
            words = ", ".join(kind if kind in wanted else f"({kind})" for kind in found)
            mark = "" if good else "   <-- WRONG"
            print(f"{name:<26} {time.monotonic() - begin:>7.1f}  {words}{mark}", flush=True)
    print(f"{right} of {total} right")
    sys.exit(right != total)


if __name__ == "__main__":
    main()
