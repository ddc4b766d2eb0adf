"""Personal data: Korean registration and phone numbers, card numbers and e-mail addresses, masked.

A number is taken for personal by its form and by all that can be computed from it (a date, a check
digit, a prefix that is in use), and by a word before it, such as 전화, where the form alone could
be anything. In doubt it stays: versions, prices and book numbers are text. So this finds what
people write down in the usual ways; it is no proof that nothing is left. `rules.py`, the neighbour,
repairs writing and loses nothing.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np

KINDS = ("resident", "phone", "card", "email")
"""resident registration numbers (foreigners' too), phone numbers, card numbers, e-mail addresses"""
TAGS = {
    "ko": ("[주민등록번호]", "[전화번호]", "[카드번호]", "[이메일]"),
    "en": ("[resident number]", "[phone]", "[card number]", "[email]"),
}
"""what stands in their place, by language, in the order of `KINDS`"""

_LONG = 256  # characters from which on numpy is faster than `re`
_NEAR = 24  # characters around four digits in a row that may belong to the same number
_FEWEST = 8  # digits of the shortest number that is looked for
_LAST_YEAR = 2035  # of a birth; not this year, so that a text gives the same today and tomorrow
_NO_CHECKSUM = date(2020, 10, 1)  # from here on, registration numbers are drawn at random

_DASH = r"\-‐‑‒–—−－"
_S = rf"(?: ?[{_DASH}] ?|\.)"  # between the parts of a phone number
_PREFIX = "(?:2|3[1-3]|4[1-4]|5[1-5]|6[1-4]|1[016-9]|[678]0|50[2-8]?)"  # after a 0
_SHORT = (
    "1(?:5(?:22|33|44|51|55|66|77|88|99)|6(?:00|11|44|60|61|66|68|70|88)|8(?:00|11|33|55|77|99))"
)
_NUMBER = re.compile(
    # No more of a number before and after, and nothing longer (decimals, versions, identifiers);
    # but a word of Hangul may follow at once, as particles do.
    rf"(?:(?<![0-9A-Za-z_])|(?<=(?i:tel|fax))|(?<=(?i:hp)))(?<![0-9][.:{_DASH}])(?:"
    rf"(?P<resident>[0-9]{{6}}(?P<dash> ?[{_DASH}] ?| )?[1-8][0-9]{{6}})"
    # Where spaces part it, no other numbers may stand beside it: that would be a table.
    rf"|(?P<card>[0-9]{{4}}(?P<gap>[{_DASH}]|(?<![0-9] [0-9]{{4}}) )"
    r"(?:[0-9]{4}(?P=gap)[0-9]{4}(?P=gap)[0-9]{4}|[0-9]{6}(?P=gap)[0-9]{4,5})"
    r"(?!(?<= [0-9]{4}) [0-9])|(?<!\.)[0-9]{14,16})"
    # +82 10-; (02) 123- or 02-123-; 010-0000-, nobody's, but people write it; 010 1234 or bare.
    r"|(?P<phone>(?:"
    rf"\+82[) .{_DASH}]? ?(?:\(0\)|0)?{_PREFIX}[) .{_DASH}]? ?[0-9]{{3,4}}[ .{_DASH}]?"
    rf"|(?:\(0{_PREFIX}\) ?|0{_PREFIX}(?:\) ?|{_S}))[1-9][0-9]{{2,3}}{_S}"
    rf"|(?:\(010\) ?|010(?:\) ?|{_S}))0[0-9]{{3}}{_S}"
    r"|01[016-9] [0-9]{3,4} |(?<!\.)010[0-9]{4})[0-9]{4}(?:~[0-9]{1,4})?)"
    # What may be a range of years, and what needs a word before it.
    rf"|(?P<short>{_SHORT} ?[{_DASH}] ?[0-9]{{4}})"
    rf"|(?P<loose>(?:0{_PREFIX} ?[0-9]{{3,4}}|{_SHORT}) ?[0-9]{{4}})"
    rf")(?![0-9A-Za-z_])(?![.:{_DASH}][0-9])"
)
_FOUR = re.compile("[0-9][0-9][0-9][0-9]")
_CALL = re.compile(
    "(?i:전화|연락처|휴대|폰|팩스|문의|상담|대표번호|센터|[☎☏📞📱]|tel|phone|mobile|fax|h[.]?p|cell)"
)
_REGISTERED = re.compile("주민|외국인|(?i:resident|rrn)")
_BOOK = re.compile("(?i:issn|isbn)")
_ISSUERS = re.compile(
    "4[0-9]{15}|5[1-5][0-9]{14}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}"
    "|3[47][0-9]{13}|3(?:0[0-5]|[689][0-9])[0-9]{11}|35(?:2[89]|[3-8][0-9])[0-9]{12}"
    "|6(?:011|4[4-9][0-9]|5[0-9]{2})[0-9]{12}|62[0-9]{14}|(?P<domestic>9[0-9]{15})"
)
_LOCAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._%+-]*\Z")
_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+([a-z]{2}|[A-Z]{2}|(?i:com|net|org|edu|gov"
    r"|mil|int|info|biz|name|pro|app|dev|xyz|site|shop|store|online|tech|cloud|kim|asia|email|live"
    r"|world|company|studio|design|blog|news|media|agency|academy|travel|museum))(?![A-Za-z0-9_-])"
)


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
    chosen = frozenset(kinds)
    if unknown := chosen.difference(KINDS):
        raise ValueError(
            f"unknown kind of personal data {min(unknown)!r}; known: {', '.join(KINDS)}"
        )
    if language not in TAGS:
        raise ValueError(f"no tags in language {language!r}; known: {', '.join(TAGS)}")
    found = list(_emails(text)) if "email" in chosen else []
    if chosen - {"email"}:
        addresses = [start for start, _, _ in found]
        for start, end, kind in _numbers(text):
            before = bisect_right(addresses, start) - 1
            if kind in chosen and (before < 0 or found[before][1] <= start):
                found.append((start, end, kind))
    if not found:
        return Masked(text, {})
    tags = dict(zip(KINDS, TAGS[language], strict=True))
    parts, counts, at = [], dict.fromkeys(KINDS, 0), 0
    for start, end, kind in sorted(found):
        parts += [text[at:start], tags[kind]]
        counts[kind] += 1
        at = end
    return Masked("".join([*parts, text[at:]]), {k: n for k, n in counts.items() if n})


def _windows(text: str) -> Iterator[tuple[int, int]]:
    """Where in the text there are enough digits for a number: (start, end), in order."""
    if len(text) <= _LONG:
        if _FOUR.search(text):
            yield 0, len(text)
        return
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    digit = codes - np.uint32(48) < 10  # unsigned: what comes before "0" is very large
    in_a_row = digit[3:] & digit[2:-1] & digit[1:-2] & digit[:-3]
    flags = digit.tobytes()
    start = end = 0
    for at in np.flatnonzero(in_a_row).tolist():
        if flags.count(1, max(0, at - _NEAR), at + _NEAR) < _FEWEST:
            continue  # a year
        if end and at - _NEAR > end:
            yield start, end
        if at - _NEAR > end or not end:
            start = max(0, at - _NEAR)
        end = min(len(text), at + 4 + _NEAR)
    if end:
        yield start, end


def _numbers(text: str) -> Iterator[tuple[int, int, str]]:
    for window in _windows(text):
        for match in _NUMBER.finditer(text, *window):
            digits = re.sub("[^0-9]", "", match[0])
            before = text[max(0, match.start() - _NEAR) : match.start()]
            if match["resident"]:
                if _is_resident(digits, match["dash"] or "", before):
                    yield *match.span(), "resident"
            elif match["card"]:
                if _is_card(digits, grouped=bool(match["gap"])):
                    yield *match.span(), "card"
            elif _is_phone(match, digits, before):
                yield *match.span(), "phone"


def _is_resident(digits: str, dash: str, before: str) -> bool:
    """Thirteen digits: the date of birth, one for sex and century, five, a check digit.

    The check digit is (11 - s) mod 10 and for foreigners (century 5 to 8) (13 - s) mod 10, where s
    is the sum of the first twelve, times 2 to 9 and 2 to 5, modulo 11. It was given up in October
    2020: those born after that have none, and those who were given a new number are found by the
    word before it only.
    """
    year = int(digits[:2]) + (1900 if digits[6] in "1256" else 2000)
    try:
        born = date(year, int(digits[2:4]), int(digits[4:6]))
    except ValueError:
        return False
    if year > _LAST_YEAR:
        return False
    if _REGISTERED.search(before):
        return True
    weights = (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)
    total = sum(int(d) * w for d, w in zip(digits, weights, strict=False)) % 11
    checked = int(digits[12]) == ((13 if digits[6] in "5678" else 11) - total) % 10
    if dash.strip():
        return checked or born >= _NO_CHECKSUM
    # Without a dash it might be a bar code (EAN-13), or milliseconds since 1970 (15... to 19...).
    bar_code = sum(int(d) * w for d, w in zip(digits, (1, 3) * 7, strict=False)) % 10 == 0
    return checked and not bar_code and year >= 1920


def _is_card(digits: str, *, grouped: bool) -> bool:
    """Whether some issuer has such numbers and the last digit is Luhn's (ISO/IEC 7812)."""
    issuer = _ISSUERS.fullmatch(digits)
    if not issuer or (issuer["domestic"] and not grouped):
        return False
    doubled = "".join(str(int(d) * (1 + n % 2)) for n, d in enumerate(reversed(digits)))
    return sum(map(int, doubled)) % 10 == 0


def _is_phone(match: re.Match[str], digits: str, before: str) -> bool:
    """Whether what has the form of a phone number is one, by the words and numbers around it."""
    if _BOOK.search(before):
        return False
    if match["phone"]:
        return not set(match[0]) <= {"0", "1"}  # that is a number in binary
    if match["loose"] or _CALL.search(before):
        return bool(_CALL.search(before))
    first, second = int(digits[:4]), int(digits[4:])
    years = first < second <= 2100 or match.string.startswith("년", match.end())
    return not years  # 1592-1598 was a war


def _emails(text: str) -> Iterator[tuple[int, int, str]]:
    at = text.find("@")
    while at >= 0:
        local = _LOCAL.search(text, max(0, at - 64), at)
        host = _HOST.match(text, at + 1) if local else None
        if local and host and _is_email(text, local, host):
            yield local.start(), host.end(), "email"
        at = text.find("@", at + 1)


def _is_email(text: str, local: re.Match[str], host: re.Match[str]) -> bool:
    """Whether what has the form of an address is one, and not code or a place on the net."""
    if local[0] in ("git", "hg", "svn"):
        return False
    word = text[max(0, local.start() - 100) : local.start()].split(" ")[-1]
    if "://" in word and not re.search("[/?#\n]", word.split("://")[-1]):
        return False  # https://user:password@host
    after = text[host.end() : host.end() + 2]
    if re.match("[:][A-Za-z0-9_~./-]", after):
        return False  # git@github.com:owner/name, host:port
    # W@x.to(device): a method, where an address would have words in the brackets.
    return not (len(host[1]) == 2 and host[0].count(".") == 1 and re.match("[(\\[][^가-힣]", after))
