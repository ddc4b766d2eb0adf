"""What each encoding makes of a sample of a text, and how probable that is.

A sample is judged line by line, so that a few lines in another encoding or a few damaged bytes
mislead nobody. `plausible.py` judges the decoded text; `detect.py` chooses by it for a file and
`mixed.py` for a line.
"""

import codecs
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from malmoi.text.plausible import ANY, ASCII, LATIN, RANDOM, latin_shares, log_probabilities

Sample = Sequence[tuple[bytes, bool]]
"""pieces of a text, and of each whether it ends with a whole character"""
Candidates = dict[str, tuple[float, tuple[str, ...]]]
"""codecs: how likely each is beforehand, and the languages of its texts"""

_WESTERN = ("en", "de", "fr", "es", "pt", "it", "nl", "sv", "da", "fi", "is", "ca")
_CENTRAL = ("pl", "cs", "sk", "hu", "ro", "hr", "sl")
MULTIBYTE: Candidates = {
    "utf-8": (0.03, (ANY,)),  # damaged, since what is not was found before
    "cp949": (0.30, ("ko",)),
    "johab": (0.005, ("ko",)),
    "cp932": (0.03, ("ja",)),
    "euc_jp": (0.01, ("ja",)),
    "gb18030": (0.03, ("zh",)),
    "cp950": (0.015, ("zh-hant",)),
    "big5hkscs": (0.003, ("zh-hant",)),
}
PAGES: Candidates = {
    "cp1252": (0.12, _WESTERN),
    "cp1250": (0.04, _CENTRAL),
    "iso8859-2": (0.02, _CENTRAL),
    "cp1251": (0.05, ("ru", "uk", "be", "bg", "sr", "mk")),
    "koi8-r": (0.01, ("ru",)),
    "koi8-u": (0.003, ("uk",)),
    "iso8859-5": (0.002, ("ru", "bg", "sr")),
    "cp1253": (0.02, ("el",)),
    "iso8859-7": (0.005, ("el",)),
    "cp1254": (0.03, ("tr",)),
    "cp1257": (0.015, ("lt", "lv", "et")),
    "cp1258": (0.01, ("vi",)),
    "cp1255": (0.01, ("he",)),
    "cp1256": (0.01, ("ar",)),
    "cp874": (0.01, ("th",)),
    "cp866": (0.003, ("ru", "uk")),
    "cp850": (0.002, _WESTERN),
    "cp852": (0.002, _CENTRAL),
    "mac-roman": (0.002, _WESTERN),
    "mac-cyrillic": (0.001, ("ru", "uk")),
}
WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
NOTHING = math.log(0.01)
"""nats of how likely it is beforehand that none of these fits"""
SMALL, LARGE = 800, 6_000
"""bytes that are judged: at first, and where they leave a doubt"""
_SAME = {  # what is a part of a candidate, or nearly
    "ascii": "utf-8", "euc_kr": "cp949", "shift_jis": "cp932", "gb2312": "gb18030",
    "gbk": "gb18030", "big5": "cp950", "iso8859-1": "cp1252", "iso8859-15": "cp1252",
    "iso8859-9": "cp1254", "iso8859-13": "cp1257",
}  # fmt: skip
_PIECE = 400
"""bytes of a line that are judged at once"""
_SENSELESS = -12.0
"""nats at least of a piece that makes no sense in a file's encoding, beside its random bytes"""
_MIXED = -15.0
"""nats of there being such pieces at all"""
_UNPAIRED = -20.0
"""nats of two or four bytes that are no character of UTF-16 or UTF-32, which is rare in these"""
_TEMPER = 2.2
"""evidence is divided by that, since neighbouring letters say much the same (see `Guess`)"""
_SAFE = re.compile(rb"[\0-\x2f]")
_PRINTABLE = bytes([0x09, 0x0A, 0x0C, 0x0D, *range(0x20, 0x7F)])


@dataclass(frozen=True)
class Reading:
    """What one codec makes of a sample.

    Attributes:
        codec: Its name.
        weight: Logarithm of how likely it is, as compared with that of others and `NOTHING`.
        texts: The pieces of the sample, decoded.

    """

    codec: str
    weight: float
    texts: tuple[str, ...]


