"""One opened file to documents: plain text, CSV and TSV, JSON, JSON lines, Parquet.

Everything streams; what is held is one record, or a megabyte of plain text. `sources.py`, the
neighbour, says which files there are and opens them; `encoding.py` decodes them, `records.py`
finds the text in the records of those that have records.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Any, BinaryIO

from malmoi.text.encoding import Notes, decode_stream
from malmoi.text.json_stream import json_values
from malmoi.text.records import LONGEST, SAMPLE, Piece, choose, document, take, texts

KINDS = {
    ".txt": "plain",
    ".text": "plain",
    ".md": "plain",
    ".markdown": "plain",
    ".rst": "plain",
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}


def documents(
    raw: BinaryIO,
    kind: str,
    name: str,
    *,
    field: str | None = None,
    encoding: str | None = None,
    notes: Notes | None = None,
) -> Iterator[Piece]:
    """Read the documents of one file; blank ones are left out.

    Args:
        raw: The decompressed file; for Parquet it has to be seekable.
        kind: One of the values of `KINDS`.
        name: What to call the file in messages.
        field: The field or column that holds the text, "a.b" for a nested one; None finds
            `document`, `text`, `content` or the only text there is. Plain text has none.
        encoding: A codec's name; None detects it.
        notes: None refuses what does not decode; else it is mended and written there, as
            `decode_stream` says, and texts are not brought into NFC: that is left to `rules.py`,
            which counts it. Parquet has no encoding and leaves them as they are.

    Raises:
        ValueError: the file is not what its kind says, or lacks the field; one line that says so.

    """
    normal = notes is None
    if kind == "parquet":
        yield from _parquet(raw, name, field, normal)
        return
    pieces = decode_stream(raw, encoding, name, notes=notes)
    if kind == "plain":
        # Lists such as NSMC's ratings.txt are tables: a field that the first line names says so.
        head = next(pieces, "")
        pieces = chain([head], pieces)
        if field is not None and field in (header := head.partition("\n")[0].split("\t")):
            kind = "tsv" if len(header) > 1 else "plain"
    match kind:
        case "plain":
            yield from _plain(pieces, name)
        case "csv" | "tsv":
            yield from _table(pieces, name, field, "\t" if kind == "tsv" else None, normal)
        case "json":
            yield from texts(json_values(pieces, name), field, name, normal)
        case "jsonl":
            yield from texts(_json_lines(pieces, name), field, name, normal)
        case _:
            raise AssertionError(f"no such kind: {kind}")


def _plain(pieces: Iterable[str], name: str) -> Iterator[Piece]:
    first = True
    for text in pieces:
        if first and text.isspace():
            continue  # a blank file is an empty one
        if text:
            yield Piece(text, first, name)
            first = False


def _lines(pieces: Iterable[str], name: str) -> Iterator[tuple[int, str]]:
    r"""Numbered lines with their ends. Only "\n" ends one: U+2028 and U+0085 are text."""
    number, carry, held = 1, [], 0
    for piece in pieces:
        for line in io.StringIO(piece, newline="\n"):
            carry.append(line)
            held += len(line)
            if held > LONGEST:
                raise ValueError(f"{name}:{number}: a line of over {LONGEST:,} characters")
            if line.endswith("\n"):
                yield number, "".join(carry) if len(carry) > 1 else line
                number, held = number + 1, 0
                carry.clear()
    if carry:
        yield number, "".join(carry)


def _json_lines(pieces: Iterable[str], name: str) -> Iterator[tuple[int, Any]]:
    for number, line in _lines(pieces, name):
        if line.isspace():
            continue
        try:
            yield number, json.loads(line)
        except json.JSONDecodeError as error:
            at = f"{error.msg} at column {error.colno}"
            raise ValueError(f"{name}:{number}: malformed JSON: {at}") from None
        except (ValueError, RecursionError) as error:  # a number of 5,000 digits, deep nesting
            raise ValueError(f"{name}:{number}: JSON we cannot read: {error}") from None


def _table(
    pieces: Iterable[str], name: str, field: str | None, delimiter: str | None, normal: bool
) -> Iterator[Piece]:
    """CSV with a header; `delimiter` None takes the likeliest of comma, tab and semicolon."""
    numbered = _lines(pieces, name)
    first = next((line for _, line in numbered if not line.isspace()), "")
    if delimiter is None:
        delimiter = max(",\t;", key=first.count)
    ended = False

    def lines() -> Iterator[str]:
        nonlocal ended
        yield first
        for _, line in numbered:
            yield line
        ended = True

    # Process-wide, and far over any document; the default of 128 KiB is under many.
    csv.field_size_limit(LONGEST)
    reader = csv.reader(lines(), delimiter=delimiter)

    def rows() -> Iterator[tuple[int, list[str]]]:
        while True:
            line = reader.line_num + 1
            try:
                row = next(reader, None)
            except csv.Error as error:
                raise ValueError(f"{name}:{line}: malformed CSV: {error}") from None
            if row is None:
                return
            if ended:  # only the end of the file ended this row
                raise ValueError(f"{name}:{line}: malformed CSV: a quote is never closed")
            if row:
                yield line, row

    every = rows()
    header = [cell.strip() for cell in next(every, (0, []))[1]]
    sample: list[tuple[int, list[str]]] = []
    broken: ValueError | None = None
    try:
        for numbered_row in every:
            sample.append(numbered_row)
            if len(sample) == SAMPLE:
                break
    except ValueError as error:  # not before the rows that came first
        broken = error
    kinds = dict.fromkeys(header, "null")
    for key, cell in chain.from_iterable(zip(header, row, strict=False) for _, row in sample):
        if cell.strip() and kinds[key] != "text":
            kinds[key] = "digits" if _is_number(cell) else "text"
    if not sample and broken is not None:
        raise broken
    if not sample:
        return
    column = header.index(choose(kinds, field, name))
    for line, row in chain(sample, every):
        if column < len(row):
            yield from document(row[column], f"{name}:{line}", normal)
    if broken is not None:
        raise broken


def _is_number(cell: str) -> bool:
    with suppress(ValueError):
        float(cell)
        return True
    return False


def _parquet(raw: BinaryIO, name: str, field: str | None, normal: bool) -> Iterator[Piece]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(raw, pre_buffer=False, buffer_size=1 << 20) as file:
            kinds: dict[str, str] = {}
            for column in file.schema_arrow:
                _collect_arrow(column.name, column.type, kinds)
            path = choose(kinds, field, name)
            names = file.schema_arrow.names
            root = path if path in names else path.partition(".")[0]
            number = 0
            # One column, a few hundred rows at a time: a row group may be larger than memory.
            for batch in file.iter_batches(batch_size=256, columns=[root], use_threads=False):
                for value in batch.column(root).to_pylist():
                    number += 1
                    yield from take({root: value}, path, f"{name}:{number}", normal)
    except pa.ArrowException as error:
        raise ValueError(f"{name}: not readable as Parquet: {_first_line(error)}") from None


def _collect_arrow(path: str, kind: Any, kinds: dict[str, str]) -> None:
    from pyarrow import types

    while types.is_list(kind) or types.is_large_list(kind) or types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_struct(kind):
        kinds[path] = "an object"
        for child in kind:
            _collect_arrow(f"{path}.{child.name}", child.type, kinds)
    else:
        view = getattr(types, "is_string_view", lambda _: False)
        text = types.is_string(kind) or types.is_large_string(kind) or view(kind)
        kinds[path] = "text" if text else f"of type {kind}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
