"""Files that mix encodings: each line is decoded in the codec that fits it, and told of.

`encoding.py`, the neighbour, is strict where nobody asks for that, since text to be trained on is
not to be mended silently. Here a line that is not in its file's encoding is read in its own, and
what fits no encoding becomes U+FFFD and is counted. `detect.py` found the file's encoding before.
"""

import codecs
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import chain

from malmoi.text.detect import guess
from malmoi.text.readings import LARGE, MULTIBYTE, NOTHING, PAGES, weigh

PLACES = 10
"""so many places of lost bytes are noted"""
_LONGEST = 1 << 20
"""bytes of a line that are held; a longer one is cut, and each part judged by itself"""
_PATIENCE = 200
"""lines that fit nothing; after so many in a row only the encodings seen so far are tried"""
_OWN = 30.0
"""how many times likelier a line is damaged than it is in another encoding, beforehand"""
_RIVAL = 0.003
"""how likely a line that decodes is in another encoding nevertheless, which it looks like"""
_READS = 0.4
"""evidence for each byte above 7F, of text that reads well"""
_HEADER = b"\x1b$)C"  # of ISO-2022-KR: once in a file, though each line begins in ASCII
# Such bytes are no part of longer characters in any codec that has ASCII as it is.
_SAFE_TAIL = re.compile(rb"[\0-\x2f][^\0-\x2f]*+\Z")
_HIGH = bytes(range(0x80, 0x100))
_EVERY = {codec: prior for codec, (prior, _) in (MULTIBYTE | PAGES).items()}
_MOST = 8
"""bytes that are one error for any codec"""
_LINE = re.compile(rb"[^\n]*+\n|[^\n]++")
_REST = rb"[\x00-\x09\x0b-\x7f]*+"
# What looks like UTF-8 decodes in other multi-byte codecs too now and then, and in code pages of
# one byte nearly always; so does CP949 in these, and Johab in CP949.
_LOOKS = {
    "utf-8": re.compile(
        rb"(?m)^%b(?:(?:[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3})"
        rb"++%b)++$" % (_REST, _REST)
    ),
    "cp949": re.compile(rb"(?m)^%b(?:(?:[\xa1\xa4\xb0-\xc8][\xa1-\xfe])++%b)++$" % (_REST, _REST)),
    # Half of the common syllables in Johab have a byte that only rare ones have in CP949.
    "johab": re.compile(rb"[\x80-\xa0][^\n\x80-\xa0]*+[\x80-\xa0][^\n]*+"),
}


@dataclass
class Notes:
    """What was found while a file was decoded; complete when it was read to its end.

    Attributes:
        codec: The file's encoding.
        confidence: As in `Guess`; 1 where the user named the encoding.
        runner_up: As in `Guess`.
        lines: How many lines were decoded in each codec; those in ASCII count as the file's.
        lost: Bytes that no encoding explains. They became U+FFFD.
        places: The numbers of the first lines with such bytes, counted from 1.

    """

    codec: str = ""
    confidence: float = 0.0
    runner_up: str | None = None
    lines: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    places: list[int] = field(default_factory=list)


def decode_mixed(blocks: Iterable[bytes], notes: Notes, *, guessed: bool) -> Iterator[str]:
    """Decode a file, line by line where need be, in flat memory and linear time.

    Args:
        blocks: The file's bytes, in parts of any size.
        notes: Names the file's codec; the rest is written into it.
        guessed: Whether that codec is a guess, so that lines that decode in it may still be taken
            for others', and it may be given up while nothing but ASCII was seen.

    Raises:
        UnicodeError: a codec's complaint that cannot be mended, as about UTF-16 that has to have
            a byte order mark and has none; a line of ISO-2022 of over a megabyte.

    """
    if not _has_lines(notes.codec):
        yield from _whole(blocks, notes)
        return
    lines = _Lines(notes, guessed)
    carry = b""
    if notes.codec.endswith("-sig"):
        blocks = iter(blocks)
        blocks = chain([next(blocks, b"").removeprefix(codecs.BOM_UTF8)], blocks)
    for block in blocks:
        data = carry + block
        cut = data.rfind(b"\n", len(carry)) + 1
        if not cut and len(data) >= _LONGEST:
            cut = lines.safe_cut(data)
        if cut:
            yield lines.decode(data[:cut], False)
        carry = data[cut:]
    if carry:
        yield lines.decode(carry, True)


