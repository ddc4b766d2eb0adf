"""Checkpoints: all that is needed to go on with a run, whole or not there.

    RUN/checkpoints/step-0000500/{model,optimizer,best}.safetensors state.json MANIFEST
        optimizer/shard-*.safetensors instead, where a model is trained in shards

A checkpoint is made beside its place, synced, and renamed as a whole once its MANIFEST of checksums
stands in it. One that is torn or damaged all the same is passed over for the one before it.
"""

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from malmoi.ranks import Ranks
from malmoi.storage import checksum, read_tensors, sync, write_tensors

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

_NEEDED = {"model.safetensors", "state.json"}


@dataclass(frozen=True)
class Checkpoint:
    """One that was found whole."""

    place: Path
    state: dict[str, Any]

    @classmethod
    def at(cls, place: Path) -> "Checkpoint":
        """One that is known to be whole."""
        return cls(place, json.loads((place / "state.json").read_text("utf-8")))

    def weights(self) -> dict[str, Tensor]:
        """The model's, float32."""
        return read_tensors(self.place / "model.safetensors")

    def optimizer(self, mesh: "DeviceMesh | None" = None) -> dict[str, Tensor]:
        """The optimizer's state; of what lies in shards, with a mesh, this process's alone."""
        if (shards := self.place / "optimizer").exists():
            from malmoi.shards import read_shards  # which takes a moment to import

            return read_shards(shards, mesh)
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
            self._write_optimizer(optimizer, beside)
            if best is not None:
                link(best, beside / "best.safetensors")
            (beside / "state.json").write_text(json.dumps(dict(state), indent=1), "utf-8")
            files = sorted(path for path in beside.rglob("*") if path.is_file())
            lines = [f"{checksum(path)}  {path.relative_to(beside).as_posix()}" for path in files]
            (beside / "MANIFEST").write_text("\n".join(lines) + "\n", "utf-8")
            for path in beside.rglob("*"):
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

    def skip(self) -> None:
        """There will be no `save` this time."""

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
                return Checkpoint.at(place), warnings
            warnings.append(f"{place}: {problem}; going back to the checkpoint before it")
        return None, warnings

    def clear(self) -> None:
        """Drop all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write_optimizer(self, optimizer: Mapping[str, Tensor], place: Path) -> None:
        write_tensors(optimizer, place / "optimizer.safetensors")

    def _places(self) -> list[Path]:
        """Newest first."""
        return sorted(self.folder.glob("step-*"), key=_step, reverse=True)


class ShardedCheckpoints(Checkpoints):
    """Those of a run whose optimizer lies in shards: all ranks call `save` together.

    Every rank writes its own shards to a file system that all see. Rank 0 writes the rest, and the
    MANIFEST at the end; of the others only `optimizer` is used.
    """

    def __init__(self, folder: Path, keep: int, ranks: Ranks) -> None:
        super().__init__(folder, keep)
        self._ranks = ranks
        self._told = False

    def save(
        self,
        step: int,
        weights: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        state: Mapping[str, Any],
        best: Path | None = None,
    ) -> Path:
        """As `Checkpoints.save`; on the other ranks it never fails, rank 0 tells."""
        if not self._ranks.first:
            from malmoi.shards import write_shards

            if folder := self._ranks.agree(""):
                with suppress(OSError):
                    write_shards(optimizer, Path(folder))
            return self.folder
        self._told = False
        try:
            return super().save(step, weights, optimizer, state, best)
        finally:
            if not self._told:  # where the others shall write: there is no room for that, either
                self._ranks.agree("")

    def skip(self) -> None:
        """There will be no `save` on this rank, 0; the others are told."""
        self._ranks.agree("")

    def _write_optimizer(self, optimizer: Mapping[str, Tensor], place: Path) -> None:
        from malmoi.shards import write_shards

        folder = place / "optimizer"
        folder.mkdir()
        self._ranks.agree(str(folder))
        self._told = True
        write_shards(optimizer, folder)


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
            path = place / name
            if not path.resolve().is_relative_to(place.resolve()) or checksum(path) != digest:
                return f"{name} is damaged"
    except (OSError, ValueError) as error:
        return f"incomplete ({error})"
    missing = _NEEDED - names
    if not any(name.startswith("optimizer") for name in names):
        missing.add("optimizer.safetensors")
    return f"{min(missing)} is missing" if missing else None
