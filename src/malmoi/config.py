"""What a run is made of: frozen dataclasses that read from and write to TOML.

Every flag of the command line is a field here, and every field stands in `run.toml`, so that a run
folder tells by itself how it was made. No torch here: reading a configuration is quick.
"""

import dataclasses
import math
import tomllib
import typing
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

Preset = Literal["bigram", "gpt2", "llama", "malmoi"]
Schedule = Literal[
    "cosine", "cosine-restarts", "linear", "step", "exponential", "inverse-sqrt", "wsd", "plateau",
    "constant",
]  # fmt: skip
Precision = Literal["auto", "fp32", "bf16"]

# A run.toml may come from anywhere: sizes beyond these are a mistake or worse.
_BOUNDS = (
    ("vocab_size", 0, 1 << 24), ("context_length", 1, 1 << 24), ("d_model", 1, 1 << 17),
    ("num_layers", 0, 1 << 11), ("num_heads", 1, 1 << 12), ("num_kv_heads", 1, 1 << 12),
    ("d_ff", 1, 1 << 20), ("ngram_orders", 0, 8), ("ngram_rows", 1, 1 << 28),
)  # fmt: skip


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a GPT and the choices in which the presets differ.

    A width that is not a multiple of the heads, and the like, raise `ValueError`.
    """

    preset: Preset = "malmoi"
    vocab_size: int = 0
    context_length: int = 256
    d_model: int = 192
    num_layers: int = 4
    num_heads: int = 3
    num_kv_heads: int = 3
    d_ff: int = 768
    dropout: float = 0.0
    """share of values left out while training: of attention weights, of what each layer adds, and
    of embeddings, where the next three do not say otherwise"""
    attention_dropout: float | None = None
    residual_dropout: float | None = None
    embedding_dropout: float | None = None
    norm: Literal["layernorm", "rmsnorm", "plain", "none"] = "plain"
    """`plain` is RMSNorm without a learned scale"""
    position: Literal["learned", "rotary", "none"] = "rotary"
    activation: Literal["gelu", "swiglu", "relu2"] = "relu2"
    bias: bool = False
    tie_embeddings: bool = False
    qk_norm: bool = True
    value_residual: bool = True
    """each layer's values are mixed with the first layer's (arXiv:2410.17897)"""
    ngram_orders: int = 3
    """the last 2, 3, ... tokens together are hashed into embeddings as well; 0: none"""
    ngram_rows: int = 16384
    """rows of each of those tables"""
    ngram_dropout: float = 0.11
    """share of n-gram embeddings left out for each time that training will see its text"""
    rope_base: float = 10000.0

    def __post_init__(self) -> None:
        for name, least, most in _BOUNDS:
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"model: {name} is {value}, it has to be from {least} to {most}")
        if self.d_model % self.num_heads:
            raise ValueError(
                f"model: d_model {self.d_model} is not a multiple of num_heads {self.num_heads}"
            )
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"model: num_heads {self.num_heads} is not a multiple of "
                f"num_kv_heads {self.num_kv_heads}"
            )
        if self.position == "rotary" and self.head_size % 2:
            raise ValueError(
                f"model: rotary positions need an even head size, not {self.head_size}"
            )
        for name in ("dropout", "attention_dropout", "residual_dropout", "embedding_dropout"):
            share = getattr(self, name)
            if share is not None and not 0 <= share < 1:
                raise ValueError(f"model: {name} is {share}, it has to be from 0 to below 1")
        if not 0 <= self.ngram_dropout <= 1:
            raise ValueError(f"model: ngram_dropout is {self.ngram_dropout}, not from 0 to 1")

    @property
    def head_size(self) -> int:
        """Width of one attention head, `D`."""
        return self.d_model // self.num_heads


@dataclass(frozen=True)
class DataConfig:
    """Which texts, and how they are read and split."""

    sources: tuple[str, ...] = ()
    field: str | None = None
    """column or key that holds the text (document, text and content are found by themselves)"""
    encoding: str | None = None
    """character encoding of the files; detected when not given"""
    split: str = "80/10/10"
    """train/validation/test in per cent; 90/10 leaves no test part"""


@dataclass(frozen=True)
class TokenizerConfig:
    """Which tokenizer to train, or where one lies."""

    tokenizer: str = "bpe"
    """char, word, bpe, bytebpe, unigram, or a path to a tokenizer"""
    vocab_size: int | None = None
    """number of tokens; chosen by the size of the text when not given"""


@dataclass(frozen=True)
class OptimConfig:
    """How the weights move."""

    optimizer: Literal["muon", "adamw"] = "muon"
    """muon: Muon on the matrices and AdamW on the rest; adamw: AdamW alone"""
    lr: float | None = None
    """peak learning rate of the matrices (of everything with adamw); 0.02 (0.001) if not given"""
    embedding_lr: float | None = None
    """peak learning rate of AdamW beside Muon; 0.02 with the malmoi preset, 0.003 otherwise"""
    beta1: float = 0.9
    beta2: float = 0.97
    momentum: float = 0.95
    weight_decay: float = 0.0
    """on matrices only"""
    clip: float = 1.0
    """largest norm of the whole gradient; 0: no clipping"""
    clip_value: float = 0.0
    """largest size of each number of the gradient; 0: no such limit"""
    ema: float = 0.0
    """evaluate and keep a running mean of the weights, this share of it kept each step (0.999);
    0: the weights themselves"""
    schedule: Schedule = "linear"
    warmup: float = 0.02
    """share of the run in which the learning rate rises"""
    decay: float = 0.6
    """share of the run, at its end, in which a linear or wsd schedule falls"""
    final_lr: float = 0.0
    """learning rate at the end, as a share of the peak"""
    restarts: int = 3
    """cosine-restarts: how often the learning rate starts again from its peak"""
    plateau_patience: int = 2
    """plateau: evaluations without a better one before the learning rate is lowered"""
    plateau_factor: float = 0.5
    """plateau: what it is multiplied with"""

    def __post_init__(self) -> None:
        for name in ("lr", "embedding_lr", "weight_decay", "clip", "clip_value"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{_flag(name)} is {value}, it has to be 0 or more")
        for name in ("beta1", "beta2", "momentum", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{_flag(name)} is {getattr(self, name)}, it has to be in [0, 1)")
        for name in ("warmup", "decay", "final_lr", "plateau_factor"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{_flag(name)} is {getattr(self, name)}, it has to be in [0, 1]")
        for name in ("restarts", "plateau_patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{_flag(name)} {getattr(self, name)}: has to be 1 or more")


@dataclass(frozen=True)
class TrainConfig:
    """How long, in which batches, and what is kept."""

    minutes: float | None = None
    """be done this many minutes after the command was started; 3 if no steps are given either"""
    steps: int | None = None
    """or: this many optimizer steps"""
    batch_size: int = 16
    """windows of context_length tokens in one optimizer step"""
    pack: Literal["stream", "best-fit"] = "stream"
    """stream: the text is cut wherever a window ends; best-fit: whole documents are put together
    into windows, none is cut that fits one"""
    separate: bool = False
    """attention does not reach into another document of the window"""
    accumulate: int = 1
    """split each batch into this many parts, to save memory; the result is the same"""
    evals: int = 12
    """how often the validation loss is taken over the run"""
    patience: int = 0
    """stop early after so many evaluations without a better one; 0: never"""
    min_delta: float = 0.0
    """how much better, in nats per token, an evaluation has to be to count as better"""
    label_smoothing: float = 0.0
    """share of each target that is spread over the whole vocabulary"""
    checkpoints: int = 4
    """how many full checkpoints, to --resume from, are written over the run"""
    keep: int = 2
    """how many of them stay"""
    tensorboard: bool = False
    """write the curves for TensorBoard, too, to RUN/tensorboard"""
    wandb: str | None = None
    """send them to this project of Weights & Biases as well"""
    precision: Precision = "auto"
    device: str = "auto"
    """auto, cpu, cuda or mps"""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """with torchrun: each process has the whole model (ddp), or a shard of it (fsdp)"""
    compile: bool = False
    """torch.compile the model: pays off on a GPU or in long runs"""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise ValueError(f"--minutes {self.minutes:g}: has to be more than 0, and finite")
        for name in ("steps", "batch_size", "accumulate", "evals", "keep"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{_flag(name)} {value}: has to be more than 0")
        if self.minutes is not None and self.steps is not None:
            raise ValueError("give --minutes or --steps, not both")
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"--accumulate {self.accumulate}: a batch of {self.batch_size} windows cannot be "
                "split into that many parts"
            )
        if not 0 <= self.seed < 1 << 63:
            raise ValueError(f"--seed {self.seed}: has to be from 0 to 2^63 - 1")
        for name in ("checkpoints", "patience", "min_delta"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{_flag(name)} {getattr(self, name)}: has to be 0 or more")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"--label-smoothing {self.label_smoothing}: has to be in [0, 1)")


@dataclass(frozen=True)
class RunConfig:
    """Everything that made a run, as it stands in `run.toml`."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


