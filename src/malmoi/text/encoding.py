"""Bytes to text: decoding a file as a stream.

`detect.py` finds the encoding where none is named. Here decoding is strict, as text that is to be
trained on must not be mended silently; with `Notes` to write it down, `mixed.py` does mend.
`formats.py`, the neighbour, turns the text into documents.
"""

import codecs
import io
import unicodedata
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

from malmoi.text.detect import Guess, admit, detect, guess
from malmoi.text.mixed import Notes, decode_mixed

__all__ = ["Guess", "Notes", "check_encoding", "decode_stream", "detect", "guess", "nfc"]

CHUNK = 1 << 20  # bytes read at once; a piece of text is about as long
_LONGEST_PIECE = 4 * CHUNK  # characters, for text that offers no place to cut


def check_encoding(encoding: str) -> str:
    """Return the encoding's name as given; raises ValueError where Python has no such codec."""
    try:
        text_codec = getattr(codecs.lookup(encoding), "_is_text_encoding", True)
    except (LookupError, ValueError):  # ValueError: a NUL in the name
        text_codec = False
    if not text_codec:
        raise ValueError(f"unknown encoding {encoding!r}; try utf-8, cp949, euc-kr or utf-16")
    return encoding


def decode_stream(
    raw: BinaryIO, encoding: str | None, name: str, *, notes: Notes | None = None
) -> Iterator[str]:
    r"""Decode a binary stream piece by piece, in flat memory.

    A piece is about a megabyte of text, in NFC if there are no notes, cut after a line end, or
    where there is none at a place that normalization does not reach across. The byte order mark
    is gone, "\r\n" and a lone "\r" are "\n". No piece is empty; an empty stream has no pieces.

    Args:
        raw: What to read, from where it stands; it is not closed.
        encoding: A codec's name, or None to detect it.
        name: What to call the stream in messages.
        notes: None is strict. With notes, a line that does not decode is decoded in the encoding
            that fits it best, bytes that fit none become U+FFFD, and all that is written there.

    Raises:
        ValueError: an unknown codec, binary data, or without notes bytes that do not decode, with
            their offset.

    """
    carry = ""
    parts = _strict(raw, encoding, name) if notes is None else _mended(raw, encoding, name, notes)
    for text in _plain(parts, name, encoding):
        text = carry + text
        cut = text.rfind("\n") + 1 or _safe_cut(text)
        if not cut and len(text) > _LONGEST_PIECE:
            cut = len(text)  # megabytes of combining marks and nothing else: no text is hurt
        if cut:
            yield nfc(text[:cut]) if notes is None else text[:cut]
        carry = text[cut:]
    if carry:
        yield nfc(carry) if notes is None else carry


def nfc(text: str) -> str:
    """Normalize to NFC; costs little where the text is NFC already, as nearly all text is."""
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def _safe_cut(text: str) -> int:
    """The last index before which `text` can be cut without changing its NFC form; 0 if none."""
    for at in range(len(text) - 1, max(0, len(text) - 4096), -1):
        if _begins(text[at]):
            return at
    return 0


def _begins(char: str) -> bool:
    """Whether nothing before `char` can ever compose or reorder with it.

    What composes with something before it is a mark (category M), a conjoining vowel or final
    jamo, or since Unicode 16 a vowel sign of Kirat Rai (U+16D40 to U+16D7F), which is a letter.
    """
    return char.isascii() or not (
        unicodedata.category(char).startswith("M")
        or "\u1160" <= char <= "\u11ff"
        or "\ud7b0" <= char <= "\ud7ff"
        or "\U00016d40" <= char <= "\U00016d7f"
    )


def _fill(raw: BinaryIO, size: int) -> bytes:
    """Read exactly `size` bytes, fewer only at the end (decompressors answer in small bites)."""
    data = raw.read(size)
    if len(data) in (0, size):
        return data
    parts, have = [data], len(data)
    while have < size and (data := raw.read(size - have)):
        parts.append(data)
        have += len(data)
    return b"".join(parts)


def _blocks(raw: BinaryIO) -> Iterator[bytes]:
    """All there is, a megabyte at a time; only the last block, perhaps an empty one, is shorter."""
    while True:
        block = _fill(raw, CHUNK)
        yield block
        if len(block) < CHUNK:
            return


