"""Korean that was read in a wrong code page: found, undone, and lost bytes filled in again.

UTF-8 writes a Hangul syllable as three bytes, EA-ED and two of 80-BF. Read in a page of one byte a
character they become three odd characters (í•™ for 학); read in CP949 and saved, pairs of bytes
become two letters of Latin-1 (ÇÐ for 학). What a page leaves undefined is lost in many programs:
then a place has several candidates, and `syllables.py` chooses. What is not Korean is left.

Text that is not damaged comes through as it is: a run of letters is touched only where all of it
makes sense as bytes, and the result is more probable as Korean than its letters were.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, islice, product

from malmoi.text.syllables import EDGE, korean

PAGES = (
    "cp1252", "latin-1", "cp1254", "cp1250", "cp1251", "cp1253", "cp1255", "cp1256", "cp1257",
    "cp1258", "cp874", "iso8859-2", "iso8859-3", "iso8859-4", "iso8859-5", "iso8859-7",
    "iso8859-9", "iso8859-10", "iso8859-13", "iso8859-14", "iso8859-15", "iso8859-16", "mac-roman",
    "cp437", "cp850", "koi8-r",
)  # fmt: skip
"""the pages that a text may have been read in, the likelier first"""
LOST = "\ufffd"
"""stands for a byte that had no character"""
WESTERN = ("cp1252", "latin-1", "cp1254", "cp1250", "iso8859-15", "mac-roman", "cp437", "cp850")
"""those among them that CP949 is looked for in"""
DEPTH = 3
"""so often may a text have been damaged, one damage upon the other"""
_MOST = 600
"""candidates of one place: more are no choice but a lottery"""
_SAMPLE = 400
"""damaged words by which the page is chosen"""
_DROPPED = (0xAD,)
"""which the western pages have as a soft hyphen: what many programs leave out"""
_SHARE = 0.15
"""of a text's strange letters have to look like damaged syllables, for its damage to be looked for;
letters that lost their bytes do not"""
_STRANGE = re.compile("[^\0-\x7f\u1100-\u11ff\u3000-\u9fff가-힣]")
_JUDGED = 60
"""of these, by which the routes are compared"""
_FITS = 0.8
"""share of the letters of a page that have to make sense as bytes"""
_OPEN = 8
"""routes that are looked into further"""
_FEW = 4
"""fewer damaged places than that prove nothing by their number alone"""
_MEAN, _MEAN_OF_FEW = -7.0, -5.5
"""log-probability of a syllable in Korean text is above that; by chance it would be -9.3"""


Places = list[tuple[str, ...]]
"""the characters that each place may have been; one where nothing was lost"""


@dataclass(frozen=True)
class Repair:
    """What was done to a text."""

    text: str
    route: tuple[str, ...]
    """the pages it had been read in, the last damage first; CP949 bytes as `cp949/PAGE`"""
    places: int
    """characters that were put right"""
    lost: int
    """those among them of which bytes were missing, so that they had to be guessed"""


@dataclass(frozen=True)
class _Page:
    """A code page of one byte a character."""

    name: str
    byte_of: dict[str, int]
    lost: tuple[int, ...]
    """continuation bytes of UTF-8 that have no character in it"""
    run: re.Pattern[str]
    """characters whose bytes are above 7F, one after the other"""
    pairs: re.Pattern[str]
    """characters whose bytes are pairs of CP949"""
    syllable: str
    """regular expression of a Hangul syllable's three bytes"""
    two: str
    """likewise of two syllables in CP949"""


@cache
def _page(name: str) -> _Page:
    byte_of: dict[str, int] = {}
    undefined = []
    for byte in range(0x80, 0x100):
        try:
            byte_of[bytes([byte]).decode(name)] = byte
        except UnicodeDecodeError:
            undefined.append(byte)
    for byte in undefined:  # browsers and others keep such bytes as control characters
        byte_of.setdefault(chr(byte), byte)

    def some(first: int, last: int) -> str:
        return "".join(re.escape(c) for c, byte in byte_of.items() if first <= byte <= last)

    rest = f"[{some(0x80, 0xBF)}]"
    return _Page(
        name, byte_of, tuple(byte for byte in undefined if byte < 0xC0) + _DROPPED,
        re.compile(f"[{some(0x80, 0xFF)}{LOST}]+"),
        re.compile(f"(?:[{some(0x81, 0xFE)}][A-Za-z{some(0x81, 0xFE)}])+"),
        f"[{some(0xEA, 0xED)}]{rest}{rest}", f"(?:[{some(0xB0, 0xC8)}][{some(0xA1, 0xFE)}]){{2}}",
    )  # fmt: skip


