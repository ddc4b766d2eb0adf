"""Several run folders from one reading of the text, all ready to be trained.

Each holds what a run holds that was killed before its first checkpoint, so that `train_run` goes on
with it. All have the same tokens, whatever their seeds: a run that reads for itself would split the
text by its own seed. The token files are linked, not copied.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from malmoi.checkpoint import link
from malmoi.cli.corpus import Corpus, prepare, say_corpus
from malmoi.cli.progress import Progress
from malmoi.cli.remedies import Trial
from malmoi.cli.resume import ORIGIN, open_run, origin, settle
from malmoi.cli.session import precision_name
from malmoi.config import DataConfig, Precision, TrainConfig
from malmoi.data import SPLITS, Batches, TokenStore, write_stores
from malmoi.model import GPT, build
from malmoi.run import MARK, Run, check_new
from malmoi.text.records import Piece
from malmoi.text.sources import downloaded, read
from malmoi.text.split import Split, plan
from malmoi.tokenizer import Tokenizer
from malmoi.train import choose_device, choose_dtype
from malmoi.train.speed import measure

OVERHEAD = 1.05  # of a run over its steps: the evaluations on the way


def lay_out(out: Path, trials: Sequence[Trial], progress: Progress) -> list[Trial]:
    """Make a run folder in `out` for each trial that has none yet: all of them or none.

    Args:
        out: folder of all runs.
        trials: the first one's folder decides what the text and the tokens are.
        progress: where to show how far it is.

    Returns:
        The trials, with the steps and the precision that all of them are to have. By the clock
        and measured for each by itself, both might come out otherwise on a machine that has other
        work, and be taken for a remedy's effect.

    Raises:
        ValueError: anything about text, tokenizer or model that the user can mend; something else
            is at `out`; or a run there was begun by another command or on another text.

    """
    first = out / trials[0].name
    begun = (first / MARK).exists()
    if (out / MARK).exists():
        raise ValueError(f"{out}: is a run folder; give --out the name of another folder")
    if not begun:
        check_new(out, overwrite=False)
    made = [folder for folder in (out, *out.absolute().parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=out) as name:
            beside = Path(name)
            corpus = _again(first) if begun else _read(trials[0], beside / "text", progress)
            setting = trials[0].config.train
            common = _as_before(first, setting) if begun else _measured(trials[0], corpus, progress)
            trials = [_with(common, trial) for trial in trials]
            new = [trial for trial in trials if not (out / trial.name / MARK).exists()]
            for trial in trials:
                if trial in new:
                    check_new(out / trial.name, overwrite=False)
                    seed, minutes = setting.seed, setting.minutes
                    notes = {"split_seed": seed, "minutes": minutes}
                    _make(beside / trial.name, trial, corpus, notes, progress)
                else:
                    _check(out / trial.name, trial, progress)
            for trial in new:
                os.replace(beside / trial.name, out / trial.name)
    except BaseException:
        for folder in made:
            with contextlib.suppress(OSError):  # there is something in it
                folder.rmdir()
        raise
    return list(trials)


def _read(trial: Trial, folder: Path, progress: Progress) -> Corpus:
    config = trial.config
    corpus = prepare(config.data, config.tokenizer, config.train.seed, folder / "data", progress)
    say_corpus(corpus, progress)
    if len(corpus.stores["validation"]) < 2:
        raise ValueError(
            f"--split {config.data.split}: leaves no validation text to compare losses on; "
            "give 80/20, or more text"
        )
    return corpus


def _again(first: Path) -> Corpus:
    """The text as it was encoded for an earlier sitting."""
    stores = {name: TokenStore(first / "data", name) for name in SPLITS}
    return Corpus(Tokenizer.load(first / "tokenizer.json"), stores, "as before")


Common = tuple[int, Precision]
"""the steps and the precision of all runs"""


def _measured(trial: Trial, corpus: Corpus, progress: Progress) -> Common:
    """As many steps as the base run makes in its minutes, by what a few of them take."""
    config, setting = trial.config, trial.config.train
    shape = build(config.model.preset, corpus.tokenizer.vocab_size, **trial.sizes)
    device = choose_device(setting.device)
    dtype = choose_dtype(setting.precision, device, shape)
    precision: Precision = "bf16" if precision_name(dtype) == "bf16" else "fp32"
    if setting.steps is not None:
        return setting.steps, precision
    assert setting.minutes is not None
    progress.label = "measuring the speed"
    progress.update(0)
    model = GPT(shape, setting.seed).to(device=device, dtype=dtype)
    store = corpus.stores["train"]
    batches = Batches(
        store, shape.context_length, setting.batch_size, setting.seed, pack=setting.pack
    )
    optim, trying = settle(config.optim, shape), min(6.0, 3 * setting.minutes)
    seconds = measure(model, batches, setting, optim, trying).step_seconds
    steps = max(1, int(setting.minutes * 60 / (OVERHEAD * max(seconds, 1e-6))))
    progress.line(
        f"steps      {steps:,} for each run, in which the base run should take "
        f"{setting.minutes:g} minute(s)"
    )
    return steps, precision


def _as_before(first: Path, setting: TrainConfig) -> Common:
    """Those of the base run that is there already."""
    before = Run.open(first).config.train
    steps, precision = setting.steps, setting.precision
    if setting.minutes is not None:
        try:
            minutes = json.loads((first / ORIGIN).read_text("utf-8")).get("minutes")
        except (OSError, ValueError, AttributeError) as error:
            raise ValueError(f"{first / ORIGIN}: missing or damaged ({error})") from None
        if minutes != setting.minutes:
            was = f"--steps {before.steps}" if minutes is None else f"--minutes {minutes:g}"
            raise ValueError(
                f"{first.parent}: --minutes is {setting.minutes:g}, the comparison was started "
                f"with {was}; give that again, or --out another folder"
            )
        steps = before.steps
    assert steps is not None
    return steps, before.precision if precision == "auto" else precision


def _with(common: Common, trial: Trial) -> Trial:
    steps, precision = common
    setting = replace(trial.config.train, minutes=None, steps=steps, precision=precision)
    return replace(trial, config=replace(trial.config, train=setting))


def _check(folder: Path, trial: Trial, progress: Progress) -> None:
    """See that a run which is there already is the one that is asked for now."""
    try:
        open_run(folder, trial.config, trial.sizes, progress)
    except ValueError as error:  # written for `train`, whose flag is on here at any time
        raise ValueError(str(error).replace("--resume", "compare")) from None


def _make(
    folder: Path, trial: Trial, corpus: Corpus, notes: dict[str, Any], progress: Progress
) -> None:
    config = trial.config
    model = build(config.model.preset, corpus.tokenizer.vocab_size, **trial.sizes)
    config = replace(config, model=model, optim=settle(config.optim, model))
    data = folder / "data"
    data.mkdir(parents=True)
    if trial.share < 1:
        _write_share(data, trial, notes["split_seed"], corpus.tokenizer, progress)
    for store in corpus.stores.values():
        for path in (store.path.with_suffix(end) for end in (".bin", ".offsets", ".json")):
            if trial.share < 1 and path.stem == "train":
                continue
            (data / path.name).unlink(missing_ok=True)
            link(path, data / path.name)
    stores = {name: TokenStore(data, name) for name in SPLITS}
    # Whether there is enough text shows before any run has been trained.
    setting = config.train
    Batches(
        stores["train"], model.context_length, setting.batch_size, setting.seed, pack=setting.pack
    )
    run = Run.create(folder, config)
    corpus.tokenizer.save(folder / "tokenizer.json")
    # What run.toml has no words for: it would say the same of a run that read for itself.
    share = len(stores["train"]) / len(corpus.stores["train"])
    text = json.loads(origin(config.data.sources, stores)) | notes
    text["train_share"] = round(share, 4)
    run.write_text(ORIGIN, json.dumps(text, indent=1, ensure_ascii=False))


def _write_share(
    data: Path, trial: Trial, seed: int, tokenizer: Tokenizer, progress: Progress
) -> None:
    """Encode a share of the training text: whole documents, or the beginning of each of a few."""
    config: DataConfig = trial.config.data
    progress.label, progress.total = "encoding a part of the text", 0
    with downloaded(config.sources) as sources:

        def text() -> Iterator[Piece]:
            return read(sources, field=config.field, encoding=config.encoding)

        parts = plan(text, Split.parse(config.split), seed=seed)

        def training() -> Iterator[Piece]:
            return (piece for part, piece in parts.assign(text()) if part == "train")

        halves = plan(training, Split(trial.share, 1 - trial.share, 0.0), seed=seed)
        kept: Iterator[Piece]
        if halves.by_position:
            kept = (piece for part, piece in halves.assign(training()) if part == "train")
        else:
            kept = _balanced(training(), trial.share)
        write_stores((("train", piece.text, piece.first) for piece in kept), tokenizer, data)


def _balanced(pieces: Iterable[Piece], share: float) -> Iterator[Piece]:
    """Documents from everywhere that have about `share` of the characters.

    Half of the documents, drawn by their hashes, may well hold two thirds of a small text.
    """
    seen = taken = 0
    take = False
    for piece in pieces:
        if piece.first:
            take = taken <= share * seen
        seen += len(piece.text)
        if take:
            taken += len(piece.text)
            yield piece
