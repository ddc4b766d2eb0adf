"""The remedies against overfitting that `malmoi compare` tries, each alone on top of the base run.

A remedy is a function of the run's configuration and of the model sizes that the user set, and
gives both anew. It raises `ValueError` where it cannot change anything: the base run has it
already, or the model is too small.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from malmoi.config import RunConfig

Name = Literal[
    "ngram-dropout", "dropout", "early-stopping", "weight-decay", "label-smoothing", "ema",
    "smaller-model", "half-data",
]  # fmt: skip
Sizes = dict[str, Any]
Changed = tuple[RunConfig, Sizes]

DROPOUT = 0.2
PATIENCE = 3
WEIGHT_DECAY = 0.1
SMOOTHING = 0.1
EMA = 0.99
HALF = 0.5


@dataclass(frozen=True)
class Remedy:
    """One change of the base run.

    Attributes:
        change: the base run in, the run with the remedy out.
        title: a word or two, by language.
        about: one sentence that says what it changes, by language.
        share: of the training text that is used; the other fields cannot say that.

    """

    change: Callable[[RunConfig, Sizes], Changed]
    title: dict[str, str]
    about: dict[str, str]
    share: float = 1.0


def bare(config: RunConfig, sizes: Sizes) -> Changed:
    """The base run: without those remedies that are on by default, unless the user set them.

    That is one, the n-gram dropout of the malmoi preset. Two habits stay, since without them no
    loss would mean much: a learning rate that falls, and that the best weights are the result.
    """
    if sizes.get("ngram_dropout") is None:
        sizes = sizes | {"ngram_dropout": 0.0}
    return config, sizes


def ngram_dropout(config: RunConfig, sizes: Sizes) -> Changed:
    """As the preset has it."""
    from malmoi.model.presets import PRESETS

    _new("--ngram-dropout", sizes.get("ngram_dropout"))
    orders = sizes.get("ngram_orders")
    if not (PRESETS[config.model.preset].ngram_orders if orders is None else orders):
        raise ValueError("the model has no embeddings of n-grams")
    return config, {k: v for k, v in sizes.items() if k != "ngram_dropout"}


def dropout(config: RunConfig, sizes: Sizes) -> Changed:
    """Everywhere in the model (Srivastava et al. 2014)."""
    for name in ("dropout", "attention_dropout", "residual_dropout", "embedding_dropout"):
        _new(f"--{name.replace('_', '-')}", sizes.get(name))
    return config, sizes | {"dropout": DROPOUT}


def early_stopping(config: RunConfig, sizes: Sizes) -> Changed:
    """After a few evaluations without a better one."""
    _new("--patience", config.train.patience)
    return replace(config, train=replace(config.train, patience=PATIENCE)), sizes


def weight_decay(config: RunConfig, sizes: Sizes) -> Changed:
    """Decoupled from the gradient, on matrices (Loshchilov & Hutter 2019)."""
    _new("--weight-decay", config.optim.weight_decay)
    return replace(config, optim=replace(config.optim, weight_decay=WEIGHT_DECAY)), sizes


def label_smoothing(config: RunConfig, sizes: Sizes) -> Changed:
    """In the training loss only (Szegedy et al. 2016)."""
    _new("--label-smoothing", config.train.label_smoothing)
    return replace(config, train=replace(config.train, label_smoothing=SMOOTHING)), sizes


def ema(config: RunConfig, sizes: Sizes) -> Changed:
    """Running means of the weights (Polyak & Juditsky 1992), over some hundred steps."""
    _new("--ema", config.optim.ema)
    return replace(config, optim=replace(config.optim, ema=EMA)), sizes


def smaller_model(config: RunConfig, sizes: Sizes) -> Changed:
    """Half the width: about a quarter of the blocks' weights, half of the embeddings'."""
    from malmoi.model import build

    given = {name: value for name, value in sizes.items() if value is not None}
    full = build(config.model.preset, 0, **given)
    unit, fixed = 2, {}
    if {"num_heads", "num_kv_heads"} & set(given):  # the user's heads stay, and get narrower
        fixed = {"num_heads": full.num_heads, "num_kv_heads": full.num_kv_heads}
        unit = 2 * full.num_heads
    width = full.d_model // 2 // unit * unit
    if not width:
        raise ValueError(f"a width of {full.d_model} cannot be halved")
    if "d_ff" in given:
        fixed["d_ff"] = max(1, full.d_ff // 2)
    return config, sizes | {"d_model": width} | fixed


def half_data(config: RunConfig, sizes: Sizes) -> Changed:
    """No remedy but its opposite: what less text costs tells what more would bring."""
    return config, sizes


def _new(flag: str, value: Any) -> None:
    if value:
        raise ValueError(f"{flag} {value:g} is in the base run already")


REMEDIES: dict[Name, Remedy] = {
    "ngram-dropout": Remedy(
        ngram_dropout,
        {"en": "n-gram dropout", "ko": "n그램 드롭아웃"},
        {
            "en": "Embeddings of n-grams are left out now and then, as the preset has it.",
            "ko": "n그램 임베딩을 프리셋이 정한 만큼 이따금 빼놓고 배웁니다.",
        },
    ),
    "dropout": Remedy(
        dropout,
        {"en": "dropout", "ko": "드롭아웃"},
        {
            "en": f"{DROPOUT:.0%} of the values are left out at random while training.",
            "ko": f"배우는 동안 값의 {DROPOUT:.0%}를 무작위로 빼놓습니다.",
        },
    ),
    "early-stopping": Remedy(
        early_stopping,
        {"en": "early stopping", "ko": "조기 종료"},
        {
            "en": f"The run ends after {PATIENCE} evaluations without a better one. (Every run "
            "keeps its best weights, so what this saves is time.)",
            "ko": f"검증 손실이 {PATIENCE}번 이어 나아지지 않으면 끝냅니다. (어느 실행이나 가장 "
            "좋은 가중치를 남기므로, 아끼는 것은 시간입니다.)",
        },
    ),
    "weight-decay": Remedy(
        weight_decay,
        {"en": "weight decay", "ko": "가중치 감쇠"},
        {
            "en": f"Every step shrinks the matrices a little: weight decay {WEIGHT_DECAY:g}.",
            "ko": f"스텝마다 행렬을 조금씩 줄입니다: 가중치 감쇠 {WEIGHT_DECAY:g}.",
        },
    ),
    "label-smoothing": Remedy(
        label_smoothing,
        {"en": "label smoothing", "ko": "레이블 스무딩"},
        {
            "en": f"{SMOOTHING:.0%} of each target is spread over the whole vocabulary.",
            "ko": f"정답의 {SMOOTHING:.0%}를 어휘 전체에 고루 나누어 줍니다.",
        },
    ),
    "ema": Remedy(
        ema,
        {"en": "weight average", "ko": "가중치 평균"},
        {
            "en": f"A running mean of the weights ({EMA:g} of it kept each step) is the model.",
            "ko": f"가중치의 이동 평균(스텝마다 {EMA:g}을 남김)을 모델로 씁니다.",
        },
    ),
    "smaller-model": Remedy(
        smaller_model,
        {"en": "smaller model", "ko": "작은 모델"},
        {
            "en": "The model is half as wide.",
            "ko": "모델의 폭을 절반으로 줄입니다.",
        },
    ),
    "half-data": Remedy(
        half_data,
        {"en": "half the text", "ko": "글 절반"},
        {
            "en": "Only half of the training text is used, to see what more text would be worth.",
            "ko": "학습할 글을 절반만 씁니다. 글이 더 있으면 얼마나 좋을지 가늠하려는 것입니다.",
        },
        share=HALF,
    ),
}
"""in the order in which they are trained"""


@dataclass(frozen=True)
class Trial:
    """One run of the comparison.

    Attributes:
        name: of its folder.
        remedy: what it tries; None: a base run.
        config: as `train_run` takes it.
        sizes: likewise.

    """

    name: str
    remedy: Name | None
    config: RunConfig
    sizes: Sizes

    @property
    def share(self) -> float:
        """Of the training text that it sees."""
        return 1.0 if self.remedy is None else REMEDIES[self.remedy].share

    @property
    def titles(self) -> dict[str, str]:
        """What it is called in figures."""
        if self.remedy is not None:
            return REMEDIES[self.remedy].title
        _, _, number = self.name.partition("-")
        return {"en": f"base {number}".strip(), "ko": f"기준 {number}".strip()}
