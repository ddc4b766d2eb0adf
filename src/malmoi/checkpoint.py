"""Checkpoints: all that is needed to go on with a run, whole or not there.

    RUN/checkpoints/step-0000500/{model,optimizer,best}.safetensors state.json MANIFEST

A checkpoint is made beside its place, synced, and renamed as a whole once its MANIFEST of checksums
stands in it. One that is torn or damaged all the same is passed over for the one before it.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from malmoi.storage import checksum, read_tensors, sync, write_tensors

_NEEDED = {"model.safetensors", "optimizer.safetensors", "state.json"}


@dataclass(frozen=True)
class Checkpoint:
    """One that was found whole."""

    place: Path
    state: dict[str, Any]

    def weights(self) -> dict[str, Tensor]:
        """The model's, float32."""
        return read_tensors(self.place / "model.safetensors")

    def optimizer(self) -> dict[str, Tensor]:
        """The optimizer's state."""
        return read_tensors(self.place / "optimizer.safetensors")

    @property
    def best(self) -> Path | None:
        """The file of the best weights when this was saved."""
        path = self.place / "best.safetensors"
        return path if path.exists() else None


class Checkpoints:
    """Those of one run.

    Args:
        folder: `RUN/checkpoints`; made at the first `save`.
        keep: how many stay.

    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder, self.keep = folder, keep

    def save(
        self,
        step: int,
        weights: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        state: Mapping[str, Any],
        best: Path | None = None,
    ) -> Path:
        """Write a checkpoint, then drop all but the newest `keep`.

        Args:
            step: names it.
            weights: of the model, float32.
            optimizer: its state.
            state: plain values.
            best: the file of the best weights so far, which is never changed in place: it is
                linked, not copied, where the file system can.

        Raises:
            OSError: it could not be written; those before it are still there.

        """
        place = self.folder / f"step-{step:07d}"
        beside, old = (self.folder / f".{place.name}.{end}" for end in ("part", "old"))
        for left in self.folder.glob(".step-*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        beside.mkdir(parents=True)
        try:
            write_tensors(weights, beside / "model.safetensors")
            write_tensors(optimizer, beside / "optimizer.safetensors")
            if best is not None:
                link(best, beside / "best.safetensors")
            (beside / "state.json").write_text(json.dumps(dict(state), indent=1), "utf-8")
            lines = [f"{checksum(path)}  {path.name}" for path in sorted(beside.iterdir())]
            (beside / "MANIFEST").write_text("\n".join(lines) + "\n", "utf-8")
            for path in beside.iterdir():
                sync(path)
            sync(beside)
            if place.exists():
                os.replace(place, old)
            os.replace(beside, place)
            sync(self.folder)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        for earlier in self._places()[self.keep :]:
            shutil.rmtree(earlier, ignore_errors=True)
        return place

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest that is whole, if any, and what was wrong with those after it."""
        warnings: list[str] = []
        for old in self.folder.glob(".step-*.old"):  # killed between two renames of `save`
            place = self.folder / old.name[1:].removesuffix(".old")
            if not place.exists():
                os.replace(old, place)
        for place in self._places():
            problem = _damage(place)
            if problem is None:
                state = json.loads((place / "state.json").read_text("utf-8"))
                return Checkpoint(place, state), warnings
            warnings.append(f"{place}: {problem}; going back to the checkpoint before it")
        return None, warnings

    def clear(self) -> None:
        """Drop all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _places(self) -> list[Path]:
        """Newest first."""
        return sorted(self.folder.glob("step-*"), key=_step, reverse=True)


def link(source: Path, target: Path) -> None:
    """Give a file a second name; a copy where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _step(place: Path) -> int:
    digits = place.name.removeprefix("step-")
    return int(digits) if digits.isdigit() else -1


def _damage(place: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        lines = (place / "MANIFEST").read_text("utf-8").splitlines()
        names = set()
        for line in lines:
            digest, name = line.split("  ", 1)
            names.add(name)
            if checksum(place / Path(name).name) != digest:
                return f"{name} is damaged"
    except (OSError, ValueError) as error:
        return f"incomplete ({error})"
    missing = _NEEDED - names
    return f"{min(missing)} is missing" if missing else None
