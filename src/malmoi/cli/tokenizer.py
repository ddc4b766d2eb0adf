"""`malmoi tokenizer train|report`: one from any amount of text; a report card of several."""

import json
import sys
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from malmoi.cli.language import Asked, Language, choose_language

if TYPE_CHECKING:
    from malmoi.cli.progress import Progress

Kind = Literal["char", "word", "bpe", "bytebpe", "unigram"]

LONGEST = 300  # characters of the sentence that is drawn
FILE = "tokenizer.json"


@dataclass(frozen=True)
class Train:
    """Train a tokenizer on any amount of text, read once, in bounded memory.

    The same text gives the same file, byte by byte, on any machine with any number of cores.
    """

    data: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DATA...")]
    """what to learn from: files, folders, globs, addresses, hf://, builtin:stories"""
    out: Path
    """where to write: a .json file, or a folder for tokenizer.json"""
    kind: Kind = "bpe"
    """char, word, bpe, bytebpe (GPT-2's) or unigram"""
    vocab_size: int | None = None
    """number of tokens; chosen by the size of the text when not given"""
    min_frequency: int = 2
    """how often a character, word, pair or piece has to occur to become a token"""
    most_words: int = 1 << 24
    """distinct words that are kept in memory, some 250 bytes each while training; the rarest go
    where there are more, and the result says how much may be missing of a count"""
    overwrite: bool = False
    """replace what is there"""
    field: str | None = None
    """column or key that holds the text (document, text, content are found by themselves)"""
    encoding: str | None = None
    """character encoding of the files; detected when not given"""
    lang: Asked = "auto"
    """language of the sentences; auto: the locale's"""
    json: bool = False
    """print the result as one JSON object"""


@dataclass(frozen=True)
class Report:
    """Compare tokenizers on your text: how much they take, what they tear, what they lose.

    With a KIND among them the text is split: kinds are trained on one part, and all are measured on
    the other.
    """

    data: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DATA...")]
    """the text to measure on"""
    tokenizers: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATH|RUN|KIND...")]
    """tokenizer.json, *.model, vocab.json beside merges.txt, a folder or run with one of them; or
    char, word, bpe, bytebpe, unigram, to be trained on this text"""
    sentence: str | None = None
    """what to show cut by each; one of the text when not given"""
    out: Path | None = None
    """folder for report.json and the picture, tokens.png"""
    vocab_size: int | None = None
    """of the kinds that are trained; chosen by the size of the text when not given"""
    split: str = "80/20"
    """per cent of the text to train kinds on, and to measure all on"""
    characters: int = 10_000_000
    """measure on so many characters at most; 0: on all"""
    field: str | None = None
    """column or key that holds the text"""
    encoding: str | None = None
    """character encoding of the files"""
    lang: Asked = "auto"
    """language of table and picture; auto: the locale's"""
    json: bool = False
    """print the result as one JSON object"""


@dataclass(frozen=True)
class Args:
    """Train a tokenizer, or compare several."""

    verb: Annotated[
        Annotated[Train, tyro.conf.subcommand("train")]
        | Annotated[Report, tyro.conf.subcommand("report")],
        tyro.conf.OmitSubcommandPrefixes,
    ]

    @property
    def json(self) -> bool:
        return self.verb.json


def run(args: Args) -> dict[str, Any]:
    """Do what was asked for."""
    return train(args.verb) if isinstance(args.verb, Train) else report(args.verb)


def train(args: Train) -> dict[str, Any]:
    """Count the text, train, write; print what came of it."""
    from malmoi.cli.card import say_trained
    from malmoi.cli.flags import need
    from malmoi.cli.progress import Progress
    from malmoi.text.sources import downloaded, read
    from malmoi.tokenizer.train import check, count_text, train_on

    began = time.monotonic()
    need("most-words", args.most_words, 1000 <= args.most_words <= 1 << 30, "from 1,000 to 2**30")
    check(args.kind, args.vocab_size, min_frequency=args.min_frequency)
    path = args.out if args.out.suffix == ".json" else args.out / FILE
    if path.exists() and not args.overwrite:
        raise ValueError(f"{path}: is there already; add --overwrite or choose another --out")
    with downloaded(args.data) as sources, Progress("reading") as progress:
        pieces = read(sources, field=args.field, encoding=args.encoding)
        _make(path.parent)
        texts = _shown((piece.text for piece in pieces), progress)
        words = count_text(texts, args.kind, most_words=args.most_words)
        progress.label = "training"
        progress.update(0, f"{words.bytes / 1e6:,.1f} MB, {len(words):,} distinct words")
        tokenizer = train_on(
            words, args.kind, args.vocab_size, min_frequency=args.min_frequency
        )  # fmt: skip
    tokenizer.save(path)
    result = {
        "tokenizer": str(path),
        "kind": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "bytes": words.bytes,
        "characters": int(words.chars.sum()),
        "words": words.total,
        "distinct_words": len(words),
        "dropped_words": words.dropped,
        "count_error": words.error,
        "seconds": time.monotonic() - began,
    }
    if not args.json:
        print(say_trained(result, choose_language(args.lang)))
    return result


