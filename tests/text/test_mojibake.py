"""Damage is done here as programs do it, byte by byte, and has to be undone; all else stays."""

import csv
import difflib
import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malmoi.text.mojibake import PAGES, repair
from malmoi.text.sources import read

SHARED = Path(__file__).parents[3] / "shared"
TALE = """옛날 옛적에 다람쥐 한 마리가 숲에 살았습니다. 다람쥐는 도토리를 모으느라 바빴고,
“겨울이 오기 전에 더 모아야 해!”라고 말했습니다. 친구 토끼가 물었습니다. ‘왜 그렇게 서두르니?’
그러자 다람쥐는 웃으며 대답했습니다… 파이썬(Python) 3.13에서는 함수를 이렇게 정의합니다 → def f(x):
"""
FEW_LOST = ("cp1250", "cp1251", "cp1252", "cp1254", "cp1258")


def misread(data: bytes, page: str, lost: str = "") -> str:
    """Each byte as a character of the page; what it leaves undefined as `lost`."""
    characters = []
    for byte in data:
        try:
            characters.append(bytes([byte]).decode(page))
        except UnicodeDecodeError:
            characters.append(lost)
    return "".join(characters)


def kept(data: bytes, page: str) -> str:
    """The same, but undefined bytes stay, as control characters, as browsers have it."""
    return "".join(misread(bytes([byte]), page) or chr(byte) for byte in data)


def likeness(one: str, other: str) -> float:
    if len(one) == len(other):
        return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()


def long_text() -> str:
    return "\n".join(piece.text for piece in read(("builtin:stories:12@77",)))


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_undone_where_nothing_was_lost(page: str) -> None:
    damaged = kept(TALE.encode(), page)
    assert damaged != TALE
    assert repair(damaged).text == TALE


@pytest.mark.parametrize("page", ["latin-1", "cp1252", "cp1254", "mac-roman", "iso8859-15"])
def test_cp949_read_as_western(page: str) -> None:
    data = TALE.encode("cp949")
    found = repair(kept(data, page))
    assert found.text == data.decode("cp949")
    assert found.lost == 0


@pytest.mark.parametrize("first", ["latin-1", "cp1252", "cp1254", "mac-roman"])
@pytest.mark.parametrize("second", ["latin-1", "cp1252"])
def test_damage_upon_damage(first: str, second: str) -> None:
    found = repair(kept(kept(TALE.encode(), first).encode(), second))
    assert found.text == TALE
    assert len(found.route) == 2


def test_three_times() -> None:
    text = TALE
    for _ in range(3):
        text = kept(text.encode(), "cp1252")
    assert repair(text).text == TALE


@pytest.mark.parametrize("lost", ["", "\ufffd"])
@pytest.mark.parametrize("page", FEW_LOST)
def test_lost_bytes_are_chosen_by_what_korean_is_like(page: str, lost: str) -> None:
    text = long_text()
    found = repair(misread(text.encode(), page, lost))
    assert found.lost > 0.02 * found.places
    assert likeness(text, found.text) > 0.995


def test_lost_twice() -> None:
    text = long_text()
    once = misread(text.encode(), "cp1252")
    found = repair(misread(once.encode(), "cp1252"))
    assert likeness(text, found.text) > 0.99


def test_the_notes() -> None:
    """A real text: the first half of a note after it had been read in a wrong page."""
    if not (SHARED / "seeds").exists():
        pytest.skip("../shared/seeds is not here")
    damaged = next((SHARED / "seeds").glob("003_*")).read_text("utf-8")
    original = next((SHARED / "seeds").glob("000_*")).read_text("utf-8")
    found = repair(damaged)
    assert found.route == ("cp1254",)
    assert likeness(original[: len(found.text)], found.text) > 0.995


