"""`malmoi bench train|step|decode|text`: how fast this machine does it, beside others."""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from malmoi.config import DataConfig, Precision, Preset, RunConfig, TokenizerConfig, TrainConfig

Part = Literal["single", "batch", "continuous", "policy", "small", "speculate"]


@dataclass(frozen=True)
class Scale:
    """How much `decode` measures: the defaults are the benchmark, at 134M parameters."""

    shape: dict[str, int] = field(default_factory=dict)
    """where the `llama` preset's 12 layers of width 768 are not meant"""
    precision: Literal["bf16", "fp32"] = "bf16"
    vocab: int = 32000
    policy_vocab: int = 50257
    prompt: int = 16
    new: int = 128
    batch: int = 16
    batch_new: int = 64
    lengths: tuple[int, int] = (4, 200)
    """of the shortest and the longest prompt in a batch"""
    requests: int = 64
    request_new: tuple[int, int] = (16, 112)
    repeated: int = 32
    """ids that the prompt of `speculate` repeats"""
    small: tuple[dict[str, int], ...] = (
        {"vocab": 1000, "d_model": 128, "num_layers": 4, "num_heads": 4, "d_ff": 512},
        {"vocab": 4000, "d_model": 192, "num_layers": 4, "num_heads": 3, "d_ff": 768},
        {"vocab": 4096, "d_model": 256, "num_layers": 8, "num_heads": 8, "d_ff": 1024},
    )


