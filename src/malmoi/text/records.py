"""Records to documents: which field holds the text, and taking it out of each record.

A record is an object of JSON, a row of a table or of the hub. `formats.py`, the neighbour, reads
them from files. The field is chosen once, from the first records, and the same for a whole file.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from malmoi.text.encoding import nfc

FIELDS = ("document", "text", "content")  # found by themselves, in this order
SAMPLE = 100  # records that are looked at to find the field
LONGEST = 1 << 28  # characters of one record


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


def document(text: str, source: str, normal: bool = True) -> Iterator[Piece]:
    """Make one record's text a piece: NFC if `normal`, "\\n" line ends; nothing if it is blank."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # JSON can spell half a surrogate pair: "\\ud83d"
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text and not text.isspace():
        yield Piece(nfc(text) if normal else text, True, source)


def texts(
    records: Iterable[tuple[int, Any]], field: str | None, name: str, normal: bool = True
) -> Iterator[Piece]:
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
            collect(record, "", kinds)
        if len(sample) == SAMPLE or any(kinds.get(key) == "text" for key in wanted):
            break
    path = choose(kinds, field, name) if any(isinstance(r, dict) for _, r in sample) else None
    for number, record in chain(sample, records):
        if isinstance(record, str):
            yield from document(record, f"{name}:{number}", normal)
        elif isinstance(record, dict):
            if path is None:  # strings first, an object later
                collect(record, "", kinds)
                path = choose(kinds, field, name)
            yield from take(record, path, f"{name}:{number}", normal)
        else:
            what = _kind_of(record)
            raise ValueError(f"{name}:{number}: expected an object or a string, found {what}")


def take(value: Any, path: str, source: str, normal: bool = True) -> Iterator[Piece]:
    """Take the texts at a path of a record, through lists; nothing where the path leads nowhere.

    Raises:
        ValueError: what is there is not text.

    """
    if isinstance(value, list):
        for item in value:
            yield from take(item, path, source, normal)
    elif isinstance(value, str) and not path:
        yield from document(value, source, normal)
    elif isinstance(value, dict) and path in value:
        yield from take(value[path], "", source, normal)
    elif isinstance(value, dict) and path:
        key, _, rest = path.partition(".")
        if rest and key in value:
            yield from take(value[key], rest, source, normal)
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


def collect(value: Any, path: str, kinds: dict[str, str]) -> None:
    """Note what kind of value each path of a record holds; text wins, null loses."""
    if isinstance(value, dict):
        if path:
            kinds.setdefault(path, "an object")
        for key, item in value.items():
            collect(item, f"{path}.{key}" if path else key, kinds)
    elif isinstance(value, list):
        kinds.setdefault(path, "a list")
        for item in value[:SAMPLE]:
            collect(item, path, kinds)
    else:
        kind = _kind_of(value)
        if kind == "text" or kinds.get(path, "null") == "null":
            kinds[path] = kind


def choose(kinds: dict[str, str], field: str | None, name: str) -> str:
    """Choose the path of the text among the fields of a file.

    Args:
        kinds: What each path holds: "text", "digits" (a table's cells, which may be numbers),
            "null" (nothing yet), or words for a message, as "a list".
        field: The path the user asked for; None finds it.
        name: What to call the file in messages.

    Raises:
        ValueError: there is no such field, it is not text, or it is not clear which; it lists
            the fields.

    """
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