def _has_lines(codec: str) -> bool:
    """Whether a codec has ASCII as it is, so that lines can be cut before they are decoded."""
    ascii_text = "".join(map(chr, range(0x20, 0x7F))) + "\n"
    try:
        return ascii_text.encode(codec).removeprefix(codecs.BOM_UTF8) == ascii_text.encode()
    except UnicodeError:
        return False


def _whole(blocks: Iterable[bytes], notes: Notes) -> Iterator[str]:
    """Decode what has no lines of bytes, as UTF-16."""
    decoder = codecs.getincrementaldecoder(notes.codec)(_errors())
    end = "\n"
    for block in chain(filter(None, blocks), [b""]):
        text, lost = _settle(decoder.decode(block, not block))
        if lost:
            before = text.partition("\ufffd")[0].count("\n")
            _note(notes, lost, notes.lines[notes.codec] + before + 1)
        notes.lines[notes.codec] += text.count("\n")
        end = text[-1:] or end
        yield text
    notes.lines[notes.codec] += end != "\n"


class _Lines:
    """Decodes blocks of whole lines."""

    def __init__(self, notes: Notes, guessed: bool) -> None:
        self._notes = notes
        self._open = guessed and notes.codec == "utf-8"  # nothing but ASCII so far
        self._guessed = guessed
        self._number = 1  # of the line that begins next
        self._vain = 0
        self._choose(notes.codec)

    def _choose(self, codec: str) -> None:
        self._codec = codec.removesuffix("-sig")
        name = codecs.lookup(self._codec).name
        # Who names an encoding is believed wherever a line decodes.
        eight_bits = self._guessed and "2022" not in name and name != "utf-8"
        rivals = ["utf-8", "johab" if name in ("cp949", "euc_kr") else "cp949"]
        self._rivals = rivals if eight_bits else []

    def decode(self, block: bytes, last: bool) -> str:
        """Decode a block that begins with a line and ends with one, or with a part of one."""
        text = _strictly(block, self._codec)
        if text is None and self._open:
            self._reconsider(block, last)
            text = _strictly(block, self._codec)
        self._open = self._open and text is not None and text.isascii()
        if text is None:
            return "".join(self._line(line, last) for line in _LINE.findall(block))
        at = 0
        parts: list[str] = []
        for start, end, rival in self._rival_lines(block):
            parts += self._own(block[at:start]), str(block[start:end], rival)
            self._count(block[start:end], last and end == len(block), rival)
            at = end
        if not parts:
            self._count(block, last, self._notes.codec)
            return text
        parts.append(self._own(block[at:], last))
        return "".join(parts)

    def _own(self, part: bytes, last: bool = False) -> str:
        self._count(part, last, self._notes.codec)
        return str(part, self._codec)

    def _rival_lines(self, block: bytes) -> list[tuple[int, int, str]]:
        """Lines that decode as they should, but are rather in another codec: start, end, codec."""
        spans: dict[tuple[int, int], list[str]] = {}
        for rival in self._rivals:
            for match in _LOOKS[rival].finditer(block):
                start = block.rfind(b"\n", 0, match.start()) + 1
                spans.setdefault((start, match.end()), []).append(rival)
        found = []
        for (start, end), rivals in sorted(spans.items()):
            if (better := self._rather(block[start:end], rivals)) is not None:
                found.append((start, end + (block[end : end + 1] == b"\n"), better))
        return found

    def _reconsider(self, block: bytes, last: bool) -> None:
        """Guess anew at the first line that is not ASCII: nothing was wrongly decoded yet."""
        try:
            found = guess(block, complete=last)
        except ValueError:
            return
        if not _has_lines(found.codec):
            return
        notes = self._notes
        notes.lines[found.codec] += notes.lines.pop(notes.codec, 0)
        notes.codec, notes.confidence = found.codec, found.confidence
        notes.runner_up = found.runner_up
        self._choose(found.codec)

    def _line(self, line: bytes, last: bool) -> str:
        codec, text, lost = self._decoded(line)
        if lost:
            _note(self._notes, lost, self._number)
        self._count(line, last, self._notes.codec if codec == self._codec else codec)
        return text

    def _decoded(self, line: bytes) -> tuple[str, str, int]:
        own = _strictly(line, self._codec)
        if own is not None:
            rivals = [rival for rival in self._rivals if _LOOKS[rival].search(line)]
            if (better := self._rather(line, rivals)) is not None:
                return better, str(line, better), 0
            return self._codec, own, 0
        if line.isascii():  # ISO-2022 that is damaged
            return self._codec, *_settle(_strictly(line, self._codec, _errors()) or "")
        if self._codec != "utf-8" and (text := _strictly(line, "utf-8")) is not None:
            return "utf-8", text, 0
        if (seen := self._seen(line)) is not None:
            return seen, str(line, seen), 0
        best = self._codec
        if self._vain < _PATIENCE and not _reads_well(line, best):
            best = self._search(line)
        return best, *_settle(_strictly(line, best, _errors()) or "")

    def _seen(self, line: bytes) -> str | None:
        """The codec of other lines in which this one makes sense, if there is one."""
        priors = {
            codec: prior
            for codec, prior in self._priors().items()
            if codec in self._notes.lines and _strictly(line, codec) is not None
        }
        if not priors:
            return None
        weights = weigh(line, priors)
        best = max(weights, key=weights.__getitem__)
        return best if weights[best] - math.log(priors[best]) > _READS * _high(line) else None

    def _priors(self) -> dict[str, float]:
        """How likely each codec is in a line that is not in the file's own (Laplace's rule)."""
        counts = {c: n for c, n in self._notes.lines.items() if c != self._notes.codec}
        total = sum(counts.values()) + 1
        every = _EVERY | dict.fromkeys(counts, 0.0)
        return {c: (prior + counts.get(c, 0)) / total for c, prior in every.items()}

    def _rather(self, line: bytes, rivals: list[str]) -> str | None:
        """The codec that a line is in, which decodes in its file's and looks like others."""
        rivals = [rival for rival in rivals if _strictly(line, rival) is not None]
        if not rivals:
            return None
        weights = weigh(line, {self._codec: 1.0} | dict.fromkeys(rivals, _RIVAL))
        best = max(weights, key=weights.__getitem__)
        return best if best != self._codec else None

    def _search(self, line: bytes) -> str:
        """Find the codec that makes most sense of a line that is damaged or in another one."""
        weights = weigh(line, self._priors() | {self._codec: _OWN}, LARGE)
        best = max(weights, key=weights.__getitem__)
        if weights[best] < NOTHING:
            self._vain += 1
            return self._codec
        self._vain = 0
        return best

    def _count(self, block: bytes, last: bool, codec: str) -> None:
        ends = block.count(b"\n")
        self._number += ends
        if lines := ends + (last and block[-1:] not in (b"", b"\n")):
            self._notes.lines[codec] += lines

    def safe_cut(self, data: bytes) -> int:
        """Where a line that is too long to be held can be cut; the end of a character."""
        if "2022" in self._codec:
            raise UnicodeError(f"a line of over {_LONGEST:,} bytes")
        if tail := _SAFE_TAIL.search(data, len(data) - 4096):
            return tail.start() + 1
        for codec in self._likely(data):
            decoder = codecs.getincrementaldecoder(codec)()
            with suppress(UnicodeError):
                decoder.decode(data)
                pending = decoder.getstate()[0]
                assert isinstance(pending, bytes)
                return len(data) - len(pending)
        return len(data)

    def _likely(self, data: bytes) -> Iterator[str]:
        yield "utf-8"  # which hardly anything else can be taken for
        yield self._codec
        yield from (codec for codec in list(self._notes.lines) if codec != self._notes.codec)
        yield self._search(data)


