"""`malmoi plan DATA...`: what a run would take and give, before it is started."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from malmoi.cli.language import Asked, Language, choose_language
from malmoi.cli.main import BEGAN
from malmoi.cli.train import ModelSizes
from malmoi.config import DataConfig, ModelConfig, OptimConfig, RunConfig, TokenizerConfig
from malmoi.config import TrainConfig as Training

OPTIMAL = 20.0
"""training tokens for each parameter that a given amount of computing is best spent on (Hoffmann et
al. 2022)"""
EPOCHS = 4.0
"""so often a text may be seen before that pays clearly less than new text (Muennighoff et al.
2023)"""

END = 2.5
"""seconds that the first evaluation, samples, and writing take"""
SAVING, EVALUATING = 0.025, 0.05
"""shares of a run: checkpoints and noise scales; evaluations, where the run is given in steps"""


@dataclass(frozen=True)
class Args:
    """See what `malmoi train` with the same flags would take: parameters, memory, speed, time."""

    data: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DATA...")]
    """what to learn from"""
    json: bool = False
    """print the result as one JSON object"""
    lang: Asked = "auto"
    """language of the advice"""
    field: str | None = None
    """column or key that holds the text"""
    encoding: str | None = None
    """character encoding of the files; detected when not given"""
    split: str = "80/10/10"
    """train/validation/test in per cent"""
    measure: float = 3.0
    """seconds of training steps from which the speed is taken"""
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelSizes = ModelSizes()
    optim: OptimConfig = OptimConfig()
    train: Training = Training()


HOW = {"ko": " (시간에 맞춰 고름)", "en": " (chosen by the time)"}
ROWS = {
    "ko": {
        "글": "학습 토큰 {train_tokens:,}개 ({tokenizer}, 어휘 {vocab_size:,}개)",
        "모델": (
            "{preset}, {num_layers}층, 폭 {d_model}{how}, 매개변수 {parameters:,}개 (토큰마다 "
            "곱하는 것은 {multiplied:,}개)"
        ),
        "한 걸음": (
            "{context_length}토큰 창 {batch_size}개에 {milliseconds:.1f} ms, 초당 "
            "{tokens_per_second:,.0f} 토큰 ({device}, {precision}, {measured_seconds:g}초 동안 잼)"
        ),
        "메모리": "가장 많을 때 {peak} (잰 값)",
        "학습": "{steps:,}걸음, {clock}: 토큰 {tokens:,}개, 글 전체를 {epochs:.1f}번",
        "비율": "곱하는 매개변수당 {tokens_per_parameter:.1f} 토큰 (알맞은 값은 약 20)",
    },
    "en": {
        "text": "{train_tokens:,} training tokens ({tokenizer}, vocabulary {vocab_size:,})",
        "model": (
            "{preset}, {num_layers} layers of width {d_model}{how}, {parameters:,} parameters, "
            "{multiplied:,} of them multiplied per token"
        ),
        "step": (
            "{batch_size} windows of {context_length} tokens: {milliseconds:.1f} ms, "
            "{tokens_per_second:,.0f} tokens/s ({device}, {precision}, measured for "
            "{measured_seconds:g} s)"
        ),
        "memory": "{peak} at its peak (measured)",
        "run": "{steps:,} steps, {clock}: {tokens:,} tokens, {epochs:.1f} times the text",
        "ratio": (
            "{tokens_per_parameter:.1f} tokens per multiplied parameter (computing is best spent "
            "at about 20)"
        ),
    },
}
ADVICE = {
    "ko": {
        "small_text": (
            "글이 작습니다: 같은 글을 {epochs:.1f}번 보게 됩니다. 글을 더 모으거나, 더 작은 "
            "모델이나 --dropout 0.1, --patience 3을 써 보세요."
        ),
        "more_parameters": (
            "곱하는 매개변수({multiplied:,})가 글의 토큰({train_tokens:,})보다 많습니다: 외우기 "
            "쉽습니다. --d-model이나 --num-layers를 줄여 보세요."
        ),
        "too_large": (
            "이 시간에는 모델이 큽니다. 더 작은 모델이 더 낮은 손실에 이를 수 있습니다: "
            "--d-model을 줄이거나 --minutes를 늘려 보세요."
        ),
        "too_small": (
            "이 시간에는 모델이 작습니다. 더 큰 --d-model이나 --num-layers도 감당할 수 있습니다."
        ),
        "good": "글과 시간과 크기가 서로 어울립니다.",
    },
    "en": {
        "small_text": (
            "The text is small: it would be seen {epochs:.1f} times. Find more text, or try a "
            "smaller model, --dropout 0.1, --patience 3."
        ),
        "more_parameters": (
            "There are more multiplied parameters ({multiplied:,}) than tokens of text "
            "({train_tokens:,}): easy to learn by heart. Try a smaller --d-model or --num-layers."
        ),
        "too_large": (
            "The model is large for this time. A smaller one may come to a lower loss: a smaller "
            "--d-model, or more --minutes."
        ),
        "too_small": (
            "The model is small for this time. A larger --d-model or --num-layers is within reach."
        ),
        "good": "Text, time and size go together.",
    },
}


def run(args: Args) -> dict[str, Any]:
    """Read the text, measure a few steps, and say what follows."""
    import tempfile

    from malmoi.cli.corpus import prepare
    from malmoi.cli.progress import Progress

    if not 0 < args.measure < 3600:
        raise ValueError(f"--measure {args.measure:g}: has to be more than 0 s, an hour at most")
    setting = args.train
    if setting.minutes is None and setting.steps is None:
        setting = replace(setting, minutes=3.0)
    data = DataConfig(args.data, args.field, args.encoding, args.split)
    config = RunConfig(
        model=ModelConfig(preset=args.model.preset), data=data, tokenizer=args.tokenizer,
        optim=args.optim, train=setting,
    )  # fmt: skip
    with Progress("reading") as progress, tempfile.TemporaryDirectory() as folder:
        corpus = prepare(data, args.tokenizer, setting.seed, Path(folder), progress)
        reading = time.monotonic() - BEGAN  # as long as `train` would need until here
        result = _measure(args, config, corpus, reading, progress)
    result |= _schedule(result, setting, reading + result["choosing_seconds"])
    result["advice"] = _advice(result)
    if not args.json:
        _print(result, choose_language(args.lang))
    return result


def _measure(
    args: Args, config: RunConfig, corpus: Any, reading: float, progress: Any
) -> dict[str, Any]:
    from dataclasses import asdict

    import torch

    from malmoi.cli.resume import is_open, settle
    from malmoi.cli.session import precision_name
    from malmoi.cli.size import choose_sizes
    from malmoi.data import Batches
    from malmoi.decode.memory import available_bytes
    from malmoi.model import GPT, build
    from malmoi.model.stepper import multiplied
    from malmoi.train import choose_device, choose_dtype
    from malmoi.train.speed import least_bytes, measure

    sizes = {k: v for k, v in asdict(args.model).items() if k != "preset"}
    setting = config.train
    begin = time.monotonic()
    chosen = is_open(config, sizes) and setting.minutes is not None
    if chosen and setting.minutes is not None:
        left = 60 * setting.minutes - reading
        sizes, _ = choose_sizes(config, sizes, corpus, left, progress)
    choosing = time.monotonic() - begin
    model_config = build(args.model.preset, corpus.tokenizer.vocab_size, **sizes)
    optim = settle(config.optim, model_config)
    length = model_config.context_length
    store, pack = corpus.stores["train"], setting.pack
    batches = Batches(store, length, setting.batch_size, setting.seed, pack=pack)
    device = choose_device(setting.device)
    dtype = choose_dtype(setting.precision, device, model_config)
    with torch.device("meta"):
        shape = GPT(model_config)
    least = least_bytes(shape, optim, dtype.itemsize)
    free = available_bytes(device)
    if free is not None and least > free:
        raise ValueError(
            f"the model's weights, gradients and moments alone take {least / 2**30:.1f} GiB, and "
            f"{free / 2**30:.1f} GiB are free on {device}: a smaller --d-model or --num-layers, or "
            "--parallel fsdp over several devices"
        )
    progress.label = "measuring some steps"
    progress.update(0)
    model = GPT(model_config, setting.seed).to(device=device, dtype=dtype)
    model.separate = setting.separate
    speed = measure(model, batches, setting, optim, args.measure)
    return {
        "preset": model_config.preset,
        "d_model": model_config.d_model,
        "num_layers": model_config.num_layers,
        "chosen": chosen,
        "choosing_seconds": choosing,
        "parameters": sum(p.numel() for p in shape.parameters()),
        "multiplied": multiplied(shape),
        "context_length": length,
        "batch_size": setting.batch_size,
        "tokenizer": corpus.tokenizer.kind,
        "vocab_size": corpus.tokenizer.vocab_size,
        "train_tokens": len(corpus.stores["train"]),
        "validation_tokens": len(corpus.stores["validation"]),
        "device": str(device),
        "precision": precision_name(dtype),
        "step_seconds": speed.step_seconds,
        "tokens_per_second": speed.tokens_per_second,
        "measured_steps": speed.steps,
        "measured_seconds": args.measure,
        "peak_bytes": speed.peak_bytes,
    }


def _schedule(result: dict[str, Any], setting: Training, before: float) -> dict[str, Any]:
    """How many steps there will be, or how long they take; evaluation takes its share.

    Args:
        result: what was measured.
        setting: of the run.
        before: seconds from the command's start until the first step.

    """
    if setting.minutes is None:
        assert setting.steps is not None
        steps = setting.steps
        seconds = before + END + steps * result["step_seconds"] / (1 - SAVING - EVALUATING)
    else:
        seconds = 60 * setting.minutes
        # A token costs about a third of what it does in training.
        whole = result["validation_tokens"] / (3 * result["tokens_per_second"])
        left = seconds - before
        each = min(whole, left / 40 / setting.evals)
        watching = (setting.evals + 1) * each + (min(whole, left / 10) if whole > each else 0.0)
        steps = max(0, int(((1 - SAVING) * left - END - watching) / result["step_seconds"]))
    tokens = steps * result["batch_size"] * result["context_length"]
    return {
        "steps": steps,
        "seconds": seconds,
        "tokens": tokens,
        "epochs": tokens / result["train_tokens"],
        "tokens_per_parameter": tokens / max(result["multiplied"], 1),
    }


def _advice(result: dict[str, Any]) -> list[str]:
    """What is worth saying, by name; `good` where nothing is."""
    found = []
    if result["epochs"] > EPOCHS:
        found.append("small_text")
        if result["multiplied"] > result["train_tokens"]:
            found.append("more_parameters")
    if result["tokens_per_parameter"] < OPTIMAL / 20:
        found.append("too_large")
    elif result["tokens_per_parameter"] > OPTIMAL * 20 and result["epochs"] < EPOCHS:
        found.append("too_small")
    return found or ["good"]


def _print(result: dict[str, Any], language: Language) -> None:
    minutes, seconds = divmod(round(result["seconds"]), 60)
    hours, minutes = divmod(minutes, 60)
    peak = result["peak_bytes"]
    values = result | {
        "clock": f"{hours}:{minutes:02}:{seconds:02}",
        "milliseconds": 1e3 * result["step_seconds"],
        "how": HOW[language] if result["chosen"] else "",
        "peak": f"{peak / 2**20:,.0f} MiB" if peak else "?",
    }
    rows = ROWS[language]
    width = max(map(_width, rows))
    for name, text in rows.items():
        print(f"{name}{' ' * (width - _width(name))}  {text.format(**values)}")
    for name in result["advice"]:
        print(ADVICE[language][name].format(**values))


def _width(text: str) -> int:
    """Columns on a terminal: a Hangul syllable takes two."""
    return sum(2 if ord(character) >= 0x1100 else 1 for character in text)
