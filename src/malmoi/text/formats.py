"""One opened file to documents: plain text, CSV and TSV, JSON, JSON lines, Parquet.

Everything streams; what is held is one record, or a megabyte of plain text. `sources.py`, the
neighbour, says which files there are and opens them; `encoding.py` decodes them.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO

from malmoi.text.encoding import decode_stream, nfc

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
FIELDS = ("document", "text", "content")  # found by themselves, in this order
_SAMPLE = 100  # records that are looked at to find the field
_LONGEST = 1 << 28  # characters of one record


@dataclass(frozen=True)
class Piece:
    """A document, or the next part of a long one.

    Attributes:
        text: NFC, no byte order mark, line ends are "\\n"; never empty.
        first: A new document begins here.
        source: Where from, for messages: "file.jsonl:12", "builtin:stories".

    """

    text: str
    first: bool
    source: str


def documents(
    raw: BinaryIO, kind: str, name: str, *, field: str | None = None, encoding: str | None = None
) -> Iterator[Piece]:
    """Read the documents of one file; blank ones are left out.

    Args:
        raw: The decompressed file; for Parquet it has to be seekable.
        kind: One of the values of `KINDS`.
        name: What to call the file in messages.
        field: The field or column that holds the text, "a.b" for a nested one; None finds
            `document`, `text`, `content` or the only text there is. Plain text has none.
        encoding: A codec's name; None detects it.

    Raises:
        ValueError: the file is not what its kind says, or lacks the field; one line that says so.

    """
    if kind == "parquet":
        yield from _parquet(raw, name, field)
        return
    pieces = decode_stream(raw, encoding, name)
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
            yield from _table(pieces, name, field, "\t" if kind == "tsv" else None)
        case "json":
            yield from texts(_json_values(pieces, name), field, name)
        case "jsonl":
            yield from texts(_json_lines(pieces, name), field, name)
        case _:
            raise AssertionError(f"no such kind: {kind}")


def document(text: str, source: str) -> Iterator[Piece]:
    """One record's text as a piece; nothing if it is blank."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # JSON can spell half a surrogate pair: "\\ud83d"
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text and not text.isspace():
        yield Piece(nfc(text), True, source)


def texts(records: Iterable[tuple[int, Any]], field: str | None, name: str) -> Iterator[Piece]:
    """Take the text out of numbered records: objects, or bare strings.

    A list of texts in the field is a document each. A record without the field is left out.

    Raises:
        ValueError: the field is in none of the first records, or is not text.

    """
    records = iter(records)
    sample: list[tuple[int, Any]] = []
    kinds: dict[str, str] = {}
    wanted = FIELDS if field is None else (field,)
    for number, record in records:
        if not isinstance(record, str | dict):
            what = _kind_of(record)
            raise ValueError(f"{name}:{number}: expected an object or a string, found {what}")
        sample.append((number, record))
        if isinstance(record, dict):
            _collect(record, "", kinds)
        if len(sample) == _SAMPLE or any(kinds.get(key) == "text" for key in wanted):
            break
    path = _choose(kinds, field, name) if any(isinstance(r, dict) for _, r in sample) else None
    for number, record in chain(sample, records):
        if isinstance(record, str):
            yield from document(record, f"{name}:{number}")
        elif isinstance(record, dict):
            if path is None:  # strings first, an object later
                _collect(record, "", kinds)
                path = _choose(kinds, field, name)
            yield from _take(record, path, f"{name}:{number}")
        else:
            what = _kind_of(record)
            raise ValueError(f"{name}:{number}: expected an object or a string, found {what}")


def _take(value: Any, path: str, source: str) -> Iterator[Piece]:
    """The texts at a path, through lists."""
    if isinstance(value, list):
        for item in value:
            yield from _take(item, path, source)
    elif isinstance(value, str) and not path:
        yield from document(value, source)
    elif isinstance(value, dict) and path in value:
        yield from _take(value[path], "", source)
    elif isinstance(value, dict) and path:
        key, _, rest = path.partition(".")
        if rest and key in value:
            yield from _take(value[key], rest, source)
    elif value is not None and not path:
        raise ValueError(f"{source}: the field is {_kind_of(value)}, not text")


def _kind_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case str():
            return "text"
        case bool():
            return "a truth value"
        case int() | float():
            return "a number"
        case dict():
            return "an object"
        case list():
            return "a list"
        case _:
            return f"a {type(value).__name__}"


def _collect(value: Any, path: str, kinds: dict[str, str]) -> None:
    """Note what kind of value each path of a record holds; text wins, null loses."""
    if isinstance(value, dict):
        if path:
            kinds.setdefault(path, "an object")
        for key, item in value.items():
            _collect(item, f"{path}.{key}" if path else key, kinds)
    elif isinstance(value, list):
        kinds.setdefault(path, "a list")
        for item in value[:_SAMPLE]:
            _collect(item, path, kinds)
    else:
        kind = _kind_of(value)
        if kind == "text" or kinds.get(path, "null") == "null":
            kinds[path] = kind


