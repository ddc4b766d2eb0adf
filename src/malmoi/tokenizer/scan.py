"""Words found and counted in UTF-8: the two patterns that texts are cut by, as compiled loops.

`pattern.py` has the pattern as the regular expression that stands in `tokenizer.json`. Training
reads far more text than anything else does, and the library gives back each word as an object of
Python; here the same words are found many times as fast, as places in a buffer. `counts.py`, the
neighbour, owns the table and gives it room.

Compiled code is kept on the disk until its file changes, whatever it calls: so it calls nothing in
other files.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit
from tokenizers import Regex, pre_tokenizers

CODES = 0x110000
"""code points of Unicode"""

# What a character is to the patterns; UNKNOWN: not yet asked for, END: there is none.
OTHER, LETTER, MARK, NUMBER, BLANK, NEWLINE, SPACE, UNKNOWN, END = range(9)
_KINDS = ((LETTER, r"\p{L}+"), (MARK, r"\p{M}+"), (NUMBER, r"\p{N}+"), (SPACE, r"\s+"))

# Sets of these, as bits.
_WORD = 1 << LETTER | 1 << MARK
_SIGNS = 1 << OTHER
_SIGNS_OR_MARKS = 1 << OTHER | 1 << MARK
_LETTERS_OR_NUMBERS = 1 << LETTER | 1 << NUMBER
_WHITE = 1 << BLANK | 1 << NEWLINE | 1 << SPACE
_ENDLESS = 1 << 62

LONGEST = 1 << 10
"""bytes of a word; what is longer (a line of Chinese, a row of signs) is counted in parts"""

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Slots = npt.NDArray[np.int32]


def compiled(**options: Any) -> Callable[[Any], Any]:
    """Numba's `njit`, its code kept on the disk where there is a folder that can be written to."""

    def decorate(function: Any) -> Any:
        try:
            return njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # no such folder: compiled anew each time
            return njit(nogil=True, **options)(function)

    return decorate


def no_classes() -> Bytes:
    """A table of what each code point is, uint8 [`CODES`], in which nothing is known yet."""
    return np.full(CODES, UNKNOWN, dtype=np.uint8)


def learn_classes(table: Bytes, code: int) -> None:
    """Find out what the 256 code points around `code` are.

    By asking the library, as its Unicode is of another version than Python's; bit by bit, as asking
    for all code points takes ten seconds.
    """
    first = code & ~0xFF
    text = "".join(map(chr, range(first, first + 256)))
    here = table[first : first + 256]
    here[:] = OTHER
    for kind, pattern in _KINDS:
        is_kind = np.ones(256, dtype=bool)
        split = pre_tokenizers.Split(Regex(pattern), "removed")
        for _, (begin, end) in split.pre_tokenize_str(text):
            is_kind[begin:end] = False
        here[is_kind] = kind
    for char, kind in ((" ", BLANK), ("\r", NEWLINE), ("\n", NEWLINE)):
        if first <= ord(char) < first + 256:
            table[ord(char)] = kind


@compiled()
def _code_at(data: Bytes, at: int) -> tuple[np.int64, int]:
    """Return the code point at a place of valid UTF-8, and the number of its bytes."""
    byte = np.int64(data[at])
    if byte < 0x80:
        return byte, 1
    if byte < 0xE0:
        return (byte & 0x1F) << 6 | (np.int64(data[at + 1]) & 0x3F), 2
    middle = np.int64(data[at + 1]) & 0x3F
    if byte < 0xF0:
        return (byte & 0x0F) << 12 | middle << 6 | (np.int64(data[at + 2]) & 0x3F), 3
    low = (np.int64(data[at + 2]) & 0x3F) << 6 | (np.int64(data[at + 3]) & 0x3F)
    return (byte & 0x07) << 18 | middle << 12 | low, 4


@compiled()
def _class_at(data: Bytes, at: int, classes: Bytes) -> tuple[int, int]:
    """What the character at a place is, and the number of its bytes."""
    if at >= len(data):
        return END, 0
    code, size = _code_at(data, at)
    return int(classes[code]), size


@compiled()
def _run(data: Bytes, at: int, classes: Bytes, kinds: int, most: int) -> int:
    """Return where a run of characters of these kinds ends (bits: 1 << kind), `most` at most."""
    while most > 0:
        kind, size = _class_at(data, at, classes)
        if not kinds >> kind & 1:
            break
        at += size
        most -= 1
    return at


@compiled()
def _white(data: Bytes, begin: int, classes: Bytes, lines: bool) -> int:
    r"""Return the end of white space: `\s*[\r\n]+` with `lines`, else `\s+(?!\S)`, else `\s+`."""
    last = begin  # where the last character of the run begins
    newline = -1  # where the last line break of the run ends
    at = begin
    while True:
        kind, size = _class_at(data, at, classes)
        if not _WHITE >> kind & 1:
            break
        last = at
        at += size
        if kind == NEWLINE:
            newline = at
    if lines and newline > 0:
        return newline
    if at == len(data) or last == begin:
        return at
    return last


