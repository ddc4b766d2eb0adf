"""The loop: it learns, splits batches without changing them, stops when told."""

import math
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from malmoi.config import OptimConfig, TrainConfig
from malmoi.data import Batches, write_stores
from malmoi.model import GPT, build
from malmoi.optim import Optimizer
from malmoi.tokenizer import train_tokenizer
from malmoi.train import Budget, Diverged, Event, Result, choose_device, train
from malmoi.train.step import accumulate

TEXT = "다람쥐 헌 쳇바퀴에 타고파. " * 40
SIZES = {"context_length": 16, "d_model": 32, "num_layers": 2, "num_heads": 2, "d_ff": 64}


class Setup:
    def __init__(self, folder: Path, preset: str = "malmoi", dtype: torch.dtype = torch.float32):
        tokenizer = train_tokenizer(iter([TEXT]), "char")
        store = write_stores([("train", TEXT, True)], tokenizer, folder)["train"]
        sizes = SIZES | ({"ngram_rows": 256} if preset == "malmoi" else {})
        self.model = GPT(build(preset, tokenizer.vocab_size, **sizes)).to(dtype)  # type: ignore[arg-type]
        self.batches = Batches(store, 16, 8, seed=0)
        self.events: list[Event] = []

    def validate(self) -> float:
        ids, targets = (torch.from_numpy(a) for a in self.batches[10_000])
        with torch.no_grad():
            self.model.eval()
            loss = float(self.model.loss(ids, targets))
            self.model.train()
        return loss

    def train(self, steps: int = 60, optim: OptimConfig = OptimConfig(), **more: object) -> Result:  # noqa: B008
        config = TrainConfig(steps=steps, evals=4)
        arguments = {"evaluate": self.validate, "on_event": self.events.append} | more
        return train(
            self.model, self.batches, Optimizer(self.model, optim), config, optim,
            Budget(time.monotonic(), steps=steps), **arguments,  # type: ignore[arg-type]
        )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("preset", "optim"),
    [
        ("malmoi", OptimConfig()),
        ("llama", OptimConfig()),
        ("gpt2", OptimConfig(optimizer="adamw", lr=3e-3)),
        ("bigram", OptimConfig(optimizer="adamw", lr=3e-2)),
    ],
)
def test_every_preset_learns(
    tmp_path: Path, preset: str, optim: OptimConfig, dtype: torch.dtype
) -> None:
    setup = Setup(tmp_path, preset, dtype)
    untrained = setup.validate()
    result = setup.train(120, optim)
    assert result.best_loss < (0.5 if preset == "bigram" else 0.2) * untrained
    assert result.steps == 120


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_a_split_batch_is_the_same_batch(tmp_path: Path, parts: int) -> None:
    setup = Setup(tmp_path, "llama")
    ids, targets = (torch.from_numpy(a) for a in setup.batches[0])
    targets[0, :9] = -1  # parts with different numbers of scored tokens
    targets[5] = -1
    whole = accumulate(setup.model, setup.model.loss, ids, targets, 1)
    expected = [p.grad.clone() for p in setup.model.parameters()]  # type: ignore[union-attr]
    setup.model.zero_grad()
    split = accumulate(setup.model, setup.model.loss, ids, targets, parts)
    assert split == pytest.approx(whole, rel=1e-5)
    for parameter, gradient in zip(setup.model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


def test_the_best_weights_are_kept_not_the_last(tmp_path: Path) -> None:
    setup = Setup(tmp_path)
    told = iter([5.0, 3.0, 1.0, 2.0, 4.0, 4.0])
    kept: list[int] = []
    snapshots = {}

    def validate() -> float:
        snapshots[len(snapshots)] = {
            name: value.clone() for name, value in setup.model.state_dict().items()
        }
        return next(told)

    result = setup.train(40, evaluate=validate, on_best=lambda step, weights: kept.append(step))
    assert result.best_loss == 1.0
    assert kept == [0, 10, 20]
    assert result.best_step == 20
    for name, value in result.weights.items():
        assert torch.equal(value, snapshots[2][name]), name


def test_two_runs_of_one_seed_are_the_same_run(tmp_path: Path) -> None:
    results = []
    for name in ("a", "b"):
        setup = Setup(tmp_path / name)
        results.append((setup.train(20), [e.train_loss for e in setup.events]))
    (a, losses_a), (b, losses_b) = results
    assert np.array_equal(losses_a, losses_b, equal_nan=True)
    for name in a.weights:
        assert torch.equal(a.weights[name], b.weights[name])


def test_a_diverged_run_stops_with_a_reason_and_keeps_the_best(tmp_path: Path) -> None:
    setup = Setup(tmp_path, "gpt2")
    kept: list[dict[str, torch.Tensor]] = []
    optim = OptimConfig(optimizer="adamw", lr=1e30, clip=0.0)
    with pytest.raises(Diverged, match=r"at step .* no checkpoint"):
        setup.train(60, optim, on_best=lambda step, weights: kept.append(weights))
    assert kept
    assert all(torch.isfinite(value).all() for value in kept[-1].values())


def test_an_interrupt_ends_the_run_with_the_best_so_far(tmp_path: Path) -> None:
    setup = Setup(tmp_path)

    def interrupt(event: Event) -> None:
        if event.step == 25 and event.validation_loss is None:
            os.kill(os.getpid(), signal.SIGINT)

    result = setup.train(60, on_event=interrupt)
    assert result.stopped == signal.SIGINT
    assert (result.steps, result.best_step) == (25, 15)
    assert result.weights


def test_the_events_tell_what_happened(tmp_path: Path) -> None:
    setup = Setup(tmp_path)
    setup.train(40)
    evaluations = [e for e in setup.events if e.validation_loss is not None]
    assert [e.step for e in evaluations] == [0, 10, 20, 30, 40]
    assert math.isnan(evaluations[0].train_loss)
    steps = [e for e in setup.events if e.validation_loss is None]
    assert [e.step for e in steps] == list(range(1, 41))
    assert max(e.lr for e in steps) == pytest.approx(0.02)
    assert steps[-1].lr < 0.002


def test_more_evaluations_than_steps_check_each_step_once(tmp_path: Path) -> None:
    setup = Setup(tmp_path)
    setup.train(3)
    evaluations = [e for e in setup.events if e.validation_loss is not None]
    assert [e.step for e in evaluations] == [0, 1, 2, 3]
    assert not any(math.isnan(e.train_loss) for e in evaluations[1:])


def test_a_budget_in_minutes_keeps_room_for_the_end() -> None:
    now = time.monotonic()
    budget = Budget(now - 10, minutes=1.0, reserve=20)
    budget.start()
    assert budget.progress(0) == pytest.approx(0, abs=0.01)
    budget.first_step = now - 5  # 30 s of steps in all, 5 of them done
    assert budget.progress(0) == pytest.approx(5 / 35, abs=0.01)
    assert budget.seconds_left() == pytest.approx(50, abs=0.5)
    late = Budget(now - 100, minutes=1.0)
    assert late.progress(0) == 1.0


def test_a_device_that_is_not_here_is_an_error() -> None:
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(ValueError, match="is not available here"):
        choose_device("tpu")
