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
from dataclasses import dataclass, field
from functools import cache

from malmoi.text.detect import Guess, guess
from malmoi.text.readings import LARGE, MULTIBYTE, NOTHING, PAGES, readings, sample_of, weigh

PLACES = 10
"""so many places of lost bytes are noted"""
_LONGEST = 1 << 20
"""bytes of a line that are held; a longer one is cut, and each part judged by itself"""
_PATIENCE = 200
"""lines that fit nothing; after so many in a row only the encodings seen so far are tried"""
_OWN, _RIVAL = 0.5, 0.02
"""how likely a line is in its file's encoding beforehand, and in another that it looks like"""
_READS = 0.5
"""evidence for each byte above 7F, of text that reads well"""
_HEADER = b"\x1b$)C"  # of ISO-2022-KR: once in a file, though each line begins in ASCII
_LOST = re.compile("[\udc01-\udcff]")
_REST = rb"[\x00-\x09\x0b-\x7f]*+"
# What looks like UTF-8 decodes in other multi-byte codecs too now and then, and in code pages of
# one byte nearly always; so does CP949 in these.
_LOOKS = {
    "utf-8": re.compile(
        rb"(?m)^%b(?:(?:[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3})"
        rb"++%b)++$" % (_REST, _REST)
    ),
    "cp949": re.compile(rb"(?m)^%b(?:(?:[\xb0-\xc8][\xa1-\xfe])++%b)++$" % (_REST, _REST)),
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
        guessed: Whether that codec may be given up where nothing but ASCII was seen so far.

    Raises:
        ValueError: bytes that are no text in the codec in a way that cannot be mended (UTF-16
            that has to have a byte order mark and has none).

    """
    if not _has_lines(notes.codec):
        yield from _whole(blocks, notes)
        return
    lines = _Lines(notes, guessed)
    carry = b""
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
    for block in [*(), *()] or _with_end(blocks):
        text, lost = _settle(decoder.decode(block, not block))
        if lost:
            before = text.partition("\ufffd")[0].count("\n")
            _note(notes, lost, notes.lines[notes.codec] + before + 1)
        notes.lines[notes.codec] += text.count("\n")
        end = text[-1:] or end
        yield text
    notes.lines[notes.codec] += end != "\n"


def _with_end(blocks: Iterable[bytes]) -> Iterator[bytes]:
    yield from (block for block in blocks if block)
    yield b""


class _Lines:
    """Decodes blocks of whole lines."""

    def __init__(self, notes: Notes, guessed: bool) -> None:
        self._notes = notes
        self._open = guessed and notes.codec == "utf-8"  # nothing but ASCII so far
        self._number = 1  # of the line that begins next
        self._others: list[str] = []  # codecs of lines, the latest first
        self._vain = 0
        self._choose(notes.codec)

    def _choose(self, codec: str) -> None:
        self._codec = codec.removesuffix("-sig")
        name = codecs.lookup(self._codec).name
        self._rivals = [
            other for other in _LOOKS if name not in ("utf-8", other) and "2022" not in name
        ]

    def decode(self, block: bytes, last: bool) -> str:
        """Decode a block that begins with a line and ends with one, or with a part of one."""
        text = _strictly(block, self._codec)
        if text is None and self._open:
            self._reconsider(block, last)
            text = _strictly(block, self._codec)
        self._open = self._open and text is not None and text.isascii()
        if text is not None and not any(_LOOKS[rival].search(block) for rival in self._rivals):
            self._count(block, last, self._notes.codec)
            return text
        parts = re.findall(rb"[^\n]*+\n|[^\n]++", block)
        return "".join(self._line(part, last) for part in parts)

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
            for rival in self._rivals:
                if _LOOKS[rival].match(line) and self._is_rather(line, rival):
                    return rival, line.decode(rival), 0
            return self._codec, own, 0
        if self._codec != "utf-8" and (text := _strictly(line, "utf-8")) is not None:
            return "utf-8", text, 0
        for codec in self._others:
            text = _strictly(line, codec)
            if text is not None and _reads_well(line, codec):
                return codec, text, 0
        best = self._codec
        if self._vain < _PATIENCE and not _reads_well(line, best):
            best = self._search(line)
            if best != self._codec:
                self._others = [best, *(codec for codec in self._others if codec != best)]
        return best, *_settle(_strictly(line, best, _errors()) or "")

    def _is_rather(self, line: bytes, rival: str) -> bool:
        weights = weigh(line, {self._codec: 1 - _RIVAL, rival: _RIVAL})
        return weights[rival] > weights[self._codec]

    def _search(self, line: bytes) -> str:
        """Find the codec that makes most sense of a line that is damaged or in another one."""
        sample = sample_of(line, LARGE, True)
        weights = weigh(line, {self._codec: _OWN})
        for reading in readings(sample, MULTIBYTE | PAGES):
            weights.setdefault(reading.codec, reading.weight)
        best = max(weights, key=weights.__getitem__)
        if weights[best] < NOTHING:
            self._vain += 1
            return self._codec
        self._vain = 0
        return best

    def _count(self, block: bytes, last: bool, codec: str) -> None:
        ends = block.count(b"\n")
        self._number += ends
        self._notes.lines[codec] += ends + (last and not block.endswith(b"\n"))

    def safe_cut(self, data: bytes) -> int:
        """Where a line that is too long to be held can be cut; the end of a character."""
        tail = re.compile(rb"[\0-\x2f][^\0-\x2f]*+\Z").search(data, len(data) - 4096)
        if tail:  # such bytes are no part of longer characters in any codec
            return tail.start() + 1
        decoder = codecs.getincrementaldecoder(self._codec)(_errors())
        decoder.decode(data)
        pending = decoder.getstate()[0]
        assert isinstance(pending, bytes)
        return len(data) - len(pending)


def _strictly(data: bytes, codec: str, errors: str = "strict") -> str | None:
    try:
        return str(_HEADER * (codec == "iso2022_kr") + data, codec, errors)
    except UnicodeDecodeError:
        return None


def _reads_well(line: bytes, codec: str) -> bool:
    high = len(line) - len(line.translate(None, _HIGH))
    return not high or weigh(line, {codec: 1.0})[codec] > _READS * high


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
        return chr(0xDC00 + min(error.end - error.start, 0xFF)), error.end

    codecs.register_error("malmoi.lost", mark)
    return "malmoi.lost"


def _settle(text: str) -> tuple[str, int]:
    """Make U+FFFD of the marks; the text, and how many bytes were lost."""
    lost = sum(ord(mark) - 0xDC00 for mark in _LOST.findall(text))
    return (_LOST.sub("\ufffd", text) if lost else text), lost
