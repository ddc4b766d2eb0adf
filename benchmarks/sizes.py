"""Is the size that `--minutes M` chooses a good one? It is trained beside a grid of fixed sizes.

    python benchmarks/sizes.py plan --out DIR       some minutes, with nothing else running
    python benchmarks/sizes.py train --out DIR      hours, beside anything: steps are what counts
    python benchmarks/sizes.py show --out DIR

`plan` asks `malmoi plan` how many steps each size makes in the time, on this machine. `train` makes
so many; what is in DIR already is not made again, so it may be done in several sittings.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[2] / "shared" / "data"
TEXTS = {
    "plays": [str(DATA / "tinyshakespeare.txt"), "--tokenizer", "char"],
    "docs": [str(DATA / "python_docs_ko.jsonl")],
    "stories": ["builtin:stories:20000"],
}
GRID = ("96x2", "128x2", "128x4", "192x4", "256x4", "256x6", "384x6")
"""widths and layers"""
WITHIN = 1.03


def flags_of(size: str) -> list[str]:
    """The flags of `malmoi train` for a size, `choice` or WIDTHxLAYERS."""
    if size == "choice":
        return []
    width, layers = size.split("x")
    return ["--d-model", width, "--num-layers", layers]


def malmoi(*words: str, threads: int | None = None) -> Any:
    """The JSON that a command prints."""
    command = [sys.executable, "-m", "malmoi", *words, "--json"]
    environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stderr}")
    return json.loads(done.stdout)


def read(path: Path) -> list[dict[str, Any]]:
    """What is in a file of results."""
    return (
        [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    )


def add(path: Path, record: dict[str, Any]) -> None:
    """Put one result more into it."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    print(json.dumps(record), flush=True)


def plan(args: argparse.Namespace) -> None:
    """How many steps each size makes in each time."""
    path = args.out / "plans.jsonl"
    known = [(r["text"], r["minutes"], r["size"]) for r in read(path)]
    for text in args.texts:
        for minutes in args.minutes:
            for size in args.sizes:
                if (text, minutes, size) in known:
                    continue
                found = malmoi("plan", *TEXTS[text], "--minutes", f"{minutes:g}", *flags_of(size))
                add(path, {"text": text, "minutes": minutes, "size": size, **found})


def train(args: argparse.Namespace) -> None:
    """Make so many steps of each."""
    path = args.out / "losses.jsonl"
    known = [(r["text"], r["minutes"], r["size"]) for r in read(path)]

    def one(planned: dict[str, Any]) -> None:
        text, minutes, size = (planned[name] for name in ("text", "minutes", "size"))
        flags = [] if size != "choice" else [
            "--d-model", str(planned["d_model"]), "--num-layers", str(planned["num_layers"]),
        ]  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            report = malmoi(
                "train", *TEXTS[text], "--out", f"{folder}/run", "--steps", str(planned["steps"]),
                *flags_of(size), *flags, threads=1,
            )  # fmt: skip
        kept = ("steps", "best_step", "parameters")
        loss = report["validation"]["loss"]
        add(path, {"text": text, "minutes": minutes, "size": size, "loss": loss}
            | {name: report[name] for name in kept})  # fmt: skip

    wanted = [
        r for r in read(args.out / "plans.jsonl")
        if (r["text"], r["minutes"], r["size"]) not in known and r["text"] in args.texts
        and r["minutes"] in args.minutes and r["size"] in args.sizes
    ]  # fmt: skip
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(one, sorted(wanted, key=lambda r: r["minutes"])))


def show(args: argparse.Namespace) -> None:
    """The tables."""
    results = read(args.out / "losses.jsonl")
    plans = {(r["text"], r["minutes"], r["size"]): r for r in read(args.out / "plans.jsonl")}
    for text in args.texts:
        for minutes in args.minutes:
            here = [r for r in results if (r["text"], r["minutes"]) == (text, minutes)]
            if not here:
                continue
            best = min(r["loss"] for r in here)
            print(f"{text}, {minutes:g} minutes")
            for r in sorted(here, key=lambda r: r["loss"]):
                planned = plans[text, minutes, r["size"]]
                size = f"{r['size']:<8}"
                if r["size"] == "choice":
                    size += f"({planned['d_model']}x{planned['num_layers']}) "
                ratio = r["loss"] / best
                mark = "  NOT WITHIN 3 %" if r["size"] == "choice" and ratio > WITHIN else ""
                print(f"  {size}{r['loss']:.4f}  {100 * (ratio - 1):+.1f} %  best at step "
                      f"{r['best_step']} of {r['steps']}{mark}")  # fmt: skip


def main() -> None:
    """One of the three."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("plan", "train", "show"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 5, 20])
    parser.add_argument("--texts", nargs="+", choices=TEXTS, default=["plays", "docs"])
    parser.add_argument("--sizes", nargs="+", default=["choice", *GRID])
    parser.add_argument("--jobs", type=int, default=2, help="trainings at once, a thread each")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    {"plan": plan, "train": train, "show": show}[args.what](args)


if __name__ == "__main__":
    main()
