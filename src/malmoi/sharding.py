"""The optimizer on several processes: who orthogonalizes which matrix, who keeps which weights.

`SharedPolar` is for ranks that all have the whole model (DDP): the costly part of Muon is shared
out, everything else is done by all alike. `ShardedOptimizer` is for a model that lies in shards
(FSDP2): a rank keeps the master weights and moments of its own rows, and of the matrices it owns.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, Shard

from malmoi.config import OptimConfig
from malmoi.optim import Optimizer, Polar, orthogonalize
from malmoi.ranks import Ranks


def share(length: int, rank: int, size: int) -> slice:
    """The part of `length` things that is a rank's: as `torch.chunk` and DTensor cut them."""
    each = -(-length // size)
    return slice(min(rank * each, length), min((rank + 1) * each, length))


class SharedPolar:
    """`polar`, with each rank doing its share of a stack; all get all of it.

    The same numbers as one process makes, but for the rounding of a batched product of another
    size. What `orthogonalize` gives is bfloat16, and that is what is sent.
    """

    def __init__(self, ranks: Ranks, polar: Polar = orthogonalize) -> None:
        self.ranks, self.polar = ranks, polar

    def __call__(self, matrices: Tensor) -> Tensor:
        """As `orthogonalize`: `[N, R, C]`, the same on every rank."""
        count, size = len(matrices), self.ranks.size
        mine = self.polar(matrices[share(count, self.ranks.rank, size)])
        part = mine.new_zeros((-(-count // size), *matrices.shape[1:]))  # the last have less
        part[: len(mine)] = mine
        parts = [torch.empty_like(part) for _ in range(size)]
        dist.all_gather(parts, part)
        return torch.cat(parts)[:count]


@dataclass(frozen=True)
class _Piece:
    """Rows of a matrix that lie on one rank, its holder, while another, its owner, works on it."""

    name: str
    """of the parameter"""
    matrix: str
    """of the matrix in it"""
    here: slice
    """the rows in the holder's shard"""
    there: slice
    """the rows in the matrix"""
    columns: int

    @property
    def numel(self) -> int:
        return (self.there.stop - self.there.start) * self.columns


class ShardedOptimizer(Optimizer):
    """The optimizer of a model that `fully_shard` has cut by rows over all ranks.

    AdamW works on the rows as they lie. A matrix of Muon has to be whole: its gradient is sent to
    the rank that owns it, which keeps its master weights and momentum, and the new weights are
    sent back, both in the precision of the model. Every stack is owned in slices, so that what
    all ranks keep together, one behind the other, is what one process would keep: a checkpoint may
    be taken up by any number of processes.

    All ranks have to call each method together.
    """

    def __init__(self, model: nn.Module, config: OptimConfig, polar: Polar = orthogonalize) -> None:
        first = next(model.parameters())
        assert isinstance(first, DTensor)
        assert isinstance(model, FSDPModule)
        self._model, mesh = model, first.device_mesh
        self._group = mesh.get_group()
        self._rank, self._size = dist.get_rank(self._group), dist.get_world_size(self._group)
        self._lengths: dict[str, int] = {}  # of the first dimension, over all ranks
        # What goes to each owner, and what comes from each holder.
        self._sent: list[list[_Piece]] = [[] for _ in range(self._size)]
        self._received: list[list[_Piece]] = [[] for _ in range(self._size)]
        super().__init__(model, config, polar)
        self.mesh = mesh
        self._lengths |= {f"adamw.{name}": self.parameters[name].shape[0] for name in self.rest}

    def _begin_stacks(self) -> dict[str, Tensor]:
        values = self._places()
        self._shapes = {shape: len(stack.places) for shape, stack in self.stacks.items()}
        for (rows, columns), stack in list(self.stacks.items()):
            count = len(stack.places)
            self._lengths[f"muon.{rows}x{columns}"] = count
            for owner in range(self._size):
                own = []
                for name, start, height, turned in stack.places[share(count, owner, self._size)]:
                    matrix = f"{name}[{start}]"
                    self._plan(name, matrix, start, height, owner)
                    own.append((matrix, 0, height, turned))
                if owner == self._rank:
                    mine = own
            stack.places = mine
            if not mine:
                del self.stacks[rows, columns]
        whole = self._gather(values)
        for stack in self.stacks.values():
            stack.begin(whole)
        return values

    def _plan(self, name: str, matrix: str, start: int, height: int, owner: int) -> None:
        """Note which rows of a matrix this rank sends to its owner, or gets as its owner."""
        length, columns = self.parameters[name].shape
        for holder in range(self._size):
            held = share(length, holder, self._size)
            begin, end = max(held.start, start), min(held.stop, start + height)
            if begin < end:
                here = slice(begin - held.start, end - held.start)
                piece = _Piece(name, matrix, here, slice(begin - start, end - start), columns)
                if holder == self._rank:
                    self._sent[owner].append(piece)
                if owner == self._rank:
                    self._received[holder].append(piece)

    def _exchange(
        self, parts: list[Tensor], out: list[list[_Piece]], back: list[list[_Piece]], like: Tensor
    ) -> list[Tensor]:
        """Send `parts`, which `out` describes, one list a rank; gives those of `back`, flat."""
        sizes, others = ([sum(p.numel for p in to) for to in way] for way in (out, back))
        sent = torch.cat([like.new_empty(0), *(part.reshape(-1) for part in parts)])
        received = like.new_empty(sum(others))
        dist.all_to_all_single(received, sent, others, sizes, group=self._group)
        return list(received.split([piece.numel for pieces in back for piece in pieces]))

    def _gather(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The matrices that this rank owns, by their names, of all ranks' rows in `values`."""
        if not self._shapes:
            return {}
        parts = [values[p.name][p.here] for to in self._sent for p in to]
        like = next(iter(values.values()))
        pieces = self._exchange(parts, self._sent, self._received, like)
        rows: dict[str, list[Tensor]] = {}
        for piece, part in zip((p for of in self._received for p in of), pieces, strict=True):
            rows.setdefault(piece.matrix, []).append(part.view(-1, piece.columns))
        return {matrix: torch.cat(parts) for matrix, parts in rows.items()}

    def _scatter(self, whole: Mapping[str, Tensor], values: dict[str, Tensor]) -> None:
        """The reverse: the rows of all owners' matrices into each rank's `values`."""
        if not self._shapes:
            return
        parts = [whole[p.matrix][p.there] for of in self._received for p in of]
        like = next(iter(values.values()))
        pieces = self._exchange(parts, self._received, self._sent, like)
        for piece, part in zip((p for to in self._sent for p in to), pieces, strict=True):
            values[piece.name][piece.here] = part.view(-1, piece.columns)

    def _step_stacks(self, grads: dict[str, Tensor], lr: float, mu: float) -> None:
        super()._step_stacks(self._gather(grads), lr, mu)

    def _gradients(self) -> dict[str, Tensor]:
        return {name: _local(gradient) for name, gradient in super()._gradients().items()}

    def _norm(self, tensors: list[Tensor]) -> float:
        square = torch.tensor(super()._norm(tensors), dtype=torch.float64) ** 2
        square = square.to(tensors[0].device)
        dist.all_reduce(square, group=self._group)
        return float(square.sqrt())

    def _places(self) -> dict[str, Tensor]:
        return {name: _local(parameter.data) for name, parameter in self.parameters.items()}

    def _write(self, source: list[Tensor], values: dict[str, Tensor]) -> None:
        # After an evaluation the embeddings and the head may still be gathered, with old values.
        self._model.reshard()
        dtype = next(iter(values.values())).dtype
        whole: dict[str, Tensor] = {}
        for stack, matrices in zip(self.stacks.values(), source, strict=False):
            for (matrix, _, _, turned), value in zip(stack.places, matrices, strict=True):
                whole[matrix] = (value.mT if turned else value).to(dtype)
        self._scatter(whole, values)
        if rest := source[len(self.stacks) :]:
            torch._foreach_copy_([values[name] for name in self.rest], rest)

    def _copies(self, source: list[Tensor]) -> dict[str, Tensor]:
        """On rank 0 whole and in its main memory; nothing on the others."""
        values = {n: v.new_empty(v.shape, dtype=torch.float32) for n, v in self._places().items()}
        self._write(source, values)
        copies = {}
        for name, value in values.items():  # one by one: no GPU need have room for all
            whole = self._global(value, self.parameters[name].shape[0]).full_tensor()
            if self._rank == 0:
                copies[name] = whole.cpu()
        return copies

    def _global(self, value: Tensor, length: int) -> DTensor:
        """The rows of this rank as a part of all `length` of them."""
        shape = torch.Size((length, *value.shape[1:]))
        stride = torch.empty(shape, device="meta").stride()
        return DTensor.from_local(
            value.contiguous(), self.mesh, [Shard(0)], run_check=False, shape=shape, stride=stride
        )

    def state(self) -> dict[str, Tensor]:
        """As `Optimizer.state`, each value but the numbers a DTensor in shards by rows."""
        own = super().state()
        for rows, columns in self._shapes.keys() - self.stacks.keys():
            nothing = torch.empty(0, rows, columns, device=self.mesh.device_type)
            stem = f"muon.{rows}x{columns}"
            own |= {f"{stem}.master": nothing, f"{stem}.momentum": nothing}
            own |= {f"ema.{stem}": nothing} if self.config.ema else {}
        state = {}
        for name in sorted(own):  # all ranks have to name them in the same order
            value, stem = own[name], name.removeprefix("ema.")
            if value.ndim:
                stem = stem if stem in self._lengths else stem.rpartition(".")[0]
                value = self._global(value, self._lengths[stem])
            state[name] = value
        return state

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave, here or in one process."""
        own = {}
        for name, value in state.items():
            if isinstance(value, DTensor):
                own[name] = value.to_local()
            elif value.ndim:
                own[name] = value[share(len(value), self._rank, self._size)]
            else:
                own[name] = value
        for rows, columns in self._shapes.keys() - self.stacks.keys():
            for name in (".master", ".momentum", ""):
                own.pop(f"{'' if name else 'ema.'}muon.{rows}x{columns}{name}", None)
        super().load(own)


def _local(tensor: Tensor) -> Tensor:
    """The rows of a DTensor that lie here."""
    assert isinstance(tensor, DTensor)
    return tensor.to_local()


@torch.no_grad()
def put_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a model, whole or in shards, the weights of a whole one."""
    if not isinstance(model, FSDPModule):
        model.load_state_dict(weights)
        return
    model.reshard()
    for name, parameter in model.named_parameters():
        assert isinstance(parameter, DTensor)
        mesh = parameter.device_mesh
        rows = share(len(weights[name]), mesh.get_local_rank(), mesh.size())
        parameter.to_local().copy_(weights[name][rows])
