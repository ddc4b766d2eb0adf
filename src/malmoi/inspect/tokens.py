"""The picture of `malmoi tokenizer report`: one sentence, cut by each of several tokenizers.

A row is a tokenizer, a box a token. Where a token holds bytes that are no whole character, they are
written as hex, and the character that they belong to stands above them. It reads the records that
`malmoi.tokenizer.report.cut` makes; `pen.py` writes its letters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from malmoi.inspect.fonts import quiet
from malmoi.inspect.pen import Pen

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORDS = {
    "en": {
        "title": "One text, cut by each tokenizer",
        "tokens": "{n:,} tokens",
        "one": "1 token",
        "vocabulary": "vocabulary {n:,}",
        "torn": "{torn} of {all} characters torn",
        "lost": "the text does not come back",
        "key_token": "a token",
        "key_space": "a space",
        "key_bytes": "bytes that are no whole character, and the character they are part of",
        "key_special": "a special token",
    },
    "ko": {
        "title": "같은 글을 토크나이저마다 자른 모습",
        "tokens": "토큰 {n:,}개",
        "one": "토큰 1개",
        "vocabulary": "어휘 {n:,}개",
        "torn": "글자 {all}개 가운데 {torn}개가 찢어짐",
        "lost": "원래 글로 돌아오지 않음",
        "key_token": "토큰",
        "key_space": "빈칸",
        "key_bytes": "온전한 글자가 못 되는 바이트, 그리고 그 바이트가 속한 글자",
        "key_special": "특수 토큰",
    },
}

WIDTH = 1200
"""of the figure at its 100 dots per inch; all sizes below are in these pixels"""
MARGIN, GAP, PAD = 26, 4, 7
TALL = 38  # a box
ABOVE = 36  # the room for torn characters above a line of boxes
LETTER, HEX, SMALL, HEAD = 20, 14, 15, 18
LONGEST = 40  # characters of a token that are shown

FILLS = ("#d6e6f5", "#dcefd9", "#fdf0c8", "#e6dff2", "#d5eeea")
BYTES, SPECIAL, INK, GREY, RED = "#fbe4dc", "#555555", "#1c1c1c", "#6b6b6b", "#b3261e"

Kind = Literal["text", "mark", "hex", "special"]
Record = dict[str, Any]


@dataclass
class Item:
    """A part of a token's box: letters, a sign for white space, a byte, a special token's name."""

    kind: Kind
    text: str
    char: int = -1
    """of which character a byte is"""
    x: float = 0.0
    width: float = 0.0


@dataclass
class Box:
    """A token: what is written in it, and where it stands."""

    items: list[Item]
    color: str
    joined: bool
    """whether it shares a character with the token before it"""
    x: float = 0.0
    width: float = 0.0


def draw(cuts: Sequence[Record], language: str = "en", font: str | None = None) -> "Figure":
    """Draw a row for each record.

    Args:
        cuts: what `cut` made, each with `name` and `vocab_size` beside; all of one text.
        language: "ko" or "en", of the words around.
        font: a family that has Hangul; without one Hangul is drawn in strokes.

    """
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyBboxPatch

    words = WORDS[language]
    with quiet():
        pen = Pen(font)
        rows = [_row(record, pen) for record in cuts]
        heights = [_row_height(lines) for _, lines, _ in rows]
        height = MARGIN + 44 + sum(heights) + 2 * SMALL + 34
        figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=200)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, WIDTH)
        axes.set_ylim(height, 0)
        pen.axes = axes

        def box(x: float, y: float, width: float, color: str, edge: str, style: str = "-") -> None:
            shape = FancyBboxPatch(
                (x + 3, y + 3), width - 6, TALL - 6, boxstyle="round,pad=3,rounding_size=5",
                facecolor=color, edgecolor=edge, linewidth=0.9, linestyle=style,
            )  # fmt: skip
            axes.add_patch(shape)

        pen.write(MARGIN, MARGIN + HEAD, words["title"], HEAD + 2, INK, bold=True)
        y = MARGIN + 44.0
        for record, (chars, lines, torn), tall in zip(cuts, rows, heights, strict=True):
            axes.plot((MARGIN, WIDTH - MARGIN), (y, y), color="#d9d9d9", linewidth=0.8)
            _head(record, len(chars), len(torn), words, pen, y + 28)
            below = y + 40
            for line in lines:
                below += ABOVE * _has_bytes(line)
                for one in line:
                    split = one.color == BYTES
                    box(one.x, below, one.width, one.color, RED if split else "#9a9a9a",
                        "--" if split else "-")  # fmt: skip
                    _write(one, pen, below)
                _brackets(line, torn, chars, pen, below)
                below += TALL + GAP + 4
            y += tall
        _keys(words, pen, box, y + 10)
    return figure


def _row(record: Record, pen: Pen) -> tuple[list[tuple[int, int, str]], list[list[Box]], set[int]]:
    """Characters of what the tokens spell (begin, end, itself), lines of boxes, which are torn."""
    tokens = record["tokens"]
    data = b"".join(bytes.fromhex(token["hex"]) for token in tokens)
    chars = _characters(data)
    of = [i for i, (begin, end, _) in enumerate(chars) for _ in range(begin, end)]
    boxes: list[Box] = []
    torn: set[int] = set()
    at = 0
    for number, token in enumerate(tokens):
        end = at + len(token["hex"]) // 2
        joined = 0 < at < len(data) and of[at] == of[at - 1]
        if token["special"]:
            items = [Item("special", token["text"])]
        else:
            items = _items(data, at, end, chars, of)
        torn |= {item.char for item in items if item.kind == "hex"}
        split = any(item.kind == "hex" for item in items)
        color = BYTES if split else SPECIAL if token["special"] else FILLS[number % len(FILLS)]
        boxes.append(_measured(Box(items, color, joined), pen))
        at = end
    return chars, _lines(boxes), torn


def _characters(data: bytes) -> list[tuple[int, int, str]]:
    """Begin and end of each character, and itself; bytes that form none are U+FFFD each."""
    found = []
    at = 0
    while at < len(data):
        for size in (1, 2, 3, 4):
            try:
                found.append((at, at + size, data[at : at + size].decode()))
                break
            except UnicodeDecodeError:
                continue
        else:
            size = 1
            found.append((at, at + 1, "\ufffd"))
        at += size
    return found


def _items(
    data: bytes, begin: int, end: int, chars: list[tuple[int, int, str]], of: list[int]
) -> list[Item]:
    items: list[Item] = []
    at = begin
    while at < end:
        first, last, char = chars[of[at]]
        if first < begin or last > end or char == "\ufffd":
            items.append(Item("hex", f"{data[at]:02X}", of[at]))
            at += 1
            continue
        if char == " ":
            items.append(Item("mark", "␣"))
        elif not char.isprintable():
            items.append(Item("mark", repr(char)[1:-1]))
        elif items and items[-1].kind == "text":
            items[-1].text += char
        else:
            items.append(Item("text", char))
        at = last
    shown = 0
    for number, item in enumerate(items):
        shown += len(item.text)
        if shown > LONGEST:
            item.text = item.text[: len(item.text) - (shown - LONGEST)] + "…"
            return items[: number + 1]
    return items


def _measured(box: Box, pen: Pen) -> Box:
    x = float(PAD)
    for item in box.items:
        item.x = x
        item.width = pen.width(item.text, *_style(item))
        x += item.width + (4 if item.kind == "hex" else 1)
    box.width = max(x + PAD - (4 if box.items and box.items[-1].kind == "hex" else 1), 2 * PAD + 4)
    return box


def _style(item: Item) -> tuple[float, bool]:
    """Size, and whether all letters are equally wide."""
    return (HEX, True) if item.kind == "hex" else (LETTER if item.kind == "text" else SMALL, False)


def _lines(boxes: list[Box]) -> list[list[Box]]:
    """Break into lines, within a character only where its tokens are longer than a line."""
    groups: list[list[Box]] = []
    for box in boxes:
        if box.joined:
            groups[-1].append(box)
        else:
            groups.append([box])
    lines: list[list[Box]] = [[]]
    x = float(MARGIN)
    most = WIDTH - MARGIN
    for group in groups:
        width = sum(box.width + GAP for box in group) - GAP
        if x + width > most and x > MARGIN:
            lines.append([])
            x = MARGIN
        for box in group:
            if x + box.width > most and x > MARGIN:
                lines.append([])
                x = MARGIN
            box.x = x
            x += box.width + GAP
            lines[-1].append(box)
    return lines


def _has_bytes(line: list[Box]) -> bool:
    return any(item.kind == "hex" for box in line for item in box.items)


def _row_height(lines: list[list[Box]]) -> float:
    tall = sum(TALL + GAP + 4 + ABOVE * _has_bytes(line) for line in lines)
    return 40 + tall + 16


def _head(record: Record, chars: int, torn: int, words: dict[str, str], pen: Pen, y: float) -> None:
    x = pen.write(MARGIN, y, record["name"], HEAD, INK, bold=True) + 14
    pen.write(x, y, words["vocabulary"].format(n=record["vocab_size"]), SMALL, GREY)
    n = len(record["tokens"])
    said = [words["one"] if n == 1 else words["tokens"].format(n=n)]
    if torn:
        said.append(words["torn"].format(torn=torn, all=chars))
    if not record["round_trip"]:
        said.append(words["lost"])
    text = "  ·  ".join(said)
    bad = torn or not record["round_trip"]
    pen.write(WIDTH - MARGIN - 4 - pen.width(text, SMALL), y, text, SMALL, RED if bad else GREY)


def _write(box: Box, pen: Pen, top: float) -> None:
    base = top + TALL / 2 + 7
    for item in box.items:
        size, mono = _style(item)
        color = {"hex": RED, "mark": GREY, "special": "white"}.get(item.kind, INK)
        lift = 1.5 if item.kind in ("hex", "mark", "special") else 0
        pen.write(box.x + item.x, base - lift, item.text, size, color, mono=mono)


def _brackets(
    line: list[Box], torn: set[int], chars: list[tuple[int, int, str]], pen: Pen, top: float
) -> None:
    """Above the bytes of each torn character that are in this line: a bracket and itself."""
    for char in sorted(torn):
        places = [
            (box.x + item.x, box.x + item.x + item.width)
            for box in line
            for item in box.items
            if item.kind == "hex" and item.char == char
        ]
        if not places:
            continue
        left, right = places[0][0], places[-1][1]
        pen.line(((left, top - 3), (left, top - 8), (right, top - 8), (right, top - 3)), RED)
        text = chars[char][2]
        size = HEAD if pen.has(text) else HEX
        if not text.isprintable():  # joiners and the like: as the pen writes what no font has
            text, size = f"U+{ord(text):04X}", HEX
        pen.write((left + right - pen.width(text, size)) / 2, top - 13, text, size, RED)


def _keys(words: dict[str, str], pen: Pen, box: Any, y: float) -> None:
    """What the boxes mean."""
    base = y + TALL / 2 + 6
    x = float(MARGIN)
    for color, edge, style, sign, size, ink, text in (
        (FILLS[0], "#9a9a9a", "-", "", SMALL, INK, words["key_token"]),
        ("white", "white", "-", "␣", SMALL, GREY, words["key_space"]),
        (BYTES, RED, "--", "EA", HEX, RED, words["key_bytes"]),
        (SPECIAL, "#9a9a9a", "-", "", SMALL, "white", words["key_special"]),
    ):
        width = 36 if sign != "␣" else 18
        box(x, y, width, color, edge, style)
        mono = sign == "EA"
        pen.write(x + (width - pen.width(sign, size, mono)) / 2, base, sign, size, ink, mono=mono)
        x = pen.write(x + width + 8, base, text, SMALL, GREY) + 26
