import codecs
import io
import sys
import tracemalloc
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malmoi.text import encoding
from malmoi.text.encoding import decode_stream, detect

KOREAN = (
    "말모이는 우리말 사전을 만들려고 낱말을 모은 것이다.\n"
    "주시경 선생과 제자들이 1911년부터 원고를 썼다. 그러나 책으로 나오지는 못했다.\n"
    "오늘날 남아 있는 것은 그 일부이고, 2012년에 국가등록문화재가 되었다.\n"
)
CHINESE = (
    "自然语言处理是计算机科学领域与人工智能领域中的一个重要方向。它研究能实现人与计算机之间"
    "用自然语言进行有效通信的各种理论和方法。自然语言处理是一门融语言学、计算机科学、数学于一体"
    "的科学。因此，这一领域的研究将涉及自然语言，即人们日常使用的语言。\n"
)
JAPANESE = (
    "自然言語処理は、人間が日常的に使っている自然言語をコンピュータに処理させる一連の技術であり、"
    "人工知能と言語学の一分野である。計算言語学との類似もあるが、自然言語処理は工学的な視点からの"
    "言語処理をさすのに対して、計算言語学は言語学的視点を重視する手法をさす事が多い。\n"
)
GERMAN = "Größere Städte für süße Mädchen, die über Flüsse fahren und schöne Bücher lesen.\n"
POLISH = "Zażółć gęślą jaźń, a wtedy świat stanie się piękniejszy i każdy się uśmiechnie.\n"
RUSSIAN = "Обработка естественного языка - направление искусственного интеллекта.\n"
FRENCH = (
    "Le français est une langue indo-européenne de la famille des langues romanes. "
    "Les élèves étudient à l'école où, naïvement, ils déjà préfèrent les leçons très brèves.\n"
)


def decoded(data: bytes, name: str | None = None) -> str:
    return "".join(decode_stream(io.BytesIO(data), name, "x.txt"))


@pytest.mark.parametrize(
    "codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp949", "euc-kr"]
)
@pytest.mark.parametrize("length", [12, 40, len(KOREAN), 50 * len(KOREAN)])
def test_korean_is_detected(codec: str, length: int, caplog: pytest.LogCaptureFixture) -> None:
    text = (KOREAN * 50)[:length]
    assert decoded(text.encode(codec)) == text
    assert not caplog.records  # sure of it


@pytest.mark.parametrize("text", ["안녕하세요", "국어사전", "가나다 abc", "한글", "음", "꼬르륵"])
def test_short_cp949(text: str) -> None:
    assert decoded(text.encode("cp949")) == text


def test_utf16_big_endian_with_mark() -> None:
    assert decoded(codecs.BOM_UTF16_BE + KOREAN.encode("utf-16-be")) == KOREAN


def test_utf16_without_a_single_nul() -> None:
    text = "우리나라말이중국과달라서로통하지아니하므로이런까닭으로"
    assert decoded(text.encode("utf-16-le")) == text
    assert decoded(text.encode("utf-16-be")) == text


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf16_of_ascii_and_of_mostly_ascii(codec: str) -> None:
    for text in ("Plain words.\n" * 3, "name,value\n한글,1\n" * 4):
        assert decoded(text.encode(codec)) == text


@pytest.mark.parametrize(
    ("text", "codec"),
    [(CHINESE, "gb18030"), (JAPANESE, "shift_jis"), (JAPANESE, "euc_jp"), (CHINESE, "big5")],
)
def test_neighbours_of_cp949_are_not_korean(text: str, codec: str) -> None:
    data = (text * 3).encode(codec, "ignore")
    assert detect(data, complete=True) != "cp949"


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        (CHINESE, "gb18030"),
        (FRENCH, "cp1252"),
        (GERMAN, "cp1252"),
        (POLISH, "cp1250"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
    ],
)
def test_the_rest_goes_to_the_standard_detector(
    text: str, codec: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert decoded((text * 4).encode(codec)) == text * 4
    assert "guessed" in caplog.text


@pytest.mark.parametrize("codec", ["utf-8", "cp949"])
def test_a_character_cut_at_the_end_of_the_head(codec: str) -> None:
    data = KOREAN.encode(codec)
    for end in range(60, 90):
        assert detect(data[:end], complete=False) == codec


def test_ascii_first_and_cp949_much_later() -> None:
    """The first megabytes decode as UTF-8; nothing of them may be lost, nor anything after."""
    ascii_part = "0123456789 abcdefg\n" * 70_000
    assert len(ascii_part) > encoding.CHUNK
    for shift in range(3):  # the first Korean byte anywhere, also at a chunk's end
        lead = "x" * (encoding.CHUNK - len(ascii_part) % encoding.CHUNK - 1 + shift)
        text = ascii_part + lead + KOREAN * 2000
        assert decoded(text.encode("cp949")) == text


def test_utf8_damaged_late_says_where() -> None:
    good = (KOREAN * 3000).encode()
    with pytest.raises(
        ValueError, match=f"^x.txt: byte {len(good):,} .*0xb0.* is not utf-8; .*iconv"
    ):
        decoded(good + b"\xb0" + good)


def test_utf8_damaged_early_is_not_taken_for_something_else() -> None:
    good = KOREAN.encode()
    with pytest.raises(ValueError, match=f"byte {len(good):,} "):
        decoded(good + b"\xff" + good)


def test_utf8_cut_off_in_the_middle_of_a_character() -> None:
    data = KOREAN.encode().rstrip()[:-2]
    with pytest.raises(ValueError, match=f"byte {len(data) - 2:,} .*damaged"):
        decoded(data)


def test_utf8_then_cp949_suggests_it() -> None:
    with pytest.raises(ValueError, match="--encoding cp949"):
        decoded((KOREAN * 5000).encode() + (KOREAN * 100).encode("cp949"))


def test_errors_are_no_unicode_errors_and_one_line() -> None:
    for data, codec in [
        (b"\xff\xfe\xfd", "utf-8"),
        (KOREAN.encode(), "ascii"),
        ("똠방각하".encode("cp949"), "euc-kr"),
        (b"abc", "utf-32"),
        (b"abc", "utf-16"),
    ]:
        with pytest.raises(ValueError, match=r"^x\.txt: ") as caught:
            decoded(data, codec)
        assert type(caught.value) is ValueError
        assert "\n" not in str(caught.value)
        assert "try" in str(caught.value) or "iconv" in str(caught.value)


def test_given_encoding_is_used_as_is() -> None:
    assert decoded(KOREAN.encode(), "utf-8") == KOREAN
    assert decoded(b"\xef\xbb\xbfabc", "utf-8") == "abc"
    assert decoded("é".encode("latin-1"), "latin-1") == "é"
    assert decoded("똠방각하".encode("cp949"), "cp949") == "똠방각하"


@pytest.mark.parametrize("name", ["klingon", "rot13", "hex", "", "a\0b"])
def test_unknown_encoding(name: str) -> None:
    with pytest.raises(ValueError, match="unknown encoding"):
        decoded(b"abc", name)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "PNG"),
        (b"PK\x03\x04" + b"abc" * 50, "zip"),
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(50), "hwp"),
        (bytes(1000), "binary"),
        (bytes(range(256)) * 4, "binary"),
        (b"text and then\0\0\0\0 NULs" * 5, "binary"),
        (b"".join(i.to_bytes(2, "little") for i in range(0, 60_000, 7)), "binary"),
        (b"".join(i.to_bytes(4, "little") for i in range(5000)), "binary"),
    ],
)
def test_binary_is_refused(data: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what) as caught:
        decoded(data)
    assert "\n" not in str(caught.value)
    assert "UTF" not in str(caught.value)