def readings(sample: Sample, candidates: Candidates) -> Iterator[Reading]:
    """Judge a sample in several encodings, each in the language that fits best."""
    nothing = [_random(data) for data, _ in sample]
    latin = any(languages[0] in LATIN for _, languages in candidates.values())
    shares = latin_shares(b"".join(data for data, _ in sample)) if latin else {}
    for codec, (prior, languages) in candidates.items():
        texts = [_read(data, codec, whole) for data, whole in sample]
        found = [log_probabilities(text, languages) for text in texts]
        nats = max(
            _evidence(parts, nothing) / _TEMPER + shares.get(language, 0.0)
            for language, parts in zip(languages, zip(*found, strict=True), strict=True)
        )
        yield Reading(codec, math.log(prior) + nats, tuple(texts))


def wide_readings(head: bytes, names: Iterable[str], prior: float) -> Iterator[Reading]:
    """Judge the beginning of a file as UTF-16 or UTF-32 without a byte order mark."""
    data = head[: LARGE // 4 * 4]
    nothing = _random(data)
    for codec in names:
        text = _read(data, codec, False)
        if text and "\0" not in text:
            nats = log_probabilities(text, (ANY,))[0] - nothing + _UNPAIRED * text.count("\ufffd")
            yield Reading(codec, math.log(prior) + nats / _TEMPER, (text,))


def weigh(data: bytes, priors: Mapping[str, float], budget: int = SMALL) -> dict[str, float]:
    """Judge a part of a file in codecs of any name.

    Args:
        data: The part; at least one byte of it is not ASCII.
        priors: The codecs, and how likely each is beforehand.
        budget: About how many bytes are judged.

    Returns:
        Weights, as those of readings.

    """
    candidates = {codec: (prior, _languages(codec)) for codec, prior in priors.items()}
    found = readings(sample_of(data, budget, True), candidates)
    return {reading.codec: reading.weight for reading in found}


@cache
def _languages(codec: str) -> tuple[str, ...]:
    every = MULTIBYTE | PAGES
    name = codecs.lookup(codec).name
    known = every.get(codec) or every.get(name) or every.get(_SAME.get(name, ""))
    return known[1] if known else (ANY,)


def plainly_korean(found: Iterable[Reading], sample: Sample) -> bool:
    """Whether no code page can do better; the pages are many, and most files end here."""
    best = max(found, key=lambda reading: reading.weight)
    letters = sum(len(data.translate(None, _PRINTABLE)) for data, _ in sample)
    return best.codec == "cp949" and best.weight * _TEMPER > max(100.0, 1.8 * letters)


def sample_of(head: bytes, budget: int, complete: bool) -> Sample:
    """Choose pieces with something else than ASCII, about `budget` bytes of them, evenly spread.

    Args:
        head: The text; at least one byte of it is not ASCII.
        budget: Bytes.
        complete: Whether it ends with a whole character.

    """
    # A line that comes again and again proves no more than once.
    pieces = list(dict.fromkeys(p for p in _pieces(head, complete) if not p[0].isascii()))
    size = sum(len(piece) for piece, _ in pieces)
    return pieces[:: max(1, round(size / budget))]


def _pieces(head: bytes, complete: bool) -> Iterator[tuple[bytes, bool]]:
    """Cut a text into pieces of at most a line.

    Inside a line a piece begins after a byte that is never part of a longer character: in all of
    the candidates such parts are 0x30 or higher.
    """
    start = end = 0
    while start < len(head):
        if start >= end:
            end = head.find(b"\n", start) + 1 or len(head)
        if end - start <= _PIECE:
            yield head[start:end], complete or end < len(head)
            start = end
            continue
        cut = _SAFE.search(head, start + _PIECE, start + 2 * _PIECE)
        piece = head[start : cut.end() if cut else start + _PIECE]
        yield piece, cut is not None
        start += len(piece)
        if cut is None and not piece.isascii():  # perhaps in the middle of a character
            after = _SAFE.search(head, start)
            start = after.end() if after else len(head)


def _random(data: bytes) -> float:
    """Nats of bytes that mean nothing, but are printable where they are ASCII."""
    odd = len(data.translate(None, _PRINTABLE))
    return ASCII * (len(data) - odd) + RANDOM * odd


def _read(data: bytes, codec: str, whole: bool) -> str:
    """Decode what decodes, in NFC; U+FFFD for what does not."""
    if whole:
        text = data.decode(codec, "replace")
    else:
        text = codecs.getincrementaldecoder(codec)("replace").decode(data)
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _evidence(parts: Sequence[float], nothing: Sequence[float]) -> float:
    """How much more probable pieces are than random bytes, in nats."""
    parts = [part - nats for part, nats in zip(parts, nothing, strict=True)]
    senseless = min(parts) < _SENSELESS
    return sum(max(part, _SENSELESS) for part in parts) + (_MIXED if senseless else 0.0)
