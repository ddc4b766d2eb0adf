"""The run folder: everything a model needs, and what made it.

    RUN/run.toml  tokenizer.json  model.safetensors  metrics.jsonl  samples.md
        tokenizer_config.json, with the chat template, where the model has one
        data/{train,validation,test}.{bin,offsets,json}
        checkpoints/step-0000500/{model.safetensors, optimizer.safetensors, state.json, MANIFEST}

`model.safetensors` is the best by validation loss. Files are written beside their place, synced
and renamed, so a reader never sees half of one; a checkpoint is a folder that is renamed as a
whole once its MANIFEST of checksums stands in it. Nothing is pickled.
"""

import hashlib
import json
import os
import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from malmoi.config import RunConfig, from_dict, to_toml
from malmoi.model import GPT

MARK = "run.toml"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the place of `path` when all went well."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        _sync(beside)
        os.replace(beside, path)
        _sync(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Make sure that a file's or folder's content has reached the disk."""
    if path.is_dir() and os.name == "nt":
        return  # folders cannot be opened there
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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

    """

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.folder, self.config = folder, config

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
        _sync(out.absolute().parent)
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
            values.pop("result", None)
            values.pop("made_with", None)
            return cls(folder, from_dict(RunConfig, values))
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
        self.config = config
        self.write_text(MARK, to_toml(config) + "\n" + tomli_w.dumps(extra))

    def write_text(self, name: str, text: str) -> None:
        """Write a small file as a whole."""
        with replacing(self.folder / name) as path:
            path.write_text(text, "utf-8")

    def save_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Write `model.safetensors`."""
        with replacing(self.folder / "model.safetensors") as path:
            save_file({k: v.contiguous().cpu() for k, v in weights.items()}, path)

    def load_model(self, device: str | torch.device = "cpu") -> GPT:
        """The model with its best weights, in float32, in evaluation mode.

        Raises:
            ValueError: the weights are missing, damaged, or of another shape.

        """
        path = self.folder / "model.safetensors"
        if not path.exists():
            raise ValueError(f"{path}: missing; has the run finished a first evaluation?")
        weights = _read_tensors(path)
        with torch.device("meta"):  # shapes only: run.toml may ask for more than there is memory
            model = GPT(self.config.model)
        try:
            model.load_state_dict(weights, assign=True)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ValueError(f"{path}: does not fit run.toml ({reason})") from None
        return model.to(device).eval()

    def log(self, record: Mapping[str, Any]) -> None:
        """Add one line to `metrics.jsonl`."""
        with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def save_checkpoint(
        self,
        step: int,
        weights: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        state: Mapping[str, Any],
        *,
        keep: int = 2,
    ) -> Path:
        """Write a full checkpoint, then drop all but the newest `keep`."""
        folder = self.folder / "checkpoints"
        place = folder / f"step-{step:07d}"
        beside = folder / f".{place.name}.{os.getpid()}.part"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        save_file(
            {k: v.contiguous().cpu() for k, v in weights.items()}, beside / "model.safetensors"
        )
        # cloned, as two entries of an optimizer's state may share their memory
        save_file(
            {k: v.detach().cpu().clone().contiguous() for k, v in optimizer.items()},
            beside / "optimizer.safetensors",
        )
        (beside / "state.json").write_text(json.dumps(dict(state), indent=1), "utf-8")
        lines = [f"{_checksum(path)}  {path.name}" for path in sorted(beside.iterdir())]
        (beside / "MANIFEST").write_text("\n".join(lines) + "\n", "utf-8")
        for path in beside.iterdir():
            _sync(path)
        _sync(beside)
        shutil.rmtree(place, ignore_errors=True)
        os.replace(beside, place)
        _sync(folder)
        for old in sorted(folder.glob("step-*"))[:-keep]:
            shutil.rmtree(old, ignore_errors=True)
        return place

    def load_checkpoint(
        self,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any], list[str]] | None:
        """Weights, optimizer state and state of the newest whole checkpoint, and warnings.

        One that is torn or damaged is passed over with a warning. None: there is none.
        """
        warnings: list[str] = []
        for place in sorted((self.folder / "checkpoints").glob("step-*"), reverse=True):
            if problem := _damage(place):
                warnings.append(f"{place}: {problem}; going back to the checkpoint before it")
                continue
            state = json.loads((place / "state.json").read_text("utf-8"))
            weights = _read_tensors(place / "model.safetensors")
            return weights, _read_tensors(place / "optimizer.safetensors"), state, warnings
        return None


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise ValueError(f"{path}: damaged ({error})") from None


def _checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _damage(place: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        lines = (place / "MANIFEST").read_text("utf-8").splitlines()
        names = set()
        for line in lines:
            checksum, name = line.split("  ", 1)
            names.add(name)
            if _checksum(place / Path(name).name) != checksum:
                return f"{name} is damaged"
    except (OSError, ValueError) as error:
        return f"incomplete ({error})"
    missing = {"model.safetensors", "optimizer.safetensors", "state.json"} - names
    return f"{min(missing)} is missing" if missing else None
