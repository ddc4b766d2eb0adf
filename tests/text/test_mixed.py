"""Files whose lines are in several encodings, and files with damage."""

import io
import json
import tracemalloc
import unicodedata
from collections import Counter
from collections.abc import Iterator
from itertools import chain, repeat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malmoi.text import encoding
from malmoi.text.encoding import Notes, decode_stream
from malmoi.text.formats import documents
from malmoi.text.mixed import PLACES, _has_lines
from malmoi.text.readings import MULTIBYTE, PAGES

KOREAN = [
    "아침에 일어나 창문을 열었다.",
    "밤새 내린 눈이 마당에 하얗게 쌓여 있었다.",
    "강아지가 먼저 뛰어나가 발자국을 찍는다.",
    "어머니는 부엌에서 국을 끓이고 계셨다.",
    "학교 가는 길은 미끄러우니 조심해야 한다.",
    "친구들이 벌써 운동장에 모여 있었다.",
    "우리는 편을 나누어 눈싸움을 시작했다.",
    "종이 울리자 모두 교실로 뛰어 들어갔다.",
    "난로 위에서 주전자가 김을 뿜고 있었다.",
    "오늘 배울 곳은 백이십 쪽입니다.",
]
RUSSIAN = [
    "Утром я открыл окно.",
    "За ночь двор засыпало снегом.",
    "Собака первой выбежала за порог.",
    "Мама варила на кухне кашу.",
    "По дороге в школу надо быть осторожнее.",
    "Друзья уже собрались возле катка.",
]
FRENCH = [
    "Le matin, j'ai ouvert la fenêtre.",
    "La neige était tombée toute la nuit, très épaisse.",
    "Ma mère préparait déjà le café.",
    "Les élèves couraient vers l'école.",
    "Après la récréation, il a fallu rentrer.",
    "Le poêle réchauffait à peine la pièce.",
]
JAPANESE = [
    "朝起きて窓を開けた。",
    "一晩中降った雪が庭に白く積もっていた。",
    "犬が先に飛び出して足跡をつける。",
    "母は台所で味噌汁を作っていた。",
    "学校へ行く道は滑りやすいので気をつけよう。",
]


def mended(data: bytes, name: str | None = None) -> tuple[str, Notes]:
    notes = Notes()
    return "".join(decode_stream(io.BytesIO(data), name, "x.txt", notes=notes)), notes


def strict(data: bytes, name: str | None = None) -> str:
    return "".join(decode_stream(io.BytesIO(data), name, "x.txt"))


def joined(lines: list[str], codecs: list[str]) -> bytes:
    return b"".join(f"{line}\n".encode(codec) for line, codec in zip(lines, codecs, strict=True))


@pytest.mark.parametrize(
    ("lines", "own", "other", "called"),
    [
        (KOREAN, "utf-8", "cp949", "cp949"),
        (KOREAN, "cp949", "utf-8", "utf-8"),
        (KOREAN, "utf-8", "johab", "johab"),
        (KOREAN, "johab", "utf-8", "utf-8"),
        (KOREAN, "cp949", "johab", "johab"),
        (KOREAN, "johab", "cp949", "cp949"),
        (RUSSIAN, "utf-8", "cp1251", "cp1251"),
        (RUSSIAN, "cp1251", "utf-8", "utf-8"),
        (RUSSIAN, "utf-8", "cp866", "cp866"),
        (FRENCH, "utf-8", "cp1252", "cp1252"),
        (FRENCH, "cp1252", "utf-8", "utf-8"),
        (JAPANESE, "utf-8", "shift_jis", "cp932"),
        (JAPANESE, "shift_jis", "utf-8", "utf-8"),
        (JAPANESE, "euc_jp", "utf-8", "utf-8"),
    ],
)
def test_every_fifth_line_in_another_encoding(
    lines: list[str], own: str, other: str, called: str
) -> None:
    lines = [f"{number} {line}" for number, line in enumerate(lines * 5)]
    codecs = [other if number % 5 == 3 else own for number in range(len(lines))]
    data = joined(lines, codecs)
    text, notes = mended(data)
    assert text.split("\n") == [*lines, ""]
    assert notes.codec == ("cp932" if own == "shift_jis" else own)
    assert notes.lines == {notes.codec: codecs.count(own), called: codecs.count(other)}
    assert notes.lost == 0
    assert not notes.places
    if own == "utf-8":  # pages of one byte decode anything
        with pytest.raises(ValueError, match="is not utf-8"):
            strict(data)


