"""Personal data: Korean registration and phone numbers, card numbers and e-mail addresses, masked.

A number is taken for personal by its form and by all that can be computed from it (a date, a check
digit, a prefix that is in use), and by a word before it, such as 전화, where the form alone could
be anything. In doubt it stays: versions, prices and book numbers are text. So this finds what
people write down in the usual ways; it is no proof that nothing is left. `rules.py`, the neighbour,
repairs writing and loses nothing.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache

import numpy as np

KINDS = ("resident", "phone", "card", "email")
"""resident registration numbers (foreigners' too), phone numbers, card numbers, e-mail addresses"""
TAGS = {
    "ko": ("[주민등록번호]", "[전화번호]", "[카드번호]", "[이메일]"),
    "en": ("[resident number]", "[phone]", "[card number]", "[email]"),
}
"""what stands in their place, by language, in the order of `KINDS`"""
Span = tuple[int, int]

_LONG = 256  # characters from which on numpy is faster than `re`
_NEAR = 24  # characters around four digits in a row that may belong to the same number
_LAST_YEAR = 2035  # of a birth; not this year, so that a text gives the same today and tomorrow
_DASH = "-‐‑‒–—−－"
# Before and after a number: no more of it, and of nothing that is longer (a decimal, a version, an
# identifier). A word of Hangul may follow at once, as particles do.
_BEFORE = rf"(?<![0-9A-Za-z_])(?<![0-9][.,:/{_DASH}])(?<![0-9] [{_DASH}])"
_AFTER = rf"(?![0-9A-Za-z_])(?![.,:{_DASH}][0-9])(?! [{_DASH}] ?[0-9])"


@dataclass(frozen=True)
class Masked:
    """A text with tags in it, and how many there are of each kind that was found."""

    text: str
    counts: dict[str, int]


def mask(text: str, kinds: Iterable[str] = KINDS, language: str = "ko") -> Masked:
    """Replace personal data by tags such as [전화번호]; a text without any is the same object.

    Args:
        text: one document.
        kinds: what to look for, of `KINDS`.
        language: of the tags, of `TAGS`.

    Raises:
        ValueError: a kind or the language is unknown.

    """
    chosen = tuple(kinds)
    for kind in chosen:
        if kind not in KINDS:
            raise ValueError(f"unknown kind of personal data {kind!r}; known: {', '.join(KINDS)}")
    if language not in TAGS:
        raise ValueError(f"no tags in language {language!r}; known: {', '.join(TAGS)}")
    tags = dict(zip(KINDS, TAGS[language], strict=True))
    windows = list(_windows(text)) if set(chosen) - {"email"} else []
    found: list[tuple[int, int, str]] = []
    if "email" in chosen:
        found += [(start, end, "email") for start, end in _emails(text)]
    # A number inside an address belongs to it, and what is a card number is not a phone number.
    for kind, find in (("resident", _residents), ("card", _cards), ("phone", _phones)):
        if kind in chosen:
            taken = [(start, end) for start, end, _ in found]
            for window in windows:
                for start, end in find(text, *window):
                    if not any(start < last and first < end for first, last in taken):
                        found.append((start, end, kind))
    if not found:
        return Masked(text, {})
    parts, counts, at = [], dict.fromkeys(KINDS, 0), 0
    for start, end, kind in sorted(found):
        parts += [text[at:start], tags[kind]]
        counts[kind] += 1
        at = end
    return Masked("".join([*parts, text[at:]]), {k: n for k, n in counts.items() if n})
