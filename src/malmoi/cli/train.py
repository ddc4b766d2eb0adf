"""`malmoi train DATA... --out RUN`: text in, a trained model out."""

import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from malmoi.cli.main import BEGAN, command
from malmoi.config import (
    ModelConfig,
    OptimConfig,
    Preset,
    RunConfig,
    TokenizerConfig,
    TrainConfig,
)

if TYPE_CHECKING:
    from malmoi.cli.pipeline import Trained


@dataclass(frozen=True)
class ModelSizes:
    """The model; what is not given keeps the preset's value."""

    preset: Preset = "malmoi"
    """bigram (the floor), gpt2 (124M), llama, or malmoi (learns fastest)"""
    context_length: int | None = None
    """how many tokens the model sees at once"""
    d_model: int | None = None
    num_layers: int | None = None
    num_heads: int | None = None
    num_kv_heads: int | None = None
    d_ff: int | None = None
    dropout: float | None = None
    """share of values left out while training, wherever the next three do not say otherwise"""
    attention_dropout: float | None = None
    """of attention weights"""
    residual_dropout: float | None = None
    """of what each layer adds"""
    embedding_dropout: float | None = None
    """of embeddings"""
    ngram_orders: int | None = None
    """malmoi: the last 2, 3, ... tokens are embedded together; 0: none"""
    ngram_rows: int | None = None
    """malmoi: rows of each table of n-grams"""
    ngram_dropout: float | None = None
    """malmoi: share of n-gram embeddings left out while training"""


@dataclass(frozen=True)
class Args:
    """Train a model on your text. DATA: files, folders, globs, https://, hf://, builtin:stories."""

    data: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DATA...")]
    """what to learn from"""
    out: Path
    """the run folder to make"""
    overwrite: bool = False
    """replace a run that is there already"""
    resume: bool = False
    """go on with the run at --out, begun by this same command; begin it where there is none"""
    json: bool = False
    """print the result as one JSON object"""
    field: str | None = None
    """column or key that holds the text (document, text, content are found by themselves)"""
    encoding: str | None = None
    """character encoding of the files; detected when not given"""
    split: str = "80/10/10"
    """train/validation/test in per cent; 90/10 leaves no test part"""
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelSizes = ModelSizes()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()


def to_config(args: Args) -> tuple[RunConfig, dict[str, Any]]:
    """The run's configuration, and the model sizes that the user set."""
    from malmoi.config import DataConfig

    setting = args.train
    if setting.minutes is None and setting.steps is None:
        setting = replace(setting, minutes=3.0)
    sizes = asdict(args.model)
    preset = sizes.pop("preset")
    config = RunConfig(
        model=ModelConfig(preset=preset),
        data=DataConfig(args.data, args.field, args.encoding, args.split),
        tokenizer=args.tokenizer,
        optim=args.optim,
        train=setting,
    )
    return config, sizes


def run(args: Args) -> dict[str, Any]:
    """Train, and say what came of it."""
    config, sizes = to_config(args)
    from malmoi.cli.pipeline import train_run
    from malmoi.cli.watch import check_packages

    check_packages(args.train)
    # torchrun has started all processes anew, since one of them had ended.
    resume = args.resume or int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    if resume and (done := _complete(args.out)):
        print(f"the run in {args.out} is complete: there is nothing to resume", file=sys.stderr)
        return done
    trained = train_run(config, sizes, args.out, BEGAN, overwrite=args.overwrite, resume=resume)
    if not args.json:
        report = trained.report
        print(f"{report['steps']} steps, {report['tokens_per_second']:,.0f} tokens/s")
        if loss := trained.validation:
            print(
                f"validation loss {loss.loss:.4f} nats/token, perplexity {loss.perplexity:.2f}, "
                f"{loss.bits_per_byte:.4f} bits/byte (step {report['best_step']}"
                + (")" if report["validation_exact"] else ", estimated on a part)")
            )
        print(_verdict(trained))
        print(f"the run is in {args.out}; next:")
        print(f"  {command()} evaluate {args.out}")
        print(f"  {command()} verdict {args.out}")
        print(f'  {command()} generate {args.out} --prompt "..."')
        sys.stdout.flush()
    return trained.report


def _verdict(trained: "Trained") -> str:
    """What the curves alone tell; `malmoi verdict` looks at more, which takes a while."""
    from malmoi.cli.language import choose_language
    from malmoi.cli.verdict import at_the_end, to_text

    stores = trained.corpus.stores
    findings = at_the_end(trained.run, len(stores["train"]), len(stores["validation"]) > 1)
    return "\n".join(to_text(finding, choose_language()) for finding in findings)


def _complete(out: Path) -> dict[str, Any] | None:
    """The report of a run that has come to its end."""
    from malmoi.run import MARK, Run

    if not (out / MARK).exists():
        return None
    result = Run.open(out).result
    return result if result and "interrupted" not in result else None