@pytest.mark.parametrize("page", FEW_LOST)
def test_texts_that_the_list_of_words_has_not_seen(page: str) -> None:
    """Every fifth document was left out when the list was made (benchmarks/make_words.py)."""
    data = SHARED / "data"
    if not data.exists():
        pytest.skip("../shared/data is not here")
    lines = (data / "python_docs_ko.jsonl").read_text("utf-8").splitlines()[::5]
    docs = "\n".join(json.loads(line)["document"][1000:1200] for line in lines)
    with open(data / "chatbot_ko.csv", encoding="utf-8") as file:
        chats = "\n".join(f"{row['Q']} {row['A']}" for row in list(csv.DictReader(file))[:1000:5])
    for text in (docs, chats):
        assert likeness(text, repair(misread(text.encode(), page)).text) > 0.99


CLEAN = [
    TALE,
    "Où est passé le garçon ? « Ça y est », dit-il ; l’été dernier, à Évreux… ÀÉÈÊ ïë œuvre",
    "Bu çok güzel bir gün; öğretmenler İstanbul’da, ışık ve ağaçlar arasında… ŞĞİ",
    "Tiếng Việt rất đẹp: những người bạn ở Huế đã ăn phở, ê ế ề ể ễ ệ — “cảm ơn”!",
    "Η γάτα κοιμάται στον ήλιο· «καλημέρα», είπε ο λόγος… κ»— μ…»",
    "Человек сказал: «Привет, мир!» — и ушёл… м…» к»— н“”",
    "日本語の文章です。カタカナとひらがな、漢字もあります。ï¼ ｱｲｳ",
    "中文文本：你好，世界！这是一个测试……“引号”",
    "def f(x: int) -> str:\n    return '·'.join(map(str, [x] * 3))  # naïve café ½ × ¾ °C ±",
    "ÇĞİÖŞÜ ÄÖÜß ÆØÅ ÁÉÍÓÚ ÑÕ ¿Qué? ¡Sí! 100 €",
    "Í á ì ë ê í ì, — ê ë ì í",
]


@pytest.mark.parametrize("text", CLEAN)
def test_what_is_not_damaged_stays(text: str) -> None:
    for candidate in (text, text * 50, "\n".join(text.split())):
        found = repair(candidate)
        assert found.text == candidate
        assert found.route == ()


def test_a_damaged_line_among_others() -> None:
    clean = "\n".join(CLEAN[1:9])
    text = f"{clean}\n{misread(TALE.encode(), 'cp1256')}\n{clean}\n"
    assert repair(text).text == f"{clean}\n{TALE}\n{clean}\n"


def test_korean_and_its_damage_side_by_side() -> None:
    """Half of a file was saved by a program that knew better."""
    text = f"{TALE}\n{misread(TALE.encode(), 'cp1252')}\n{TALE}"
    assert repair(text).text == f"{TALE}\n{TALE}\n{TALE}"


@given(st.text())
def test_any_text_comes_back_or_is_korean(text: str) -> None:
    found = repair(text)
    if found.text != text:
        assert any("가" <= character <= "힣" for character in found.text)
        assert found.places


def test_repair_is_repeatable() -> None:
    text = misread(long_text().encode(), "cp1254")
    once = repair(text).text
    assert repair(text).text == once
    assert repair(once).text == once


def test_a_long_text_takes_time_in_proportion() -> None:
    """Counted in steps of the search, not in seconds."""
    from malmoi.text import syllables

    text = misread(long_text().encode(), "cp1252")
    calls = []
    real = syllables.SyllableModel.log_probability

    def counted(*args: object, **kwargs: object) -> float:
        calls.append(1)
        return real(*args, **kwargs)  # type: ignore[arg-type]

    counts = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(syllables.SyllableModel, "log_probability", counted)
        for times in (2, 4):
            calls.clear()
            repair(text * times)
            counts.append(len(calls))
    assert counts[1] < 2.2 * counts[0]


def test_random_damage_is_no_error() -> None:
    chance = random.Random(5)
    for _ in range(15):
        data = bytearray(TALE.encode())
        for _ in range(30):
            data[chance.randrange(len(data))] = chance.randrange(256)
        found = repair(kept(bytes(data), chance.choice(PAGES)))
        assert isinstance(found.text, str)
