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

import torch

from malmoi.checkpoint import Checkpoint
from malmoi.cli.corpus import Corpus, prepare, say_corpus
from malmoi.cli.follow import Follower, agreed, in_touch, open_after, own_device, share_windows
from malmoi.cli.progress import Progress
from malmoi.cli.resume import ORIGIN, is_open, open_run, origin, settle
from malmoi.cli.session import Session, newest, precision_name
from malmoi.cli.size import choose_sizes
from malmoi.cli.speak import write_samples
from malmoi.config import RunConfig, TrainConfig
from malmoi.data import Batches
from malmoi.evaluate.loss import Loss
from malmoi.model import GPT, build
from malmoi.optim import Optimizer
from malmoi.ranks import Ranks
from malmoi.run import Run, check_new
from malmoi.train import Budget, Result, choose_dtype


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
    again: str | None = "the same command with --resume goes on",
) -> Trained:
    """Everything from reading the text to the finished run folder.

    The run folder comes into being only once text, tokenizer and model are known to be right. Of
    several processes, only rank 0 comes back from here.

    Args:
        config: as the user gave it; `config.model` gives the preset, `sizes` what differs from it.
        sizes: fields of the model that the user set.
        out: the run folder.
        began: `time.monotonic()` when the command was started.
        overwrite: may an old run at `out` be replaced.
        resume: go on with the run at `out`, where there is one.
        quiet: no progress.
        again: what is said to who stops it; None where nothing takes such a run up.

    """
    ranks = Ranks.here()
    with (
        in_touch(ranks, config.train),
        Progress("reading", quiet=quiet or not ranks.first) as progress,
    ):
        opened = ranks.alone(
            lambda: _open(config, sizes, out, began, overwrite, resume, progress, ranks)
        )
        if opened is None:
            run, corpus = open_after(out)
            checkpoint = parts = None
        else:
            run, corpus, checkpoint, parts = opened
        checkpoint = agreed(checkpoint, ranks)
        if parts is None:
            setting = replace(run.config.train, parallel=config.train.parallel)
            parts = _build(replace(run.config, train=setting), corpus, checkpoint, ranks)
        if ranks.first:
            return _train(run, corpus, checkpoint, parts, began, progress, ranks, again)
        _follow(run, corpus, checkpoint, parts, began, ranks)
    raise SystemExit(0)


def _train(
    run: Run, corpus: Corpus, checkpoint: Checkpoint | None, parts: "_Parts", began: float,
    progress: Progress, ranks: Ranks, again: str | None,
) -> Trained:  # fmt: skip
    untrained, model, optimizer, batches = parts
    setting = run.config.train
    if checkpoint is None:  # also where a run was killed before its first checkpoint
        run.save_weights(untrained.state_dict())
    size = sum(p.numel() for p in model.parameters())
    weight = model.output_weight
    how = "" if optimizer.mesh is None else ", a shard on each"
    many = f", {ranks.size} processes{how}" if ranks.size > 1 else ""
    progress.line(
        f"model      {run.config.model.preset}, {size / 1e6:.2f} million parameters, context "
        f"{batches.length}, on {weight.device} in {precision_name(weight.dtype)}{many}"
    )
    if packed := batches.packing is not None or setting.separate:
        progress.line(f"packing    {_packed(setting, batches)}")
    # Writing samples may take a second at the end, or less of a short run.
    seconds = 1.0 if setting.minutes is None else min(1.0, setting.minutes * 0.6)
    budget = Budget(began, setting.minutes, setting.steps)
    session = Session(
        run, model, optimizer, corpus, batches, budget, progress, seconds, ranks, again
    )
    if checkpoint is not None:
        progress.line(f"resuming   after step {checkpoint.state['steps']}")
        session.take_up(checkpoint)
    result, validation, exact = session.train()
    report: dict[str, Any] = {"precision": precision_name(weight.dtype)}
    if optimizer.mesh is not None:
        model = run.load_model()  # in one piece again
    write_samples(run, model, corpus.tokenizer, seconds)
    report = _report(run, model, budget, result, validation, exact) | report
    if packed:
        report["packing"] = batches.summary()
    run.write_config(run.config, report)
    return Trained(run, model, untrained, corpus, result, validation, report)


def _follow(
    run: Run, corpus: Corpus, checkpoint: Checkpoint | None, parts: "_Parts", began: float,
    ranks: Ranks,
) -> None:  # fmt: skip
    _, model, optimizer, batches = parts
    budget = Budget(began, run.config.train.minutes, run.config.train.steps)
    follower = Follower(run, model, optimizer, corpus, batches, budget, ranks)
    if checkpoint is not None:
        follower.take_up(checkpoint)
    follower.train()


