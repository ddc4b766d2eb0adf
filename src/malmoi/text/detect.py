"""Which encoding a text is in: by marks, by what decodes, by how probable the decoded text is.

`readings.py`, the neighbour, judges what each candidate makes of a sample; here it is decided.
`encoding.py` decodes by what is found. `charset-normalizer` comes last, for pages that are not
among the candidates.
"""

import codecs
import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from malmoi.text.readings import (
    LARGE,
    MULTIBYTE,
    NOTHING,
    PAGES,
    SMALL,
    WIDE,
    Reading,
    plainly_korean,
    readings,
    sample_of,
    wide_readings,
)

_log = logging.getLogger(__name__)
_BOMS = (  # UTF-32 first: its little-endian mark begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MAGIC = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a zip archive (docx, xlsx, hwpx and epub are zip archives too)"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office or Hangul (hwp) document"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"GGUF", "a GGUF model"),
)
_ESCAPES = (  # ISO-2022: bytes of ASCII only, which these make Korean or Japanese, and end it
    (b"\x1b$)C", b"\x0e", "iso2022_kr"),
    (b"\x1b$B", b"\x1b(", "iso2022_jp"),
    (b"\x1b$@", b"\x1b(", "iso2022_jp"),
)
_BY_CHANCE = 0.001
"""how likely UTF-16 is beforehand in bytes without a NUL: it has one in every space"""
_SURE = 0.99
_LAST_RESORT = 0.5
"""how often `charset-normalizer` is right where no candidate fits (DOS and Mac pages: 0.65)"""
_ODDITY = 5.0
"""nats that a text may be less probable than random bytes where all of it decodes nevertheless"""
_LEAST = 0.001
"""what is less probable is no runner-up"""
_NO_GUESS = ["utf_7", "utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be"]


@dataclass(frozen=True)
class Guess:
    """What `guess` found.

    Attributes:
        codec: Python's name of the codec. Of codecs that contain each other it is the larger one:
            cp949 for EUC-KR, cp932 for Shift-JIS, gb18030 for GBK and GB 2312, cp950 for Big5.
        confidence: The probability, 0 to 1, that the bytes looked at read as they were written.
            1 for byte order marks, escape sequences, and whatever is strictly UTF-8. On short
            texts of 35 languages, about 0.7 of those said to be 0.7 sure were right, and so on.
        runner_up: The next probable codec that reads these bytes otherwise; None if there is none.

    """

    codec: str
    confidence: float
    runner_up: str | None = None


def detect(head: bytes, *, complete: bool) -> str:
    """Name the codec of a text from its first bytes; `guess` says how sure that is.

    Raises:
        ValueError: the bytes are no text, or no encoding fits them.

    """
    return guess(head, complete=complete).codec


def guess(head: bytes, *, complete: bool) -> Guess:
    """Find the encoding of a text from its first bytes.

    Args:
        head: The beginning of the file, or all of it; a kilobyte helps, a megabyte is plenty.
        complete: Whether `head` is the whole file, so that its last character is not cut.

    Raises:
        ValueError: the bytes are no text, or no encoding fits them.

    """
    for bom, name in _BOMS:
        if head.startswith(bom):
            return Guess(name, 1.0)
    for magic, what in _MAGIC:
        if head.startswith(magic):
            raise ValueError(f"not text but {what}; give plain text instead")
    if head[257:262] == b"ustar":
        raise ValueError("not text but a tar archive; unpack it and give the folder")
    if b"\0" in head:  # no text in bytes has NULs
        wide = sorted(wide_readings(head, WIDE, 0.25), key=lambda reading: -reading.weight)
        if not wide or wide[0].weight < NOTHING:
            raise ValueError("not text but binary data (it has NUL bytes); give plain text instead")
        return _best(wide)
    text = _decodes(head, "utf-8", complete)
    if text is None or _may_be_chance(text, complete):
        return _probable(head, complete)
    if text.isascii() and b"\x1b" in head:
        for escape, shift, name in _ESCAPES:
            if escape in head and shift in head:
                return Guess(name, 1.0)
    return Guess("utf-8", 1.0)


