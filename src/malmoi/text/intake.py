"""What people have, to batches of documents: nothing stops it, and nothing is left out silently.

`sources.py`, the neighbour, reads text that is to be trained on and refuses what is not right.
Here what cannot be read is skipped and told of: a file with its reason, a record with its line.
JSON lines, which large corpora are in, are only cut into blocks; `batches.py` takes them apart, on
all cores.
"""

import glob
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from malmoi.text.batches import Batch, Lines, Texts
from malmoi.text.encoding import Notes, decode_stream, guess
from malmoi.text.formats import KINDS
from malmoi.text.records import SAMPLE, Piece, choose, collect
from malmoi.text.sources import as_it_is, format_extension, opened, read, read_file

BATCH = 1 << 20
"""characters of documents, or bytes of JSON lines, that make a batch"""
LONGEST = 1 << 28
"""bytes of a line of JSON"""
UNREADABLE = (ValueError, OSError, EOFError)
"""what reading a file may raise"""
_UTF8 = ("utf-8", "utf-8-sig")


@dataclass
class Intake:
    """What became of one file."""

    name: str
    encoding: str | None = None
    confidence: float | None = None
    problems: list[str] = field(default_factory=list)
    """a line each"""

    def decoded(self, notes: Notes) -> None:
        """Note in which encodings it was; a file with bytes in none is a problem."""
        if not notes.codec:
            return
        self.encoding, self.confidence = notes.codec, round(notes.confidence, 4)
        others = {codec: n for codec, n in notes.lines.most_common() if codec != notes.codec}
        if others:
            self.encoding += "".join(f" + {codec} ({n:,} lines)" for codec, n in others.items())
        if notes.lost:
            lines = ", ".join(f"{line:,}" for line in notes.places)
            self.problem(
                f"{notes.lost:,} byte(s) are in no encoding, U+FFFD stands for them; first in line "
                f"{lines}"
            )

    def problem(self, text: str) -> None:
        """Note what could not be read."""
        self.problems.append(text.removeprefix(f"{self.name}: "))


