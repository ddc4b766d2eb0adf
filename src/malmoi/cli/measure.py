"""How good a model is, in one object: what `evaluate` and `demo` both print."""

from dataclasses import asdict
from typing import Any

import torch

from malmoi.cli.progress import Progress
from malmoi.config import RunConfig
from malmoi.data import TokenStore
from malmoi.evaluate.floors import floors
from malmoi.evaluate.loss import Loss, evaluate, scored_tokens
from malmoi.model import GPT


def measure(
    model: GPT,
    stores: dict[str, TokenStore],
    train: TokenStore,
    config: RunConfig,
    progress: Progress,
) -> dict[str, Any]:
    """Losses of every part, the floors on the most held-out one, and its source's entropy.

    Args:
        model: in evaluation mode.
        stores: the parts by name; `test` or else `validation` gets the floors.
        train: the text that the floors may learn from.
        config: of the run, which tells whether the source's entropy is known.
        progress: where to show how far it is.

    """
    result: dict[str, Any] = {}
    for name, store in stores.items():
        progress.label, progress.total = f"evaluating {name}", len(store)
        result[name] = evaluate(model, store, progress=progress.update).dict()
    held_out = next(name for name in ("data", "test", "validation", "train") if name in stores)
    store = stores[held_out]
    found = floors(train.ids, store.ids, model.config.vocab_size, ignore=train.bos_id)
    tokens = scored_tokens(store)
    result["floors"] = {
        name: Loss.of(loss, tokens, store).dict() for name, loss in asdict(found).items()
    }
    result["floors"]["on"] = held_out
    result["precision"] = {torch.bfloat16: "bf16", torch.float32: "fp32"}[
        next(model.parameters()).dtype
    ]
    progress.label, progress.total = "reading the stories", 0
    if entropy := _source_entropy(config, held_out):
        result["source_entropy"] = {"bits_per_byte": entropy}
    return result


def _source_entropy(config: RunConfig, part: str) -> float | None:
    """Bits per byte of the built-in source on the stories of a part; None for other texts."""
    from malmoi.text.sources import read
    from malmoi.text.split import Split, plan
    from malmoi.text.stories import log2_probability

    sources = config.data.sources
    builtin = bool(sources) and all(source.startswith("builtin:stories") for source in sources)
    if not builtin or part not in ("validation", "test"):
        return None
    parts = plan(lambda: read(sources), Split.parse(config.data.split), seed=config.train.seed)
    texts = [piece.text for name, piece in parts.assign(read(sources)) if name == part]
    return -sum(map(log2_probability, texts)) / sum(len(text.encode()) for text in texts)


def print_table(result: dict[str, Any]) -> None:
    """The result of `measure` for people."""
    columns = {
        "loss": "nats/token",
        "perplexity": "perplexity",
        "bits_per_byte": "bits/byte",
        "bits_per_char": "bits/char",
    }
    print(f"{'':<26}" + "".join(f"{name:>12}" for name in columns.values()) + f"{'tokens':>12}")
    on = result["floors"]["on"]
    rows = {k: row for k, row in result.items() if isinstance(row, dict) and "loss" in row}
    for name in ("uniform", "unigram", "trigram"):
        rows[f"floor: {name} ({on})"] = result["floors"][name]
    for name, row in rows.items():
        cells = "".join(f"{row[key]:>12.4f}" for key in columns)
        print(f"{name:<26}{cells}{row['tokens']:>12,}")
    if "source_entropy" in result:
        bits = result["source_entropy"]["bits_per_byte"]
        print(f"{f'floor: the source ({on})':<26}{'':>24}{bits:>12.4f}")
        print(f"The model needs {result[on]['bits_per_byte'] / bits:.3f} times its source's bits.")
