"""Whether a document is worth training on: a few measures, and named filters with thresholds.

`measure` looks once at a text and knows no thresholds; `judge` compares and looks at no text. So
a report can show how a corpus is distributed, and what another threshold would drop. The measures
are those of Gopher (Rae et al. 2021, arXiv:2112.11446, table A1) and of the pipelines after it (C4,
FineWeb), fitted to Korean, where a word is an 어절, and to corpora that hold code as well.
`rules.py`, the neighbour, changes texts; nothing here does.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, NamedTuple, cast

import numpy as np

SCRIPTS = ("hangul", "latin", "han", "kana", "cyrillic", "other")
GRAM = 16
"""characters that have to come again, white space aside: about five 어절, or three English words"""
BLOCK = 4096
"""characters, white space aside, among which they have to: two pages or so, so that a book is not
the worse for being long"""
LINE = 10
"""characters, white space aside, from which on a line counts: closing braces may be many"""
_SPACE, _DIGIT, _SYMBOL, _LETTERS = 0, 1, 2, 3  # classes; from 3 on those of SCRIPTS
_CLASSES = _LETTERS + len(SCRIPTS)
_RANGES = (  # letters; those of no range here are "other"
    ("hangul", "\u1100\u11ff\u3131\u318e\ua960\ua97f\uac00\ud7ff\uffa0\uffdc"),
    ("latin", "AZazªªººⁱⁱⁿⁿ\u2090\u209cﬀﬆÀÖØöø\u02af\u0300\u036f\u1e00\u1eff\u2c60\u2c7f"
     "\ua720\ua7ff\uab30\uab64ＡＺａｚ\U0001d400\U0001d6a5"),
    ("han", "々々\u2e80\u2fd5\u3400\u4dbf\u4e00\u9fff\uf900\ufaff"),
    ("kana", "\u3041\u30ff\u31f0\u31ffｦﾟ\U0001b000\U0001b16f"),
    ("cyrillic", "\u0400\u052f\u1c80\u1c8f\u2de0\u2dff\ua640\ua69f"),
)  # fmt: skip
_END = 0x20000  # from here on there are ideographs, and from 0x40000 on nothing that is written
_PRIME = np.uint64(0x9E3779B97F4A7C15)


class Measures(NamedTuple):
    """What one document is made of; shares are from 0 to 1, and 0 where there is nothing to share.

    `characters` leaves out the white space at both ends; `words` are what stands between it.
    `letters`, `digits` and `symbols` are shares of all characters but white space; `hangul` to
    `other` are shares of the letters; the last three are told by `measure`.
    """

    characters: int
    words: int
    letters: float
    digits: float
    symbols: float
    hangul: float
    latin: float
    han: float
    kana: float
    cyrillic: float
    other: float
    mean_word: float
    duplicate_lines: float
    duplicate_characters: float
    repetition: float


@dataclass(frozen=True)
class Filters:
    """Which documents to drop, in this order; 0 switches a filter off.

    The defaults drop what is hardly text. Pipelines that keep prose only are stricter: Gopher drops
    from 0.3 duplicate lines and 0.2 duplicate characters on, FineWeb-2 from 0.374 lines in Korean.
    A third of the lines of some sound program is duplicates, and half of a header's stretches are.

    Raises:
        ValueError: a threshold is out of its range, or a script unknown.

    """

    min_characters: int = 5
    """drop documents of fewer characters, white space at both ends aside"""
    max_characters: int = 0
    """drop documents of more characters; 0: no limit"""
    min_letters: float = 0.3
    """drop documents of which a smaller share is letters, white space aside"""
    max_digits: float = 0.5
    """drop documents of which a larger share is digits: tables of numbers, logs"""
    max_symbols: float = 0.5
    """drop documents of which a larger share is neither letters nor digits"""
    scripts: tuple[str, ...] = ()
    """scripts to keep, of hangul, latin, han, kana, cyrillic and other; none: any script"""
    min_scripts: float = 0.5
    """drop documents of which a smaller share of the letters is in --scripts"""
    min_mean_word: float = 1.3
    """drop documents whose words have fewer characters on average: l e t t e r s  a p a r t"""
    max_mean_word: float = 25.0
    """drop documents whose words have more characters on average: encoded data, lost spaces; texts
    in Han, kana or other scripts that may do without spaces are spared"""
    max_duplicate_lines: float = 0.5
    """drop documents of which a larger share of the lines came before; short lines do not count"""
    max_duplicate_characters: float = 0.4
    """drop documents of which a larger share of the characters is in such lines"""
    max_repetition: float = 0.7
    """drop documents of which a larger share is stretches that came before on the same pages"""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "scripts":
                continue
            most = 1.0 if field.type is float and "word" not in field.name else np.inf
            if not 0 <= value <= most:
                bound = "from 0 to 1" if most == 1 else "0 or more"
                raise ValueError(f"filters: {field.name} is {value}, it has to be {bound}")
        for script in self.scripts:
            if script not in SCRIPTS:
                raise ValueError(f"filters: unknown script {script!r}; known: {', '.join(SCRIPTS)}")


def judge(measures: Measures, filters: Filters) -> str | None:
    """The name of the first filter that drops a document, as the field of `Filters`; or None."""
    m, f = measures, filters
    wanted = sum(getattr(m, script) for script in f.scripts)
    spaced = m.hangul + m.latin + m.cyrillic > 0.5
    for name, drops in (
        ("min_characters", m.characters < f.min_characters),
        ("max_characters", 0 < f.max_characters < m.characters),
        ("min_letters", m.letters < f.min_letters),
        ("max_digits", 0 < f.max_digits < m.digits),
        ("max_symbols", 0 < f.max_symbols < m.symbols),
        ("min_scripts", bool(f.scripts) and m.letters > 0 and wanted < f.min_scripts),
        ("min_mean_word", m.mean_word < f.min_mean_word),
        ("max_mean_word", spaced and 0 < f.max_mean_word < m.mean_word),
        ("max_duplicate_lines", 0 < f.max_duplicate_lines < m.duplicate_lines),
        ("max_duplicate_characters", 0 < f.max_duplicate_characters < m.duplicate_characters),
        ("max_repetition", 0 < f.max_repetition < m.repetition),
    ):
        if drops:
            return name
    return None


def measure(text: str) -> Measures:
    """Measure one document, in one pass over it.

    White space counts for nothing but the ends of words and lines. `mean_word` is in characters.
    A line of `LINE` characters or more is a duplicate where an equal one came before:
    `duplicate_lines` is the share of such lines among those, `duplicate_characters` the share of
    their characters among all. `repetition` is the share of characters in stretches of `GRAM`
    characters that came before within a block of `BLOCK`. A stretch begins with a word, or
    anywhere beyond the first `GRAM` characters of one (there are no spaces in a long row of ㅋ).
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    lines = np.zeros(1 << (2 * text.count("\n") + 2).bit_length(), np.uint64)
    grams = np.zeros(1 << (2 * min(len(text), BLOCK)).bit_length(), np.uint32)
    out = np.zeros(_CLASSES + 5, np.int64)
    _scan()(codes, _classes(), lines, grams, out)
    counts = out[:_CLASSES].tolist()
    words, long, same, characters, covered = out[_CLASSES:].tolist()
    black, letters = len(text) - counts[_SPACE], sum(counts[_LETTERS:])
    of_all, of_letters = 1 / max(1, black), 1 / max(1, letters)
    return Measures._make(  # in the order of the fields: names would cost a third of the time
        (
            len(text.strip()),
            words,
            letters * of_all,
            counts[_DIGIT] * of_all,
            counts[_SYMBOL] * of_all,
            *[count * of_letters for count in counts[_LETTERS:]],
            black / max(1, words),
            same / max(1, long),
            characters * of_all,
            covered * of_all,
        )
    )


