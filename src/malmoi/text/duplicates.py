"""Texts that are the same: what of a text is compared, by documents or by paragraphs.

Here two texts are the same if they differ in white space only, which a hash tells. `near.py` finds
texts that differ in a few words, `overlap.py` passages that two sets of texts share; both compare
the `letters` of a text, which are made here as well.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from hashlib import blake2b
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Units = NDArray[np.uint16]
"""UTF-16: a syllable of Hangul is one unit, and so is nearly every letter of today's scripts"""

_PLANE = 1 << 16
_SPACE = np.uint16(32)
_SHORT = 256  # characters
_SMALLEST = 1 << 10  # places of the smallest table
_BLANK_LINE = re.compile(r"\n(?:[^\S\n]*\n)+")
_LINE = re.compile(r"\n")
_BREAKS = re.compile(r"(?:[^\S\n]*\n)+")


def compiled(function: Callable[..., Any]) -> Any:
    """Make a loop machine code at its first call, and keep it for later runs.

    numba looks for changes in the function's own file only: what is called from there by such a
    function has to stand in that file, too.
    """
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder that could be written to: compiled anew each time
        return njit(nogil=True)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Make a loop part of the `compiled` ones that call it: a call with arrays costs too much."""
    return njit(forceinline=True)(function)


class Seen:
    """Which texts there were: a growing table of 128-bit hashes, 21 to 43 bytes a text.

    A text stands for all that differ from it in white space only. The hash is BLAKE2b of the
    folded text: a false alarm among a thousand million texts has a chance of 2e-21, and nobody
    can make one on purpose. A quicker hash would gain little: most of the time goes into folding.
    """

    def __init__(self) -> None:
        self._table = np.zeros((_SMALLEST, 2), np.uint64)
        self._count = 0

    def __len__(self) -> int:
        """How many different texts there were."""
        return self._count

    @property
    def nbytes(self) -> int:
        """The size of the table in bytes."""
        return self._table.nbytes

    def add(self, text: str) -> bool:
        """Note a text; True if it had been seen before, so that it can be left out."""
        return self.add_digest(digest(text))

    def add_digest(self, digest: bytes) -> bool:
        """The same, given the text's `digest`."""
        if not _insert(self._table, np.frombuffer(digest, "<u8")):
            return True
        self._count += 1
        if 4 * self._count > 3 * len(self._table):
            larger = np.zeros((2 * len(self._table), 2), np.uint64)
            _insert_all(self._table, larger)
            self._table = larger
        return False


def digest(text: str) -> bytes:
    """16 bytes of BLAKE2b of a text whose runs of white space count as one space, none at ends."""
    if len(text) < _SHORT:
        folded = " ".join(text.split()).encode("utf-16-le", "surrogatepass")
    else:  # the same, three times as fast, but slow to begin with
        units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), "<u2")
        room = np.empty(len(units) + 1, np.uint16)
        folded = room[: _fold_spaces(units, _spaces(), room)].astype("<u2", copy=False).tobytes()
    return blake2b(folded, digest_size=16).digest()


def letters(texts: Sequence[str]) -> tuple[Units, NDArray[np.int64]]:
    """What of texts is compared: letters, digits and signs beyond the first plane, in lower case.

    White space is left out since writers of Korean differ in it, and so is punctuation. A text
    that has nothing else (`---`) stays as it is.

    Returns:
        The letters of all texts, one after the other `[M]`, and where those of each end `[N]`.

    """
    parts = [text.encode("utf-16-le", "surrogatepass") for text in texts]
    ends = np.fromiter((len(part) // 2 for part in parts), np.int64, len(parts)).cumsum()
    units = np.frombuffer(b"".join(parts), "<u2")
    kept, stops = np.empty(len(units) + 1, np.uint16), np.empty(len(parts), np.int64)
    size = _fold_letters(units, ends, _lower(), kept, stops)
    return kept[:size], stops


def batches(texts: Iterable[str], characters: int = 1 << 20) -> Iterator[list[str]]:
    """Gather texts until they have so many characters: enough to be quick, and little memory."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text) + 1
        if size >= characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def paragraphs(text: str, least: int = 100) -> Iterator[tuple[int, int]]:
    """Where the paragraphs of at least `least` characters begin and end.

    Blank lines part them; in a text without blank lines every line is one.
    """
    apart = _BLANK_LINE if _BLANK_LINE.search(text.strip()) else _LINE
    start = 0
    for match in apart.finditer(text):
        if match.start() - start >= least:
            yield start, match.start()
        start = match.end()
    if len(text) - start >= least:
        yield start, len(text)


def without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """The text less some of its `paragraphs`, each with the line ends behind it.

    Where the last one goes, so do the line ends before it.
    """
    kept, start = [], 0
    for begin, end in spans:
        kept.append(text[start:begin])
        breaks = _BREAKS.match(text, end)
        start = breaks.end() if breaks else end
    if kept and start == len(text):
        return "".join(kept).rstrip()
    return "".join(kept) + text[start:]


@cache
def _spaces() -> NDArray[np.uint8]:
    """1 for each unit that is white space."""
    return np.fromiter((chr(unit).isspace() for unit in range(_PLANE)), np.uint8, _PLANE)


@cache
def _lower() -> Units:
    """For each unit what it counts as: its lower case, or 0 if it is left out."""

    def fold(unit: int) -> int:
        kind = unicodedata.category(chr(unit))
        # Marks are the vowels of India's scripts; halves of surrogate pairs and private signs may
        # be letters.
        if kind[0] not in "LMN" and kind not in ("Cs", "Co"):
            return 0
        lower = chr(unit).lower()
        return ord(lower) if len(lower) == 1 and ord(lower) < _PLANE else unit

    return np.fromiter(map(fold, range(_PLANE)), np.uint16, _PLANE)


@compiled
def _fold_spaces(units: Units, spaces: NDArray[np.uint8], folded: Units) -> int:
    """Write the units with each run of spaces as one, none at the ends; return how many."""
    size = 0
    before = np.uint8(1)  # whether a space stood before
    for i in range(len(units)):
        space = spaces[units[i]]
        folded[size] = _SPACE if space else units[i]
        size += 1 - (space & before)  # without a branch: nobody can tell where words end
        before = space
    return size - 1 if size and before else size


@compiled
def _fold_letters(
    units: Units, ends: NDArray[np.int64], lower: Units, kept: Units, stops: NDArray[np.int64]
) -> int:
    """Write the letters of each text; return how many there are."""
    size = start = 0
    for row in range(len(ends)):
        first = size
        for i in range(start, ends[row]):
            kept[size] = lower[units[i]]
            size += kept[size] != 0
        if size == first:
            for i in range(start, ends[row]):
                kept[size] = units[i]
                size += 1
        start = ends[row]
        stops[row] = size
    return size


@compiled
def _insert(table: NDArray[np.uint64], key: NDArray[np.uint64]) -> bool:
    """Put a hash `[2]` into an open-addressing table `[P, 2]`; whether it was not there."""
    mask = np.uint64(len(table) - 1)
    low, high = max(key[0], np.uint64(1)), key[1]  # a low half of 0 is a free place
    at = high & mask
    while table[at, 0]:
        if table[at, 0] == low and table[at, 1] == high:
            return False
        at = (at + np.uint64(1)) & mask
    table[at, 0], table[at, 1] = low, high
    return True


@compiled
def _insert_all(table: NDArray[np.uint64], larger: NDArray[np.uint64]) -> None:
    for place in range(len(table)):
        if table[place, 0]:
            _insert(larger, table[place])
