"""Texts from the command line, a file or stdin: one a line, or JSON Lines."""

import json
import sys
from pathlib import Path
from typing import Any

from malmoi.text.encoding import decode_stream

KEYS = ("prompt", "text")


def read_texts(source: str) -> list[str]:
    r"""The texts of a file, `-` for stdin: one a line, an empty line an empty text.

    In a `.jsonl` file a line is a JSON string, or an object with the key `prompt` or `text`; that
    is for texts of several lines. The encoding is found out; "\r\n" ends a line as "\n" does.

    Raises:
        ValueError: a file that cannot be read, holds no texts, or is not what its name says.

    """
    name = "stdin" if source == "-" else source
    try:
        if source == "-":
            text = "".join(decode_stream(sys.stdin.buffer, None, name))
        else:
            with Path(source).open("rb") as file:
                text = "".join(decode_stream(file, None, name))
    except OSError as error:
        raise ValueError(f"{name}: cannot be read: {error.strerror}") from None
    lines = text.removesuffix("\n").split("\n") if text else []
    if source.endswith(".jsonl"):
        lines = [
            _text(line, f"{name}:{number}")
            for number, line in enumerate(lines, start=1)
            if line.strip()
        ]
    if not lines:
        raise ValueError(f"{name}: holds no texts")
    return lines


def _text(line: str, place: str) -> str:
    try:
        value: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: malformed JSON: {error}") from None
    if isinstance(value, dict):
        value = next((value[key] for key in KEYS if key in value), None)
    if not isinstance(value, str):
        raise ValueError(f"{place}: wants a JSON string, or an object with one as prompt or text")
    return value