def _strictly(data: bytes, codec: str, errors: str = "strict") -> str | None:
    try:
        return str(_HEADER * (codec == "iso2022_kr") + data, codec, errors)
    except UnicodeError:
        return None


def _high(line: bytes) -> int:
    return len(line) - len(line.translate(None, _HIGH))


def _reads_well(line: bytes, codec: str) -> bool:
    return not (high := _high(line)) or weigh(line, {codec: 1.0})[codec] > _READS * high


def _note(notes: Notes, lost: int, line: int) -> None:
    notes.lost += lost
    if len(notes.places) < PLACES and line not in notes.places:
        notes.places.append(line)


@cache
def _errors() -> str:
    """The name of an error handler that puts a mark in the place of bytes that do not decode.

    The mark is half a surrogate pair, which no decoded text has, and says how many bytes it was.
    """

    def mark(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeDecodeError):
            raise error
        return chr(0xDC00 + min(error.end - error.start, _MOST)), error.end

    codecs.register_error("malmoi.lost", mark)
    return "malmoi.lost"


def _settle(text: str) -> tuple[str, int]:
    """Make U+FFFD of the marks; the text, and how many bytes were lost."""
    if text.isascii():
        return text, 0
    found = {chr(0xDC00 + size): text.count(chr(0xDC00 + size)) for size in range(1, _MOST + 1)}
    lost = sum((ord(mark) - 0xDC00) * count for mark, count in found.items())
    return (text.translate(dict.fromkeys(map(ord, found), "\ufffd")) if lost else text), lost