def test_three_encodings_and_korean_among_western_lines() -> None:
    lines = FRENCH * 4 + KOREAN[:4] + KOREAN[4:8]
    data = joined(lines, ["cp1252"] * 24 + ["cp949"] * 4 + ["utf-8"] * 4)
    text, notes = mended(data)
    assert text.split("\n") == [*lines, ""]
    assert notes.lines == {"cp1252": 24, "cp949": 4, "utf-8": 4}


def test_mail_in_seven_and_in_eight_bits() -> None:
    """ISO-2022-KR designates Korean once, at the beginning; its lines are read by themselves."""
    seven = "\n".join(KOREAN[:6]).encode("iso2022_kr")
    assert seven.startswith(b"\x1b$)C")
    data = seven + b"\n" + joined(KOREAN[6:], ["cp949", "cp949", "utf-8", "utf-8"])
    text, notes = mended(data, "iso2022_kr")
    assert text.split("\n") == [*KOREAN, ""]
    assert notes.lines == {"iso2022_kr": 6, "cp949": 2, "utf-8": 2}
    assert mended(seven)[0] == "\n".join(KOREAN[:6])


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "cp949", "johab", "utf-16", "utf-32-be"])
def test_what_is_not_mixed_is_as_ever(codec: str) -> None:
    data = "\r\n".join(KOREAN * 20).encode(codec)
    text, notes = mended(data)
    assert text == strict(data) == "\n".join(KOREAN * 20)
    assert notes == Notes(codec, notes.confidence, None, Counter({codec: 200}), 0, [])
    assert notes.confidence > 0.999


def test_what_only_looks_like_utf8() -> None:
    """Three bytes of half a surrogate pair: as UTF-8 they are nothing, in CP1252 three letters."""
    data = joined(FRENCH * 2, ["cp1252"] * 12) + b"\xed\xa0\x80\n"
    assert mended(data)[0] == data.decode("cp1252")


def test_a_line_of_one_damaged_byte() -> None:
    lines = [line.encode() for line in KOREAN]
    lines[2] = lines[2][:9] + b"\xff" + lines[2][9:]
    lines[5] = lines[5][:-2]  # the mark of the end, and the last byte of a syllable
    text, notes = mended(b"\n".join(lines))
    found = text.split("\n")
    assert found[2] == KOREAN[2][:3] + "\ufffd" + KOREAN[2][3:]
    assert found[5] == KOREAN[5][:-2] + "\ufffd"
    assert (notes.lost, notes.places) == (3, [3, 6])
    assert notes.lines == {"utf-8": 10}
    assert [a for n, a in enumerate(found) if n not in (2, 5)] == [
        a for n, a in enumerate(KOREAN) if n not in (2, 5)
    ]


def test_a_damaged_line_in_another_encoding() -> None:
    foreign = KOREAN[1].encode("cp949").replace(b" ", b"\xff ", 1)
    text, notes = mended("\n".join(KOREAN).encode() + b"\n" + foreign)
    assert text.split("\n")[-1] == KOREAN[1].replace(" ", "\ufffd ", 1)
    assert notes.lines == {"utf-8": 10, "cp949": 1}
    assert (notes.lost, notes.places) == (1, [11])


def test_what_fits_nothing_is_counted() -> None:
    noise = b"\x81\xff\xfe\xff\xf5\xff\xfd"
    data = ("\n".join(KOREAN) + "\n").encode() + (noise + b"\n") * 40
    text, notes = mended(data)
    assert notes.lost == 40 * len(noise)
    assert notes.places == list(range(11, 11 + PLACES))
    assert notes.lines == {"utf-8": 50}
    assert set(text.split("\n")[10]) == {"\ufffd"}


def test_a_replacement_character_of_the_text_itself_is_not_lost() -> None:
    text = "물음표\ufffd가 있던 자리\n"
    assert mended(text.encode()) == (text, Notes("utf-8", 1.0, None, Counter({"utf-8": 1})))
    assert mended(text.encode() + b"\xff\n")[1].lost == 1


