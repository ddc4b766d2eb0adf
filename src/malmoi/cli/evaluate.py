"""`malmoi evaluate RUN [DATA...]`: how good a model is, beside what needs no model."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from malmoi.config import Precision


@dataclass(frozen=True)
class Args:
    """Loss over every token of each part of the run's text, or of other text given as DATA."""

    run: Annotated[Path, tyro.conf.Positional]
    """the run folder"""
    data: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DATA...")] = ()
    """other text to evaluate on, as a whole; the run's own split when not given"""
    field: str | None = None
    """column or key that holds the text of DATA"""
    encoding: str | None = None
    """character encoding of DATA"""
    device: str = "auto"
    precision: Precision = "auto"
    json: bool = False
    """print the result as one JSON object"""


def run(args: Args) -> dict[str, Any]:
    """Evaluate, and print a table."""
    import tempfile

    from malmoi.cli.pipeline import open_run, prepare
    from malmoi.cli.progress import Progress
    from malmoi.config import DataConfig, TokenizerConfig
    from malmoi.data import SPLITS, TokenStore
    from malmoi.evaluate.floors import floors
    from malmoi.evaluate.loss import Loss, evaluate, scored_tokens

    opened, model, tokenizer = open_run(args.run, args.device, args.precision)
    train = TokenStore(args.run / "data", "train")
    with Progress("evaluating") as progress, tempfile.TemporaryDirectory() as folder:
        if args.data:
            data = DataConfig(args.data, args.field, args.encoding, "100")
            own = TokenizerConfig(str(args.run / "tokenizer.json"))
            corpus = prepare(data, own, 0, Path(folder), progress)
            stores = {"data": corpus.stores["train"]}
        else:
            stores = {name: TokenStore(args.run / "data", name) for name in SPLITS}
            stores = {name: store for name, store in stores.items() if len(store) > 1}
        result: dict[str, Any] = {}
        for name, store in stores.items():
            progress.label, progress.total = f"evaluating {name}", len(store)
            result[name] = evaluate(model, store, progress=progress.update).dict()
        held_out = next(n for n in ("data", "test", "validation", "train") if n in stores)
        store = stores[held_out]
        found = floors(train.ids, store.ids, model.config.vocab_size, ignore=train.bos_id)
        tokens = scored_tokens(store)
        result["floors"] = {
            name: Loss.of(loss, tokens, store).dict() for name, loss in asdict(found).items()
        }
        result["floors"]["on"] = held_out
        if entropy := story_entropy_of(opened, held_out):
            result["source_entropy"] = {"bits_per_byte": entropy}
    if not args.json:
        print_table(result)
    return result


def story_entropy_of(opened: Any, part: str) -> float | None:
    """Bits per byte of the built-in source on the stories of a part; None for other texts."""
    from malmoi.text.sources import read
    from malmoi.text.split import Split, plan
    from malmoi.text.stories import log2_probability

    data = opened.config.data
    if part not in ("validation", "test"):
        return None
    if not data.sources or not all(s.startswith("builtin:stories") for s in data.sources):
        return None
    parts = plan(lambda: read(data.sources), Split.parse(data.split), seed=opened.config.train.seed)
    bits = size = 0.0
    for name, piece in parts.assign(read(data.sources)):
        if name == part:
            bits -= log2_probability(piece.text)
            size += len(piece.text.encode())
    return bits / size if size and math.isfinite(bits) else None


def print_table(result: dict[str, Any]) -> None:
    """The result for people."""
    names = {"loss": "nats/token", "perplexity": "perplexity", "bits_per_byte": "bits/byte"}
    names["bits_per_char"] = "bits/char"
    print(f"{'':<24}" + "".join(f"{name:>12}" for name in names.values()) + f"{'tokens':>12}")
    rows = {name: row for name, row in result.items() if "loss" in row}
    on = result["floors"]["on"]
    for name in ("uniform", "unigram", "trigram"):
        rows[f"floor: {name} ({on})"] = result["floors"][name]
    for name, row in rows.items():
        cells = "".join(f"{row[key]:>12.4f}" for key in names)
        print(f"{name:<24}{cells}{row['tokens']:>12,}")
    if "source_entropy" in result:
        bits = result["source_entropy"]["bits_per_byte"]
        print(f"{f'the source itself ({on})':<48}{bits:>12.4f}")
        print(f"The model needs {result[on]['bits_per_byte'] / bits:.3f} times the bits of its source.")