@compiled()
def _word_end(data: Bytes, begin: int, classes: Bytes) -> int:
    """Return where the word of `PATTERN` ends that begins at `begin`, which is before the end."""
    kind, size = _class_at(data, begin, classes)
    if kind == NUMBER:
        return _run(data, begin, classes, 1 << NUMBER, 3)
    at = begin
    if kind == BLANK:
        at += size
        kind, size = _class_at(data, at, classes)
    if _WORD >> kind & 1:
        at = _run(data, at, classes, _WORD, _ENDLESS)
        while at < len(data):
            code, size = _code_at(data, at)
            if code != 0x27 and code != 0x2019:  # ' and ’
                break
            kind, _ = _class_at(data, at + size, classes)
            if not _WORD >> kind & 1:
                break
            at = _run(data, at + size, classes, _WORD, _ENDLESS)
        return at
    if kind == OTHER:
        at = _run(data, at, classes, _SIGNS, _ENDLESS)
        return _run(data, at, classes, 1 << NEWLINE, _ENDLESS)
    return _white(data, begin, classes, True)


@compiled()
def _contraction(data: Bytes, begin: int) -> int:
    """Length of 's, 't, 'm, 'd, 're, 've, 'll at `begin`; 0 where there is none."""
    left = len(data) - begin
    if left < 2 or data[begin] != 0x27:
        return 0
    one = data[begin + 1]
    if one == 0x73 or one == 0x74 or one == 0x6D or one == 0x64:
        return 2
    if left > 2:
        two = data[begin + 2]
        if (one == 0x72 or one == 0x76) and two == 0x65:
            return 3
        if one == 0x6C and two == 0x6C:
            return 3
    return 0


@compiled()
def _gpt2_word_end(data: Bytes, begin: int, classes: Bytes) -> int:
    """Return where the word of GPT-2's pattern ends that begins at `begin`."""
    short = _contraction(data, begin)
    if short > 0:
        return begin + short
    at = begin
    kind, size = _class_at(data, begin, classes)
    if kind == BLANK:
        at += size
        kind, size = _class_at(data, at, classes)
    if _LETTERS_OR_NUMBERS >> kind & 1:
        return _run(data, at, classes, 1 << kind, _ENDLESS)
    if _SIGNS_OR_MARKS >> kind & 1:
        return _run(data, at, classes, _SIGNS_OR_MARKS, _ENDLESS)
    return _white(data, begin, classes, False)


@compiled()
def _hash(data: Bytes, begin: int, end: int) -> np.uint64:
    """FNV-1a, and a last mixing, as its low bits alone would do for a table."""
    value = np.uint64(0xCBF29CE484222325)
    for i in range(begin, end):
        value = (value ^ np.uint64(data[i])) * np.uint64(0x100000001B3)
    return value ^ (value >> np.uint64(29))


@compiled()
def _slot(
    data: Bytes, begin: int, end: int, words: Bytes, ends: Ints, slots: Slots
) -> tuple[np.int64, np.int64]:
    """Return the slot of a word and its number; -1 where it is new."""
    mask = np.int64(len(slots) - 1)
    slot = np.int64(_hash(data, begin, end)) & mask
    size = end - begin
    while slots[slot] >= 0:
        word = np.int64(slots[slot])
        first = ends[word]
        if ends[word + 1] - first == size:
            same = True
            for i in range(size):
                if words[first + i] != data[begin + i]:
                    same = False
                    break
            if same:
                return slot, word
        slot = (slot + 1) & mask
    return slot, np.int64(-1)


@compiled()
def count_words(
    data: Bytes, bounds: Ints, text: int, at: int, gpt2: bool, classes: Bytes,
    words: Bytes, ends: Ints, counts: Ints, slots: Slots, size: int,
) -> tuple[int, int, int, int]:  # fmt: skip
    """Count words from place `at` of text number `text` on, until the end or the table is full.

    Returns the text and the place to go on with, the number of distinct words, and how many were
    counted. `bounds` has the end of each text in `data`.
    """
    seen = 0
    while text < len(bounds):
        here = data[: bounds[text]]  # the patterns look ahead, but not into the next text
        while at < len(here):
            end = _gpt2_word_end(here, at, classes) if gpt2 else _word_end(here, at, classes)
            while at < end:
                stop = end
                if end - at > LONGEST:
                    stop = at + LONGEST
                    while data[stop] & 0xC0 == 0x80:  # not within a character
                        stop -= 1
                slot, word = _slot(data, at, stop, words, ends, slots)
                if word < 0:
                    first = ends[size]
                    if size == len(counts) or first + LONGEST > len(words):
                        return text, at, size, seen
                    words[first : first + stop - at] = data[at:stop]
                    ends[size + 1] = first + stop - at
                    counts[size] = 0
                    slots[slot] = size
                    word = size
                    size += 1
                counts[word] += 1
                seen += 1
                at = stop
        text += 1
    return text, at, size, seen


@compiled()
def fill_slots(words: Bytes, ends: Ints, size: int, slots: Slots) -> None:
    """Enter the first `size` words of a table into `slots`, which are empty."""
    mask = np.int64(len(slots) - 1)
    for word in range(size):
        slot = np.int64(_hash(words, ends[word], ends[word + 1])) & mask
        while slots[slot] >= 0:
            slot = (slot + 1) & mask
        slots[slot] = word


@compiled()
def compact(words: Bytes, ends: Ints, counts: Ints, kept: npt.NDArray[np.bool_]) -> int:
    """Leave only the words that are kept, in their order; return how many those are."""
    size = 0
    begin = ends[0]
    for word in range(len(kept)):
        end = ends[word + 1]
        if kept[word]:
            first = ends[size]
            for i in range(end - begin):
                words[first + i] = words[begin + i]
            ends[size + 1] = first + end - begin
            counts[size] = counts[word]
            size += 1
        begin = end
    return size
