"""What the other ranks of a run do while rank 0 reads, writes and speaks."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from malmoi.checkpoint import Checkpoint, Checkpoints, ShardedCheckpoints
from malmoi.cli.corpus import Corpus
from malmoi.cli.validation import Validation
from malmoi.config import TrainConfig
from malmoi.data import SPLITS, Batches, TokenStore
from malmoi.model import GPT
from malmoi.optim import Optimizer
from malmoi.ranks import Lost, Ranks
from malmoi.run import Run
from malmoi.storage import read_tensors
from malmoi.tokenizer import Tokenizer
from malmoi.train import Budget, Diverged, Hooks, Trainer, choose_device


@contextmanager
def in_touch(ranks: Ranks, setting: TrainConfig) -> Iterator[None]:
    """Meanwhile the ranks are in touch; what happens to all of them is told by rank 0 alone.

    Raises:
        ValueError: of rank 0, or of another rank, whose number it tells then.
        SystemExit: another process has ended, or rank 0 tells the reason.

    """
    gpu = setting.device.startswith("cuda")
    gpu = gpu or (setting.device == "auto" and torch.cuda.is_available())
    try:
        with ranks.joined(gpu):
            yield
    except Lost:
        if os.environ.get("MALMOI_DEBUG"):
            raise
        print(
            f"malmoi: rank {ranks.rank} ends, since another process of the run has ended",
            file=sys.stderr,
        )
        raise SystemExit(1) from None
    except (KeyboardInterrupt, Diverged):
        if ranks.first:
            raise
        raise SystemExit(2) from None
    except ValueError as error:
        if ranks.first:
            raise
        raise ValueError(f"rank {ranks.rank}: {error}") from None


def share_windows(setting: TrainConfig, ranks: Ranks) -> int:
    """How many of a step's windows are this rank's.

    Raises:
        ValueError: they cannot be shared out equally, or not be split further.

    """
    if setting.batch_size % ranks.size:
        raise ValueError(
            f"--batch-size {setting.batch_size}: {ranks.size} processes cannot share so many "
            f"windows equally; give a multiple of {ranks.size}"
        )
    own = setting.batch_size // ranks.size
    if setting.accumulate > own:
        raise ValueError(
            f"--accumulate {setting.accumulate}: the {own} windows of each of {ranks.size} "
            "processes cannot be split into that many parts"
        )
    return own


def own_device(setting: TrainConfig, ranks: Ranks) -> torch.device:
    """Where this rank computes: each on a GPU of its own, where there are any.

    Raises:
        ValueError: there is none for it.

    """
    device = choose_device(setting.device)
    if ranks.size == 1 or device.type == "cpu":
        return device
    if device.type != "cuda":
        raise ValueError(f"--device {device}: several processes train on cpu or cuda only")
    if device.index is None:
        device = torch.device("cuda", ranks.local)
    if ranks.local >= torch.cuda.device_count():
        raise ValueError(
            f"this host has {torch.cuda.device_count()} GPUs, too few for process {ranks.local} "
            "(from 0) on it: give torchrun a smaller --nproc-per-node"
        )
    torch.cuda.set_device(device)
    return device


def open_after(out: Path) -> tuple[Run, Corpus]:
    """A run that rank 0 has just begun or opened, on another rank."""
    tokenizer = Tokenizer.load(out / "tokenizer.json")
    stores = {name: TokenStore(out / "data", name) for name in SPLITS}
    return Run.open(out), Corpus(tokenizer, stores, "as rank 0 has it")


class Follower:
    """One sitting of a run, as `Session`, on a rank that writes and says nothing.

    It takes part, at the same steps, in all that ranks do together.

    Args:
        run: as rank 0 has opened it.
        model: on its device, or in shards.
        optimizer: made for it.
        corpus: what is learnt.
        batches: this rank's.
        budget: how long; rank 0's clock counts.
        ranks: all.

    """

    def __init__(
        self, run: Run, model: GPT, optimizer: Optimizer, corpus: Corpus, batches: Batches,
        budget: Budget, ranks: Ranks,
    ) -> None:  # fmt: skip
        self.run, self.model, self.optimizer, self.ranks = run, model, optimizer, ranks
        setting = run.config.train
        self._checkpoints = checkpoints_of(run, optimizer, ranks)
        sharded = optimizer.mesh is not None
        self._watch = Validation(
            model, corpus.stores, budget, setting.evals, 0, 0.0, ranks, sharded
        )
        self._trainer = Trainer(
            model, batches, optimizer, setting, run.config.optim, budget,
            Hooks(self._watch, save=self._save, restore=self._restore), ranks,
        )  # fmt: skip

    def take_up(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of this run."""
        self.optimizer.load(checkpoint.optimizer(self.optimizer.mesh))
        self._trainer.load(checkpoint.state)
        self._watch.prepare()

    def train(self) -> None:
        """Train to the end.

        Raises:
            SystemExit: SIGTERM or Ctrl-C came to one of the ranks; all is saved.
            Diverged: as `Trainer.run`.

        """
        result = self._trainer.run()
        if result.stopped is not None:
            raise SystemExit(0)
        self.ranks.wait()  # for rank 0 to have written the best
        if self.optimizer.mesh is not None:
            from malmoi.sharding import put_weights

            put_weights(self.model, read_tensors(self.run.folder / "model.safetensors"))
        self._watch.whole(result.best_loss)

    def _save(self, state: dict[str, Any]) -> None:
        weights, optimizer = self.optimizer.weights(), self.optimizer.state()
        if self.optimizer.mesh is not None:
            self._checkpoints.save(state["steps"], weights, optimizer, state)

    def _restore(self) -> dict[str, Any] | None:
        checkpoint = agreed(None, self.ranks)
        if checkpoint is None:
            return None
        self.optimizer.load(checkpoint.optimizer(self.optimizer.mesh))
        return checkpoint.state


def agreed(checkpoint: Checkpoint | None, ranks: Ranks) -> Checkpoint | None:
    """The checkpoint that rank 0 has found, on all ranks."""
    place = ranks.agree(None if checkpoint is None else str(checkpoint.place))
    if checkpoint is not None or place is None:
        return checkpoint
    return Checkpoint.at(Path(place))


def checkpoints_of(run: Run, optimizer: Optimizer, ranks: Ranks) -> Checkpoints:
    """The checkpoints of a run: in shards where the optimizer is."""
    folder, keep = run.folder / "checkpoints", run.config.train.keep
    if optimizer.mesh is None:
        return Checkpoints(folder, keep)
    return ShardedCheckpoints(folder, keep, ranks)