@cache
def _classes() -> np.ndarray:
    """The class of each character below `_END`, then that of ideographs and that of the rest."""
    kinds = {"L": _LETTERS + SCRIPTS.index("other"), "N": _DIGIT, "Z": _SPACE}
    kinds["M"] = kinds["L"]  # vowel signs, as in Devanagari
    table = np.array(
        [kinds.get(unicodedata.category(chr(code))[0], _SYMBOL) for code in range(_END)]
        + [_LETTERS + SCRIPTS.index("han"), _SYMBOL],
        np.uint8,
    )
    table[[code for code in range(_END) if chr(code).isspace()]] = _SPACE
    table[0xFE00:0xFE10] = _SYMBOL  # variation selectors, which go with emoji
    for script, ends in _RANGES:
        for first, last in zip(ends[::2], ends[1::2], strict=True):
            part = table[ord(first) : ord(last) + 1]
            part[part == kinds["L"]] = _LETTERS + SCRIPTS.index(script)
    return table


@cache
def _scan() -> Callable[..., None]:
    """`_look` as machine code; compiled once on a machine, where there is a place to keep it."""
    from numba import njit

    try:
        return cast(Callable[..., None], njit(nogil=True, cache=True)(_look))
    except RuntimeError:  # no folder that could be written to
        return cast(Callable[..., None], njit(nogil=True)(_look))