def _choose(kinds: dict[str, str], field: str | None, name: str) -> str:
    """The path of the text among fields of known kind, or a ValueError that lists them."""
    leaves = [key for key, kind in kinds.items() if kind not in ("an object", "a list")]
    # A key can be anything, an essay with line ends included; the message stays one short line.
    short = [" ".join(key.split())[:40] for key in leaves[:20]]
    there = ", ".join(short) + (", ..." if len(leaves) > 20 else "") or "none"
    if field is not None:
        if field not in kinds:
            raise ValueError(f"{name}: no field {field!r}; the fields are: {there}")
        if kinds[field] not in ("text", "null", "digits"):
            raise ValueError(f"{name}: field {field!r} is {kinds[field]}, not text; of: {there}")
        return field
    for accepted in (("text", "digits"), ("null",)):  # null so far: the text may come later
        for key in FIELDS:
            if kinds.get(key) in accepted:
                return key
    found = [key for key in leaves if kinds[key] == "text"]
    if len(found) != 1:
        which = "which field is the text" if found else "no field with text"
        raise ValueError(f"{name}: {which}? say --field NAME; the fields are: {there}")
    return found[0]


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
            if held > _LONGEST:
                raise ValueError(f"{name}:{number}: a line of over {_LONGEST:,} characters")
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


class _JsonText:
    """A cursor over JSON that arrives in pieces.

    The standard parser wants a whole value at once, so it is offered what was read so far, and
    twice as much after each failure that more text could cure: linear in the end.
    """

    def __init__(self, pieces: Iterable[str], name: str) -> None:
        self._source, self._name = iter(pieces), name
        self._buffer, self._at, self._ended = "", 0, False
        self.line = 1
        self._parse = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """The next character that is not blank, "" at the end."""
        while True:
            end = self._at
            while end < len(self._buffer) and self._buffer[end] in " \t\n\r":
                end += 1
            self._move(end)
            if end < len(self._buffer) or self._ended:
                return self._buffer[end : end + 1]
            self._more()

    def skip(self) -> None:
        """Step over the character that `peek` showed."""
        self._at += 1

    def value(self) -> Any:
        while True:
            held = len(self._buffer)
            try:
                value, end = self._parse(self._buffer, self._at)
            except json.JSONDecodeError as error:
                # Only at the very end can a word, a number or an escape be cut in two.
                cut = error.msg.startswith("Unterminated string") or error.pos > held - 16
                if self._ended or not cut:
                    self._move(error.pos)
                    raise self.malformed(error.msg) from None
            except (ValueError, RecursionError) as error:
                raise self.malformed(str(error)) from None
            else:
                if end < held or self._ended or self._buffer[end - 1] in '"}]':
                    self._move(end)
                    return value
            if held - self._at > _LONGEST:
                raise self.malformed(f"a value of over {_LONGEST:,} characters; use JSON lines")
            self._more()

    def malformed(self, what: str) -> ValueError:
        return ValueError(f"{self._name}:{self.line}: malformed JSON: {what}")

    def _move(self, to: int) -> None:
        self.line += self._buffer.count("\n", self._at, to)
        self._at = to

    def _more(self) -> None:
        parts = [self._buffer[self._at :]]
        self._at, want = 0, max(1, len(parts[0]))
        while want > 0 and not self._ended:
            piece = next(self._source, None)
            self._ended = piece is None
            parts.append(piece or "")
            want -= len(parts[-1])
        self._buffer = "".join(parts)


def _json_values(pieces: Iterable[str], name: str) -> Iterator[tuple[int, Any]]:
    """Numbered by line: the items of one array, or values one after the other (often just one)."""
    text = _JsonText(pieces, name)
    array = text.peek() == "["
    if array:
        text.skip()
    while char := text.peek():
        if array and char == "]":
            text.skip()
            if text.peek():
                raise text.malformed("more text after the array; JSON lines are named .jsonl")
            return
        line = text.line
        yield line, text.value()
        if array and text.peek() == ",":
            text.skip()
        elif array and text.peek() != "]":
            raise text.malformed("expected ',' or ']' after an item of the array")
    if array:
        raise text.malformed("the array is never closed; the file is cut short")


def _table(
    pieces: Iterable[str], name: str, field: str | None, delimiter: str | None
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
    csv.field_size_limit(_LONGEST)
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
    for numbered_row in every:
        sample.append(numbered_row)
        if len(sample) == _SAMPLE:
            break
    kinds = dict.fromkeys(header, "null")
    for key, cell in chain.from_iterable(zip(header, row, strict=False) for _, row in sample):
        if cell.strip() and kinds[key] != "text":
            kinds[key] = "digits" if _is_number(cell) else "text"
    if not sample:
        return
    column = header.index(_choose(kinds, field, name))
    for line, row in chain(sample, every):
        if column < len(row):
            yield from document(row[column], f"{name}:{line}")


def _is_number(cell: str) -> bool:
    with suppress(ValueError):
        float(cell)
        return True
    return False


def _parquet(raw: BinaryIO, name: str, field: str | None) -> Iterator[Piece]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(raw, pre_buffer=False, buffer_size=1 << 20) as file:
            kinds: dict[str, str] = {}
            for column in file.schema_arrow:
                _collect_arrow(column.name, column.type, kinds)
            path = _choose(kinds, field, name)
            names = file.schema_arrow.names
            root = path if path in names else path.partition(".")[0]
            number = 0
            # One column, a few hundred rows at a time: a row group may be larger than memory.
            for batch in file.iter_batches(batch_size=256, columns=[root], use_threads=False):
                for value in batch.column(root).to_pylist():
                    number += 1
                    yield from _take({root: value}, path, f"{name}:{number}")
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
