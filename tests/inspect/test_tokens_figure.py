"""The picture of cut sentences: every token, every byte, inside, apart, and no boxes for Hangul."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text

from malmoi.inspect.fonts import has
from malmoi.inspect.pen import Pen
from malmoi.inspect.strokes import plain, strokes
from malmoi.inspect.tokens import MARGIN, WIDTH, WORDS, draw

TEXT = "말모이는 1911년 첫 사전이다."


def token(data: bytes, text: str | None = None, *, special: bool = False) -> dict[str, Any]:
    if text is None and not special:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = None
    return {"id": 7, "hex": data.hex(), "text": text, "special": special}


def record(name: str, *parts: bytes, back: bool = True) -> dict[str, Any]:
    return {
        "name": name, "vocab_size": 1234, "text": b"".join(parts).decode(),
        "tokens": [token(part) for part in parts], "round_trip": back,
    }  # fmt: skip


def by_syllables(text: str = TEXT) -> dict[str, Any]:
    return record("char", *(char.encode() for char in text))


def by_bytes(text: str = TEXT) -> dict[str, Any]:
    return record("bytes", *(bytes([byte]) for byte in text.encode()))


def written(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text().strip()]


def boxes(figure: Figure) -> list[FancyBboxPatch]:
    return [patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]


KEYS = 4  # boxes that explain the others


@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.parametrize("text", [TEXT, "한", TEXT * 8])
def test_all_is_inside_and_nothing_overlaps(text: str, language: str) -> None:
    figure = draw([by_syllables(text), by_bytes(text)], language)
    figure.set_dpi(100)
    renderer = FigureCanvasAgg(figure).get_renderer()
    places = [box.get_window_extent(renderer) for box in boxes(figure)]
    assert len(places) == len(text) + len(text.encode()) + KEYS
    for place in places:
        assert MARGIN - 2 <= place.x0 < place.x1 <= WIDTH - MARGIN + 2
        assert 0 <= place.y0 < place.y1 <= figure.bbox.y1
    for one, other in itertools.combinations(places, 2):
        assert not one.padded(-1).overlaps(other.padded(-1))
    words = [t for t in figure.findobj(Text) if t.get_text().strip()]
    for one in words:
        extent = one.get_window_extent(renderer)
        assert figure.bbox.x0 <= extent.x0 < extent.x1 <= figure.bbox.x1 - MARGIN + 6
        # Legible where the picture is 1,200 pixels wide.
        assert one.get_fontsize() * 100 / 72 >= 13.9
    line_height = [line.get_ydata() for line in figure.axes[0].get_lines()]
    assert all(0 <= y <= figure.bbox.y1 for ys in line_height for y in ys)


def test_a_picture_is_1200_wide_or_a_multiple(tmp_path: Path) -> None:
    from matplotlib.image import imread

    draw([by_bytes()], "ko").savefig(tmp_path / "a.png", format="png")
    height, width = imread(tmp_path / "a.png").shape[:2]
    assert width == 2 * WIDTH
    assert height > 200


def test_bytes_are_written_as_hex_with_their_character_above() -> None:
    figure = draw([record("x", " 뷁"[:1].encode() + b"\xeb", b"\xb7\x81", b"a b")], "en")
    words = written(figure)
    for byte in ("EB", "B7", "81"):
        assert words.count(byte) == 1
    assert "␣" in words
    assert {"a", "b"} <= set(words)
    assert "3 tokens  ·  1 of 5 characters torn" in words
    # One bracket for the syllable and the strokes of the syllable itself.
    red = [line for line in figure.axes[0].get_lines() if line.get_color() == "#b3261e"]
    assert len(red) == 1 + len(strokes("뷁") or ())


def test_what_is_lost_and_unknown_is_told() -> None:
    lost = record("lean", "말".encode(), back=False)
    lost["tokens"].append(token(b"", "<|unk|>", special=True))
    words = written(draw([lost], "en"))
    assert "<|unk|>" in words
    assert "2 tokens  ·  the text does not come back" in words


def test_bytes_that_are_no_text_and_endless_tokens_are_drawn(tmp_path: Path) -> None:
    broken = {**record("x", b"a"), "tokens": [token(b"\xff"), token(b"\x80\x80"), token(b"\n\t")]}
    endless = record("y", b"w" * 500, b"\xea", b"\xb0\x80", "가".encode() * 200)
    figure = draw([broken, endless], "en")
    words = written(figure)
    assert "FF" in words
    assert words.count("80") == 3
    assert {"\\n", "\\t"} <= set(words)
    assert "w" * 40 + "…" in words
    figure.savefig(tmp_path / "figure.png", dpi=50)


def test_characters_that_no_font_has_are_told_by_number() -> None:
    # Torn, a joiner that nobody would see is told, too.
    torn = written(draw([record("x", b"\xe2\x80", b"\x8d")], "en"))
    assert "U+200D" in torn
    words = written(draw([record("x", "\U000e0100\U0002a6d6a".encode())], "en"))
    assert "U+E0100U+2A6D6a" in words


def make_font(path: Path, family: str, letters: list[str]) -> Path:
    names = [f"g{ord(letter):x}" for letter in letters]
    order = [".notdef", *names]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(order)
    builder.setupCharacterMap(dict(zip(map(ord, letters), names, strict=True)))
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for point in ((100, 700), (800, 700), (800, 0)):
        pen.lineTo(point)
    pen.closePath()
    builder.setupGlyf(dict.fromkeys(order, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(order, (900, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture
def hangul(tmp_path: Path) -> Iterator[str]:
    """A family with the Hangul of the sentence and of the words around, 년 left out."""
    letters = sorted(
        {c for c in TEXT + "".join(WORDS["ko"].values()) if "가" <= c <= "힣"} - {"년"}
    )
    before = list(font_manager.fontManager.ttflist)
    path = make_font(tmp_path / "h.ttf", "Token Hangul", letters)
    assert has(str(path), "".join(letters))
    font_manager.fontManager.addfont(path)
    yield "Token Hangul"
    font_manager.fontManager.ttflist[:] = before


def test_a_font_is_used_where_it_has_the_letters(hangul: str, tmp_path: Path) -> None:
    figure = draw([by_syllables(), by_bytes()], "ko", hangul)
    words = written(figure)
    assert WORDS["ko"]["title"] in words
    assert words.count("말") == 2  # a token, and above its bytes
    assert "년" not in words  # drawn in strokes
    figure.savefig(tmp_path / "figure.png")  # a glyph that is missing is a warning, so an error
    assert not any(
        "가" <= c <= "힣" for word in written(draw([by_syllables()], "ko")) for c in word
    )


def test_strokes_of_all_syllables_are_different_and_inside() -> None:
    seen = set()
    for code in range(0xAC00, 0xD7A4):
        lines = strokes(chr(code))
        assert lines
        seen.add(lines)
        for line in lines:
            assert len(line) > 1
            for x, y in line:
                assert -0.01 <= x <= 1.01
                assert -0.01 <= y <= 1.01
    assert len(seen) == 11172


def test_parts_of_a_syllable_do_not_touch() -> None:
    """Lead, vowel and tail have rooms of their own: no line of one runs into another's."""
    for syllable, parts in {"한": (3, 2, 1), "과": (1, 4, 0), "글": (1, 1, 1)}.items():
        lines = strokes(syllable)
        assert lines is not None
        assert len(lines) == sum(parts)
    top = strokes("글")[0]  # type: ignore[index]
    bottom = strokes("글")[-1]  # type: ignore[index]
    assert max(y for _, y in top) < min(y for _, y in bottom)


def test_jamo_are_drawn_as_letters() -> None:
    assert plain("\u1112") == "ㅎ"
    assert plain("\u1161") == "ㅏ"
    assert plain("\u11ab") == "ㄴ"
    assert plain("a") == "a"
    assert strokes("\u1112") == strokes("ㅎ")
    assert strokes("ㄳ")
    assert strokes("ㅢ")
    assert strokes("a") is None
    assert strokes("字") is None


def test_a_pen_ends_where_it_measured() -> None:
    figure = Figure(figsize=(4, 1))
    pen = Pen()
    pen.axes = figure.add_subplot()
    for text in ("말모이", "abc", "말 abc 字"):
        assert pen.write(10, 20, text, 20, "black") == pytest.approx(10 + pen.width(text, 20))
    assert pen.width("말모이", 20) == pytest.approx(3 * pen.width("말", 20))
