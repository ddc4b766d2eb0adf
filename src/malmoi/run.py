"""The run folder: everything a model needs, and what made it.

    RUN/run.toml  tokenizer.json  model.safetensors  metrics.jsonl  samples.md
        tokenizer_config.json, with the chat template, where the model has one
        data/{train,validation,test}.{bin,offsets,json}
        checkpoints/step-0000500/ (see `malmoi.checkpoint`)

`model.safetensors` is the best by validation loss. Files are written beside their place, synced
and renamed, so a reader never sees half of one. Nothing is pickled.
"""

import json
import os
import shutil
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

from malmoi.config import RunConfig, from_dict, to_toml
from malmoi.model import GPT
from malmoi.storage import read_tensors, replacing, sync, write_tensors

MARK = "run.toml"


def check_new(folder: Path, overwrite: bool) -> None:
    """See, before any work is done, that a run may be written at `folder`; changes nothing.

    Raises:
        ValueError: something is there and may not or must not be overwritten.

    """
    if not folder.exists():
        for parent in folder.parents:
            if parent.exists():
                if not parent.is_dir() or not os.access(parent, os.W_OK):
                    raise ValueError(f"{folder}: cannot be made, {parent} is not writable")
                return
        return
    if not folder.is_dir():
        raise ValueError(f"{folder}: is a file; give --out the name of a folder to make")
    if not any(folder.iterdir()):
        return
    if not (folder / MARK).exists():
        raise ValueError(f"{folder}: is not empty and no run folder; give --out another name")
    if not overwrite:
        raise ValueError(f"{folder}: there is a run already; add --overwrite or choose another")


class Run:
    """A run folder: made by `create`, read by `open`.

    Attributes:
        folder: where it lies.
        config: what made it.
        result: what came of it, as `train` reports it; nothing yet while it is being trained.

    """

    def __init__(
        self, folder: Path, config: RunConfig, result: Mapping[str, Any] | None = None
    ) -> None:
        self.folder, self.config, self.result = folder, config, dict(result or {})

    @classmethod
    def create(cls, folder: Path, config: RunConfig) -> "Run":
        """Make the folder, if need be, and write its `run.toml`."""
        folder.mkdir(parents=True, exist_ok=True)
        run = cls(folder, config)
        run.write_config(config)
        return run

    def move(self, out: Path, overwrite: bool = False) -> "Run":
        """Put this run, made beside `out`, in its place; an old run there goes as a whole.

        Raises:
            ValueError: something is there that may not be overwritten.

        """
        check_new(out, overwrite)
        old = self.folder.with_name(f"{self.folder.name}.old")
        if out.exists():
            os.replace(out, old)
        os.replace(self.folder, out)
        sync(out.absolute().parent)
        shutil.rmtree(old, ignore_errors=True)
        return Run(out, self.config)

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Read an existing run's configuration.

        Raises:
            ValueError: no run there, or its `run.toml` is damaged.

        """
        path = folder / MARK
        if not folder.is_dir():
            raise ValueError(f"{folder}: no such run folder")
        try:
            values = tomllib.loads(path.read_text("utf-8"))
            result = values.pop("result", None)
            values.pop("made_with", None)
            return cls(folder, from_dict(RunConfig, values), result)
        except FileNotFoundError:
            raise ValueError(f"{folder}: no run folder ({MARK} is missing)") from None
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{path}: damaged ({error})") from None

    def write_config(self, config: RunConfig, result: Mapping[str, Any] | None = None) -> None:
        """Write `run.toml`: the configuration, the versions, and at the end the results."""
        import tomli_w

        import malmoi

        made = {
            "malmoi": malmoi.__version__,
            "torch": torch.__version__,
            "python": sys.version.split()[0],
        }
        extra: dict[str, Any] = {"made_with": made}
        if result:
            extra["result"] = {k: v for k, v in result.items() if v is not None}
        self.config, self.result = config, dict(result or {})
        self.write_text(MARK, to_toml(config) + "\n" + tomli_w.dumps(extra))

    def write_text(self, name: str, text: str) -> None:
        """Write a small file as a whole."""
        with replacing(self.folder / name) as path:
            path.write_text(text, "utf-8")

    def save_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Write `model.safetensors`."""
        with replacing(self.folder / "model.safetensors") as path:
            write_tensors(weights, path)

    def load_model(self, device: str | torch.device = "cpu") -> GPT:
        """The model with its best weights, in float32, in evaluation mode.

        Raises:
            ValueError: the weights are missing, damaged, or of another shape.

        """
        path = self.folder / "model.safetensors"
        if not path.exists():
            raise ValueError(f"{path}: missing; has the run finished a first evaluation?")
        weights = read_tensors(path)
        with torch.device("meta"):  # shapes only: run.toml may ask for more than there is memory
            model = GPT(self.config.model)
        try:
            model.load_state_dict(weights, assign=True)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ValueError(f"{path}: does not fit run.toml ({reason})") from None
        model.separate = self.config.train.separate
        return model.to(device).eval()


class Metrics:
    """`metrics.jsonl`, a line of JSON for each thing that happened.

    Args:
        path: where it lies, or comes to be.
        size: bytes of it that are to stay; all of it when not given.

    """

    def __init__(self, path: Path, size: int | None = None) -> None:
        self.path = path
        if size is not None and path.exists() and path.stat().st_size > size:
            os.truncate(path, size)
        self._file: TextIO = open(path, "a", encoding="utf-8")  # noqa: SIM115 - `close` does

    def add(self, record: Mapping[str, Any]) -> None:
        """Write one line; it may stay in memory until `size` or `close` is called.

        Raises:
            OSError: the disk is full.

        """
        self._file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def size(self) -> int:
        """Bytes that are in the file now, with all that was added."""
        self._file.flush()
        return self.path.stat().st_size

    def close(self) -> None:
        """Write what is in memory."""
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All records of a `metrics.jsonl`; a last line that is torn is left out.

    Raises:
        ValueError: there is no such file, or a line before the last is no JSON object.

    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ValueError(
            f"{path}: {error.strerror}: no record of a training; has it begun?"
        ) from None
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError("no JSON object")
            records.append(record)
        except (ValueError, RecursionError) as error:
            if number < len(lines):
                raise ValueError(f"{path}: line {number} is damaged ({error})") from None
    return records