def test_a_file_cut_in_a_character() -> None:
    text, notes = mended("\n".join(KOREAN).encode() + "끝".encode()[:2])
    assert text == "\n".join(KOREAN) + "\ufffd"
    assert (notes.lost, notes.places) == (2, [10])
    text, notes = mended("\n".join(KOREAN).encode("utf-16-le") + b"\x01")
    assert text == "\n".join(KOREAN) + "\ufffd"
    assert (notes.lost, notes.places) == (1, [10])


def test_half_a_surrogate_pair() -> None:
    data = "\n".join(KOREAN).encode("utf-16-le")
    at = data.index("강".encode("utf-16-le"))
    text, notes = mended(data[:at] + b"\x3d\xd8" + data[at:])
    assert text == "\n".join(KOREAN).replace("강", "\ufffd강", 1)
    assert (notes.lost, notes.places, notes.lines["utf-16-le"]) == (2, [3], 10)


def test_who_names_an_encoding_is_believed_where_it_decodes() -> None:
    data = joined(["naïf", "한글 줄"], ["latin-1", "utf-8"])
    text, notes = mended(data, "latin-1")
    assert text == strict(data, "latin-1") == data.decode("latin-1")
    assert notes == Notes("latin-1", 1.0, None, Counter({"latin-1": 2}))
    data = joined(KOREAN, ["utf-8", "euc-kr"] * 5)
    text, notes = mended(data, "euc-kr")
    assert text.split("\n") == [*KOREAN, ""]
    assert notes.lines == {"euc-kr": 5, "utf-8": 5}


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_blocks_of_any_size(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    codecs = ["utf-8", "utf-8", "cp949", "utf-8", "johab"] * 2
    data = joined(KOREAN, codecs) + b"\xff" + "끝".encode()
    whole = mended(data, "utf-8")
    monkeypatch.setattr(encoding, "CHUNK", size)
    assert mended(data, "utf-8") == whole
    assert whole[0] == "\n".join([*KOREAN, "\ufffd끝"])
    wide = "\n".join(KOREAN).encode("utf-16")
    assert mended(wide, "utf-16")[0] == "\n".join(KOREAN)


def test_korean_after_a_megabyte_of_ascii() -> None:
    plain = b"0123456789 abcdefg\n" * 70_000
    assert len(plain) > encoding.CHUNK
    data = plain + joined(KOREAN, ["cp949"] * 10)
    text, notes = mended(data)
    assert text == strict(data)
    assert notes.codec == "cp949"
    assert notes.lines == {"cp949": 70_010}


class Parts(io.RawIOBase):
    """A file that is made while it is read."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self.parts, self.rest = parts, b""

    def read(self, size: int = -1) -> bytes:
        while len(self.rest) < size and (part := next(self.parts, b"")):
            self.rest += part
        data, self.rest = self.rest[:size], self.rest[size:]
        return data


@pytest.mark.parametrize(("own", "other"), [("utf-8", "cp949"), ("cp949", "utf-8")])
@pytest.mark.parametrize("unit", ["가나다라마바사아자차카타파하", "띄어 쓴 글은 낱말에서 자른다 "])
def test_a_line_of_many_megabytes(own: str, other: str, unit: str) -> None:
    """Cut in the middle of no character, in flat memory, and told to be one line."""
    first = "\n".join(KOREAN * 3) + "\n"
    times = 20_000_000 // len(unit.encode(other))
    data = chain([first.encode(own)], repeat((unit * 1000).encode(other), times // 1000), [b"\n"])
    notes, length, last = Notes(), 0, ""
    tracemalloc.start()
    try:
        for piece in decode_stream(Parts(data), own, "x", notes=notes):  # type: ignore[arg-type]
            length, last = length + len(piece), piece
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert length == len(first) + times // 1000 * 1000 * len(unit) + 1
    assert set(last) <= set(unit + "\n")
    assert notes.lines == {own: 30, other: 1}
    assert notes.lost == 0
    assert peak < 24 * encoding.CHUNK


def test_a_long_line_of_nonsense_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("malmoi.text.mixed._LONGEST", 1 << 14)
    monkeypatch.setattr(encoding, "CHUNK", 1 << 14)
    noise = bytes(0x80 | (n * n * 7 + n // 3) % 0x80 for n in range(300_000))
    text, notes = mended(b"abc\n" + noise + b"\nend", "utf-8")
    assert text.startswith("abc\n")
    assert text.endswith("\nend")
    assert sum(notes.lines.values()) == 3
    assert notes.lost > 100_000
    assert notes.places == [2]


def test_a_long_line_of_seven_bits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("malmoi.text.mixed._LONGEST", 1 << 10)
    monkeypatch.setattr(encoding, "CHUNK", 1 << 10)
    with pytest.raises(ValueError, match=r"^x\.txt: not iso2022_kr: a line of over"):
        mended(("가나다" * 1000).encode("iso2022_kr"))


def test_records_in_two_encodings() -> None:
    rows = [json.dumps({"text": line}, ensure_ascii=False) for line in KOREAN]
    data = joined(rows, ["utf-8"] * 8 + ["cp949"] * 2)
    notes = Notes()
    pieces = documents(io.BytesIO(data), "jsonl", "x.jsonl", notes=notes)
    assert [piece.text for piece in pieces] == KOREAN
    assert notes.lines == {"utf-8": 8, "cp949": 2}
    with pytest.raises(ValueError, match="not utf-8"):
        list(documents(io.BytesIO(data), "jsonl", "x.jsonl"))


@pytest.mark.parametrize(
    ("data", "name", "what"),
    [
        (bytes(100), None, "binary"),
        (b"\x89PNG\r\n\x1a\n", None, "PNG"),
        (bytes(100), "utf-8", "binary"),
        (b"abc", "klingon", "unknown encoding"),
        (b"abcd", "utf-16", "byte order mark|BOM"),
    ],
)
def test_what_is_no_text_is_refused_all_the_same(data: bytes, name: str | None, what: str) -> None:
    with pytest.raises(ValueError, match=what) as caught:
        mended(data, name)
    assert type(caught.value) is ValueError
    assert str(caught.value).startswith("x.txt: ") or name == "klingon"


def test_nothing_at_all() -> None:
    assert mended(b"") == ("", Notes("utf-8", 1.0))


@settings(deadline=None, max_examples=80)
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60),
    st.sampled_from(["utf-8-sig", "utf-16", "utf-32"]),
    st.booleans(),
)
def test_unicode_comes_back(text: str, codec: str, named: bool) -> None:
    want = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    data = text.encode(codec)
    name = codec if named else None
    assert strict(data, name) == want.removeprefix("\ufeff")
    assert mended(data, name)[0] == strict(data, name)
    plain = text.removeprefix("\ufeff")
    assert strict(plain.encode(), "utf-8") == mended(plain.encode(), "utf-8")[0]


@settings(deadline=None, max_examples=120)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(
            st.tuples(
                st.text("가나다라마 abc漢字éя\n", max_size=12),
                st.sampled_from(["utf-8", "cp949", "johab", "utf-16-le", "cp1251"]),
            ),
            max_size=6,
        ).map(lambda parts: b"".join(t.encode(c, "replace") for t, c in parts)),
    ),
    st.sampled_from(
        [None, "utf-8", "cp949", "johab", "iso2022_kr", "cp1252", "utf-16-le", "ascii"]
    ),
)
def test_any_bytes_are_decoded_or_a_value_error(data: bytes, name: str | None) -> None:
    try:
        text, notes = mended(data, name)
    except UnicodeError as error:  # is a ValueError, but not for users
        raise AssertionError from error
    except ValueError:
        return
    assert ("\ufffd" in text) == (notes.lost > 0) or "\ufffd".encode() in data
    assert notes.lost <= len(data)
    if _has_lines(notes.codec):
        assert sum(notes.lines.values()) == data.count(b"\n") + (data[-1:] not in (b"", b"\n"))


def test_all_candidates_have_lines() -> None:
    for codec in [*MULTIBYTE, *PAGES, "utf-8-sig", "latin-1", "euc-kr", "iso2022_kr"]:
        assert _has_lines(codec), codec
    for codec in "utf-16", "utf-16-le", "utf-32", "utf-7", "cp037", "hz":
        assert not _has_lines(codec), codec
