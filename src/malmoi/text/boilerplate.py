"""Boilerplate: lines that come again in many documents, such as menus and notices of copyright.

Two readings. The first counts for every line in how many documents it stands (`LineCounts`), the
second takes out what stands in too many (`strip`). `duplicates.py` and `near.py` compare whole
documents and paragraphs; here two lines are equal when they differ in white space only.

What is not prose is never boilerplate: blank lines, rules, brackets, list marks by themselves,
headings of Markdown, rows of tables, lines that end in a colon, code. Nor is a short line that
stands alone among others: that is a heading (`예제`, `각주`) rather than part of a menu. (Of a
repeated heading right below a menu that cannot be told.)
"""

import math
import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

from malmoi.mixing import mix
from malmoi.text.duplicates import Units, compiled, inlined

LONGEST = 300
"""characters of a line that can be boilerplate; a longer one is a paragraph: see `near.py`"""
SHORT = 12
"""letters; a line of fewer goes only with its neighbours"""
RUN = 3
"""so many repeated lines in a row are a menu, whatever their length"""

_Hashes = NDArray[np.uint64]
_Counts = NDArray[np.uint32]
_Lengths = NDArray[np.int32]

_ROWS = 4  # of the sketch
_ODDS: _Hashes = mix(np.arange(_ROWS), 0x11E5) | np.uint64(1)
_MULTIPLIER, _1, _32 = np.uint64(0x9E3779B97F4A7C15), np.uint64(1), np.uint64(32)
_NONE = np.uint64(0)  # in place of the hash of a line that is never boilerplate
_NEWLINE, _BLANK, _TAB = (np.uint16(ord(sign)) for sign in "\n \t")
_COLON, _BAR, _HASH, _SLASH, _STAR, _TICK, _TILDE = (np.uint16(ord(sign)) for sign in ":|#/*`~")
# What a unit is: a letter, a Latin letter of ASCII, a capital of these, white space, or a sign that
# English prose has not, but code.
_LETTER, _ASCII, _CAPITAL, _SPACE, _CODE = (np.uint8(1 << bit) for bit in range(5))
_CODE_SIGNS = '{}[];=<>_`#$%^*+~\\"'


class LineCounts:
    """In how many documents each line stands, in fixed memory: a count-min sketch.

    Four rows of `2 ** bits` cells; a line adds to one cell in each, and the least of its cells is
    its count (Cormode and Muthukrishnan 2005), with conservative update (Estan and Varghese 2002).
    No count is too low. One is too high by more than `excess` with a chance of at most e^-4, 2 %;
    in practice with much less. Memory: 16 bytes times `2 ** bits`, 16 MiB by default.

    Args:
        bits: the cells of a row as a power of two, 4 to 28.

    Raises:
        ValueError: bits outside that range.

    """

    def __init__(self, bits: int = 20) -> None:
        if not 4 <= bits <= 28:
            raise ValueError(f"line counts with 2^{bits} cells a row: give 4 to 28 bits")
        self._cells = np.zeros((_ROWS, 1 << bits), np.uint32)
        self.documents = 0
        self.lines = 0
        """that can be boilerplate, each once a document"""

    @property
    def nbytes(self) -> int:
        """The size of the sketch in bytes."""
        return self._cells.nbytes

    @property
    def excess(self) -> int:
        """By how many documents a count may be too high: e times lines, shared among the cells."""
        return int(math.e * self.lines / self._cells.shape[1])

    def add(self, text: str) -> None:
        """Count each line of a document once. Line ends are "\\n"; give a document as a whole."""
        hashes, _ = _read(text)
        self.lines += _count(np.unique(hashes), self._cells)
        self.documents += 1

    def count(self, line: str) -> int:
        """In how many documents a line stands, or slightly more; 0 if it cannot be boilerplate."""
        return int(_look(_read(line)[0][:1], self._cells)[0])

    def least(self, documents: int = 10, share: float = 0.001) -> int:
        """From how many documents on a line is boilerplate.

        The larger of a number of documents and of a share of them all; and as many more as counts
        may be too high by.
        """
        return max(documents, math.ceil(share * self.documents)) + self.excess


def strip(text: str, counts: LineCounts, least: int | None = None) -> tuple[str, list[str]]:
    """Take the boilerplate out of a document.

    Args:
        text: the document; its line ends are "\\n".
        counts: of all documents, this one among them.
        least: documents that a line has to stand in; by default `counts.least()`.

    Returns:
        The text without these lines (it may be empty), and the lines, in their order.

    """
    least = counts.least() if least is None else least
    hashes, sizes = _read(text)
    repeated = _look(hashes, counts._cells) >= max(1, least)
    if not repeated.any():
        return text, []
    lines = text.split("\n")
    blank = [not line or line.isspace() for line in lines]
    gone, run = set[int](), list[int]()
    for number in [*range(len(lines)), -1]:
        if number >= 0 and (repeated[number] or blank[number]):
            run += [number] * bool(repeated[number])  # blank lines do not part a menu
            continue
        gone.update(one for one in run if len(run) >= RUN or sizes[one] >= SHORT)
        run.clear()
    kept: list[int] = []
    for number in range(len(lines)):
        # Of the blank lines around what goes one is enough.
        spare = blank[number] and number - 1 in gone and (not kept or blank[kept[-1]])
        if spare:
            gone.add(number)
        elif number not in gone:
            kept.append(number)
    removed = [lines[number] for number in sorted(gone) if not blank[number]]
    return "\n".join(lines[number] for number in kept), removed


