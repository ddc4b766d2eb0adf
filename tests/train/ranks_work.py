"""What test_distributed.py runs in several processes: a few short trainings, one after the other.

`python ranks_work.py OUT`, alone or under torchrun. Rank 0 writes OUT/CASE.json.
"""

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from malmoi.config import OptimConfig, TrainConfig
from malmoi.data import Batches, TokenStore
from malmoi.model import GPT, build
from malmoi.optim import Optimizer
from malmoi.ranks import Ranks
from malmoi.sharding import ShardedOptimizer, SharedPolar
from malmoi.shards import read_shards, write_shards
from malmoi.storage import write_tensors
from malmoi.train import Budget, Event, Hooks, Trainer
from malmoi.train.distributed import shard

STEPS, WINDOWS = 50, 8
SIZES = {"context_length": 16, "d_model": 32, "num_layers": 3, "num_heads": 2, "d_ff": 64}


@dataclass
class Case:
    """One training.

    Muon rounds to bfloat16, in which a last digit of float32 may be a first one: so there one
    process adds in the order of two, a rank's windows first, and nothing is clipped, since the
    norm of shards is rounded otherwise.
    """

    preset: str
    optim: OptimConfig
    accumulate: int = 1
    sizes: dict[str, Any] = field(default_factory=dict)

    @property
    def alone(self) -> int:
        return 2 if self.optim.optimizer == "muon" else self.accumulate


MUON, ADAMW = OptimConfig(clip=0.0, ema=0.9), OptimConfig(optimizer="adamw", lr=1e-3)
CASES = {
    "malmoi": Case("malmoi", MUON, sizes={"ngram_rows": 65, "ngram_dropout": 0.0}),
    "llama": Case("llama", MUON, sizes={"num_kv_heads": 1}),
    "gpt2": Case("gpt2", ADAMW),  # whose embeddings are tied
    "parts": Case("malmoi", ADAMW, 2, {"ngram_rows": 65, "ngram_dropout": 0.0}),
    "bf16": Case("llama", ADAMW, 2),
}


def run(name: str, parallel: str, ranks: Ranks, out: Path) -> None:
    case = CASES[name]
    store = TokenStore(out.parent, "train")
    config = TrainConfig(
        steps=STEPS, evals=2, batch_size=WINDOWS, checkpoints=0,
        accumulate=case.accumulate if ranks.size > 1 else case.alone,
    )  # fmt: skip
    model = GPT(build(case.preset, 40, **(SIZES | case.sizes)))  # type: ignore[arg-type]
    model.to(torch.bfloat16 if name == "bf16" else torch.float32)
    if ranks.size == 1:
        optimizer = Optimizer(model, case.optim)
    elif parallel == "ddp":
        optimizer = Optimizer(model, case.optim, SharedPolar(ranks))
    else:
        shard(model, ranks, torch.device("cpu"), compiled=False)
        optimizer = ShardedOptimizer(model, case.optim)
    size = WINDOWS // ranks.size
    batches = Batches(store, 16, size, 0, world_size=ranks.size, rank=ranks.rank)
    told = Batches(store, 16, 32, 1)[0]
    events: list[Event] = []

    def evaluate() -> float:
        with torch.no_grad():
            ids, targets = (torch.from_numpy(array) for array in told)
            model.eval()
            return float(model.loss(ids, targets))

    Trainer(
        model, batches, optimizer, config, case.optim, Budget(time.monotonic(), steps=STEPS),
        Hooks(evaluate, events.append), ranks,
    ).run()  # fmt: skip
    weights, averages = optimizer.weights(), optimizer.averages()
    if optimizer.mesh is not None:
        taken_up(model, optimizer, case.optim, out / f"{name}.optimizer")
    if ranks.first:
        events_of = [e for e in events if e.validation_loss is None]
        (out / f"{name}.json").write_text(
            json.dumps({
                "losses": [e.loss for e in events_of],
                "norms": [e.grad_norm for e in events_of],
                "evaluations": [e.validation_loss for e in events if e not in events_of],
            })
        )  # fmt: skip
        write_tensors(weights, out / f"{name}.weights")
        write_tensors(averages, out / f"{name}.averages")


def taken_up(model: GPT, optimizer: Optimizer, optim: OptimConfig, folder: Path) -> None:
    """Write the shards, and see that they are read back, by rows and whole."""
    state = optimizer.state()
    write_shards(state, folder)
    for mesh in (optimizer.mesh, None):
        again = ShardedOptimizer(model, optim)
        again.load(read_shards(folder, mesh))
        read = again.state()
        assert read.keys() == state.keys()
        for key, value in state.items():
            mine, theirs = (getattr(t, "_local_tensor", t) for t in (value, read[key]))
            assert torch.equal(mine, theirs), key


if __name__ == "__main__":
    ranks = Ranks.here()
    with ranks.joined(gpu=False):
        for parallel in ("ddp", "fsdp") if ranks.size > 1 else ("alone",):
            out = Path(sys.argv[1]) / parallel
            for name in CASES:
                if ranks.first:
                    (out / f"{name}.optimizer").mkdir(parents=True, exist_ok=True)
                ranks.wait()
                run(name, parallel, ranks, out)
