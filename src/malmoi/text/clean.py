"""What is done to documents one by one: repaired, set right, masked, judged. All cores do this.

The order is the order of trust: damage is undone first, then characters are set right, then what
remains is judged. What needs all documents at once, duplicates above all, is done by `gather.py`,
in one process. A step that changes nothing costs next to nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from malmoi.text import mojibake, near, personal, quality, rules
from malmoi.text.batches import Batch, Parsed, parse
from malmoi.text.boilerplate import LineCounts, strip
from malmoi.text.duplicates import digest, paragraphs
from malmoi.text.writer import json_line

SAMPLES = 3
"""of each step, before and after"""
_SAMPLE = 80  # characters


@dataclass(frozen=True)
class Steps:
    """What is to be done; it travels to the processes that do it."""

    rules: tuple[str, ...]
    """of `rules.RULES`"""
    mojibake: bool = True
    """undo wrong code pages"""
    personal: tuple[str, ...] = ()
    """kinds of personal data to mask"""
    language: str = "ko"
    """of the tags that they are masked with"""
    filters: quality.Filters = field(default_factory=quality.Filters)
    near: bool = True
    """whether signatures are wanted"""
    paragraphs: bool = False
    """whether those of paragraphs are wanted as well"""
    lines: bool = False
    """whether documents come back as lines of JSON, ready to be written, and not as texts"""


@dataclass
class Tally:
    """What one step did."""

    documents: int = 0
    characters: int = 0
    """changed, removed, or guessed"""
    samples: list[tuple[str, str]] = field(default_factory=list)

    def add(self, characters: int, sample: tuple[str, str] | None = None) -> None:
        """Count a document."""
        self.documents += 1
        self.characters += characters
        if sample is not None and len(self.samples) < SAMPLES:
            self.samples.append(sample)

    def merge(self, other: "Tally") -> None:
        """Add what was counted elsewhere."""
        self.documents += other.documents
        self.characters += other.characters
        self.samples = [*self.samples, *other.samples][:SAMPLES]


@dataclass
class Document:
    """One after its steps; `dropped` names the filter that it did not pass."""

    text: str
    source: str
    dropped: str | None = None
    digest: bytes = b""
    paragraphs: list[tuple[int, int]] = field(default_factory=list)
    """where the longer ones begin and end, where they are compared"""
    line: bytes = b""
    """of JSON; then `text` is only the beginning of it"""
    length: int = 0
    """characters of the text after all steps"""
    size: int = 0
    """bytes of the text in UTF-8, where there is a line"""


@dataclass
class Cleaned:
    """A batch of documents in their order, with what was done to them."""

    documents: list[Document]
    signatures: near.Signatures
    """of those that were not dropped `[N, 128]`; `[0, 128]` where none are wanted"""
    paragraphs: near.Signatures
    """of their paragraphs, likewise `[M, 128]`"""
    tallies: dict[str, Tally]


def clean(
    documents: Sequence[tuple[str, str]], steps: Steps, lines: LineCounts | None = None
) -> Cleaned:
    """Do all steps to a batch.

    Args:
        documents: texts with where they came from.
        steps: what to do.
        lines: of all documents, where boilerplate is to be taken out.

    """
    tallies: dict[str, Tally] = {}
    done = [Document(_mend(text, steps, tallies, lines), source) for text, source in documents]
    for document in done:
        if not document.text or document.text.isspace():
            document.dropped = "empty"
        else:
            measures = quality.measure(document.text)
            document.dropped = quality.judge(measures, steps.filters)
        if document.dropped is None:
            document.digest = digest(document.text)
            document.length = len(document.text)
        else:
            tally = tallies.setdefault(f"filter:{document.dropped}", Tally())
            tally.add(len(document.text), (_short(document.text), ""))
    kept = [document for document in done if document.dropped is None]
    some: list[str] = []
    if steps.paragraphs:
        for document in kept:
            document.paragraphs = list(paragraphs(document.text))
            some += [document.text[begin:end] for begin, end in document.paragraphs]
    none = np.empty((0, near.PLACES), np.uint8)
    whole = near.signatures(document.text for document in kept) if steps.near else none
    if steps.lines:
        for document in done:
            _to_line(document)
    return Cleaned(done, whole, near.signatures(some) if some else none, tallies)


def _to_line(document: Document) -> None:
    if document.dropped is None:
        document.size = len(document.text.encode("utf-8", "replace"))
        document.line = json_line(document.text, document.source)
    document.text = document.text[: 2 * _SAMPLE]


def _mend(text: str, steps: Steps, tallies: dict[str, Tally], lines: LineCounts | None) -> str:
    if steps.mojibake:
        found = mojibake.repair(text)
        if found.text is not text and found.route:
            at = rules.same_start(text, found.text)
            sample = _short(text[at:]), _short(found.text[at:])
            tallies.setdefault("mojibake", Tally()).add(found.places, sample)
            if found.lost:
                tallies.setdefault("mojibake:guessed", Tally()).add(found.lost)
            text = found.text
    applied = rules.apply(text, steps.rules)
    for name, count in applied.counts.items():
        tallies.setdefault(f"rule:{name}", Tally()).add(count, applied.samples.get(name))
    text = applied.text
    if lines is not None:
        text, removed = strip(text, lines)
        if removed:
            tally = tallies.setdefault("boilerplate", Tally())
            tally.add(sum(map(len, removed)), (_short(removed[0]), ""))
    if steps.personal:
        masked = personal.mask(text, steps.personal, language=steps.language)
        for name, count in masked.counts.items():
            tallies.setdefault(f"personal:{name}", Tally()).add(count)
        text = masked.text
    return text


def _short(text: str) -> str:
    """The beginning of a text, for a sample."""
    line = " ".join(text[:400].split())
    return line[:_SAMPLE] + ("…" if len(line) > _SAMPLE else "")


_lines: list[LineCounts] = []
"""of this process, where boilerplate is taken out: too large to travel with every batch"""


def prepare(lines: LineCounts | None) -> None:
    """What a process is given once, before its first batch."""
    _lines[:] = [] if lines is None else [lines]


def work(batch: Batch, steps: Steps) -> tuple[Cleaned, Parsed]:
    """A batch from the reader, taken apart and cleaned; and what could not be read of it."""
    parsed = parse(batch)
    cleaned = clean(parsed.documents, steps, next(iter(_lines), None))
    return cleaned, replace(parsed, documents=[])  # which need not travel back


def count_lines(batches: Iterable[Batch], steps: Steps) -> LineCounts:
    """In how many documents each line stands, as it will be after the steps before."""
    counts, before = LineCounts(), replace(steps, personal=())
    for batch in batches:
        for text, _ in parse(batch).documents:
            counts.add(_mend(text, before, {}, None))
    return counts