def _read(text: str) -> tuple[_Hashes, _Lengths]:
    """For each line its hash, or 0 if it is never boilerplate, and its number of letters."""
    units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), "<u2")
    lines = text.count("\n") + 1
    hashes, sizes = np.empty(lines, np.uint64), np.empty(lines, np.int32)
    _hash_lines(units, _kinds(), hashes, sizes)
    return hashes, sizes


@cache
def _kinds() -> NDArray[np.uint8]:
    kinds = np.zeros(1 << 16, np.uint8)
    for unit in range(1 << 16):
        if unicodedata.category(chr(unit))[0] in "LM":
            kinds[unit] = _LETTER
        elif chr(unit).isspace():
            kinds[unit] = _SPACE
    for sign in map(chr, range(128)):
        if sign.isalpha():
            kinds[ord(sign)] |= _ASCII | (_CAPITAL if sign.isupper() else np.uint8(0))
        elif sign in _CODE_SIGNS:
            kinds[ord(sign)] = _CODE
    return kinds


@inlined
def _step(h: np.uint64, unit: np.uint16) -> np.uint64:
    h = (h ^ np.uint64(unit)) * _MULTIPLIER
    return h ^ h >> _32


@compiled
def _hash_lines(units: Units, kinds: NDArray[np.uint8], hashes: _Hashes, sizes: _Lengths) -> None:
    at, fence = 0, _BLANK  # the sign that will end the block of code we are in, or a blank
    begins = np.empty(3, np.uint16)  # the first signs of a line
    for line in range(len(hashes)):
        h, signs, letters, ascii_letters, words, indent = _1, 0, 0, 0, 0, 0
        begin, last, seen, apart = at, _BLANK, np.uint8(0), True
        begins[:] = _BLANK
        while at < len(units) and units[at] != _NEWLINE:
            unit = units[at]
            kind = kinds[unit]
            if kind & _SPACE:
                apart = True
                if not signs:
                    indent += 4 if unit == _TAB else 1
            else:
                if apart and signs:
                    h = _step(h, _BLANK)
                h = _step(h, unit)
                if signs < 3:
                    begins[signs] = unit
                signs += 1
                words += apart
                letters += (kind & _LETTER) != 0
                ascii_letters += (kind & _ASCII) != 0
                seen |= kind
                last, apart = unit, False
            at += 1
        first, second = begins[0], begins[1]
        sizes[line], hashes[line] = letters, _NONE
        if first in (_TICK, _TILDE) and first == second == begins[2]:
            fence = first if fence == _BLANK else _BLANK if fence == first else fence
        elif (
            fence == _BLANK
            and at - begin <= LONGEST
            and letters >= 2
            and 2 * letters >= signs
            and last != _COLON
            and first not in (_HASH, _BAR, _TICK)
            and not (first == _SLASH and second in (_SLASH, _STAR))
        ):
            if 2 * ascii_letters < letters:  # Hangul, for the most part
                hashes[line] = h
            # An English sentence begins with a capital, which a line of code rarely does.
            elif words > 1 and indent < 4 and not seen & _CODE:
                small = kinds[first] & (_ASCII | _CAPITAL) == _ASCII
                hashes[line] = _NONE if small else h
        at += 1


@compiled
def _count(hashes: _Hashes, cells: _Counts) -> int:
    """Count each hash once more, in those of its cells that are lowest; how many there are."""
    shift = np.uint64(64 - np.int64(np.log2(cells.shape[1])))
    many = 0
    for h in hashes:
        if h != _NONE:
            least = cells[0, h * _ODDS[0] >> shift]
            for row in range(1, _ROWS):
                least = min(least, cells[row, h * _ODDS[row] >> shift])
            for row in range(_ROWS):
                at = h * _ODDS[row] >> shift
                cells[row, at] = max(cells[row, at], np.uint32(least + 1))
            many += 1
    return many


@compiled
def _look(hashes: _Hashes, cells: _Counts) -> NDArray[np.int64]:
    """The count of each hash."""
    shift = np.uint64(64 - np.int64(np.log2(cells.shape[1])))
    counts = np.zeros(len(hashes), np.int64)
    for i in range(len(hashes)):
        if hashes[i] != _NONE:
            least = cells[0, hashes[i] * _ODDS[0] >> shift]
            for row in range(1, _ROWS):
                least = min(least, cells[row, hashes[i] * _ODDS[row] >> shift])
            counts[i] = least
    return counts
