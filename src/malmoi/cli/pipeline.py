"""From text to a run folder: the wiring that `train`, `demo` and `bench` share."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from malmoi.cli.progress import Progress
from malmoi.cli.speak import write_samples
from malmoi.cli.validation import Validation
from malmoi.config import DataConfig, ModelConfig, OptimConfig, RunConfig, TokenizerConfig
from malmoi.data import Batches, TokenStore, write_stores
from malmoi.evaluate.loss import Loss
from malmoi.model import GPT, build
from malmoi.optim import Optimizer, learning_rates
from malmoi.run import Run, check_new
from malmoi.text.sources import downloaded, read
from malmoi.text.split import Split, plan
from malmoi.tokenizer import KINDS, Tokenizer, train_tokenizer
from malmoi.train import Budget, Diverged, Event, Result, choose_device, choose_dtype, train


@dataclass(frozen=True)
class Corpus:
    """A text that has been split and encoded."""

    tokenizer: Tokenizer
    stores: dict[str, TokenStore]
    split: str


def prepare(
    data: DataConfig, tokenizer: TokenizerConfig, seed: int, folder: Path, progress: Progress
) -> Corpus:
    """Read, split, train the tokenizer on the training part alone, encode into `folder`.

    Raises:
        ValueError: anything about the text or the tokenizer that the user can mend.

    """
    split = Split.parse(data.split)
    with downloaded(data.sources) as sources:

        def pieces() -> Iterator[Any]:
            yield from read(sources, field=data.field, encoding=data.encoding)

        read(sources, field=data.field, encoding=data.encoding)  # names are checked at once
        parts = plan(pieces, split, seed=seed)
        if tokenizer.tokenizer in KINDS:
            texts = (piece.text for part, piece in parts.assign(pieces()) if part == "train")
            progress.label = "training the tokenizer"
            words = train_tokenizer(
                _counted(texts, progress), tokenizer.tokenizer, tokenizer.vocab_size
            )
        elif Path(tokenizer.tokenizer).exists():
            if tokenizer.vocab_size is not None:
                raise ValueError(
                    f"--vocab-size {tokenizer.vocab_size}: the tokenizer at "
                    f"{tokenizer.tokenizer} has its own; leave it out"
                )
            words = Tokenizer.load(tokenizer.tokenizer)
        else:
            raise ValueError(
                f"tokenizer {tokenizer.tokenizer!r}: no such file, and none of the kinds "
                f"{', '.join(KINDS)}"
            )
        progress.label = "encoding"
        stores = write_stores(_parts(parts, pieces(), progress), words, folder)
    return Corpus(words, stores, str(parts))


def _counted(texts: Iterator[str], progress: Progress) -> Iterator[str]:
    done = 0
    for text in texts:
        done += len(text)
        progress.update(0, f"{done / 1e6:.1f} million characters")
        yield text


def _parts(
    parts: Any, pieces: Iterator[Any], progress: Progress
) -> Iterator[tuple[str, str, bool]]:
    done = 0
    for part, piece in parts.assign(pieces):
        done += len(piece.text)
        progress.update(0, f"{done / 1e6:.1f} million characters")
        yield part, piece.text, piece.first


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
        quiet: no progress.

    """
    check_new(out, overwrite)
    setting = config.train
    with Progress("reading", quiet=quiet) as progress, _beside(out) as beside:
        new = beside / "run"
        corpus = prepare(config.data, config.tokenizer, setting.seed, new / "data", progress)
        _say_corpus(corpus, progress)
        model_config = build(config.model.preset, corpus.tokenizer.vocab_size, **sizes)
        config = replace(config, model=model_config, optim=_settle(config.optim, model_config))
        length = model_config.context_length
        batches = Batches(corpus.stores["train"], length, setting.batch_size, setting.seed)
        if setting.minutes is not None and time.monotonic() - began > 54 * setting.minutes:
            raise ValueError(
                f"reading and encoding the text took {time.monotonic() - began:.0f} s, which "
                f"leaves no time to train in --minutes {setting.minutes:g}: give more"
            )
        device = choose_device(setting.device)
        dtype = choose_dtype(setting.precision, device, model_config)
        untrained = GPT(model_config, setting.seed).eval()
        model = GPT(model_config, setting.seed).to(device=device, dtype=dtype)
        optimizer = Optimizer(model, config.optim)
        run = Run.create(new, config)
        corpus.tokenizer.save(new / "tokenizer.json")
        run.save_weights(untrained.state_dict())
        run = run.move(out, overwrite)
        size = sum(p.numel() for p in model.parameters())
        progress.line(
            f"model      {model_config.preset}, {size / 1e6:.2f} million parameters, context "
            f"{length}, on {device} in {_name(dtype)}"
        )
        budget = Budget(began, setting.minutes, setting.steps)
        done = _train(run, model, optimizer, corpus, batches, budget, progress)
        return replace(done, untrained=untrained)


