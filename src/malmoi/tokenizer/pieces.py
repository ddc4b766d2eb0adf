"""What each token adds to the text, in bytes, read off a tokenizer's decoder.

`tokenizers` decodes a whole list of ids at once, and replaces a run of bytes altogether where one
of them is bad. With the bytes of each token in a table, decoding is joining, and can go on token by
token (see `stream.py`).
"""

import re
from typing import Any

BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>\Z")


def byte_level_alphabet() -> dict[str, int]:
    """GPT-2's characters for the 256 bytes: printable ones stand for themselves."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(own)]
    table = {chr(byte): byte for byte in own}
    table.update({chr(256 + i): byte for i, byte in enumerate(others)})
    return table


def token_table(spec: dict[str, Any], size: int) -> tuple[list[bytes], dict[int, str], bool]:
    """Read a parsed `tokenizer.json`.

    Returns the bytes of each of the `size` ids (`b""` for special tokens and for holes), the names
    of the special ids, and whether the first space of a decoded text is the tokenizer's own (the
    "dummy prefix") and falls away. Raises ValueError for a decoder that cannot go token by token.
    """
    vocab = spec["model"]["vocab"]
    names: dict[int, str] = (
        {i: item[0] for i, item in enumerate(vocab)}
        if isinstance(vocab, list)
        else {i: token for token, i in vocab.items()}
    )
    added = {item["id"]: item for item in spec.get("added_tokens") or ()}
    steps = _flatten(spec.get("decoder"))
    table = [b""] * size
    for index, name in names.items():
        table[index] = _to_bytes(name, steps)
    for index, item in added.items():
        table[index] = b"" if item["special"] else item["content"].encode()
    special = {index: item["content"] for index, item in added.items() if item["special"]}
    return table, special, _drops_first_space(steps)


def _flatten(decoder: dict[str, Any] | None) -> list[dict[str, Any]]:
    if decoder is None:
        return [{"type": "WordPiece", "prefix": ""}]  # `tokenizers` then joins with spaces
    if decoder["type"] == "Sequence":
        return [step for part in decoder["decoders"] for step in _flatten(part)]
    return [decoder]


def _to_bytes(name: str, steps: list[dict[str, Any]]) -> bytes:
    text = name
    for step in steps:
        match step["type"]:
            case "ByteLevel":
                if all(char in _BYTE_LEVEL for char in text):
                    return bytes(_BYTE_LEVEL[char] for char in text)
            case "ByteFallback":
                if found := BYTE_TOKEN.match(text):
                    return bytes([int(found[1], 16)])
            case "Replace" if "String" in step["pattern"]:
                text = text.replace(step["pattern"]["String"], step["content"])
            case "Metaspace":
                text = text.replace(step["replacement"], " ")
            case "WordPiece":
                prefix = step["prefix"]
                text = text[len(prefix) :] if prefix and text.startswith(prefix) else " " + text
            case "Fuse" | "Strip":
                pass
            case other:
                raise ValueError(f"its decoder has a step {other} that is not supported")
    return text.encode()


def _drops_first_space(steps: list[dict[str, Any]]) -> bool:
    drops = False
    for step in steps:
        match step["type"]:
            case "Strip":
                if step["content"] != " " or step["stop"] or step["start"] > 1:
                    raise ValueError("its decoder strips more than one leading space")
                drops |= step["start"] == 1
            case "Metaspace":
                drops |= step.get("prepend_scheme", "always") != "never"
            case "WordPiece":
                drops = True
    return drops


_BYTE_LEVEL = byte_level_alphabet()