def files_of(sources: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Every file that sources name, and why it cannot be read, where that is seen at once.

    Unlike `read`, which passes over what it does not know in a folder, all of it is told of.

    Raises:
        ValueError: a source leads nowhere at all.

    """
    for source in sources:
        if glob.has_magic(source) and not os.path.exists(source):
            matched = sorted(glob.glob(os.path.expanduser(source), recursive=True))
            if matched:
                yield from files_of(matched)
            else:
                yield source, "no file matches"
            continue
        if not os.path.isdir(source):
            yield source, None
            continue
        found = False
        closed: list[OSError] = []
        for parent, folders, files in os.walk(source, onerror=closed.append):
            folders.sort()
            for name in sorted(files):
                path = os.path.join(parent, name)
                found = True
                yield path, _unfit(path)
        for error in closed:  # folders that may not be looked into
            found = True
            yield str(error.filename), error.strerror or str(error)
        if not found:
            raise ValueError(f"{source}: there is no file in this folder")


def _unfit(path: str) -> str | None:
    try:
        if not os.path.isfile(path):
            os.stat(path)  # which says why: a link in a circle, or to nowhere
            return "neither a file nor a folder"
        if os.path.getsize(path) == 0:
            return "empty"
    except OSError as error:
        return error.strerror or str(error)
    if format_extension(path) not in KINDS and os.path.splitext(path)[1]:
        return f"not one of the formats that are read: {' '.join(KINDS)}"
    return None


class Reader:
    """Batches of everything that sources name, and what became of each file.

    Args:
        field: of records; None finds it.
        encoding: a codec's name; None finds it.
        on_bytes: hears how far the files are read.

    """

    def __init__(
        self, field: str | None = None, encoding: str | None = None,
        on_bytes: Callable[[int], None] = lambda count: None,
    ) -> None:  # fmt: skip
        self.field, self.encoding, self.on_bytes = field, encoding, on_bytes
        self.files: list[Intake] = []

    def batches(self, sources: Sequence[str]) -> Iterator[Batch]:
        """Batches in the order of the files."""
        for name, unfit in files_of(sources):
            intake = Intake(name)
            self.files.append(intake)
            if unfit is not None:
                intake.problem(unfit)
                continue
            some = False
            try:
                for batch in self._file(intake):
                    some = True
                    yield batch
            except UNREADABLE as error:
                what = " ".join(str(error).split()) or type(error).__name__
                intake.problem(what + ("; what came before it was read" if some else ""))
            else:
                if not some and not intake.problems:
                    intake.problem("empty: there is no text in it")

    def _file(self, intake: Intake) -> Iterator[Batch]:
        name = intake.name
        local = os.path.isfile(name)
        if local and KINDS.get(format_extension(name)) == "jsonl":
            with opened(name) as raw:
                yield from self._json_lines(intake, as_it_is(raw))
            return
        batch: list[tuple[str, str]] = []
        held, notes = 0, Notes()
        if local:
            pieces = read_file(name, name, self.field, self.encoding, notes)
        else:
            pieces = read((name,), field=self.field, encoding=self.encoding)
        broken: Exception | None = None
        try:
            for text, source in _documents(pieces):
                batch.append((text, source))
                held += len(text)
                if held >= BATCH:
                    self.on_bytes(held)
                    yield Texts(name, batch)
                    batch, held = [], 0
        except UNREADABLE as error:  # not before what came first
            broken = error
        if batch:
            yield Texts(name, batch)
        intake.decoded(notes)
        if broken is not None:
            raise broken

    def _json_lines(self, intake: Intake, raw: BinaryIO) -> Iterator[Batch]:
        data = raw.read(BATCH)
        if not data:
            return
        guessed = guess(data, complete=len(data) < BATCH)
        codec, notes = self.encoding or guessed.codec, Notes()
        intake.encoding = codec
        intake.confidence = 1.0 if self.encoding else round(guessed.confidence, 4)
        if codec.lower().replace("_", "-") not in (*_UTF8, "ascii"):
            joined = cast(BinaryIO, _Joined(data, raw))
            pieces = decode_stream(joined, self.encoding, intake.name, notes=notes)
            blocks: Iterator[bytes] = (piece.encode("utf-8", "surrogatepass") for piece in pieces)
        else:
            blocks = _blocks(data.removeprefix(b"\xef\xbb\xbf"), raw)
        number, path, known = 1, None, False
        carry: list[bytes] = []
        held = 0
        for block in blocks:
            cut = block.rfind(b"\n") + 1
            rest = block[cut:]
            if cut:
                whole = b"".join([*carry, block[:cut]])
                if not known:
                    path, known = self._field_of(whole, intake.name), True
                self.on_bytes(len(whole))
                yield Lines(intake.name, whole, number, path)
                number += whole.count(b"\n")
                carry, held = [], 0
            if rest:
                carry.append(rest)
                held += len(rest)
                if held > LONGEST:
                    raise ValueError(f"line {number}: longer than {LONGEST:,} bytes")
        if carry:
            last = b"".join(carry)
            if not known:
                path = self._field_of(last, intake.name)
            yield Lines(intake.name, last, number, path)
        intake.decoded(notes)

    def _field_of(self, data: bytes, name: str) -> str | None:
        kinds: dict[str, str] = {}
        for line in data.split(b"\n", SAMPLE)[:SAMPLE]:
            try:
                record = json.loads(line.decode("utf-8", "replace"))
            except (ValueError, RecursionError):
                continue  # it is told of when its turn comes
            if isinstance(record, dict):
                collect(record, "", kinds)
        return choose(kinds, self.field, name) if kinds else None


def _documents(pieces: Iterator[Piece]) -> Iterator[tuple[str, str]]:
    """Texts with their sources; one longer than a batch comes as several, cut at line ends."""
    held: list[str] = []
    size, part, source = 0, 1, ""
    broken: Exception | None = None
    try:
        for piece in pieces:
            if held and (piece.first or size + len(piece.text) > BATCH):
                yield "".join(held), source if part == 1 else f"{source}#{part}"
                held, size, part = [], 0, 1 if piece.first else part + 1
            held.append(piece.text)
            size, source = size + len(piece.text), piece.source
    except UNREADABLE as error:
        broken = error
    if held:
        yield "".join(held), source if part == 1 else f"{source}#{part}"
    if broken is not None:
        raise broken


def _blocks(first: bytes, raw: Any) -> Iterator[bytes]:
    block = first
    while block:
        yield block
        block = raw.read(BATCH)


class _Joined:
    """What was read already, and then the rest."""

    def __init__(self, head: bytes, rest: Any) -> None:
        self.head, self.rest = head, rest

    def read(self, count: int) -> bytes:
        if self.head:
            data, self.head = self.head[:count], self.head[count:]
            return data
        data = self.rest.read(count)
        assert isinstance(data, bytes)
        return data