@cache
def _signs() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Characters that any damage has, quick to search for; and what a damaged syllable looks like.

    That is three bytes in some page, its first byte alone after two damages, or two syllables of
    CP949.
    """
    ways = {_page(name).syllable for name in PAGES}
    leads = {c for name in PAGES for c, byte in _page(name).byte_of.items() if 0xEA <= byte <= 0xED}
    twice = set()
    for name in PAGES:
        character_of = {byte: c for c, byte in _page(name).byte_of.items()}
        for lead in leads | {"Ã"}:  # with which it begins once more after the third damage
            picture = [character_of.get(byte) for byte in lead.encode()]
            if None not in picture:
                twice.add("".join(map(re.escape, filter(None, picture))))
    twice = {picture for picture in twice if len(picture) > 1}
    pairs = {_page(name).two for name in WESTERN}
    rows = {
        c for name in WESTERN for c, byte in _page(name).byte_of.items() if 0xB0 <= byte <= 0xC8
    }
    first = {picture[0] for picture in twice} - {"\\"} | leads | rows
    quick = f"[{''.join(sorted(map(re.escape, first)))}]"
    whole = "|".join(
        [*sorted(ways), *(f"{picture}[^ -~]" for picture in sorted(twice)), *sorted(pairs)]
    )
    return re.compile(quick), re.compile(f"(?={quick})(?:{whole})")


def repair(text: str) -> Repair:
    """Undo what wrong code pages did to Korean in `text`, be it once or damage upon damage.

    Args:
        text: any; what holds no such damage comes back as it is.

    """
    quick, damaged = _signs()
    if text.isascii() or not quick.search(text) or not damaged.search(text):
        return Repair(text, (), 0, 0)
    if 3 * len(damaged.findall(text)) > _SHARE * len(_STRANGE.findall(text)):
        route = _route(text)
        if route:
            return _apply(text, route)
    lines = text.splitlines(keepends=True)
    if len(lines) < 2:
        return Repair(text, (), 0, 0)
    # Not the whole text; a line of it may be.
    done = [repair(line) if damaged.search(line) else Repair(line, (), 0, 0) for line in lines]
    routes = dict.fromkeys(name for one in done for name in one.route)
    return Repair(
        "".join(one.text for one in done), tuple(routes), sum(one.places for one in done),
        sum(one.lost for one in done),
    )  # fmt: skip


def _apply(text: str, route: tuple[str, ...]) -> Repair:
    """Undo a known route wherever it fits."""
    found = []
    for match in _runs(text, route):
        places = _decode_all(match[0], route)
        if places is not None:
            found.append((match.start(), match.end(), places))
    whole, at = [], 0  # what needs no guess teaches the words of this text
    for begin, end, places in found:
        whole.append(text[at:begin])
        whole.append("".join(place[0] if len(place) == 1 else EDGE for place in places))
        at = end
    model = korean().knowing(["".join(whole) + text[at:]])
    parts: list[str] = []
    at = count = lost = 0
    for begin, end, places in found:
        parts.append(text[at:begin])
        before = next((part[-4:] for part in reversed(parts) if part), "")
        guesses = sum(len(place) > 1 for place in places)
        parts.append(
            model.choose(places, before, text[end : end + 1] or EDGE)[0]
            if guesses
            else "".join(p[0] for p in places)
        )
        at, count, lost = end, count + len(places), lost + guesses
    return Repair("".join([*parts, text[at:]]), route, count, lost)


def _runs(text: str, route: tuple[str, ...]) -> Iterator[re.Match[str]]:
    first = route[0].rpartition("/")
    page = _page(first[2])
    return (page.pairs if first[0] and len(route) == 1 else page.run).finditer(text)


def _decode_all(run: str, route: tuple[str, ...]) -> Places | None:
    places: Places | None = [(character,) for character in run]
    for name in route:
        pairs, _, page = name.rpartition("/")
        assert places is not None
        places = (_decode_pairs if pairs else decode)(places, _page(page))
        if places is None:
            return None
    return places


def _route(text: str) -> tuple[str, ...]:
    """The damages that best explain the text, the last one first; none where it is not damaged."""
    best: tuple[str, ...] = ()
    best_score = -math.inf
    open_routes: list[tuple[str, ...]] = [()]
    for _ in range(DEPTH):
        longer = []
        for route in open_routes:
            for name in (*PAGES, *(f"cp949/{page}" for page in WESTERN)):
                new = (*route, name)
                runs = [match[0] for match in islice(_runs(text, new), _SAMPLE)]
                decoded = [(run, _decode_all(run, new)) for run in runs]
                fits = sum(len(run) for run, places in decoded if places is not None)
                if fits < _FITS * sum(map(len, runs)) or not fits:
                    continue
                score, korean = _judge([p for _, p in decoded if p is not None])
                score *= sum(map(len, runs)) / fits  # below 0: what makes no sense makes it worse
                if korean and score > best_score:
                    best, best_score = new, score
                elif not korean and "/" not in name:
                    longer.append((fits, new))
        if best:
            break
        open_routes = [route for _, route in sorted(longer, key=lambda pair: -pair[0])[:_OPEN]]
    return best


def _judge(runs: list[Places]) -> tuple[float, bool]:
    """How probable the best reading is, for each place, and whether it is Korean at all."""
    model, score, count, hangul = korean(), 0.0, 0, 0
    for places in runs[:_JUDGED]:
        text, value = model.choose(places)
        score, count = score + value, count + len(places)
        hangul += sum("가" <= character <= "힣" for character in text)
    if not count:
        return -math.inf, False
    mean = score / count
    enough = _MEAN if hangul >= _FEW else _MEAN_OF_FEW
    return mean, hangul > 0.5 * count and mean > enough


def decode(places: Sequence[Sequence[str]], page: _Page) -> Places | None:
    """What characters read in `page` were before, where their bytes were UTF-8; None: they are not.

    A character of which bytes are missing gets every candidate that those may make.
    """
    byte_of, lost = page.byte_of, page.lost
    bytes_of = [
        lost if LOST in place else sorted({byte_of[c] for c in place if c in byte_of})
        for place in places
    ]
    found: Places = []
    at = 0
    while at < len(bytes_of):
        leads = [byte for byte in bytes_of[at] if 0xC2 <= byte <= 0xF4]
        if not leads:
            return None
        at += 1
        rest: list[list[int]] = []
        need = _length(leads[0]) - 1
        while len(rest) < need and at < len(bytes_of):
            more = [byte for byte in bytes_of[at] if 0x80 <= byte <= 0xBF]
            if not more:
                break
            rest.append(more)
            at += 1
        characters = _characters(leads, rest, need, lost)
        if not 0 < len(characters) <= _MOST:
            return None
        found.append(characters)
    return found


def _length(lead: int) -> int:
    return 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4


def _characters(
    leads: Sequence[int], rest: list[list[int]], need: int, lost: Sequence[int]
) -> tuple[str, ...]:
    """All that a lead byte and what is left of its continuation bytes may have been."""
    found: dict[str, None] = {}
    for kept in combinations(range(need), len(rest)):
        slots: list[Sequence[int]] = [lost] * need
        for slot, options in zip(kept, rest, strict=True):
            slots[slot] = options
        for values in product(leads, *slots):
            try:
                found[bytes(values).decode("utf-8")] = None
            except UnicodeDecodeError:  # a surrogate, or a longer form than need be
                continue
    return tuple(found)


def _decode_pairs(places: Sequence[Sequence[str]], page: _Page) -> Places | None:
    """Likewise, where the bytes were CP949: pairs of them, of which none is lost."""
    if any(len(place) != 1 for place in places):
        return None
    byte_of = page.byte_of
    values = [byte_of.get(c, ord(c)) for place in places for c in place]
    if max(values) > 0xFF:
        return None
    try:
        return [(character,) for character in bytes(values).decode("cp949")]
    except UnicodeDecodeError:
        return None
