"""Text in, token stores out: reading, splitting, training the tokenizer, encoding."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from malmoi.cli.progress import Progress
from malmoi.config import DataConfig, TokenizerConfig
from malmoi.data import TokenStore, write_stores
from malmoi.text.sources import downloaded, read
from malmoi.text.split import Split, plan
from malmoi.tokenizer import KINDS, Tokenizer, train_tokenizer


@dataclass(frozen=True)
class Corpus:
    """A text that has been split and encoded."""

    tokenizer: Tokenizer
    stores: dict[str, TokenStore]
    split: str


def prepare(
    data: DataConfig, tokenizer: TokenizerConfig, seed: int, folder: Path, progress: Progress
) -> Corpus:
    """Read, split, train the tokenizer on the training part alone, encode into `folder`.

    Raises:
        ValueError: anything about the text or the tokenizer that the user can mend.

    """
    split = Split.parse(data.split)
    with downloaded(data.sources) as sources:

        def pieces() -> Iterator[Any]:
            yield from read(sources, field=data.field, encoding=data.encoding)

        read(sources, field=data.field, encoding=data.encoding)  # names are checked at once
        parts = plan(pieces, split, seed=seed)
        if tokenizer.tokenizer in KINDS:
            texts = (piece.text for part, piece in parts.assign(pieces()) if part == "train")
            progress.label = "training the tokenizer"
            words = train_tokenizer(
                _counted(texts, progress), tokenizer.tokenizer, tokenizer.vocab_size
            )
        elif Path(tokenizer.tokenizer).exists():
            if tokenizer.vocab_size is not None:
                raise ValueError(
                    f"--vocab-size {tokenizer.vocab_size}: the tokenizer at "
                    f"{tokenizer.tokenizer} has its own; leave it out"
                )
            words = Tokenizer.load(tokenizer.tokenizer)
        else:
            raise ValueError(
                f"tokenizer {tokenizer.tokenizer!r}: no such file, and none of the kinds "
                f"{', '.join(KINDS)}"
            )
        progress.label = "encoding"
        stores = write_stores(_parts(parts, pieces(), progress), words, folder)
    return Corpus(words, stores, str(parts))


def _counted(texts: Iterator[str], progress: Progress) -> Iterator[str]:
    done = 0
    for text in texts:
        done += len(text)
        progress.update(0, f"{done / 1e6:.1f} million characters")
        yield text


def _parts(
    parts: Any, pieces: Iterator[Any], progress: Progress
) -> Iterator[tuple[str, str, bool]]:
    done = 0
    for part, piece in parts.assign(pieces):
        done += len(piece.text)
        progress.update(0, f"{done / 1e6:.1f} million characters")
        yield part, piece.text, piece.first


def say_corpus(corpus: Corpus, progress: Progress) -> None:
    """Print what the text came to."""
    progress.line(f"split      {corpus.split}")
    for name, store in corpus.stores.items():
        if counts := store.counts.tokens and asdict(store.counts):
            progress.line(
                f"  {name:<11}{counts['documents']:>9,} document(s)"
                f" {counts['chars']:>10,} characters"
                f" {counts['tokens']:>12,} tokens"
            )
    words = corpus.tokenizer
    progress.line(f"tokenizer  {words.kind}, {words.vocab_size:,} tokens")
