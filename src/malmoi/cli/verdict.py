"""`malmoi verdict RUN`: what is the matter with a run, in plain sentences, and what to do next."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from malmoi.cli.main import command
from malmoi.config import Precision

if TYPE_CHECKING:
    from malmoi.cli.progress import Progress
    from malmoi.data import TokenStore
    from malmoi.evaluate.facts import Facts, Finding
    from malmoi.evaluate.words import Language
    from malmoi.model import GPT
    from malmoi.run import Run
    from malmoi.tokenizer import Tokenizer

FLOOR_TOKENS = 5_000_000  # of the training text; more makes the floors a little lower, and slow
QUOTED = 160  # characters of a quote that are printed


@dataclass(frozen=True)
class Args:
    """Say what is the matter with a run: its curves, its text, what the model recites."""

    run: Annotated[Path, tyro.conf.Positional]
    """the run folder"""
    lang: Literal["auto", "ko", "en"] = "auto"
    """language of the sentences; auto: the locale's"""
    device: str = "auto"
    """auto, cpu, cuda or mps"""
    precision: Precision = "auto"
    """auto, fp32 or bf16"""
    json: bool = False
    """print the result as one JSON object"""


def run(args: Args) -> dict[str, Any]:
    """Look at everything, and print sentences."""
    from malmoi.cli.progress import Progress
    from malmoi.cli.speak import open_run
    from malmoi.data import SPLITS, TokenStore
    from malmoi.evaluate.verdict import judge, not_looked_at
    from malmoi.evaluate.words import say_missing

    opened, model, tokenizer = open_run(args.run, args.device, args.precision)
    records = read_metrics(args.run)
    stores = {name: TokenStore(args.run / "data", name) for name in SPLITS}
    for store in stores.values():
        store.check(model.config.vocab_size)
    with Progress("verdict") as progress:
        facts = look(opened, model, tokenizer, stores, progress)
    language = language_of(os.environ) if args.lang == "auto" else args.lang
    findings = judge(records, facts)
    missing = not_looked_at(records, facts)
    result = {
        "verdict": [to_dict(finding, language) for finding in findings],
        "not_looked_at": [
            {"missing": name, "kinds": kinds, "text": say_missing(name, kinds, language)}
            for name, kinds in missing.items()
        ],
    }
    if not args.json:
        print(f"{args.run}\n")
        print("\n\n".join(to_text(finding, language) for finding in findings))
        if missing:
            heads = {"ko": "보지 못한 것:", "en": "Not looked at:"}
            print(f"\n{heads[language]}")
            print("\n".join(f"  - {entry['text']}" for entry in result["not_looked_at"]))
    return result


def look(
    run: "Run", model: "GPT", tokenizer: "Tokenizer", stores: "Mapping[str, TokenStore]",
    progress: "Progress",
) -> "Facts":  # fmt: skip
    """Find out what a verdict needs beside the curves: floors, leaks, what the model recites.

    Args:
        run: with its result, if it is done.
        model: the best weights, in evaluation mode.
        tokenizer: the model's.
        stores: train, validation and test.
        progress: where to show how far it is.

    """
    from malmoi.evaluate.copies import find_leak, find_recital, index_of
    from malmoi.evaluate.facts import Facts
    from malmoi.evaluate.floors import floors
    from malmoi.speak import banned

    train, held_out = stores["train"], stores["validation"]
    found = leak = recital = None
    if len(held_out) > 1:
        progress.label = "counting the floors"
        found = floors(
            train.ids, held_out.ids[:FLOOR_TOKENS], model.config.vocab_size, ignore=train.bos_id,
            most_train=FLOOR_TOKENS,
        )  # fmt: skip
    progress.label = "looking for copies"
    if (index := index_of(train)) is not None:
        apart = {name: store for name, store in stores.items() if name != "train"}
        leak = find_leak(index, apart, tokenizer.decode)
        recital = find_recital(
            index, model, held_out, tokenizer.decode, bos_id=tokenizer.bos_id,
            eos_id=tokenizer.eos_id, banned_ids=banned(tokenizer),
        )  # fmt: skip
    validation = run.result.get("validation")
    return Facts(
        run=str(run.folder),
        config=run.config,
        train_tokens=len(train),
        held_out=len(held_out) > 1,
        validation=validation["loss"] if validation else None,
        floors=found,
        leak=leak,
        recital=recital,
    )


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The records of `metrics.jsonl`; a last line that is torn is left out.

    Raises:
        ValueError: there is none, or a line is no JSON object.

    """
    path = folder / "metrics.jsonl"
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read ({error}): no record of a training") from None
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


def language_of(environment: Mapping[str, str]) -> "Language":
    """Korean where the locale is, by the order in which POSIX looks at its variables."""
    names = (environment.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return "ko" if next(filter(None, names), "").lower().startswith("ko") else "en"


def to_dict(finding: "Finding", language: "Language") -> dict[str, Any]:
    """A finding with its words, as plain values."""
    from malmoi.evaluate.words import say

    said = say(finding, language)
    text = " ".join([said.what, said.why, said.advice])
    return asdict(finding) | {"command": _command(finding), "text": text}


def to_text(finding: "Finding", language: "Language") -> str:
    """A finding for people, in a few lines."""
    from malmoi.evaluate.words import say

    said = say(finding, language)
    lines = [said.what, f"  {said.why}", *_quoted(said.quotes), f"  {said.advice}"]
    return "\n".join([*lines, f"  $ {_command(finding)}"])


def _command(finding: "Finding") -> str:
    return command() + finding.command.removeprefix("malmoi")


def _quoted(quotes: Sequence[str]) -> list[str]:
    lines = [" ".join(quote.split()) for quote in quotes]
    return [f"    “{x if len(x) <= QUOTED else x[: QUOTED - 1] + '…'}”" for x in lines]
