"""What do all instruments together cost? The same steps with and without them, in turns.

    python benchmarks/instruments.py DATA [--tokenizer char] [--steps 400] [--repeats 3]

With: `malmoi train` as it is, and TensorBoard: `metrics.jsonl` for every step, progress, gradient
norms, best weights, checkpoints, the noise scale. Without: a loop of batch, loss, gradient and
optimizer, nothing else. Evaluations are left out of both: they have their own limit. Losses of both
have to be the same.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from malmoi.cli import session
from malmoi.cli.pipeline import Trained, train_run
from malmoi.cli.resume import settle
from malmoi.config import DataConfig, OptimConfig, RunConfig, TokenizerConfig, TrainConfig
from malmoi.data import Batches
from malmoi.model import GPT
from malmoi.optim import Optimizer
from malmoi.run import read_metrics
from malmoi.schedules import schedule
from malmoi.train import Trainer
from malmoi.train.step import accumulate, seed_step


class Clock:
    """Seconds spent in all calls of what it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, function: Any) -> Any:
        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - begin

        return timed


def with_all(config: RunConfig, folder: Path) -> tuple[Trained, float]:
    """Seconds of a whole run's loop but for its evaluations."""
    whole, evaluations = Clock(), Clock()
    evaluate = evaluations.wrap(session.Validation.__call__)
    with (
        mock.patch.object(session.Validation, "__call__", evaluate),
        mock.patch.object(Trainer, "run", whole.wrap(Trainer.run)),
    ):
        trained = train_run(config, {}, folder / "run", time.monotonic(), quiet=True)
    return trained, whole.seconds - evaluations.seconds


def without(trained: Trained) -> tuple[float, float]:
    """Seconds of the same steps bare, and the last loss."""
    config = trained.run.config
    dtype = trained.model.output_weight.dtype
    model = GPT(config.model, config.train.seed).to(dtype)
    optim: OptimConfig = settle(config.optim, config.model)
    optimizer = Optimizer(model, optim)
    batches = Batches(
        trained.corpus.stores["train"], config.model.context_length, config.train.batch_size,
        config.train.seed,
    )  # fmt: skip
    model.train()
    steps, loss = config.train.steps or 0, 0.0
    begin = time.perf_counter()
    for step in range(steps):
        if step:  # as the loop does: by how far it is, how often the text will be seen
            model.expect_epochs(step * batches.size / batches.windows / (step / steps))
        seed_step(torch.device("cpu"), config.train.seed, step)
        ids, targets = (torch.from_numpy(array) for array in batches[step])
        loss = accumulate(model, model.loss, ids, targets, 1)
        optimizer.step(schedule(optim.schedule, step / steps, optim))
    return time.perf_counter() - begin, loss


def main() -> None:
    """Take turns, and print the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--tokenizer", default="char")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    config = RunConfig(
        data=DataConfig((args.data,)), tokenizer=TokenizerConfig(args.tokenizer),
        train=TrainConfig(steps=args.steps, tensorboard=True),
    )  # fmt: skip
    losses = []
    for repeat in range(args.repeats):
        with tempfile.TemporaryDirectory() as folder:
            trained, instrumented = with_all(config, Path(folder))
            bare, last = without(trained)
            records = read_metrics(trained.run.folder / "metrics.jsonl")
            assert last == next(r["loss"] for r in reversed(records) if "loss" in r)
        losses.append(instrumented / bare - 1)
        print(
            f"run {repeat + 1}: {instrumented:.2f} s with, {bare:.2f} s without, "
            f"{100 * losses[-1]:+.2f} %",
            flush=True,
        )
    print(f"median {100 * statistics.median(losses):+.2f} % (asked: 3 % at most)")


if __name__ == "__main__":
    main()
