"""From text to a run folder: the wiring that `train`, `demo` and `bench` share."""

import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from malmoi.checkpoint import Checkpoint
from malmoi.cli.corpus import Corpus, prepare, say_corpus
from malmoi.cli.progress import Progress
from malmoi.cli.resume import ORIGIN, open_run, origin, settle
from malmoi.cli.session import Session, newest, precision_name
from malmoi.cli.speak import write_samples
from malmoi.config import RunConfig
from malmoi.data import Batches
from malmoi.evaluate.loss import Loss
from malmoi.model import GPT, build
from malmoi.optim import Optimizer
from malmoi.run import Run, check_new
from malmoi.train import Budget, Result, choose_device, choose_dtype


@dataclass
class Trained:
    """A finished run with what it was made of, still in memory."""

    run: Run
    model: GPT
    untrained: GPT
    """with the weights that training began with"""
    corpus: Corpus
    result: Result
    validation: Loss | None
    report: dict[str, Any]


def train_run(
    config: RunConfig,
    sizes: dict[str, Any],
    out: Path,
    began: float,
    *,
    overwrite: bool = False,
    resume: bool = False,
    quiet: bool = False,
) -> Trained:
    """Everything from reading the text to the finished run folder.

    The run folder comes into being only once text, tokenizer and model are known to be right.

    Args:
        config: as the user gave it; `config.model` gives the preset, `sizes` what differs from it.
        sizes: fields of the model that the user set.
        out: the run folder.
        began: `time.monotonic()` when the command was started.
        overwrite: may an old run at `out` be replaced.
        resume: go on with the run at `out`, where there is one.
        quiet: no progress.

    """
    resume = resume and (out / "run.toml").exists()
    if not resume:
        check_new(out, overwrite)
    with Progress("reading", quiet=quiet) as progress:
        checkpoint = None
        if resume:
            run, corpus = open_run(out, config, sizes, progress)
            checkpoint = newest(out, run.config.train, progress)
            parts = _build(run.config, corpus, checkpoint)
        else:
            run, corpus, parts = _begin(config, sizes, out, began, overwrite, progress)
        untrained, model, optimizer, batches = parts
        setting = run.config.train
        if checkpoint is None:  # also where a run was killed before its first checkpoint
            run.save_weights(untrained.state_dict())
        size = sum(p.numel() for p in model.parameters())
        weight = model.output_weight
        progress.line(
            f"model      {run.config.model.preset}, {size / 1e6:.2f} million parameters, context "
            f"{batches.length}, on {weight.device} in {precision_name(weight.dtype)}"
        )
        # Writing samples may take a second at the end, or less of a short run.
        seconds = 1.0 if setting.minutes is None else min(1.0, setting.minutes * 0.6)
        budget = Budget(began, setting.minutes, setting.steps)
        session = Session(run, model, optimizer, corpus, batches, budget, progress, seconds)
        if checkpoint is not None:
            progress.line(f"resuming   after step {checkpoint.state['steps']}")
            session.take_up(checkpoint)
        result, validation, exact = session.train()
        write_samples(run, model, corpus.tokenizer, seconds)
        report = _report(run, model, budget, result, validation, exact)
        run.write_config(run.config, report)
        return Trained(run, model, untrained, corpus, result, validation, report)


_Parts = tuple[GPT, GPT, Optimizer, Batches]
"""the model before training, the one to train, its optimizer, and the batches"""


def _begin(
    config: RunConfig, sizes: dict[str, Any], out: Path, began: float, overwrite: bool,
    progress: Progress,
) -> tuple[Run, Corpus, _Parts]:  # fmt: skip
    """Read the text and make the run folder."""
    setting = config.train
    with _beside(out) as beside:
        new = beside / "run"
        corpus = prepare(config.data, config.tokenizer, setting.seed, new / "data", progress)
        say_corpus(corpus, progress)
        model = build(config.model.preset, corpus.tokenizer.vocab_size, **sizes)
        config = replace(config, model=model, optim=settle(config.optim, model))
        if setting.minutes is not None and time.monotonic() - began > 54 * setting.minutes:
            raise ValueError(
                f"reading and encoding the text took {time.monotonic() - began:.0f} s, which "
                f"leaves no time to train in --minutes {setting.minutes:g}: give more"
            )
        parts = _build(config, corpus, None)
        run = Run.create(new, config)
        corpus.tokenizer.save(new / "tokenizer.json")
        run.write_text(ORIGIN, origin(config.data.sources, corpus.stores))
        return run.move(out, overwrite), corpus, parts


def _build(config: RunConfig, corpus: Corpus, checkpoint: Checkpoint | None) -> _Parts:
    length, setting = config.model.context_length, config.train
    batches = Batches(corpus.stores["train"], length, setting.batch_size, setting.seed)
    device = choose_device(setting.device)
    # Measured anew, the precision might come out otherwise.
    precision = setting.precision if checkpoint is None else checkpoint.state["precision"]
    dtype = choose_dtype(precision, device, config.model)
    untrained = GPT(config.model, setting.seed).eval()
    model = GPT(config.model, setting.seed).to(device=device, dtype=dtype)
    return untrained, model, Optimizer(model, config.optim), batches


def _report(
    run: Run, model: GPT, budget: Budget, result: Result, validation: Loss | None, exact: bool
) -> dict[str, Any]:
    return {
        "run": str(run.folder),
        "steps": result.steps,
        "seconds": round(budget.seconds(), 2),
        "best_step": result.best_step,
        "validation": validation.dict() if validation else None,
        "validation_exact": exact,
        "stopped_early": result.patience_over,
        "skipped_steps": result.skipped,
        "rollbacks": result.rollbacks,
        "tokens_per_second": round(result.tokens_per_second, 1),
        "step_seconds": round(result.step_seconds, 2),
        "parameters": sum(p.numel() for p in model.parameters()),
        "precision": precision_name(model.output_weight.dtype),
    }


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A folder next to `out` for what is not known to be right yet; gone in the end."""
    home = out.absolute().parent
    made = [parent for parent in out.absolute().parents if not parent.exists()]
    home.mkdir(parents=True, exist_ok=True)
    for left in home.glob(f".{glob.escape(out.name)}.*.part"):
        owner = left.name.split(".")[-2].split("-")[0]
        if owner.isdigit() and not _alive(int(owner)):  # killed while it read
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(
        tempfile.mkdtemp(prefix=f".{out.name}.{os.getpid()}-", suffix=".part", dir=home)
    )
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for parent in made:  # those that were made for nothing
            if not any(parent.iterdir()):
                parent.rmdir()


def _alive(process: int) -> bool:
    if os.name == "nt":
        return True  # asking would end it there
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return True
