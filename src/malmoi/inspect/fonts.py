"""A font that has Hangul, so that no figure shows boxes where words should be.

matplotlib's own fonts have none. One of the system's is taken, once its glyphs have been looked at:
some fonts have a glyph for everything and it is always the same one, a box.
"""

import contextlib
import logging
from collections.abc import Iterator

NAMES = (
    "Noto Sans CJK KR", "Noto Sans KR", "Pretendard", "NanumGothic", "Nanum Gothic",
    "NanumBarunGothic", "Malgun Gothic", "Apple SD Gothic Neo", "AppleGothic", "Spoqa Han Sans Neo",
    "UnDotum", "Baekmuk Gulim", "Gulim", "Noto Sans CJK JP",
)  # fmt: skip
"""the usual ones, the most pleasant first; matplotlib knows a collection by its first font only,
which of Noto's is the Japanese one, with all Hangul in it"""


def has(path: str, letters: str) -> bool:
    """Whether a font file really has a glyph for each of these letters.

    Two letters that share a glyph are a sign of a font of placeholders.
    """
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):
        return False
    glyphs = [font.get_char_index(ord(letter)) for letter in sorted(set(letters))]
    return 0 not in glyphs and len(set(glyphs)) == len(glyphs)


def hangul_font(text: str = "가나다말모이한글") -> str | None:
    """The family name of an installed font that has all Hangul of `text`; None: there is none."""
    from matplotlib import font_manager

    letters = "".join(letter for letter in text if "가" <= letter <= "힣")
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    if family := _find(letters):
        return family
    # matplotlib reads its list of fonts from a cache that does not know of newly installed ones.
    for path in font_manager.findSystemFonts():
        if path not in known and has(path, letters):
            with contextlib.suppress(OSError, RuntimeError):
                font_manager.fontManager.addfont(path)
    return _find(letters)


def _find(letters: str) -> str | None:
    """The usual names that are here, then all others."""
    from matplotlib import font_manager

    files: dict[str, list[str]] = {}
    for entry in font_manager.fontManager.ttflist:
        files.setdefault(entry.name, []).append(entry.fname)
    usual = [name for name in NAMES if name in files]
    # Of a family's faces, any may be taken: all of them have to have the letters.
    for family in [*usual, *sorted(set(files) - set(usual))]:
        if all(has(path, letters) for path in files[family]):
            return family
    return None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Meanwhile matplotlib does not tell that a font has another weight than bold."""
    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
