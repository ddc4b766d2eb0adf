"""What a verdict rests on and is made of: facts about a run, findings, and the next command."""

import shlex
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from malmoi.config import (
    DataConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    TokenizerConfig,
    TrainConfig,
)
from malmoi.evaluate.copies import Leak, Recital
from malmoi.evaluate.floors import Floors
from malmoi.model import build
from malmoi.optim import learning_rates

Kind = Literal[
    "diverged", "lr_too_high", "lr_too_low", "leaking", "overfitting", "memorising",
    "worse_than_trigram", "underfitting", "batch_too_small", "healthy", "unclear",
]  # fmt: skip

Missing = Literal["curve", "held_out", "steps", "noise", "floors", "spans", "speech"]

_SIZES = (
    "d_model", "num_layers", "num_heads", "num_kv_heads", "d_ff", "context_length", "dropout",
    "attention_dropout", "residual_dropout", "embedding_dropout", "ngram_orders", "ngram_rows",
    "ngram_dropout",
)  # fmt: skip
_USUAL_EMBEDDING_LRS = (0.003, 0.02)  # what a run sets by itself, by the preset


@dataclass(frozen=True)
class Finding:
    """One thing that is the matter.

    Attributes:
        kind: which; `healthy` where nothing is, `unclear` where nothing could be judged.
        severity: 3: the model is of no use, or its figures are not to be believed; 2: it could be
            clearly better; 1: worth knowing; 0: all is well.
        step: from which step on, where that can be said.
        evidence: the numbers it rests on; losses in nats per token.
        command: what to run next.

    """

    kind: Kind
    severity: int
    step: int | None
    evidence: dict[str, float | int | str]
    command: str


@dataclass(frozen=True)
class Facts:
    """What is known of a run beside its curves; None: nobody has looked.

    Attributes:
        run: its folder, for commands.
        config: what made it; with it the batch and the usual learning rates are known.
        train_tokens: size of the training text.
        held_out: whether there was a validation part; without one its loss is of training text.
        validation: loss of the best weights over all of the validation part.
        floors: of the validation part.
        leak: of held-out text into the training text.
        recital: of training text by the model.

    """

    run: str = "RUN"
    config: RunConfig = field(default_factory=RunConfig)
    train_tokens: int | None = None
    held_out: bool = True
    validation: float | None = None
    floors: Floors | None = None
    leak: Leak | None = None
    recital: Recital | None = None

    @property
    def batch_tokens(self) -> int:
        """Tokens of one optimizer step."""
        return self.config.train.batch_size * self.config.model.context_length

    @property
    def lr(self) -> float:
        """Peak learning rate of the matrices."""
        return learning_rates(self.config.optim)[0]

    @property
    def usual_lr(self) -> float:
        """What it is when nobody asks for another."""
        return learning_rates(OptimConfig(optimizer=self.config.optim.optimizer))[0]

    def again(self, **changes: Any) -> str:
        """The command that trains this run once more, into another folder, with changes.

        Args:
            changes: fields of the configuration's parts by name; a preset takes its own sizes.

        """
        config = self.config
        words = ["malmoi", "train", *config.data.sources, "--out", f"{self.run}-2"]
        flags = _changed(config.data, DataConfig(), skip=("sources",))
        flags |= _changed(config.tokenizer, TokenizerConfig())
        flags |= {"preset": config.model.preset} if config.model.preset != "malmoi" else {}
        flags |= {} if "preset" in changes else _sizes(config.model, changes)
        flags |= _changed(config.optim, OptimConfig(optimizer=config.optim.optimizer), skip=("lr",))
        if config.optim.optimizer != OptimConfig().optimizer:
            flags["optimizer"] = config.optim.optimizer
        if self.lr != self.usual_lr:
            flags["lr"] = self.lr
        if flags.get("embedding_lr") in _USUAL_EMBEDDING_LRS:
            del flags["embedding_lr"]
        flags |= _changed(config.train, TrainConfig())
        if "steps" in changes or "minutes" in changes:
            flags.pop("steps", None)
            flags.pop("minutes", None)
        flags |= changes
        for name, value in flags.items():
            words.append(f"--{name.replace('_', '-')}")
            if value is not True:
                words.append(f"{value:.6g}" if isinstance(value, float) else str(value))
        return shlex.join(words)

    def generate(self) -> str:
        """The command that lets the model speak."""
        return shlex.join(["malmoi", "generate", self.run, "--num", "3"])

    def elsewhere(self) -> str:
        """The command that measures the model on text of another origin."""
        return shlex.join(["malmoi", "evaluate", self.run, "OTHER.txt"])


def _changed(config: Any, usual: Any, skip: tuple[str, ...] = ()) -> dict[str, Any]:
    """Flags that are not at their defaults."""
    names = [f.name for f in fields(config) if f.name not in skip]
    return {n: getattr(config, n) for n in names if getattr(config, n) != getattr(usual, n)}


def _sizes(model: ModelConfig, changes: dict[str, Any]) -> dict[str, Any]:
    """Sizes to give so that the preset comes out as this model; those that are to change take
    what follows from them along.
    """
    given: dict[str, Any] = {}
    for name in _SIZES:
        if "d_model" in changes and name in ("num_heads", "num_kv_heads", "d_ff"):
            continue  # they follow from the width
        if getattr(build(model.preset, model.vocab_size, **given), name) != getattr(model, name):
            given[name] = getattr(model, name)
    return given