def _look(codes: Any, classes: Any, lines: Any, grams: Any, out: Any) -> None:
    """Count what `measure` tells of; the loop has no branch that depends on a letter.

    Args:
        codes: the text, uint32 [N].
        classes: of `_classes`.
        lines: zeros, uint64, a power of two above twice the lines: a hash table.
        grams: zeros, uint32, a power of two above twice the characters of a block: another.
        out: zeros, int64: characters by class, words, lines that count, duplicates, characters of
            those, characters of repeated stretches.

    """
    # Four of them, since an addition to the number just added to has to wait.
    histogram = np.zeros((4, _CLASSES), np.int64)
    prefixes = np.empty(BLOCK + 1, np.uint64)  # hash of the block up to here
    starts = np.empty(BLOCK + 1, np.int64)  # where stretches may begin in the block
    power = np.uint64(1)
    for _ in range(GRAM):
        power *= _PRIME
    prefixes[0] = 0
    words: Any = 0
    long = same = characters = covered = 0
    # Characters of the block, starts in it, characters of the word, of the line.
    at: Any = 0
    count: Any = 0
    inside: Any = 0
    length: Any = 0
    prefix = line = np.uint64(0)
    for i in range(len(codes) + 1):
        if i < len(codes):
            c = codes[i]
            kind = classes[min(c, _END + (c >= 0x40000))]
            histogram[i & 3, kind] += 1
            black = np.int64(kind != _SPACE)
            new = np.int64(inside == 0)
            starts[count] = at
            count += black & (new | np.int64(inside >= GRAM))
            words += black & new
            inside = (inside + 1) * black
            at += black
            length += black
            factor = _PRIME if black else np.uint64(1)
            addend = np.uint64(c) + np.uint64(1) if black else np.uint64(0)
            prefix = prefix * factor + addend
            line = line * factor + addend
            prefixes[at] = prefix
        if i == len(codes) or c == 10:
            if length >= LINE:
                long += 1
                # Once more by the prime: the last character would be in the lowest bits only.
                key = (line * _PRIME) | np.uint64(1)
                slot = np.int64(key >> np.uint64(32)) & (len(lines) - 1)
                while lines[slot] != 0 and lines[slot] != key:
                    slot = (slot + 1) & (len(lines) - 1)
                if lines[slot] == key:
                    same += 1
                    characters += length
                lines[slot] = key
            line = np.uint64(0)
            length = 0
        if i == len(codes) or at == BLOCK:
            end = 0
            for j in range(count):
                start = starts[j]
                if start + GRAM > at:
                    break
                gram = (prefixes[start + GRAM] - prefixes[start] * power) * _PRIME
                mark = np.uint32(gram >> np.uint64(32)) | np.uint32(1)
                slot = np.int64((gram >> np.uint64(16)) & np.uint64(0xFFFF)) & (len(grams) - 1)
                while grams[slot] != 0 and grams[slot] != mark:
                    slot = (slot + 1) & (len(grams) - 1)
                if grams[slot] == mark:
                    covered += start + GRAM - max(start, end)
                    end = start + GRAM
                grams[slot] = mark
            grams[:] = 0
            at = count = 0
            prefix = np.uint64(0)
    for i in range(4):
        for kind in range(_CLASSES):
            out[kind] += histogram[i, kind]
    for i, number in enumerate((words, long, same, characters, covered)):
        out[_CLASSES + i] = number
