"""`malmoi evaluate RUN [DATA...]`: how good a model is, beside what needs no model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from malmoi.cli.generation import Generation
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
    """auto, cpu, cuda or mps"""
    precision: Precision = "auto"
    """auto, fp32 or bf16"""
    json: bool = False
    """print the result as one JSON object"""
    texts: Generation = Generation()


def run(args: Args) -> dict[str, Any]:
    """Evaluate, and print a table."""
    args.texts.check()

    import tempfile

    from malmoi.cli.generation import generation, print_generation
    from malmoi.cli.measure import measure, print_table
    from malmoi.cli.pipeline import prepare
    from malmoi.cli.progress import Progress
    from malmoi.cli.speak import open_run
    from malmoi.config import DataConfig, TokenizerConfig
    from malmoi.data import SPLITS, TokenStore

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
            for store in stores.values():
                store.check(model.config.vocab_size)
        train.check(model.config.vocab_size)
        if args.texts.generation:
            on = next((name for name in ("data", "test", "validation") if name in stores), None)
            if on is None:
                raise ValueError(f"{args.run}: it has no held-out text; give other text as DATA")
            found = generation(args.texts, model, tokenizer, stores[on], train, progress)
            result: dict[str, Any] = {"generation": {"on": on, **found}}
        else:
            result = measure(model, stores, train, opened.config, progress)
    if not args.json:
        (print_generation(result["generation"]) if args.texts.generation else print_table(result))
    return result
