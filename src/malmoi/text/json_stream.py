"""JSON that arrives in pieces: one value after the other, whatever the size of the file.

The standard library parses a whole file or nothing; a corpus is often one array of gigabytes.
JSON lines need none of this: `formats.py` parses them line by line.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from malmoi.text.records import LONGEST


def json_values(pieces: Iterable[str], name: str) -> Iterator[tuple[int, Any]]:
    """Parse the items of one array, or values one after the other (often just one).

    Yields:
        The line where the value begins, from 1, and the value.

    Raises:
        ValueError: malformed JSON, or a value longer than `LONGEST`; one line that says where.

    """
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
            if held - self._at > LONGEST:
                raise self.malformed(f"a value of over {LONGEST:,} characters; use JSON lines")
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
