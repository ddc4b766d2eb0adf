"""Others who watch a run beside `metrics.jsonl`: TensorBoard, and Weights & Biases."""

import hashlib
import importlib
import os
from pathlib import Path
from typing import Any

from malmoi.config import RunConfig, TrainConfig, to_dict
from malmoi.train import Event


class Watchers:
    """Whoever was asked for by `--tensorboard` and `--wandb`; nobody is the usual case.

    Args:
        folder: of the run; TensorBoard's files go to `RUN/tensorboard`, the other's to `RUN/wandb`.
        config: of the run.
        step: after which the run goes on; 0 at its beginning.

    Raises:
        ValueError: Weights & Biases will not take the run.

    """

    def __init__(self, folder: Path, config: RunConfig, step: int = 0) -> None:
        self._board = self._wandb = None
        if config.train.tensorboard:
            self._board = _board(folder / "tensorboard", step)
        if config.train.wandb is not None:
            self._wandb = _wandb(folder, config.train.wandb, to_dict(config))

    def hear(self, event: Event) -> None:
        """Hand on the numbers of a step or an evaluation."""
        if self._board is None and self._wandb is None:
            return
        record = event.record()
        step = record.pop("step")
        numbers = {k: float(v) for k, v in record.items() if isinstance(v, int | float)}
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(numbers | {"step": step})

    def close(self) -> None:
        """Let them write what they have."""
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def check_packages(setting: TrainConfig) -> None:
    """See that what was asked for is installed, before any work is done.

    Raises:
        ValueError: it is not.

    """
    for name, asked in (("tensorboard", setting.tensorboard), ("wandb", setting.wandb)):
        try:
            if asked:
                importlib.import_module(name)
        except ImportError:
            raise ValueError(
                f"--{name} needs the package {name}: pip install 'malmoi[{name}]'"
            ) from None


def _board(folder: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    # What a killed run wrote after its checkpoint is left out.
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)


def _wandb(folder: Path, project: str, config: dict[str, Any]) -> Any:
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")  # stdout is ours; errors are raised
    place = folder.absolute()
    number = hashlib.blake2b(str(place).encode(), digest_size=6).hexdigest()
    try:
        run = wandb.init(
            project=project, dir=str(place), id=f"{place.name}-{number}", name=place.name,
            config=config, resume="allow", settings=wandb.Settings(console="off"),
        )  # fmt: skip
    except wandb.Error as error:
        raise ValueError(
            f"--wandb {project}: {error}; log in with `wandb login`, or set WANDB_MODE=offline"
        ) from None
    run.define_metric("*", step_metric="step")
    return run
