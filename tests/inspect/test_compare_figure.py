"""The figure of a comparison: does it show the numbers, legibly, in letters that its font has?"""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from malmoi.inspect.compare import BASE, WORDS, draw
from malmoi.inspect.fonts import hangul_font, has

TITLES = {
    "base": "기준", "base-2": "기준 2", "ngram-dropout": "n그램 드롭아웃", "dropout": "드롭아웃",
    "early-stopping": "조기 종료", "weight-decay": "가중치 감쇠",
    "label-smoothing": "레이블 스무딩", "ema": "가중치 평균",
    "smaller-model": "작은 모델", "half-data": "글 절반",
}  # fmt: skip
HANGUL = sorted(
    {c for text in [*TITLES.values(), *WORDS["ko"].values()] for c in text if c >= "가"}
)


def result(names: list[str], *, band: float | None = 0.05) -> dict[str, Any]:
    """Curves that fall and rise again, a little lower from run to run."""
    runs = []
    for number, name in enumerate(names):
        loss = 2.0 - 0.03 * number
        curve: list[dict[str, float]] = [{"step": 0, "validation": 7.0}]
        for share in range(1, 13):
            fall = 3.0 * 0.6**share
            curve.append({
                "step": 10 * share,                 "train": loss - share / 20 + fall,
                "validation": loss + fall + 0.02 * max(0, share - 6),
            })  # fmt: skip
        runs.append({
            "name": name, "remedy": None if name.startswith("base") else name, "loss": loss,
            "titles": {"en": name, "ko": TITLES[name]}, "difference": loss - 2.0, "curve": curve,
            "stopped_early": False,
        })  # fmt: skip
    noise = {"mean": 2.0, "band": band, "runs": 2}
    return {"runs": runs, "noise": noise, "best": names[-1]}


def texts(figure: Figure) -> list[Text]:
    """All that is drawn: labels of ticks outside the axes are kept, but not drawn."""
    outside = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
        if not min(axis.get_view_interval()) <= tick <= max(axis.get_view_interval())
    }
    found = (t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip())
    return [text for text in found if text not in outside]


@pytest.mark.parametrize("names", [["base"], ["base", "dropout"], list(TITLES)])
def test_nothing_overlaps_and_all_is_inside(names: list[str]) -> None:
    figure = draw(result(names))
    whole = figure.bbox
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
    for words, box in boxes:
        assert whole.x0 <= box.x0 < box.x1 <= whole.x1, words
        assert whole.y0 <= box.y0 < box.y1 <= whole.y1, words
    for (one, box), (other, second) in itertools.combinations(boxes, 2):
        assert not box.padded(-1).overlaps(second.padded(-1)), (one, other)
    (legend,) = figure.legends
    for axes in figure.axes:
        assert not legend.get_window_extent().overlaps(axes.bbox)
    assert min(text.get_fontsize() for text in texts(figure)) >= 10


def test_curves_and_bars_are_the_numbers() -> None:
    values = result(["base", "base-2", "dropout", "half-data"])
    curves, bars = draw(values).axes
    for run in values["runs"]:
        validation = [(p["step"], p["validation"]) for p in run["curve"]]
        train = [(p["step"], p["train"]) for p in run["curve"] if "train" in p]
        for points, style in ((validation, "-"), (train, "--")):
            drawn = [
                line
                for line in curves.get_lines()
                if list(map(tuple, line.get_xydata().tolist())) == points  # type: ignore[union-attr]
            ]
            assert [line.get_linestyle() for line in drawn] == [style]
    dots = [line for line in curves.get_lines() if line.get_marker() == "o"]
    lowest = [min((p["validation"], p["step"]) for p in run["curve"]) for run in values["runs"]]
    assert [(d.get_ydata()[0], d.get_xdata()[0]) for d in dots] == lowest  # type: ignore[index]
    widths = [bar.get_width() for bar in bars.patches[-4:]]
    assert widths == pytest.approx([run["difference"] for run in values["runs"]])
    shade = bars.patches[0].get_window_extent().transformed(bars.transData.inverted())
    assert (shade.x0, shade.x1) == pytest.approx((1.95, 2.05))
    colors = [matplotlib.colors.to_hex(bar.get_facecolor()) for bar in bars.patches[-4:]]
    assert colors[:2] == list(BASE)
    assert len(set(colors)) == 4
    assert colors == [label.get_color() for label in bars.get_yticklabels()]


