"""What needs all documents at once: duplicates, near-duplicates, a clean split; and the writing.

`clean.py`, the neighbour, does what concerns one document; here its batches come in, in their
order, in one process. Of documents that are the same or nearly so the first one stays. For a split
the rest is kept in a file until all are known to which group of near ones each belongs, since all
of a group go to one side.
"""

import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from malmoi.text.clean import Cleaned, Document, Tally
from malmoi.text.duplicates import Seen, without
from malmoi.text.near import NearIndex
from malmoi.text.overlap import Ngrams
from malmoi.text.records import Piece
from malmoi.text.split import FEW, SPLITS, Split, plan
from malmoi.text.writer import Format, ShardWriter

HELD = "held"
NEAR = "near-duplicate"
GROUPED = 0.5
"""documents at least as near as that are put on the same side of a split"""


@dataclass(frozen=True)
class Output:
    """How the documents are written."""

    folder: Path
    kind: Format = "jsonl"
    most: int = 256_000_000
    """bytes of text in a shard"""
    split: Split | None = None
    seed: int = 0


@dataclass
class Count:
    """Documents that came in, went out, and were dropped, by the reason; for a file or for all."""

    read: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def balanced(self) -> bool:
        """Whether nothing was lost on the way."""
        return self.read == self.kept + self.dropped.total()