_Parts = tuple[GPT, GPT, Optimizer, Batches]
"""the model before training, the one to train, its optimizer, and the batches"""


def _open(
    config: RunConfig, sizes: dict[str, Any], out: Path, began: float, overwrite: bool,
    resume: bool, progress: Progress, ranks: Ranks,
) -> tuple[Run, Corpus, Checkpoint | None, _Parts | None]:  # fmt: skip
    """A new run, or one that is to go on, with where it goes on."""
    share_windows(config.train, ranks)
    if resume and (out / "run.toml").exists():
        run, corpus = open_run(out, config, sizes, progress)
        return run, corpus, newest(out, run.config.train, progress), None
    check_new(out, overwrite)
    run, corpus, parts = _begin(config, sizes, out, began, overwrite, progress, ranks)
    return run, corpus, None, parts


def _begin(
    config: RunConfig, sizes: dict[str, Any], out: Path, began: float, overwrite: bool,
    progress: Progress, ranks: Ranks,
) -> tuple[Run, Corpus, _Parts | None]:  # fmt: skip
    """Read the text and make the run folder."""
    setting = config.train
    with _beside(out) as beside:
        new = beside / "run"
        corpus = prepare(config.data, config.tokenizer, setting.seed, new / "data", progress)
        say_corpus(corpus, progress)
        if is_open(config, sizes) and setting.minutes is not None:
            left = 60 * setting.minutes - (time.monotonic() - began)
            sizes, _ = choose_sizes(config, sizes, corpus, left, progress)
        model = build(config.model.preset, corpus.tokenizer.vocab_size, **sizes)
        config = replace(config, model=model, optim=settle(config.optim, model))
        if setting.minutes is not None and time.monotonic() - began > 54 * setting.minutes:
            raise ValueError(
                f"reading and encoding the text took {time.monotonic() - began:.0f} s, which "
                f"leaves no time to train in --minutes {setting.minutes:g}: give more"
            )
        # What several processes build, they build together, when this one is done here.
        parts = _build(config, corpus, None, ranks) if ranks.size == 1 else None
        _batches(config, corpus, ranks)
        run = Run.create(new, config)
        corpus.tokenizer.save(new / "tokenizer.json")
        run.write_text(ORIGIN, origin(config.data.sources, corpus.stores))
        return run.move(out, overwrite), corpus, parts


def _batches(config: RunConfig, corpus: Corpus, ranks: Ranks) -> Batches:
    return Batches(
        corpus.stores["train"], config.model.context_length, share_windows(config.train, ranks),
        config.train.seed, pack=config.train.pack, world_size=ranks.size, rank=ranks.rank,
    )  # fmt: skip


def _packed(setting: TrainConfig, batches: Batches) -> str:
    """How documents lie in windows, in words."""
    found = batches.summary()
    apart = ", each seen by itself" if setting.separate else ""
    cut = f"{found['cut']:,} of {found['documents']:,} documents cut"
    if setting.pack == "stream":
        return f"one document behind the other{apart}: {cut}"
    return (
        f"whole documents, best fit{apart}: {found['windows']:,} windows, {found['padding']:.2%} "
        f"padding, {cut} (one behind the other: {found['cut_by_stream']:,})"
    )


def _build(
    config: RunConfig, corpus: Corpus, checkpoint: Checkpoint | None, ranks: Ranks
) -> _Parts:
    setting = config.train
    batches = _batches(config, corpus, ranks)
    device = own_device(setting, ranks)
    # Measured anew, the precision might come out otherwise.
    precision = setting.precision if checkpoint is None else checkpoint.state["precision"]
    bf16 = choose_dtype(precision, device, config.model) == torch.bfloat16
    dtype = torch.bfloat16 if ranks.agree(bf16) else torch.float32
    untrained = GPT(config.model, setting.seed).eval()
    model = GPT(config.model, setting.seed)
    model.separate = untrained.separate = setting.separate
    if ranks.size == 1:
        model = model.to(device=device, dtype=dtype)
        return untrained, model, Optimizer(model, config.optim), batches
    # Only these need the large packages of many processes.
    from malmoi.sharding import ShardedOptimizer, SharedPolar
    from malmoi.train.distributed import shard

    if setting.parallel == "ddp":
        model = model.to(device=device, dtype=dtype)
        return untrained, model, Optimizer(model, config.optim, SharedPolar(ranks)), batches
    model = model.to(dtype)
    shard(model, ranks, device, setting.compile)
    return untrained, model, ShardedOptimizer(model, config.optim), batches


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
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.{os.getpid()}-", suffix=".part", dir=home))
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
