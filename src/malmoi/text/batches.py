"""Batches of documents, taken apart by the workers: lines of JSON, or texts as they are.

`intake.py`, the neighbour, makes them; parsing JSON is most of the work there is.
"""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from malmoi.text.encoding import Notes, decode_stream


@dataclass(frozen=True)
class Texts:
    """Documents, with where each came from."""

    file: str
    documents: list[tuple[str, str]]


@dataclass(frozen=True)
class Lines:
    """Lines of JSON as they lie in the file, in UTF-8."""

    file: str
    data: bytes
    first: int
    """number of the first line"""
    path: str | None
    """of the field that holds the text; None: the records are the texts"""


@dataclass(frozen=True)
class Parsed:
    """What was in a batch."""

    documents: list[tuple[str, str]]
    dropped: list[str]
    """a line each, of a record that could not be read"""
    mended: list[str]
    """likewise of one that was read, but not as it was meant"""


Batch = Texts | Lines


def parse(batch: Batch) -> Parsed:
    """The documents of a batch, and its records that are none."""
    if isinstance(batch, Texts):
        return Parsed(batch.documents, [], [])
    found: list[tuple[str, str]] = []
    problems: list[str] = []
    mended: list[str] = []
    number = batch.first - 1
    for line in batch.data.split(b"\n"):
        number += 1
        if not line or line.isspace():
            continue
        source = f"{batch.file}:{number}"
        try:
            record = _loads(line, number, mended)
        except json.JSONDecodeError as error:
            problems.append(f"line {number}: malformed JSON: {error.msg} at column {error.colno}")
            continue
        except (ValueError, RecursionError) as error:
            problems.append(f"line {number}: JSON that cannot be read: {error}")
            continue
        texts = [record] if isinstance(record, str) else list(_texts_at(record, batch.path))
        if not texts:
            where = f"the field {batch.path!r}" if batch.path else "the record"
            problems.append(f"line {number}: no text in {where}")
        found += [(text, source) for text in texts]
    return Parsed(found, problems, mended)


def _loads(line: bytes, number: int, mended: list[str]) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:  # or what only the standard library reads: half a surrogate pair
        return json.loads(_decoded(line, number, mended))


def _decoded(line: bytes, number: int, mended: list[str]) -> str:
    """A line of a UTF-8 file, which may be in another encoding by itself."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        notes = Notes()
        text = "".join(decode_stream(io.BytesIO(line), None, f"line {number}", notes=notes))
        if notes.lost:
            mended.append(f"line {number}: {notes.lost} byte(s) in no encoding, U+FFFD for them")
        return text


def _texts_at(value: Any, path: str | None) -> Iterator[str]:
    """The texts at a path of a record, through lists."""
    if isinstance(value, list):
        for item in value:
            yield from _texts_at(item, path)
    elif isinstance(value, str):
        if not path:
            yield value
    elif isinstance(value, dict) and path:
        if path in value:
            yield from _texts_at(value[path], "")
        else:
            key, _, rest = path.partition(".")
            if rest and key in value:
                yield from _texts_at(value[key], rest)
