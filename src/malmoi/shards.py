"""Tensors that lie in shards on several processes, in files that any number of them can read.

A folder of `.safetensors` files, one a process, in which each file's header tells where its parts
belong: the format of torch's distributed checkpoints for Hugging Face. (Their usual format keeps
its table of contents as a pickle, which could run code when it is read; this one holds none.)
"""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Shard, zeros


def write_shards(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Write each process's shards (DTensors) and what is whole, once; all have to call it.

    Raises:
        OSError: one of them could not write.

    """
    try:
        dcp.save(
            dict(tensors),
            storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True),
        )
    except CheckpointException as error:
        reason = next(iter(error.failures.values()))[0]
        raise OSError(None, f"could not be written ({reason})", str(folder)) from None


def read_shards(folder: Path, mesh: DeviceMesh | None = None) -> dict[str, Tensor]:
    """What `write_shards` wrote: whole, or, with a `mesh`, each process's rows of it as DTensors.

    Raises:
        ValueError: it is damaged or missing.

    """
    try:
        reader = HuggingFaceStorageReader(str(folder))
        tensors: dict[str, Tensor] = {}
        for name, item in reader.read_metadata().state_dict_metadata.items():
            size, dtype = item.size, item.properties.dtype  # type: ignore[union-attr]
            if mesh is None or not size:
                tensors[name] = torch.zeros(size, dtype=dtype)
            else:
                tensors[name] = zeros(size, dtype=dtype, device_mesh=mesh, placements=[Shard(0)])
        with warnings.catch_warnings():  # each process reads by itself, as is meant
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            dcp.load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)
        return tensors
    except (OSError, SafetensorError, ValueError, CheckpointException) as error:
        raise ValueError(f"{folder}: damaged ({' '.join(str(error).split())})") from None
