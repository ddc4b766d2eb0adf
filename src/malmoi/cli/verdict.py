"""`malmoi verdict RUN`: what is the matter with a run, in plain sentences, and what to do next."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from malmoi.cli.language import Asked, Language, choose_language
from malmoi.cli.main import command
from malmoi.config import Precision

if TYPE_CHECKING:
    from malmoi.cli.progress import Progress
    from malmoi.data import TokenStore
    from malmoi.evaluate.facts import Facts, Finding
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
    lang: Asked = "auto"
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
    from malmoi.run import read_metrics

    opened, model, tokenizer = open_run(args.run, args.device, args.precision)
    records = read_metrics(args.run / "metrics.jsonl")
    stores = {name: TokenStore(args.run / "data", name) for name in SPLITS}
    for store in stores.values():
        store.check(model.config.vocab_size)
    with Progress("verdict") as progress:
        facts = look(opened, model, tokenizer, stores, progress)
    language = choose_language(args.lang)
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


def at_the_end(run: "Run", train_tokens: int, held_out: bool) -> "list[Finding]":
    """What the curves alone tell of a run that has just ended: it takes no time.

    Args:
        run: with its result.
        train_tokens: size of the training text.
        held_out: whether there was a validation part.

    """
    from malmoi.evaluate.facts import Facts
    from malmoi.evaluate.verdict import judge
    from malmoi.run import read_metrics

    validation = (run.result or {}).get("validation")
    facts = Facts(
        run=str(run.folder), config=run.config, train_tokens=train_tokens, held_out=held_out,
        validation=validation["loss"] if validation else None,
    )  # fmt: skip
    return judge(read_metrics(run.folder / "metrics.jsonl"), facts)


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


def to_dict(finding: "Finding", language: Language) -> dict[str, Any]:
    """A finding with its words, as plain values."""
    from malmoi.evaluate.words import say

    said = say(finding, language)
    text = " ".join([said.what, said.why, said.advice])
    return asdict(finding) | {"command": _command(finding), "text": text}


def to_text(finding: "Finding", language: Language) -> str:
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