def _settle(optim: OptimConfig, model: ModelConfig) -> OptimConfig:
    """Learning rates that were not given, set for the preset."""
    if optim.embedding_lr is None and model.preset == "malmoi":
        optim = replace(optim, embedding_lr=0.02)
    lr, embedding_lr = learning_rates(optim)
    return replace(optim, lr=lr, embedding_lr=embedding_lr)


def _train(
    run: Run,
    model: GPT,
    optimizer: Optimizer,
    corpus: Corpus,
    batches: Batches,
    budget: Budget,
    progress: Progress,
) -> Trained:
    config, setting = run.config, run.config.train
    saved: list[int] = []  # steps whose weights have been the best, and are on the disk
    # Writing samples may take a second at the end, or less of a short run.
    seconds = 1.0 if setting.minutes is None else min(1.0, setting.minutes * 0.6)
    writing = 16 * sum(p.numel() for p in model.parameters()) / 1e8 if setting.checkpoints else 0.0
    watch = Validation(model, corpus.stores, budget, setting.evals, extra=seconds + writing)
    progress.label, progress.total = "training", 1.0
    held_out = "validation" if watch.real else "(no validation part) on train"

    def on_event(event: Event) -> None:
        if event.validation_loss is None:
            note = (
                f"step {event.step}  loss {event.train_loss:.3f}  "
                f"{event.tokens_per_second:,.0f} tokens/s"
            )
            left = None if event.progress < 0.01 else _left(budget, event)
            progress.update(event.progress, note, left)
            return
        run.log(event.record())
        before = f"train {event.train_loss:.4f}  " if event.step else ""
        mark = "  best so far" if event.best and event.step else ""
        progress.line(
            f"{event.seconds:6.1f} s  step {event.step:>6}  {before}"
            f"{held_out} {event.validation_loss:.4f}{mark}"
        )

    def on_checkpoint(step: int) -> None:
        run.save_checkpoint(step, optimizer.weights(), optimizer.state(), {"step": step})

    def on_best(step: int, weights: dict[str, Tensor]) -> None:
        run.save_weights(weights)
        saved.append(step)

    try:
        result = train(
            model, batches, optimizer, setting, config.optim, budget,
            evaluate=watch, on_event=on_event, on_best=on_best, on_checkpoint=on_checkpoint,
        )  # fmt: skip
        if result.interrupted:
            if result.weights and result.best_step not in saved:
                on_best(result.best_step, result.weights)
            raise KeyboardInterrupt
        model.load_state_dict(result.weights)
        model.eval()
        validation, exact = watch.whole() or (None, True)
        write_samples(run, model, corpus.tokenizer, seconds)
    except (KeyboardInterrupt, Diverged) as error:
        progress.clear()
        step = saved[-1] if saved else 0
        run.write_config(config, {"interrupted": True, "best_step": step})
        where = f"The best weights so far, of step {step}, are in {run.folder}"
        raise type(error)(f"{error}. {where}" if str(error) else where) from None
    report: dict[str, Any] = {
        "run": str(run.folder),
        "steps": result.steps,
        "seconds": round(budget.seconds(), 2),
        "best_step": result.best_step,
        "validation": validation.dict() if validation else None,
        "validation_exact": exact,
        "tokens_per_second": round(result.tokens_per_second, 1),
        "step_seconds": round(result.step_seconds, 2),
        "parameters": sum(p.numel() for p in model.parameters()),
        "precision": _name(next(model.parameters()).dtype),
    }
    run.write_config(config, report)
    return Trained(run, model, model, corpus, result, validation, report)


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A folder next to `out` for what is not known to be right yet; gone in the end."""
    made = [parent for parent in out.absolute().parents if not parent.exists()]
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    folder = Path(
        tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.absolute().parent)
    )
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for parent in made:  # those that were made for nothing
            if not any(parent.iterdir()):
                parent.rmdir()


def _say_corpus(corpus: Corpus, progress: Progress) -> None:
    progress.line(f"split      {corpus.split}")
    for name, store in corpus.stores.items():
        if counts := store.counts.tokens and asdict(store.counts):
            progress.line(
                f"  {name:<11}{counts['documents']:>9,} document(s)"
                f" {counts['chars']:>10,} characters"
                f" {counts['tokens']:>12,} tokens"
            )
    words = corpus.tokenizer
    progress.line(f"tokenizer  {words.kind}, {words.vocab_size:,} tokens")


def _left(budget: Budget, event: Event) -> float:
    if budget.minutes is not None:
        return budget.seconds_left()
    spent = time.monotonic() - budget.first_step
    return spent * (1 - event.progress) / event.progress


def _name(dtype: torch.dtype) -> str:
    return {torch.bfloat16: "bf16", torch.float32: "fp32"}.get(dtype, str(dtype))
