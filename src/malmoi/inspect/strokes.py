"""Hangul drawn in strokes, for machines on which no font has it.

A syllable is put together as one writes it: the lead at the top or on the left, the vowel to its
right, below it or both, the tail at the bottom. It is no beauty, but it can be read, where a font
without Hangul shows boxes. `fonts.py`, the neighbour, looks for a font that has it.
"""

import math
from functools import cache

from malmoi.text.korean import LEADS, TAILS, VOWELS, decompose

Point = tuple[float, float]
Line = tuple[Point, ...]
Box = tuple[float, float, float, float]
"""left, top, right, bottom; in a unit square, downwards"""

_HOOK: Line = ((0, 0), (1, 0), (0.85, 1))
_CUP: Line = ((1, 0), (0, 0), (0, 1), (1, 1))
_ROUND: Line = tuple(
    (0.5 + 0.5 * math.cos(math.tau * i / 24), 0.5 + 0.5 * math.sin(math.tau * i / 24))
    for i in range(25)
)
_CONSONANTS: dict[str, tuple[Line, ...]] = {
    "ㄱ": (_HOOK,),
    "ㄴ": (((0, 0), (0, 1), (1, 1)),),
    "ㄷ": (_CUP,),
    "ㄹ": (((0, 0), (1, 0), (1, 0.5), (0, 0.5), (0, 1), (1, 1)),),
    "ㅁ": (((0, 0), (1, 0), (1, 1), (0, 1), (0, 0)),),
    "ㅂ": (((0, 0), (0, 1), (1, 1), (1, 0)), ((0, 0.5), (1, 0.5))),
    "ㅅ": (((0.5, 0), (0.5, 0.3), (0, 1)), ((0.5, 0.3), (1, 1))),
    "ㅇ": (_ROUND,),
    "ㅈ": (((0, 0), (1, 0)), ((0.5, 0), (0.5, 0.35), (0, 1)), ((0.5, 0.35), (1, 1))),
    "ㅊ": (
        ((0.5, 0), (0.5, 0.2)),
        ((0, 0.25), (1, 0.25)),
        ((0.5, 0.25), (0.5, 0.5), (0, 1)),
        ((0.5, 0.5), (1, 1)),
    ),
    "ㅋ": (_HOOK, ((0, 0.5), (0.9, 0.5))),
    "ㅌ": (_CUP, ((0, 0.5), (1, 0.5))),
    "ㅍ": (((0, 0), (1, 0)), ((0, 1), (1, 1)), ((0.3, 0), (0.3, 1)), ((0.7, 0), (0.7, 1))),
    "ㅎ": (
        ((0.3, 0), (0.7, 0)),
        ((0, 0.22), (1, 0.22)),
        tuple((0.15 + 0.7 * x, 0.38 + 0.62 * y) for x, y in _ROUND),
    ),
}
_DOUBLE = {
    "ㄲ": "ㄱㄱ", "ㄸ": "ㄷㄷ", "ㅃ": "ㅂㅂ", "ㅆ": "ㅅㅅ", "ㅉ": "ㅈㅈ", "ㄳ": "ㄱㅅ",
    "ㄵ": "ㄴㅈ", "ㄶ": "ㄴㅎ", "ㄺ": "ㄹㄱ", "ㄻ": "ㄹㅁ", "ㄼ": "ㄹㅂ", "ㄽ": "ㄹㅅ",
    "ㄾ": "ㄹㅌ", "ㄿ": "ㄹㅍ", "ㅀ": "ㄹㅎ", "ㅄ": "ㅂㅅ",
}  # fmt: skip