TINY = {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 64}
SCALES = {
    "full": Scale(),
    "small": Scale(
        shape={"context_length": 64} | TINY, precision="fp32", vocab=60, policy_vocab=80, prompt=4,
        new=8, batch=3, batch_new=6, lengths=(2, 12), requests=6, request_new=(2, 9), repeated=3,
        small=({"vocab": 40} | TINY,),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Args:
    """Speed of training, and of generating.

    train: seconds of steps until a validation loss, ours against the baseline recipe, and the loss
    that `malmoi train --minutes` reaches, everything counted from the command's start.
    step: tokens/s and the share of the machine's matrix rate (MFU) at a preset's full size.
    text: MB/s of cleaning, of the search for near-duplicates and of encoding, and peak memory.
    decode: new tokens/s of random weights on the CPU, ours against transformers with the same ones.
    """

    what: Annotated[Literal["train", "step", "decode", "text"], tyro.conf.Positional]
    data: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DATA...")] = ()
    """train: the text, tinyshakespeare.txt for the figures in docs/LOG.md; text: what to make the
    text of, python_docs_ko.jsonl for the figures"""
    megabytes: float = 1000.0
    """text: how much text to make"""
    split: str = "90/10"
    """train: train/validation/test in per cent"""
    tokenizer: str = "char"
    """train: kind of tokenizer"""
    target: float = 1.906
    """train: the validation loss to reach"""
    steps: int = 30
    """train: steps of our run to the target; step: steps to time"""
    repeats: int | None = None
    """train: how often our run to the target is repeated, for the median (3 when not given);
    decode: runs of each that count (5 when not given)"""
    minutes: tuple[float, ...] = (1.17, 3.0)
    """train: budgets of whole commands"""
    baseline: Path = Path("benchmarks/small_gpt2.toml")
    """train: configuration of the baseline; an empty path leaves it out"""
    preset: Preset = "gpt2"
    """step: which preset"""
    batch_size: int = 8
    """step: windows in a batch"""
    context_length: int | None = None
    """step: tokens in a window; the preset's own when not given"""
    precision: Precision = "auto"
    device: str = "auto"
    compile: bool = False
    """step: torch.compile the model"""
    part: tuple[Part, ...] = ()
    """decode: what to measure; everything when not given"""
    scale: Literal["full", "small"] = "full"
    """decode: small only tries the benchmark out, on a tiny model in float32"""
    json: bool = False
    """print the result as one JSON object"""


def run(args: Args) -> dict[str, Any]:
    """Measure."""
    if args.what == "decode":
        from malmoi.cli import bench_decode

        repeats = 5 if args.repeats is None else args.repeats
        result = bench_decode.run(args.part, repeats, SCALES[args.scale])
        if not args.json:
            _print_decode(result)
        return result
    if args.what == "text":
        from malmoi.cli import bench_text

        if not args.data:
            raise ValueError("bench text needs DATA, such as python_docs_ko.jsonl")
        result = bench_text.run(args.data, args.megabytes, args.repeats or 3)
    else:
        result = _train(args) if args.what == "train" else _step(args)
    # a target that was not reached has no time
    result = {k: None if v in (math.inf, -math.inf) else v for k, v in result.items()}
    if not args.json:
        width = max(map(len, result))
        for name, value in result.items():
            print(
                f"{name:<{width}}  {value:,.4g}"
                if isinstance(value, float)
                else f"{name:<{width}}  {value}"
            )
    return result


def _print_decode(result: dict[str, Any]) -> None:
    print(f"{'':<52}{'ours':>9}{'other':>9}{'ratio':>17} (of pairs)      target")
    for name, f in result["figures"].items():
        reached = {
            None: "none",
            True: f"{f['target']} reached",
            False: f"{f['target']} NOT reached",
        }
        print(
            f"{name:<52}{f['ours']:>9.4g}{f['other']:>9.4g} {f['unit']:<9}{f['ratio']:>7.3f} "
            f"({f['lowest']:.3f} to {f['highest']:.3f})  {reached[f['reached']]}"
        )
        more = [f"{key.replace('_', ' ')} {f[key]:.3g}" for key in list(f)[9:]]
        print("    " + ", ".join([f"against {f['against']}", *more]))
    rest = [f"{k.replace('_', ' ')} {v}" for k, v in result.items() if k != "figures"]
    print(", ".join(rest))


def _train(args: Args) -> dict[str, Any]:
    if not args.data:
        raise ValueError("bench train needs DATA, such as tinyshakespeare.txt")
    recipe = _recipe(args)
    result: dict[str, Any] = {}
    base = RunConfig(
        data=DataConfig(args.data, split=args.split), tokenizer=TokenizerConfig(args.tokenizer)
    )
    ours = replace(base, train=TrainConfig(steps=args.steps, evals=1))
    seconds = []
    for repeat in range(3 if args.repeats is None else args.repeats):
        loss, reached, report = _until(ours, {}, args.target, repeat)
        seconds.append(reached)
        result[f"run {repeat + 1}: loss after {report['steps']} steps"] = loss
    result["seconds of steps to target (median)"] = statistics.median(seconds)
    if recipe is not None:
        result |= _baseline(args, recipe, base, statistics.median(seconds))
    for minutes in args.minutes:
        loss, wall = _command(args, minutes)
        result[f"--minutes {minutes:g}: validation loss"] = loss
        result[f"--minutes {minutes:g}: seconds of wall time"] = wall
        result[f"--minutes {minutes:g}: wall time / asked"] = wall / (60 * minutes)
    return result


def _until(
    config: RunConfig, sizes: dict[str, Any], target: float, seed: int, evals: int = 1
) -> tuple[float, float, dict[str, Any]]:
    """Best validation loss, seconds of steps to the target (endless: not reached), the report."""
    from malmoi.cli.pipeline import train_run

    config = replace(config, train=replace(config.train, seed=seed, evals=evals))
    with tempfile.TemporaryDirectory() as folder:
        done = train_run(config, sizes, Path(folder) / "run", time.monotonic(), quiet=True)
        lines = (done.run.folder / "metrics.jsonl").read_text("utf-8").splitlines()
    assert done.validation is not None
    reached = float("inf")
    for line in map(json.loads, lines):
        if line.get("validation_loss", target + 1) <= target and line["step"]:
            tokens = line["step"] * config.train.batch_size * done.model.config.context_length
            reached = min(reached, tokens / line["tokens_per_second"])
    return done.validation.loss, reached, done.report


def _recipe(args: Args) -> RunConfig | None:
    from malmoi.config import from_toml

    if args.baseline == Path():
        return None
    try:
        text = args.baseline.read_text("utf-8")
    except OSError as error:
        raise ValueError(f"{args.baseline}: {error.strerror}; give --baseline") from None
    return from_toml(RunConfig, text, str(args.baseline))


def _baseline(args: Args, recipe: RunConfig, base: RunConfig, ours: float) -> dict[str, Any]:
    config = replace(recipe, data=base.data, tokenizer=base.tokenizer)
    sizes = {
        name: getattr(recipe.model, name)
        for name in recipe.model.__dataclass_fields__
        if name not in ("preset", "vocab_size")
    }
    loss, reached, report = _until(config, sizes, args.target, 0, evals=40)
    return {
        "baseline: loss": loss,
        "baseline: seconds of all steps": report["step_seconds"],
        "baseline: seconds of steps to target": reached,
        "baseline / ours": reached / ours if ours < math.inf else math.inf,
    }


def _command(args: Args, minutes: float) -> tuple[float, float]:
    """Validation loss and wall time of a whole `malmoi train --minutes` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "malmoi", "train", *args.data, "--split", args.split,
            "--tokenizer", args.tokenizer, "--minutes", str(minutes), "--out", f"{folder}/run",
            "--json",
        ]  # fmt: skip
        begin = time.monotonic()
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False, env=dict(os.environ))
        wall = time.monotonic() - begin
    if done.returncode:
        raise ValueError("the command above failed")
    return json.loads(done.stdout)["validation"]["loss"], wall


def _step(args: Args) -> dict[str, Any]:
    import torch

    from malmoi.config import OptimConfig
    from malmoi.model import GPT, build
    from malmoi.optim import Optimizer
    from malmoi.train import choose_device, choose_dtype
    from malmoi.train.precision import matmul_seconds

    config = build(args.preset, 50257, context_length=args.context_length)
    device = choose_device(args.device)
    dtype = choose_dtype(args.precision, device, config)
    model = GPT(config).to(device=device, dtype=dtype)
    optimizer = Optimizer(model, OptimConfig())
    loss_of = torch.compile(model.loss) if args.compile else model.loss
    ids = torch.randint(50257, (args.batch_size, config.context_length + 1), device=device)

    def step() -> float:
        begin = time.perf_counter()
        loss_of(ids[:, :-1], ids[:, 1:]).backward()
        optimizer.step(0.1)  # gives the gradient's norm as a number, so it waits for the device
        return time.perf_counter() - begin

    first = step()
    times = [step() for _ in range(max(3, args.steps))]
    seconds = statistics.median(times[len(times) // 4 :])
    tokens = args.batch_size * config.context_length
    weights = sum(p.numel() for p in model.parameters())
    if config.position == "learned":
        weights -= model.position_embedding.weight.numel()
    if config.ngram_orders:
        weights -= sum(p.numel() for p in model.ngram_embedding.parameters())
    if not config.tie_embeddings:
        weights -= model.token_embedding.weight.numel()
    # 6 a weight and token, and 12 C T a layer and token for attention (Chowdhery et al. 2022).
    flops = 6 * weights + 12 * config.num_layers * config.d_model * config.context_length
    size = 8192 if device.type == "cuda" else 2048
    rate = 2 * size**3 / matmul_seconds(dtype, device, size, size, size)
    return {
        "preset": args.preset,
        "parameters": sum(p.numel() for p in model.parameters()),
        "device": f"{device} {str(dtype).removeprefix('torch.')}",
        "first step, seconds": first,
        "step, seconds (median)": seconds,
        "tokens/s": tokens / seconds,
        "matrix rate measured, TFLOP/s": rate / 1e12,
        "model FLOP/s reached, TFLOP/s": flops * tokens / seconds / 1e12,
        "MFU": flops * tokens / seconds / rate,
    }
