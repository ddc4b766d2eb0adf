"""Training in a run folder: what is written, saved and said while `Trainer` works."""

import signal
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from malmoi.checkpoint import Checkpoint, Checkpoints, link
from malmoi.cli.corpus import Corpus
from malmoi.cli.follow import agreed, checkpoints_of
from malmoi.cli.progress import Progress
from malmoi.cli.validation import Validation
from malmoi.cli.watch import Watchers
from malmoi.config import TrainConfig
from malmoi.data import Batches
from malmoi.evaluate.loss import Loss
from malmoi.evaluate.noise import gradient_noise
from malmoi.model import GPT
from malmoi.optim import Optimizer
from malmoi.ranks import Ranks
from malmoi.run import Metrics, Run
from malmoi.storage import read_tensors, replacing
from malmoi.train import Budget, Diverged, Event, Hooks, Result, Trainer

NOISE_PARTS = 8
"""parts of a batch whose gradients are compared, at each evaluation"""


class Session:
    """One sitting of a run: from its beginning or from a checkpoint to its end.

    A disk that is full costs no training: what could not be written is told, and tried again at
    the next occasion.

    Args:
        run: its folder is there already.
        model: on its device, in the precision to compute in.
        optimizer: made for it.
        corpus: what is learnt.
        batches: of its training part.
        budget: how long.
        progress: where all is said.
        extra: seconds that the caller needs after `train`.
        ranks: the processes that train together; this is rank 0, the others have a `Follower`.
        again: how the run is taken up after a signal, in words; None: not at all.

    """

    def __init__(
        self, run: Run, model: GPT, optimizer: Optimizer, corpus: Corpus, batches: Batches,
        budget: Budget, progress: Progress, extra: float, ranks: Ranks, again: str | None,
    ) -> None:  # fmt: skip
        self.run, self.model, self.optimizer, self.batches = run, model, optimizer, batches
        self.budget, self.progress, self.ranks = budget, progress, ranks
        self._again = f"; {again}" if again else ""
        setting = run.config.train
        self._checkpoints = checkpoints_of(run, optimizer, ranks)
        size = sum(p.numel() for p in model.parameters())
        writing = 16 * size / 1e8 if setting.checkpoints else 0.0
        trained = (setting.steps or 0) * setting.batch_size * batches.length
        self._watch = Validation(
            model, corpus.stores, budget, setting.evals, trained, extra + writing, ranks,
            sharded=optimizer.mesh is not None,
        )  # fmt: skip
        self._held_out = "validation" if self._watch.real else "(no validation part) on train"
        self._trainer = Trainer(
            model, batches, optimizer, setting, run.config.optim, budget,
            Hooks(
                self._watch, self._hear, self._keep_best, self._save, self._restore, self._noise
            ),
            ranks,
        )  # fmt: skip
        self._metrics = run.folder / "metrics.jsonl"
        self._log: Metrics | None = None
        self._watchers: Watchers | None = None
        self._saved = 0  # step of the best weights that are on the disk
        self._unwritten = False  # whether better ones could not be written
        self._complained: set[str] = set()

    def take_up(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of this run."""
        state = checkpoint.state
        self.optimizer.load(checkpoint.optimizer(self.optimizer.mesh))
        self._trainer.load(state)
        self.budget.resume(state["budget"])
        self._watch.prepare()
        if checkpoint.best is not None:
            with replacing(self.run.folder / "model.safetensors") as path:
                link(checkpoint.best, path)
        self._saved = state["best_step"]
        self._log = Metrics(self._metrics, state["metrics"])
        self._watchers = Watchers(self.run.folder, self.run.config, state["steps"])
        for name, here in made_with(self.model, self.ranks).items():
            if state.get(name) != here:
                self.progress.line(
                    f"note: the run had {name} {state.get(name)}, here it is {here}; the losses "
                    "will differ in their last digits"
                )

    def train(self) -> tuple[Result, Loss | None, bool]:
        """Train to the end; how it went, the validation loss, and whether that is of every token.

        The model has the best weights then.

        Raises:
            SystemExit: SIGTERM came; all is saved.
            KeyboardInterrupt: Ctrl-C; all is saved.
            Diverged: as `Trainer.run`.

        """
        self.progress.label, self.progress.total = "training", 1.0
        if self._log is None:
            self._log = Metrics(self._metrics, 0)
        if self._watchers is None:
            self._watchers = Watchers(self.run.folder, self.run.config)
        try:
            result = self._trainer.run()
            if result.stopped is not None:
                self._leave(result)
            weights = result.weights or read_tensors(self.run.folder / "model.safetensors")
            if self._unwritten:
                self._write_at_last(result, weights)
            self.ranks.wait()
        except (KeyboardInterrupt, Diverged) as error:
            self.progress.clear()
            self.run.write_config(
                self.run.config, {"interrupted": True, "best_step": self._saved}
            )  # fmt: skip
            where = f"The best weights so far, of step {self._saved}, are in {self.run.folder}"
            if isinstance(error, KeyboardInterrupt):
                where += self._again
            raise type(error)(f"{error}. {where}" if str(error) else where) from None
        finally:
            self._close()
        if self.optimizer.mesh is None:
            self.model.load_state_dict(weights)
        else:
            from malmoi.sharding import put_weights

            put_weights(self.model, weights)
        self.model.eval()
        validation, exact = self._watch.whole(result.best_loss) or (None, True)
        return result, validation, exact

    def _leave(self, result: Result) -> None:
        """After a signal: Ctrl-C is an error to the shell, a polite kill is not."""
        if result.stopped == signal.SIGINT:
            raise KeyboardInterrupt
        self.progress.line(
            f"stopped by SIGTERM after step {result.steps}: a checkpoint is in {self.run.folder}"
            f"{self._again}"
        )
        raise SystemExit(0)

    def _hear(self, event: Event) -> None:
        assert self._log is not None
        assert self._watchers is not None
        self._watchers.hear(event)
        try:
            self._log.add(event.record())
            if event.validation_loss is not None:
                self._log.size()  # to the disk, for those who watch
        except OSError as error:
            self._complain("metrics.jsonl", error)
        if event.rollback_from is not None:
            self.progress.line(
                f"{event.seconds:6.1f} s  step {event.rollback_from:>6}  no finite gradient for "
                f"too long: back to step {event.step}, learning rate times {event.lr_factor:g}"
            )
        elif event.skipped is not None:
            self.progress.line(
                f"{event.seconds:6.1f} s  step {event.step:>6}  skipped: {event.skipped}"
            )
        elif event.validation_loss is None:
            note = (
                f"step {event.step}  loss {event.train_loss:.3f}  lr {event.lr:.2g}  "
                f"gradient {event.grad_norm:.2g}  {event.tokens_per_second:,.0f} tokens/s"
            )
            left = None if event.progress < 0.01 else self._left(event)
            self.progress.update(event.progress, note, left)
        else:
            before = f"train {event.train_loss:.4f}  " if event.step else ""
            mark = "  best so far" if event.best and event.step else ""
            self.progress.line(
                f"{event.seconds:6.1f} s  step {event.step:>6}  {before}"
                f"{self._held_out} {event.validation_loss:.4f}{mark}"
            )

    def _left(self, event: Event) -> float:
        if self.budget.minutes is not None:
            return self.budget.seconds_left()
        spent = time.monotonic() - self.budget.first_step
        return spent * (1 - event.progress) / event.progress

    def _keep_best(self, step: int, weights: dict[str, Tensor]) -> None:
        try:
            self.run.save_weights(weights)
        except OSError as error:
            self._complain("the best weights", error)
            self._unwritten = True
            return
        self._saved, self._unwritten = step, False

    def _write_at_last(self, result: Result, weights: dict[str, Tensor]) -> None:
        """The best weights of a run that is over are worth more than the way there."""
        self._checkpoints.clear()
        try:
            self.run.save_weights(weights)
        except OSError as error:
            raise ValueError(
                f"{self.run.folder}: the best weights, of step {result.best_step}, could not be "
                f"written ({error.strerror}): make room; those of step {self._saved} are there"
            ) from None

    def _save(self, state: dict[str, Any]) -> None:
        assert self._log is not None
        if self._unwritten:  # a checkpoint goes with the best weights of its time
            self._keep_best(state["best_step"], self._trainer.result.weights)
        if self._unwritten:
            self._checkpoints.skip()
            return
        best = self.run.folder / "model.safetensors"
        weights, optimizer = self.optimizer.weights(), self.optimizer.state()
        state = state | made_with(self.model, self.ranks)
        try:
            state["metrics"] = self._log.size()
        except OSError as error:
            self._checkpoints.skip()
            self._complain("a checkpoint", error)
            return
        try:
            self._checkpoints.save(state["steps"], weights, optimizer, state, best)
        except OSError as error:
            self._complain("a checkpoint", error)

    def _restore(self) -> dict[str, Any] | None:
        checkpoint, warnings = self._checkpoints.newest()
        for warning in warnings:
            self.progress.line(f"warning: {warning}")
        if agreed(checkpoint, self.ranks) is None or checkpoint is None:
            return None
        self.optimizer.load(checkpoint.optimizer(self.optimizer.mesh))
        return checkpoint.state

    def _noise(self, step: int) -> float | None:
        """The gradient noise scale in tokens, from the windows of the next step or steps."""
        if self.optimizer.mesh is not None:
            return None  # shards have no gradients of their own
        batches, device = self.batches, self.model.output_weight.device
        steps = range(step, step + -(-NOISE_PARTS // batches.size))
        drawn = [[torch.from_numpy(array) for array in batches[number]] for number in steps]
        ids, targets = (torch.cat(part).to(device) for part in zip(*drawn, strict=True))
        parts = list(zip(ids.chunk(NOISE_PARTS), targets.chunk(NOISE_PARTS), strict=True))
        if not all((targets >= 0).any() for _, targets in parts):
            return None

        def backward(part: int) -> int:
            ids, targets = parts[part]
            self.model.loss(ids, targets).backward()
            return int((targets >= 0).sum())

        return gradient_noise(self.model, backward, len(parts)).scale

    def _complain(self, what: str, error: OSError) -> None:
        """Once for each thing: training goes on, and the next time may do better."""
        if what not in self._complained:
            self._complained.add(what)
            reason = error.strerror or str(error)
            self.progress.line(
                f"warning: {what} could not be written to {self.run.folder} ({reason}); "
                "training goes on, make room"
            )

    def _close(self) -> None:
        if self._watchers is not None:
            self._watchers.close()
        if self._log is not None:
            try:
                self._log.close()
            except OSError as error:
                self._complain("metrics.jsonl", error)


def made_with(model: GPT, ranks: Ranks) -> dict[str, Any]:
    """On what the last digits of the losses depend."""
    weight = model.output_weight
    return {
        "precision": precision_name(weight.dtype), "device": weight.device.type,
        "threads": torch.get_num_threads(), "torch": torch.__version__, "processes": ranks.size,
    }  # fmt: skip


def precision_name(dtype: torch.dtype) -> str:
    """As `--precision` has it."""
    return {torch.bfloat16: "bf16", torch.float32: "fp32"}.get(dtype, str(dtype))


def newest(folder: Path, setting: TrainConfig, progress: Progress) -> Checkpoint | None:
    """The checkpoint from which a run goes on, after telling which ones are damaged."""
    checkpoint, warnings = Checkpoints(folder / "checkpoints", setting.keep).newest()
    for warning in warnings:
        progress.line(f"warning: {warning}")
    return checkpoint
