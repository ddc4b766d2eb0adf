"""Going on with a run: is the command the same, is the text the same, are the tokens whole?"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from malmoi.cli.corpus import Corpus
from malmoi.cli.progress import Progress
from malmoi.config import ModelConfig, OptimConfig, RunConfig
from malmoi.data import SPLITS, TokenStore
from malmoi.model import build
from malmoi.optim import learning_rates
from malmoi.run import Run
from malmoi.storage import checksum
from malmoi.text.fingerprint import difference, fingerprints
from malmoi.tokenizer import Tokenizer

ORIGIN = "data/origin.json"
"""what the text was and what the tokens are, in checksums"""
FREE = ("checkpoints", "keep", "parallel", "tensorboard", "wandb")
"""settings that may change from one sitting to the next: they change no number, but for its last
digits"""

SIZES = ("d_model", "num_layers", "num_heads", "num_kv_heads", "d_ff", "context_length")
"""flags that say how large a model is"""


def origin(sources: Sequence[str], stores: Mapping[str, TokenStore]) -> str:
    """The content of `ORIGIN`: checksums of the files that were read and of the tokens."""
    values = {
        "sources": fingerprints(sources),
        "stores": {name: checksum(store.path) for name, store in stores.items()},
    }
    return json.dumps(values, indent=1, ensure_ascii=False)


def open_run(
    out: Path, config: RunConfig, sizes: Mapping[str, Any], progress: Progress
) -> tuple[Run, Corpus]:
    """A run that was begun by the same command on the same text.

    Args:
        out: the run folder.
        config: what the command says now.
        sizes: fields of the model that it sets.
        progress: where to show how far it is.

    Raises:
        ValueError: something differs, is damaged or missing.

    """
    run = Run.open(out)
    tokenizer = Tokenizer.load(out / "tokenizer.json")
    model = build(config.model.preset, tokenizer.vocab_size, **as_begun(config, sizes, run.config))
    now = replace(config, model=model, optim=settle(config.optim, model))
    if changed := _changed(run.config, now):
        raise ValueError(
            f"{out}: {changed}: --resume goes on with the same command only; give that again, "
            "or --out another run"
        )
    progress.label = "comparing the text"
    progress.update(0)
    path = out / ORIGIN
    try:
        before = json.loads(path.read_text("utf-8"))
        read, written = dict(before["sources"]), dict(before["stores"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: missing or damaged ({error}); train anew") from None
    if changed := difference(read, fingerprints(config.data.sources)):
        raise ValueError(
            f"the text has changed since the run was started: {changed}; put the old text back, "
            "or train anew on this one"
        )
    stores = {name: TokenStore(out / "data", name) for name in SPLITS}
    for name, store in stores.items():
        if checksum(store.path) != written.get(name):
            raise ValueError(f"{store.path}: damaged (its checksum is another); train anew")
    return run, Corpus(tokenizer, stores, "as before")


def is_open(config: RunConfig, sizes: Mapping[str, Any]) -> bool:
    """Whether the time is to choose the size: minutes are given, and no size is."""
    given = any(sizes.get(name) is not None for name in SIZES)
    return config.train.minutes is not None and config.model.preset == "malmoi" and not given


def as_begun(config: RunConfig, sizes: Mapping[str, Any], run: RunConfig) -> dict[str, Any]:
    """The sizes with which a run is gone on with: what was chosen at its start stays."""
    if not is_open(config, sizes):
        return dict(sizes)
    return dict(sizes) | {name: getattr(run.model, name) for name in ("d_model", "num_layers")}


def settle(optim: OptimConfig, model: ModelConfig) -> OptimConfig:
    """Learning rates that were not given, set for the preset."""
    if optim.embedding_lr is None and model.preset == "malmoi":
        optim = replace(optim, embedding_lr=0.02)
    lr, embedding_lr = learning_rates(optim)
    return replace(optim, lr=lr, embedding_lr=embedding_lr)


def _changed(before: RunConfig, now: RunConfig) -> str | None:
    """The first setting that is not what it was, in words."""
    for part in ("data", "tokenizer", "model", "optim", "train"):
        old, new = asdict(getattr(before, part)), asdict(getattr(now, part))
        for name, value in new.items():
            if value != old[name] and name not in FREE:
                flag = "DATA" if name == "sources" else f"--{name.replace('_', '-')}"
                return f"{flag} is {_words(value)}, the run was started with {_words(old[name])}"
    return None


def _words(value: Any) -> str:
    if value is None:
        return "not given"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
