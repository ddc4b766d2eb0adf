"""Bytes to text: which encoding a file is in, and decoding it as a stream.

Korean files come as UTF-8 with and without a byte order mark, UTF-16 and CP949 (Microsoft's
superset of EUC-KR). The standard detector comes last here, because on short Korean samples it
answers Latin-1 or Chinese. `formats.py`, the neighbour, turns the text into documents.
"""

import codecs
import io
import logging
import re
import unicodedata
from collections.abc import Iterator
from typing import BinaryIO

_log = logging.getLogger(__name__)
CHUNK = 1 << 20  # bytes read at once; a piece of text is about as long
_LONGEST_PIECE = 4 * CHUNK  # characters, for text that offers no place to cut

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
# The most frequent syllables of modern Korean. They make up about half of any Korean text, and
# about 4 % of Chinese or Japanese bytes that happen to decode as CP949.
_COMMON = frozenset(
    "이다는에의을를가고하지기은로한도사나인어리아시자그서대해정수부제라일있것만들보전주원장상여동"
    "구경비공과유소위성안없면오우무게국적었요선마생신관되세학내년조방문스러할으른네간까연습니말글"
)
_NO_GUESS = ["utf_7", "utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be"]
_HANGUL = re.compile("[가-힣]")
_NON_ASCII = re.compile(r"[^\x00-\x7f]+")


def detect(head: bytes, *, complete: bool) -> str:
    """Name the codec of a text from its first bytes.

    Args:
        head: The beginning of the file, or all of it; a kilobyte helps, a megabyte is plenty.
        complete: Whether `head` is the whole file, so that its last character is not cut.

    Raises:
        ValueError: the bytes are no text, or no encoding fits them.

    """
    for bom, name in _BOMS:
        if head.startswith(bom):
            return name
    for magic, what in _MAGIC:
        if head.startswith(magic):
            raise ValueError(f"not text but {what}; give plain text instead")
    if head[257:262] == b"ustar":
        raise ValueError("not text but a tar archive; unpack it and give the folder")
    if b"\0" in head:
        # Neither UTF-8 nor CP949 text has NUL bytes, while UTF-16 has one in every space.
        wide = _wide(head, complete)
        if wide is None:
            raise ValueError("not text but binary data (it has NUL bytes); give plain text instead")
        return wide
    if _decodes(head, "utf-8", complete) is not None:
        return "utf-8"
    lenient = "".join(_NON_ASCII.findall(head.decode("utf-8", "replace")))
    damage = lenient.count("\ufffd")
    if len(lenient) >= 3 * damage:
        return "utf-8"  # damaged UTF-8: decoding says where, any other guess would be mojibake
    korean = _decodes(head, "cp949", complete)
    if korean is not None and _looks_korean(korean):
        return "cp949"
    return _wide(head, complete) or _standard_detector(head)


def _decodes(data: bytes, encoding: str, complete: bool) -> str | None:
    """Decode strictly, allowing for a cut last character; None where it is not that encoding."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(data, complete)
    except UnicodeDecodeError:
        return None


def _looks_korean(text: str) -> bool:
    """Whether text decoded as CP949 is Korean rather than another encoding's accident."""
    letters = "".join(_NON_ASCII.findall(text))[:20_000]
    hangul = _HANGUL.findall(letters)
    # The 8,822 syllables that CP949 adds to KS X 1001 are rare in Korean (똠, 펲), but common in
    # Shift-JIS and Latin-1 bytes read as CP949.
    standard = sum(
        0xB0 <= code[0] <= 0xC8 and code[1] >= 0xA1
        for code in (syllable.encode("cp949") for syllable in hangul)
    )
    if standard < 0.5 * len(letters) or standard < 0.9 * len(hangul):
        return False
    return len(letters) < 10 or _common(hangul)  # a few syllables are no statistics: Korean first


def _common(hangul: list[str]) -> bool:
    return sum(syllable in _COMMON for syllable in hangul) > 0.15 * len(hangul)


def _wide(head: bytes, complete: bool) -> str | None:
    """UTF-16 without a byte order mark, or None. Both byte orders are tried as text."""
    best, best_share = None, 0.5
    for encoding in ("utf-16-le", "utf-16-be"):
        text = _decodes(head[: 1 << 16], encoding, complete and len(head) <= 1 << 16)
        if not text or "\0" in text:
            continue
        odd = sum(
            unicodedata.category(c) in ("Cc", "Cn", "Co") and c not in "\t\n\r\f" for c in text
        )
        hangul = _HANGUL.findall(text)
        if odd > 0.01 * len(text) or (hangul and not _common(hangul)):
            continue
        # In the wrong byte order ASCII becomes ideographs and Hangul becomes anything.
        plain = sum(c.isascii() for c in text)
        if not plain and b"\0" not in head and len(hangul) < 0.9 * len(text):
            continue
        other = sum("\u3000" <= c <= "\u30ff" or "\u00a0" <= c <= "\u04ff" for c in text)
        share = (plain + len(hangul) + other) / len(text)
        if share > best_share:
            best, best_share = encoding, share
    return best


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