def _plain(parts: Iterator[str], name: str, encoding: str | None) -> Iterator[str]:
    """Text with "\n" line ends and without the byte order mark, in no special pieces."""
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    start = True
    for text in parts:
        if start and text:
            if encoding is not None and "\0" in text:
                raise ValueError(f"{name}: read as {encoding} it is binary data; give plain text")
            text, start = text.removeprefix("\ufeff"), False
        if text := newlines.decode(text):
            yield text
    if text := newlines.decode("", True):
        yield text


def _codec(head: bytes, complete: bool, encoding: str | None, name: str) -> Guess:
    try:
        if encoding is not None:
            return Guess(check_encoding(encoding), 1.0)
        found = guess(head, complete=complete)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    admit(name, found)
    return found


def _mended(raw: BinaryIO, encoding: str | None, name: str, notes: Notes) -> Iterator[str]:
    head = _fill(raw, CHUNK)
    whole = len(head) < CHUNK
    found = _codec(head, whole, encoding, name)
    notes.codec, notes.confidence, notes.runner_up = found.codec, found.confidence, found.runner_up
    blocks = chain([head], () if whole else _blocks(raw))
    try:
        yield from decode_mixed(blocks, notes, guessed=encoding is None)
    except UnicodeError as error:  # a codec's own complaint, as UTF-16's about a missing mark
        raise ValueError(_complaint(name, found.codec, error)) from None


def _strict(raw: BinaryIO, encoding: str | None, name: str) -> Iterator[str]:
    chunk = _fill(raw, CHUNK)
    last = len(chunk) < CHUNK
    codec = _codec(chunk, last, encoding, name).codec
    decoder = codecs.getincrementaldecoder(codec)()
    offset = 0  # of the chunk's first byte, counted after decompression
    only_ascii = True
    while True:
        pending = decoder.getstate()[0]  # the bytes of a character that the last chunk cut
        assert isinstance(pending, bytes)
        try:
            text = decoder.decode(chunk, last)
        except UnicodeDecodeError as error:
            block, at = pending + chunk, error.start
            where = offset - len(pending) + at
            if not last:  # enough bytes to judge by
                more = _fill(raw, CHUNK)
                last = len(more) < CHUNK
                block += more
            better = _second_guess(block[at:], last)
            if encoding or codec != "utf-8" or not only_ascii or not block[:at].isascii():
                better = better if len(block) - at > 64 else None  # too little to advise upon
                advice = better.codec if better else None
                raise ValueError(_undecodable(name, codec, where, block[at], advice)) from None
            if better is None or better.codec == "utf-8":
                raise ValueError(_undecodable(name, codec, where, block[at], None)) from None
            # Megabytes of ASCII before the first Korean letter: nothing was wrongly decoded yet.
            codec, decoder = better.codec, codecs.getincrementaldecoder(better.codec)()
            admit(name, better)
            text = block[:at].decode("ascii")
            chunk, offset = block[at:], where
        except UnicodeError as error:  # a codec's own complaint, as UTF-16's about a missing mark
            raise ValueError(_complaint(name, codec, error)) from None
        else:
            offset += len(chunk)
            chunk = b""
        only_ascii = only_ascii and text.isascii()
        yield text
        if last and not chunk:
            return
        if not chunk:
            chunk = _fill(raw, CHUNK)
            last = len(chunk) < CHUNK


def _second_guess(rest: bytes, complete: bool) -> Guess | None:
    """The encoding of what follows undecodable bytes, if it can continue ASCII text."""
    try:
        found = guess(rest, complete=complete)
    except ValueError:
        return None
    return None if found.codec.startswith(("utf-16", "utf-32")) else found


def _complaint(name: str, codec: str, error: UnicodeError) -> str:
    return f"{name}: not {codec}: {error}; try another --encoding"


def _undecodable(name: str, codec: str, where: int, byte: int, better: str | None) -> str:
    hint = f"try --encoding {better}, or" if better not in (None, codec) else "it is damaged:"
    if codec == "euc_kr" or codec.lower() == "euc-kr":
        hint = "try --encoding cp949, or"  # the superset; Korean files often claim the subset
    return (
        f"{name}: byte {where:,} (0x{byte:02x}) is not {codec}; {hint} "
        f"repair it with `iconv -c -f {codec.removesuffix('-sig')} -t utf-8`"
    )