def test_the_steep_beginning_does_not_flatten_the_rest() -> None:
    curves, _ = draw(result(["base", "dropout"])).axes
    low, high = curves.get_ylim()
    assert low < 1.5
    assert 2.1 < high < 5


def test_without_noise_there_is_no_band() -> None:
    figure = draw(result(["base", "dropout"], band=None))
    assert len(figure.axes[1].patches) == 2
    assert not any("noise" in text.get_text() for text in texts(figure))


def make_font(path: Path, family: str, letters: list[str], *, one_glyph: bool = False) -> Path:
    """A font of rectangles; all letters may share one, as in fonts of placeholders."""
    names = ["box"] * len(letters) if one_glyph else [f"g{ord(letter):x}" for letter in letters]
    order = [".notdef", *dict.fromkeys(names)]
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
def nanum(tmp_path: Path) -> Iterator[str]:
    """A family with all Hangul of the figure, known to matplotlib for the time of a test."""
    before = list(font_manager.fontManager.ttflist)
    font_manager.fontManager.addfont(make_font(tmp_path / "n.ttf", "NanumGothic", HANGUL))
    yield "NanumGothic"
    font_manager.fontManager.ttflist[:] = before


def test_with_a_hangul_font_the_words_are_korean(nanum: str, tmp_path: Path) -> None:
    figure = draw(result(list(TITLES)), font=nanum)
    drawn = {text.get_text() for text in texts(figure)}
    assert set(TITLES.values()) <= drawn
    assert WORDS["ko"]["curves"] in drawn
    figure.savefig(tmp_path / "figure.png")  # a glyph that is missing is a warning, so an error
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_without_one_the_words_are_english() -> None:
    for text in texts(draw(result(list(TITLES)))):
        assert not any("가" <= letter <= "힣" for letter in text.get_text())


def test_a_font_needs_the_glyphs_not_only_the_name(tmp_path: Path) -> None:
    letters = "".join(HANGUL)
    usual = font_manager.findfont("DejaVu Sans")
    assert has(usual, "abc")
    assert not has(usual, letters)
    assert has(str(make_font(tmp_path / "a.ttf", "A", HANGUL)), letters)
    assert not has(str(make_font(tmp_path / "b.ttf", "B", HANGUL[:-1])), letters)
    assert not has(str(make_font(tmp_path / "c.ttf", "C", HANGUL, one_glyph=True)), letters)
    (tmp_path / "d.ttf").write_bytes(b"no font")
    assert not has(str(tmp_path / "d.ttf"), letters)
    boxes = [e.fname for e in font_manager.fontManager.ttflist if e.name.startswith("Last Resort")]
    assert not any(has(path, letters) for path in boxes)


def test_a_font_that_was_installed_just_now_is_found(tmp_path: Path) -> None:
    """The list of fonts that matplotlib has is from its first day."""
    code = "from malmoi.inspect.fonts import hangul_font; print(hangul_font())"
    (tmp_path / "fonts").mkdir()
    places = {"XDG_DATA_HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path / "settings")}

    def found() -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | places,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    if found() != "None":
        pytest.skip("there is a Hangul font on this machine already")
    make_font(tmp_path / "fonts" / "n.ttf", "NanumGothic", list("가나다말모이한글"))
    assert found() == "NanumGothic"


def test_the_search_agrees_with_itself() -> None:
    family = hangul_font("".join(HANGUL))
    if family is not None:
        assert has(font_manager.findfont(family, fallback_to_default=False), "".join(HANGUL))