def _decodes(data: bytes, codec: str, complete: bool) -> str | None:
    """Decode strictly, allowing for a cut last character; None where it is not that encoding."""
    try:
        return codecs.getincrementaldecoder(codec)().decode(data, complete)
    except UnicodeDecodeError:
        return None


def _may_be_chance(text: str, complete: bool) -> bool:
    """Whether a text may be UTF-8 by chance: a few pairs of bytes, as 호호 in CP949 is."""
    return complete and len(text) < 32 and not text.isascii() and max(text) < "\u0800"


def _probable(head: bytes, complete: bool) -> Guess:
    """Compare what the candidates make of a sample, a larger one where that leaves a doubt."""
    found: list[Reading] = []
    for budget in (SMALL, LARGE):
        sample = sample_of(head, budget, complete)
        found = list(readings(sample, MULTIBYTE))
        if not plainly_korean(found, sample):
            found += readings(sample, PAGES)
            found += wide_readings(head, WIDE[:2], _BY_CHANCE)
        found.sort(key=lambda reading: -reading.weight)
        best = _best(found)
        if best.confidence >= _SURE or len(head) <= budget:
            break
    # Odd texts are improbable, but bytes that mean nothing are no whole characters all along.
    odd = best.codec in MULTIBYTE and _decodes(head, best.codec, complete) is not None
    if found[0].weight < NOTHING - (_ODDITY if odd else 0.0):
        return Guess(_standard_detector(head), _LAST_RESORT, best.codec)
    # The sample reads alike in CP1250 and ISO 8859-2, say; what is beyond it decides.
    twins = [reading.codec for reading in found if reading.texts == found[0].texts]
    if len(twins) > 1:
        fits = (codec for codec in twins if _decodes(head, codec, complete) is not None)
        best = replace(best, codec=next(fits, best.codec))
    return best


def _best(found: Sequence[Reading]) -> Guess:
    """Choose the first of the readings, which are sorted by weight."""
    first = found[0]
    share = [math.exp(reading.weight - first.weight) for reading in found]
    alike = [reading.texts == first.texts for reading in found]
    total = sum(share) + math.exp(min(700.0, NOTHING - first.weight))
    same = sum(part for part, like in zip(share, alike, strict=True) if like)
    second = alike.index(False) if False in alike else None
    if second is not None and share[second] > _LEAST * total:
        return Guess(first.codec, same / total, found[second].codec)
    return Guess(first.codec, same / total)


def admit(name: str, found: Guess) -> None:
    """Say so where an encoding is a guess; silent mojibake costs a run."""
    if found.confidence < 0.9 or not found.codec.startswith(("utf", "cp949", "iso2022")):
        sure = f"{100 * found.confidence:.0f} % sure"
        hint = "if it reads wrong, say --encoding"
        _log.warning("%s: guessed to be in %s (%s); %s", name, found.codec, sure, hint)


def _standard_detector(head: bytes) -> str:
    from charset_normalizer import from_bytes

    start = re.search(rb"[\x80-\xff]", head)
    sample = head[start.start() if start else 0 :][: 1 << 15]
    if len(sample) == 1 << 15:  # not in the middle of a character
        sample = sample[: max(sample.rfind(b"\n"), sample.rfind(b" ")) + 1] or sample
    matches = from_bytes(sample, cp_exclusion=_NO_GUESS)
    best = matches.best()
    if best is None:
        raise ValueError("neither text in an encoding we know nor a known format; say --encoding")
    # French it takes for Baltic, German for Polish; where the western page fits about as well, it
    # is by far the likelier one.
    western = any(
        "cp1252" in match.could_be_from_charset and match.chaos < best.chaos + 0.05
        for match in matches
    )
    return "cp1252" if western else best.encoding