class Gatherer:
    """Takes cleaned batches, drops what was there before, and writes the rest.

    Args:
        output: where and how.
        near: the similarity from which on a document is dropped as a near-duplicate; 0: none is.
        paragraphs: whether paragraphs are taken out that stood in an earlier document.

    """

    def __init__(self, output: Output, near: float, paragraphs: bool = False) -> None:
        self.output = output
        self.total = Count()
        self.files: dict[str, Count] = {}
        self.tallies: dict[str, Tally] = {}
        self.overlap: dict[str, Any] = {}
        self._seen = Seen()
        self._near = NearIndex(near) if near else None
        self._paragraphs = NearIndex(near or 1.0) if paragraphs else None
        kind: Format = "jsonl" if output.split else output.kind
        self._writer = ShardWriter(
            output.folder, HELD if output.split else "part", kind, output.most
        )
        self.writers: list[ShardWriter] = [] if output.split else [self._writer]
        self._groups = NearIndex(GROUPED, chain=True) if output.split else None
        self._held_near = bytearray()  # 1 for each document that is held though it was dropped

    @property
    def index_bytes(self) -> int:
        """Memory of what is remembered of all documents."""
        indexes = [self._seen, self._near, self._paragraphs, self._groups]
        return sum(index.nbytes for index in indexes if index is not None)

    def take(self, batch: Cleaned, file: str) -> None:
        """A batch of a file's documents, in their order."""
        count = self.files.setdefault(file, Count())
        for name, tally in batch.tallies.items():
            self.tallies.setdefault(name, Tally()).merge(tally)
        passed = [document for document in batch.documents if document.dropped is None]
        for document in passed:
            if self._seen.add_digest(document.digest):
                document.dropped = "duplicate"
        if self._near is not None:
            self._drop_near(passed, batch.signatures)
        if self._paragraphs is not None:
            self._drop_paragraphs(passed, batch.paragraphs)
        if self._groups is not None:
            kept = [i for i, document in enumerate(passed) if document.dropped is None]
            begin = len(self._groups)
            self._groups.add_all(batch.signatures[kept], range(begin, begin + len(kept)))
        for document in batch.documents:
            for one in (count, self.total):
                one.read += 1
                if document.dropped is None:
                    one.kept += 1
                else:
                    one.dropped[document.dropped] += 1
            if document.dropped is None or (self._groups and document.dropped == NEAR):
                if document.line:
                    self._writer.add_line(document.line, document.size)
                else:
                    self._writer.add(document.text, document.source)
                self._held_near.append(document.dropped is not None)

    def drop(self, file: str, reason: str, documents: int = 1) -> None:
        """Documents of a file that could not be read."""
        if not documents:
            return
        for one in (self.files.setdefault(file, Count()), self.total):
            one.read += documents
            one.dropped[reason] += documents

    def _drop_near(self, passed: list[Document], signatures: Any) -> None:
        assert self._near is not None
        fresh = [i for i, document in enumerate(passed) if document.dropped is None]
        if not fresh:
            return
        begin = len(self._near)
        found = self._near.add_all(signatures[fresh], range(begin, begin + len(fresh)))
        for i, near in zip(fresh, found.tolist(), strict=True):
            if near >= 0:
                passed[i].dropped = NEAR
                tally = self.tallies.setdefault(NEAR, Tally())
                tally.add(passed[i].length, (" ".join(passed[i].text[:80].split()), ""))

    def _drop_paragraphs(self, passed: list[Document], signatures: Any) -> None:
        assert self._paragraphs is not None
        at = 0
        for document in passed:
            spans, at = document.paragraphs, at + len(document.paragraphs)
            if document.dropped is not None or not spans:
                continue
            mine = signatures[at - len(spans) : at]
            begin = len(self._paragraphs)
            found = self._paragraphs.add_all(mine, range(begin, begin + len(spans))).tolist()
            twice = [span for span, near in zip(spans, found, strict=True) if near >= 0]
            if twice:
                first = document.text[twice[0][0] :][:80]
                tally = self.tallies.setdefault("near-paragraph", Tally())
                tally.add(sum(end - begin for begin, end in twice), (" ".join(first.split()), ""))
                document.text = without(document.text, twice)
                if not document.text or document.text.isspace():
                    document.dropped = "near-paragraph"

    def finish(self) -> None:
        """Write what is left, and deal out what was held."""
        self._writer.close()
        if self._groups is not None:
            self._deal()
        assert self.total.balanced(), "documents were lost on the way"
        written = sum(writer.documents for writer in self.writers)
        # Fewer than ten documents are cut by position, so that each is in several parts.
        assert written == self.total.kept or (self.output.split and self.total.kept < FEW)

    def _deal(self) -> None:
        assert self.output.split is not None
        assert self._groups is not None
        split, seed = self.output.split, self.output.seed
        if not self.total.kept:
            raise ValueError("no document is left to split: see --json of the same without --split")
        naive = plan(lambda: self._held(near=True), split, seed=seed)
        whole = plan(lambda: self._held(), split, seed=seed, groups=self._groups.groups())
        writers = {
            part: ShardWriter(self.output.folder, part, self.output.kind, self.output.most)
            for part in SPLITS
        }
        for part, piece in whole.assign(self._held()):
            writers[part].add(piece.text, piece.source)
        self.writers = [writer for writer in writers.values() if writer.documents]
        for writer in self.writers:
            writer.close()
        for name, dealt, near in (("before", naive, True), ("after", whole, False)):
            ngrams = Ngrams()
            ngrams.add(p.text for part, p in dealt.assign(self._held(near)) if part == "train")
            for side in SPLITS[1:]:
                found = ngrams.look(
                    p.text for part, p in dealt.assign(self._held(near)) if part == side
                )
                if found.texts:
                    self.overlap[f"{side} {name}"] = asdict(found) | {"share": found.share}
        for held in self._writer.names:
            (self.output.folder / held).unlink()

    def _held(self, near: bool = False) -> Iterator[Piece]:
        """What is held, less the near-duplicates or with them."""
        number = 0
        for name in self._writer.names:
            with pa.input_stream(str(self.output.folder / name), compression="zstd") as raw:
                for line in io.TextIOWrapper(raw, encoding="utf-8", newline="\n"):
                    number += 1
                    if near or not self._held_near[number - 1]:
                        record = json.loads(line)
                        yield Piece(record["text"], True, record["source"])
