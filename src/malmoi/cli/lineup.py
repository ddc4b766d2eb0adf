"""Which tokenizers `malmoi tokenizer report` compares, and on what text."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malmoi.text.sources import read
from malmoi.text.split import Split, plan
from malmoi.tokenizer import KINDS, Tokenizer
from malmoi.tokenizer.train import check, count_text, train_on

if TYPE_CHECKING:
    from malmoi.cli.progress import Progress
    from malmoi.cli.tokenizer import Report

FIRST = 100  # texts of which a sentence is chosen, and
CHARACTERS = 5000  # so much of each


def open_all(
    args: "Report", sources: Sequence[str], shown: Callable[[Iterator[str]], Iterator[str]],
    progress: "Progress",
) -> tuple[dict[str, Tokenizer], Iterator[str]]:  # fmt: skip
    """Tokenizers by name, in the order asked for, and the texts to measure them on.

    Kinds are trained on the training part of the text, and the texts are the other parts then.

    Args:
        args: what was asked for.
        sources: the text.
        shown: tells the user how far a text is read.
        progress: what is being done.

    Raises:
        ValueError: a tokenizer cannot be read or trained, or nothing would be left to measure on.

    """
    kinds = [source for source in dict.fromkeys(args.tokenizers) if source in KINDS]
    if args.vocab_size is not None and not set(kinds) - {"char"}:
        raise ValueError(f"--vocab-size {args.vocab_size}: no kind is trained that it is for")
    sizes = {kind: None if kind == "char" else args.vocab_size for kind in kinds}
    for kind, size in sizes.items():
        check(kind, size)
    found = {source: Tokenizer.load(source) for source in args.tokenizers if source not in KINDS}

    def pieces() -> Iterator[Any]:
        yield from read(sources, field=args.field, encoding=args.encoding)

    read(sources, field=args.field, encoding=args.encoding)  # names are checked at once
    texts = (piece.text for piece in pieces())
    if kinds:
        split = Split.parse(args.split)
        if split.train > 0.999:
            raise ValueError(f"--split {args.split}: leaves nothing to measure on; 80/20 is usual")
        parts = plan(pieces, split)
        # Words are counted once for all kinds that are cut by the same pattern.
        for group in ([kind for kind in kinds if kind != "bytebpe"], ["bytebpe"]):
            if not set(group) & set(kinds):
                continue
            progress.label = "reading"
            mine = (piece.text for part, piece in parts.assign(pieces()) if part == "train")
            # `char` needs no words, only characters, which are counted with any.
            words = count_text(shown(mine), next((k for k in group if k != "char"), "char"))
            for kind in group:
                progress.label = f"training {kind}"
                progress.update(0)
                found[kind] = train_on(words, kind, sizes[kind])
        texts = (piece.text for part, piece in parts.assign(pieces()) if part != "train")
    names = short_names(args.tokenizers)
    return dict(zip(names, (found[source] for source in args.tokenizers), strict=True)), texts


def short_names(sources: Sequence[str]) -> list[str]:
    """Of gpt2_vocab.json gpt2, of RUN/tokenizer.json RUN; no name comes twice."""
    names: list[str] = []
    for source in sources:
        path = Path(source)
        name = path.absolute().name
        if path.is_file():
            name = re.sub(r"[_.-]?(vocab|merges)$", "", path.stem)
            if name in ("", "tokenizer", "spiece"):
                name = path.absolute().parent.name
        number, first = 2, name
        while name in names:
            name, number = f"{first} {number}", number + 1
        names.append(name)
    return names


def some(texts: Iterator[str], most: int, first: list[str]) -> Iterator[str]:
    """The first `most` characters (0: all); the beginnings of the first texts go into `first`."""
    left = most or 1 << 62
    for text in texts:
        if left <= 0:
            return
        if len(first) < FIRST:
            first.append(text[:CHARACTERS])
        yield text[:left]
        left -= len(text)


def choose_sentence(texts: Sequence[str]) -> str:
    """A sentence of 20 to 60 characters with as much Hangul as can be, the first of equals.

    Where there is none, the first 60 characters.
    """
    best, score = "", -1.0
    for text in texts:
        for sentence in re.findall(r"[^\s.!?][^.!?\n]{18,58}[.!?](?=\s|$)", text):
            hangul = len(re.findall("[가-힣]", sentence)) / len(sentence)
            if hangul > score + 0.02:
                best, score = sentence, hangul
    return best or " ".join(texts[0].split())[:60] or texts[0][:60]