def report(args: Report) -> dict[str, Any]:
    """Open or train the tokenizers, measure them, draw the picture; print a table."""
    from malmoi.cli.card import card
    from malmoi.cli.flags import need
    from malmoi.cli.lineup import choose_sentence, open_all, some
    from malmoi.cli.progress import Progress
    from malmoi.text.sources import downloaded
    from malmoi.tokenizer import KINDS
    from malmoi.tokenizer.blocks import check_blocks
    from malmoi.tokenizer.report import cut, measure

    language = choose_language(args.lang)
    need("characters", args.characters, args.characters >= 0, "0 or more")
    if not args.tokenizers:
        raise ValueError("--tokenizers: name one at least: a path, a run or a kind such as bpe")
    sentence = unicodedata.normalize("NFC", args.sentence or "").strip()
    if args.sentence is not None and not 1 <= len(sentence) <= LONGEST:
        raise ValueError(f"--sentence: has to have 1 to {LONGEST} characters to be drawn")
    if args.out is not None:
        _make(args.out)
    first: list[str] = []
    with downloaded(args.data) as sources, Progress("reading") as progress:
        opened, rest = open_all(args, sources, lambda texts: _shown(texts, progress), progress)
        progress.label = "measuring"
        about, results = measure(opened, _shown(some(rest, args.characters, first), progress))
        progress.label = "looking at all of Unicode"
        for name, tokenizer in opened.items():
            progress.update(0, name)
            results[name]["blocks"] = check_blocks(tokenizer)
    sentence = sentence or choose_sentence(first)
    entries = [
        {"name": name, "source": source, "trained": source in KINDS}
        | results[name]
        | {"sentence": cut(opened[name], sentence)}
        for name, source in zip(opened, args.tokenizers, strict=True)
    ]
    trained = any(entry["trained"] for entry in entries)
    result: dict[str, Any] = {
        "text": about | {"split": args.split if trained else None},
        "sentence": sentence,
        "tokenizers": entries,
        "figure": None,
    }
    if args.out is not None:
        from malmoi.storage import replacing

        result["figure"] = _draw(entries, args.out / "tokens.png", language)
        with replacing(args.out / "report.json") as path:
            path.write_text(json.dumps(result, ensure_ascii=False, indent=1), "utf-8")
    if not args.json:
        print(card(result, language))
    return result


def _shown(texts: Iterator[str], progress: "Progress") -> Iterator[str]:
    done = 0
    for text in texts:
        done += len(text)
        progress.update(0, f"{done / 1e6:,.1f} million characters")
        yield text


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be made: {error.strerror}; choose another") from None


def _draw(entries: list[dict[str, Any]], path: Path, language: Language) -> str | None:
    """Draw the picture; its path, or None where there is nothing to draw with."""
    try:
        import matplotlib  # noqa: F401 - whether it is there
    except ImportError:
        print("no picture: it needs matplotlib: pip install 'malmoi[figures]'", file=sys.stderr)
        return None
    from malmoi.inspect.fonts import hangul_font, quiet
    from malmoi.inspect.tokens import WORDS, draw
    from malmoi.storage import replacing

    cuts = [
        entry["sentence"] | {"name": entry["name"], "vocab_size": entry["vocab_size"]}
        for entry in entries
    ]
    words = "".join(WORDS[language].values()) if language == "ko" else ""
    font = hangul_font(words + cuts[0]["text"] + "가")
    with quiet(), replacing(path) as beside:
        draw(cuts, language, font).savefig(beside, format="png")
    return str(path)