def check_encoding(encoding: str) -> str:
    """Return the encoding's name as given; raises ValueError where Python has no such codec."""
    try:
        text_codec = getattr(codecs.lookup(encoding), "_is_text_encoding", True)
    except (LookupError, ValueError):  # ValueError: a NUL in the name
        text_codec = False
    if not text_codec:
        raise ValueError(f"unknown encoding {encoding!r}; try utf-8, cp949, euc-kr or utf-16")
    return encoding


def decode_stream(raw: BinaryIO, encoding: str | None, name: str) -> Iterator[str]:
    r"""Decode a binary stream piece by piece, in flat memory.

    A piece is about a megabyte of NFC text, cut after a line end, or where there is none at a
    place that normalization does not reach across. The byte order mark is gone, "\r\n" and a
    lone "\r" are "\n". No piece is empty; an empty stream has no pieces.

    Args:
        raw: What to read, from where it stands; it is not closed.
        encoding: A codec's name, or None to detect it.
        name: What to call the stream in messages.

    Raises:
        ValueError: an unknown codec, binary data, or bytes that do not decode, with their offset.

    """
    carry = ""
    for text in _decoded(raw, encoding, name):
        text = carry + text
        cut = text.rfind("\n") + 1 or _safe_cut(text)
        if not cut and len(text) > _LONGEST_PIECE:
            cut = len(text)  # megabytes of combining marks and nothing else: no text is hurt
        if cut:
            yield nfc(text[:cut])
        carry = text[cut:]
    if carry:
        yield nfc(carry)


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


def _decoded(raw: BinaryIO, encoding: str | None, name: str) -> Iterator[str]:
    """Decoded text with "\n" line ends and without the byte order mark, in no special pieces."""
    chunk = _fill(raw, CHUNK)
    last = len(chunk) < CHUNK
    try:
        codec = detect(chunk, complete=last) if encoding is None else check_encoding(encoding)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if encoding is None:
        _admit_a_guess(name, codec)
    decoder = codecs.getincrementaldecoder(codec)()
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    offset = 0  # of the chunk's first byte, counted after decompression
    start = only_ascii = True
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
                raise ValueError(_undecodable(name, codec, where, block[at], better)) from None
            if better in (None, "utf-8"):
                raise ValueError(_undecodable(name, codec, where, block[at], None)) from None
            # Megabytes of ASCII before the first Korean letter: nothing was wrongly decoded yet.
            assert better is not None
            codec, decoder = better, codecs.getincrementaldecoder(better)()
            _admit_a_guess(name, codec)
            text = block[:at].decode("ascii")
            chunk, offset = block[at:], where
        except UnicodeError as error:  # a codec's own complaint, as UTF-16's about a missing mark
            raise ValueError(f"{name}: not {codec}: {error}; try another --encoding") from None
        else:
            offset += len(chunk)
            chunk = b""
        only_ascii = only_ascii and text.isascii()
        if start and text:
            if encoding is not None and "\0" in text:
                raise ValueError(f"{name}: read as {codec} it is binary data; give plain text")
            text, start = text.removeprefix("\ufeff"), False
        finished = last and not chunk
        text = newlines.decode(text, finished)
        if text:
            yield text
        if finished:
            return
        if not chunk:
            chunk = _fill(raw, CHUNK)
            last = len(chunk) < CHUNK


def _second_guess(rest: bytes, complete: bool) -> str | None:
    """The encoding of what follows undecodable bytes, if it can continue ASCII text."""
    try:
        guess = detect(rest, complete=complete)
    except ValueError:
        return None
    return None if guess.startswith(("utf-16", "utf-32")) else guess


def _admit_a_guess(name: str, codec: str) -> None:
    """Say so where the encoding is the standard detector's guess; silent mojibake costs a run."""
    if not codec.startswith(("utf", "cp949")):
        _log.warning("%s: guessed to be in %s; if it reads wrong, say --encoding", name, codec)


def _undecodable(name: str, codec: str, where: int, byte: int, better: str | None) -> str:
    hint = f"try --encoding {better}, or" if better not in (None, codec) else "it is damaged:"
    if codec == "euc_kr" or codec.lower() == "euc-kr":
        hint = "try --encoding cp949, or"  # the superset; Korean files often claim the subset
    return (
        f"{name}: byte {where:,} (0x{byte:02x}) is not {codec}; {hint} "
        f"repair it with `iconv -c -f {codec.removesuffix('-sig')} -t utf-8`"
    )