# Of upright vowels: where the stems stand, and the short strokes (from, to, height).
_UPRIGHT: dict[str, tuple[tuple[float, ...], tuple[tuple[float, float, float], ...]]] = {
    "ㅣ": ((0.5,), ()),
    "ㅏ": ((0.3,), ((0.3, 1, 0.5),)),
    "ㅑ": ((0.3,), ((0.3, 1, 0.35), (0.3, 1, 0.65))),
    "ㅓ": ((0.7,), ((0, 0.7, 0.5),)),
    "ㅕ": ((0.7,), ((0, 0.7, 0.35), (0, 0.7, 0.65))),
    "ㅐ": ((0.15, 0.85), ((0.15, 0.85, 0.5),)),
    "ㅒ": ((0.15, 0.85), ((0.15, 0.85, 0.35), (0.15, 0.85, 0.65))),
    "ㅔ": ((0.5, 1), ((0, 0.5, 0.5),)),
    "ㅖ": ((0.5, 1), ((0, 0.5, 0.35), (0, 0.5, 0.65))),
}
# Of lying ones: the places of the short strokes, and whether they stand on the long one.
_LYING: dict[str, tuple[tuple[float, ...], bool]] = {
    "ㅡ": ((), True),
    "ㅗ": ((0.5,), True),
    "ㅛ": ((0.32, 0.68), True),
    "ㅜ": ((0.5,), False),
    "ㅠ": ((0.32, 0.68), False),
}
_BOTH = {
    "ㅘ": "ㅗㅏ", "ㅙ": "ㅗㅐ", "ㅚ": "ㅗㅣ", "ㅝ": "ㅜㅓ", "ㅞ": "ㅜㅔ", "ㅟ": "ㅜㅣ",
    "ㅢ": "ㅡㅣ",
}  # fmt: skip


def plain(char: str) -> str:
    """The same letter as one that stands by itself: jamo of NFD (U+1100 on) become ㄱ, ㅏ, ㄳ."""
    code = ord(char)
    for first, letters in ((0x1100, LEADS), (0x1161, VOWELS), (0x11A7, TAILS)):
        if first <= code < first + len(letters):
            return letters[code - first] or char
    return char


@cache
def strokes(char: str) -> tuple[Line, ...] | None:
    """Lines that draw a Hangul syllable or jamo in a unit square; None for other characters."""
    letter = plain(char)
    if "가" <= letter <= "힣":
        return _syllable(*decompose(letter))
    if letter in _CONSONANTS or letter in _DOUBLE:
        return _consonant(letter, (0.15, 0.15, 0.85, 0.9))
    if letter in VOWELS:
        return _vowel(letter, (0.1, 0.1, 0.9, 0.95), (0.35, 0.05, 0.75, 0.98))
    return None


def _syllable(lead: str, vowel: str, tail: str) -> tuple[Line, ...]:
    floor = 0.58 if tail else 0.96  # of what stands above the tail
    lines: tuple[Line, ...]
    if vowel in _UPRIGHT:
        lead_box = (0.08, 0.1, 0.55, floor - (0.04 if tail else 0.14))
    elif vowel in _LYING:
        lead_box = (0.22, 0.06, 0.78, 0.3 if tail else 0.52)
    else:
        lead_box = (0.08, 0.08, 0.54, 0.28 if tail else 0.48)
    lying = (0.02, lead_box[3] + 0.04, 0.62 if vowel in _BOTH else 0.98, floor)
    upright = (0.68, 0.04, 0.98, floor + (0 if tail else 0.02))
    lines = _consonant(lead, lead_box) + _vowel(vowel, lying, upright)
    return lines + (_consonant(tail, (0.22, 0.67, 0.84, 0.97)) if tail else ())


def _vowel(vowel: str, lying: Box, upright: Box) -> tuple[Line, ...]:
    if vowel in _BOTH:
        return _vowel(_BOTH[vowel][0], lying, upright) + _vowel(_BOTH[vowel][1], lying, upright)
    if vowel in _UPRIGHT:
        stems, ticks = _UPRIGHT[vowel]
        long: list[Line] = [((x, 0), (x, 1)) for x in stems]
        short: list[Line] = [((left, y), (right, y)) for left, right, y in ticks]
        return _into(upright, (*long, *short))
    places, standing = _LYING[vowel]
    height = 0.6 if places and standing else 0.4 if places else 0.5
    end = 0.0 if standing else 1.0
    return _into(lying, (((0, height), (1, height)), *(((x, end), (x, height)) for x in places)))


def _consonant(letter: str, box: Box) -> tuple[Line, ...]:
    if letter not in _DOUBLE:
        return _into(box, _CONSONANTS[letter])
    left, top, right, bottom = box
    width = (right - left) * 0.44
    one, other = tuple(_DOUBLE[letter])
    return _into((left, top, left + width, bottom), _CONSONANTS[one]) + _into(
        (right - width, top, right, bottom), _CONSONANTS[other]
    )


def _into(box: Box, lines: tuple[Line, ...]) -> tuple[Line, ...]:
    left, top, right, bottom = box
    return tuple(
        tuple((left + x * (right - left), top + y * (bottom - top)) for x, y in line)
        for line in lines
    )