Config = TypeVar("Config")


def to_dict(config: Any) -> dict[str, Any]:
    """Nested plain values of a configuration; what is None is left out, as TOML has no null."""
    result: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            result[item.name] = to_dict(value)
        elif value is not None:
            result[item.name] = list(value) if isinstance(value, tuple) else value
    return result


def from_dict(kind: type[Config], values: dict[str, Any]) -> Config:
    """Build a configuration of `kind` from what `to_dict` gave.

    Raises:
        ValueError: a name that `kind` does not know.

    """
    known = typing.get_type_hints(kind)
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"configuration: unknown name {unknown[0]!r}; made by a newer malmoi?")
    result: dict[str, Any] = {}
    for name, value in values.items():
        inner = known[name]
        if isinstance(value, dict) and isinstance(inner, type) and dataclasses.is_dataclass(inner):
            value = from_dict(inner, value)
        value = tuple(value) if isinstance(value, list) else value
        if isinstance(value, int) and not isinstance(value, bool) and inner in _REAL:
            value = float(value)
        if not _is(value, inner):
            raise ValueError(f"configuration: {name} = {value!r} is not what belongs there")
        result[name] = value
    return kind(**result)


_REAL = (float, float | None)


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of an annotated type, as far as configurations use them."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return value in parts
    if origin is tuple:
        return isinstance(value, tuple) and all(isinstance(item, parts[0]) for item in value)
    if parts:  # a union
        return any(_is(value, part) for part in parts)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def to_toml(config: Any) -> str:
    """The configuration as TOML text."""
    import tomli_w

    return tomli_w.dumps(to_dict(config))


def from_toml(kind: type[Config], text: str, name: str) -> Config:
    """Read a configuration of `kind` from TOML text; `name` is where it lies, for messages.

    Raises:
        ValueError: not TOML, or not a configuration of this kind.

    """
    try:
        return from_dict(kind, tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from None
