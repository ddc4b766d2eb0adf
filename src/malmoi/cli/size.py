"""The size of a run that is given minutes and no size: where it is chosen, and how that is told."""

from collections.abc import Mapping
from typing import Any

import torch

from malmoi.cli.corpus import Corpus
from malmoi.cli.progress import Progress
from malmoi.cli.resume import settle
from malmoi.config import RunConfig
from malmoi.data import Batches
from malmoi.model import GPT, build
from malmoi.model.stepper import multiplied
from malmoi.train import choose_device, choose_dtype
from malmoi.train.choose import Choice, Size, choose
from malmoi.train.speed import measure

SHARE = 0.925
"""of a run's time goes into steps; the rest into evaluations and the end"""


def choose_sizes(
    config: RunConfig, sizes: Mapping[str, Any], corpus: Corpus, seconds: float, progress: Progress
) -> tuple[dict[str, Any], Choice]:
    """The model's sizes for this machine, this text and this time.

    Args:
        config: of the run.
        sizes: what the user set, no size among it.
        corpus: the text.
        seconds: that are left of the run's time.
        progress: where it is told.

    """
    progress.label = "measuring sizes"
    setting, vocab = config.train, corpus.tokenizer.vocab_size
    device = choose_device(setting.device)

    def model_of(size: Size) -> Any:
        return build("malmoi", vocab, **dict(sizes) | {"d_model": size[0], "num_layers": size[1]})

    def weights_of(size: Size) -> int:
        with torch.device("meta"):
            return multiplied(GPT(model_of(size)))

    def step_seconds(size: Size) -> float:
        progress.update(0, f"{size[1]} layers of width {size[0]}")
        made = model_of(size)
        batches = Batches(
            corpus.stores["train"], made.context_length, setting.batch_size, setting.seed,
            pack=setting.pack,
        )  # fmt: skip
        dtype = choose_dtype(setting.precision, device, made)
        model = GPT(made, setting.seed).to(device=device, dtype=dtype)
        model.separate = setting.separate
        spend = min(2.0, max(0.2, 0.005 * seconds))
        return measure(model, batches, setting, settle(config.optim, made), spend).step_seconds

    tokens = setting.batch_size * build("malmoi", vocab).context_length
    choice = choose(weights_of, step_seconds, SHARE * seconds, tokens)
    found = {"d_model": choice.d_model, "num_layers": choice.num_layers}
    steps = SHARE * seconds / choice.step_seconds
    progress.line(
        f"size       {choice.num_layers} layers of width {choice.d_model}, chosen by the time: "
        f"about {steps:,.0f} steps, {steps * tokens / len(corpus.stores['train']):.1f} times the "
        "text"
    )
    return dict(sizes) | found, choice
