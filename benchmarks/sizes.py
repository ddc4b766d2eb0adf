"""Is the size that `--minutes M` chooses a good one? It is trained beside a grid of fixed sizes.

    python benchmarks/sizes.py --out results.jsonl [--minutes 1 5 20] [--texts plays docs] [--grid]

Every run is the command that a user would give. What stands in the file already is not run again,
so that the hours this takes may be spent in several sittings; nothing else should run meanwhile.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[2] / "shared" / "data"
TEXTS = {
    "plays": [str(DATA / "tinyshakespeare.txt"), "--tokenizer", "char"],
    "docs": [str(DATA / "python_docs_ko.jsonl")],
    "stories": ["builtin:stories:20000"],
}
GRID = ((128, 2), (128, 4), (192, 4), (256, 4), (256, 6), (384, 6))
"""widths and layers"""
WITHIN = 1.03


def train(text: str, minutes: float, flags: list[str]) -> dict[str, Any]:
    """One run, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "malmoi", "train", *TEXTS[text], "--out", f"{folder}/run",
                   "--minutes", str(minutes), "--json", *flags]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}:\n{done.stderr}")
        report = json.loads(done.stdout)
        return {
            "text": text, "minutes": minutes, "flags": flags,
            "loss": report["validation"]["loss"], "steps": report["steps"],
            "best_step": report["best_step"], "parameters": report["parameters"],
            "tokens_per_second": report["tokens_per_second"], "seconds": report["seconds"],
            "chosen": report.get("chosen"),
        }  # fmt: skip


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 5, 20])
    parser.add_argument("--texts", nargs="+", choices=TEXTS, default=["plays", "docs"])
    parser.add_argument("--sizes", nargs="+", default=["choice", *(f"{d}x{n}" for d, n in GRID)],
                        help="choice, or WIDTHxLAYERS")  # fmt: skip
    parser.add_argument("--flags", default="", help="further flags of `malmoi train`")
    args = parser.parse_args()
    old = args.out.read_text("utf-8").splitlines() if args.out.exists() else []
    results = [json.loads(line) for line in old]
    for minutes in args.minutes:
        for text in args.texts:
            for size in args.sizes:
                flags = args.flags.split()
                if size != "choice":
                    width, layers = size.split("x")
                    flags = ["--d-model", width, "--num-layers", layers, *flags]
                wanted = {"text": text, "minutes": minutes, "flags": flags}
                if any(wanted.items() <= result.items() for result in results):
                    continue
                result = train(text, minutes, flags)
                results.append(result)
                with args.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(result) + "\n")
                print(json.dumps(result), flush=True)
    for minutes in args.minutes:
        for text in args.texts:
            show(
                text, minutes, [r for r in results if (r["text"], r["minutes"]) == (text, minutes)]
            )


def show(text: str, minutes: float, results: list[dict[str, Any]]) -> None:
    """The table of one text and one time."""
    if not results:
        return
    best = min(result["loss"] for result in results)
    print(f"{text}, {minutes:g} minutes")
    for result in sorted(results, key=lambda r: r["loss"]):
        ratio = result["loss"] / best
        what = " ".join(result["flags"]) or "choice " + json.dumps(result["chosen"])
        mark = "" if result["flags"] or ratio <= WITHIN else "  NOT WITHIN 3 %"
        print(f"  {result['loss']:.4f}  {ratio:.4f}  {what}  "
              f"(step {result['best_step']} of {result['steps']}){mark}")  # fmt: skip


if __name__ == "__main__":
    main()