def test_empty_has_no_pieces() -> None:
    assert list(decode_stream(io.BytesIO(b""), None, "x")) == []
    assert list(decode_stream(io.BytesIO(codecs.BOM_UTF8), None, "x")) == []


def test_newlines_like_pythons_own() -> None:
    data = b"a\r\nb\rc\nd\r\n\r\n\re\r"
    assert decoded(data) == io.TextIOWrapper(io.BytesIO(data), newline=None).read()


@settings(deadline=None, max_examples=150)
@given(
    text=st.text(
        alphabet=st.one_of(
            st.sampled_from(
                "각\u1100\u1161\u11a8\u1175a\u0301\u0323e\n\r\ufb1dか\u3099\u0bc6\u0bbe"
            ),
            st.characters(exclude_categories=["Cs"]),
        ),
        max_size=80,
    ),
    size=st.integers(1, 9),
    codec=st.sampled_from(["utf-8", "utf-16-le", "utf-8-sig"]),
)
def test_pieces_join_to_the_nfc_of_the_whole(text: str, size: int, codec: str) -> None:
    """However small the chunks are, cuts hurt neither characters, line ends nor NFC."""
    want = unicodedata.normalize(
        "NFC", text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    )
    if "\0" in text:
        return
    original, encoding.CHUNK = encoding.CHUNK, size
    try:
        pieces = list(decode_stream(io.BytesIO(text.encode(codec)), codec, "x"))
    finally:
        encoding.CHUNK = original
    assert "".join(pieces) == want
    assert all(pieces)
    assert all(unicodedata.is_normalized("NFC", piece) for piece in pieces)


def test_no_character_that_composes_backwards_begins_a_piece() -> None:
    """Against the decompositions of the Unicode database, not against our own rule."""
    seconds = set(
        "".join(map(chr, range(0x1161, 0x1176))) + "".join(map(chr, range(0x11A8, 0x11C3)))
    )
    for code in range(sys.maxunicode + 1):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            seconds.add(chr(int(parts[1], 16)))
        if unicodedata.combining(chr(code)):
            seconds.add(chr(code))
    assert not [char for char in seconds if encoding._begins(char)]


def test_pieces_end_with_lines_and_are_about_a_megabyte() -> None:
    pieces = list(decode_stream(io.BytesIO((KOREAN * 20_000).encode()), None, "x"))
    assert all(piece.endswith("\n") for piece in pieces)
    assert all(300_000 < len(piece) < 4_000_000 for piece in pieces[:-1])


def test_one_endless_line_is_cut_all_the_same() -> None:
    text = unicodedata.normalize("NFD", "한글 없이는 못 살아 ") * 150_000
    pieces = list(decode_stream(io.BytesIO(text.encode()), None, "x"))
    assert "".join(pieces) == unicodedata.normalize("NFC", text)
    assert max(map(len, pieces)) < 4_000_000


class Dribble(io.RawIOBase):
    """A stream that answers in small bites, as decompressors do."""

    def __init__(self, data: bytes) -> None:
        self.data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self.data.read(min(size, 1000))


def test_short_reads_are_not_the_end() -> None:
    text = KOREAN * 300
    assert "".join(decode_stream(Dribble(text.encode()), None, "x")) == text  # type: ignore[arg-type]


def test_memory_stays_flat() -> None:
    class Endless(io.RawIOBase):
        left = 60

        def read(self, size: int = -1) -> bytes:
            self.left -= 1
            return (b"0123456789abcde\n" * (size // 16)) if self.left >= 0 else b""

    tracemalloc.start()
    try:
        total = sum(len(piece) for piece in decode_stream(Endless(), None, "x"))  # type: ignore[arg-type]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 60 * encoding.CHUNK
    assert peak < 16 * encoding.CHUNK
