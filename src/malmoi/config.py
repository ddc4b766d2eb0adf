"""What a run is made of: frozen dataclasses that read from and write to TOML.

Every flag of the command line is a field here, and every field stands in `run.toml`, so that a run
folder tells by itself how it was made. No torch here: reading a configuration is quick.
"""

import dataclasses
import tomllib
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

Preset = Literal["bigram", "gpt2", "llama", "malmoi"]
Schedule = Literal["cosine", "linear", "step", "wsd", "constant"]
Precision = Literal["auto", "fp32", "bf16"]


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
        for name in ("context_length", "d_model", "num_heads", "num_kv_heads", "d_ff"):
            if getattr(self, name) < 1:
                raise ValueError(f"model: {name} is {getattr(self, name)}, it has to be 1 or more")
        if self.num_layers < 0:
            raise ValueError(f"model: num_layers is {self.num_layers}, it cannot be negative")
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
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model: dropout is {self.dropout}, it has to be from 0 to below 1")

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
    lr: float = 0.02
    """peak learning rate of the matrices (of everything with adamw, where 0.001 is usual)"""
    embedding_lr: float = 0.02
    """peak learning rate of AdamW beside Muon"""
    beta1: float = 0.9
    beta2: float = 0.97
    momentum: float = 0.95
    weight_decay: float = 0.0
    """on matrices only"""
    clip: float = 1.0
    """largest norm of the whole gradient; 0: no clipping"""
    schedule: Schedule = "linear"
    warmup: float = 0.02
    """share of the run in which the learning rate rises"""
    decay: float = 0.6
    """share of the run, at its end, in which a linear or wsd schedule falls"""
    final_lr: float = 0.0
    """learning rate at the end, as a share of the peak"""


@dataclass(frozen=True)
class TrainConfig:
    """How long, in which batches, and what is kept."""

    minutes: float | None = None
    """be done this many minutes after the command was started"""
    steps: int | None = None
    """or: this many optimizer steps"""
    batch_size: int = 16
    """windows of context_length tokens in one optimizer step"""
    accumulate: int = 1
    """split each batch into this many parts, to save memory; the result is the same"""
    evals: int = 12
    """how often the validation loss is taken over the run"""
    checkpoints: int = 0
    """how many full checkpoints (with the optimizer's state) are written over the run"""
    precision: Precision = "auto"
    device: str = "auto"
    """auto, cpu, cuda or mps"""
    compile: bool = False
    """torch.compile the model: pays off on a GPU or in long runs"""
    seed: int = 0


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
    known = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"configuration: unknown name {unknown[0]!r}; made by a newer malmoi?")
    result: dict[str, Any] = {}
    for name, value in values.items():
        inner = known[name].type
        if isinstance(value, dict) and isinstance(inner, type) and dataclasses.is_dataclass(inner):
            value = from_dict(inner, value)
        result[name] = tuple(value) if isinstance(value, list) else value
    return kind(**result)


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
    except (tomllib.TOMLDecodeError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from None
