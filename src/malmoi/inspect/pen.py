"""Writes text into a figure of pixels, letter by letter where a font does not have all of them.

matplotlib draws a box for what its fonts lack. Here Hangul is drawn in strokes then (`strokes.py`)
and any other character by its number, as U+1F600.
"""

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from malmoi.inspect.strokes import plain, strokes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SPACING = 1.06  # from one drawn syllable to the next, of its size


class Pen:
    """Measures text, and writes it.

    Sizes and places are in pixels of 1/100 inch; `y` grows downwards and is a base line.

    Attributes:
        axes: what is written into: one axis unit is one pixel.

    """

    axes: "Axes"

    def __init__(self, font: str | None = None) -> None:
        """With `font`, a family, for what matplotlib's own font has not."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._families = ["DejaVu Sans", *([font] if font else [])]
        self._renderer: Any = FigureCanvasAgg(Figure(figsize=(1, 1), dpi=400)).get_renderer()
        self._known = set().union(*map(_letters, self._families))
        self.width = cache(self._width)

    def has(self, char: str) -> bool:
        """Whether a character is written as itself."""
        return char in self._known or strokes(char) is not None

    def _width(self, text: str, size: float, mono: bool = False, bold: bool = False) -> float:
        """How wide a text is."""
        return sum(width for _, _, width in self._parts(text, size, mono, bold))

    def write(
        self, x: float, y: float, text: str, size: float, color: str,
        *, mono: bool = False, bold: bool = False,
    ) -> float:  # fmt: skip
        """Write from `x` on; where it ends."""
        for part, drawn, width in self._parts(text, size, mono, bold):
            if drawn:
                top = y - 0.86 * size
                for line in strokes(part) or ():
                    points = [
                        (x + size * (0.03 + across), top + size * down) for across, down in line
                    ]
                    self.line(points, color, size / (10 if bold else 13))
            else:
                self.axes.text(
                    x, y, part, color=color, va="baseline", ha="left", parse_math=False,
                    fontproperties=self._properties(size, mono, bold),
                )  # fmt: skip
            x += width
        return x

    def line(self, points: Any, color: str, width: float = 1.3) -> None:
        """Draw a line through points."""
        self.axes.plot(
            [x for x, _ in points], [y for _, y in points], color=color, linewidth=0.72 * width,
            solid_capstyle="round", solid_joinstyle="round",
        )  # fmt: skip

    def _parts(
        self, text: str, size: float, mono: bool, bold: bool
    ) -> Iterator[tuple[str, bool, float]]:
        """Runs that fonts have, and drawn letters: itself, whether it is drawn, its width."""
        run = ""
        for char in map(plain, text):
            if char in self._known:
                run += char
            elif strokes(char) is None:
                run += f"U+{ord(char):04X}"
            else:
                if run:
                    yield run, False, self._measure(run, size, mono, bold)
                    run = ""
                yield char, True, _SPACING * size
        if run:
            yield run, False, self._measure(run, size, mono, bold)

    def _measure(self, text: str, size: float, mono: bool, bold: bool) -> float:
        font = self._properties(size, mono, bold)
        width, _, _ = self._renderer.get_text_width_height_descent(text, font, ismath=False)
        return float(width) / 4  # the renderer has 400 dots per inch

    def _properties(self, size: float, mono: bool, bold: bool) -> Any:
        from matplotlib.font_manager import FontProperties

        families = ["DejaVu Sans Mono", *self._families] if mono else self._families
        return FontProperties(
            family=families, size=0.72 * size, weight="bold" if bold else "normal"
        )


@cache
def _letters(family: str) -> frozenset[str]:
    """What a font has."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    path = font_manager.findfont(family)
    return frozenset(map(chr, FT2Font(path).get_charmap()))
