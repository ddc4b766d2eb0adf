"""The measures against a plain way to count the same, the filters against texts of each kind."""

import json
import random
import unicodedata
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malmoi.text import quality
from malmoi.text.quality import BLOCK, GRAM, LINE, SCRIPTS, Filters, judge, measure
from malmoi.text.stories import stories

DOCS = Path(__file__).parents[3] / "shared" / "data" / "python_docs_ko.jsonl"


def kind(c):
    """What Unicode says that a character is, by its category and its name."""
    category, name = unicodedata.category(c), unicodedata.name(c, "")
    if c.isspace():
        return "space"
    if "\u0300" <= c <= "\u036f":
        return "latin"  # accents
    if category[0] == "N":
        return "digits"
    if c == "々":
        return "han"
    if category[0] not in "LM" or c == "\ufe0f":
        return "symbols"
    for script, words in (
        ("hangul", "HANGUL HALFWIDTH-HANGUL"), ("latin", "LATIN FULLWIDTH-LATIN"),
        ("han", "CJK-UNIFIED CJK-COMPATIBILITY"), ("kana", "HIRAGANA KATAKANA HALFWIDTH-KATAKANA"),
        ("cyrillic", "CYRILLIC"),
    ):  # fmt: skip
        if any(name.startswith(word.replace("-", " ")) for word in words.split()):
            return script
    return "other"


def slow_measure(text):
    """The same numbers in another way: with sets, slices and Unicode's names."""
    black = "".join(text.split())
    kinds = [kind(c) for c in black]
    letters = sum(k in SCRIPTS for k in kinds)
    found = {k: kinds.count(k) / max(1, len(kinds)) for k in ("digits", "symbols")}
    found |= {k: kinds.count(k) / max(1, letters) for k in SCRIPTS}
    found["letters"] = letters / max(1, len(kinds))
    found["characters"] = len(text.strip())
    found["words"] = len(text.split())
    found["mean_word"] = len(black) / max(1, len(text.split()))

    lines = ["".join(line.split()) for line in text.split("\n")]
    lines = [line for line in lines if len(line) >= LINE]
    again = [line for n, line in enumerate(lines) if line in lines[:n]]
    found["duplicate_lines"] = len(again) / max(1, len(lines))
    found["duplicate_characters"] = len("".join(again)) / max(1, len(black))

    may_start = [n == 0 or n >= GRAM for word in text.split() for n in range(len(word))]
    covered = set()
    for block in range(0, len(black), BLOCK):
        part, seen = black[block : block + BLOCK], set()
        for n in range(len(part) - GRAM + 1):
            if may_start[block + n]:
                gram = part[n : n + GRAM]
                if gram in seen:
                    covered.update(range(block + n, block + n + GRAM))
                seen.add(gram)
    found["repetition"] = len(covered) / max(1, len(black))
    return found


def assert_same(text):
    got = measure(text)._asdict()
    want = slow_measure(text)
    assert got.keys() == want.keys()
    for name, value in want.items():
        assert got[name] == pytest.approx(value), name


# Few different characters, so that lines and stretches come again.
repetitive = st.lists(
    st.sampled_from(
        ["가나다라마바사아자차", "구매 ", "ㅋ" * 9, "ab", " ", "\n", "\t", "1.", "漢", "\u3000"]
    ),
    max_size=60,
).map("".join)
letters = st.text(
    st.sampled_from(
        "가힣ㄱㅣ\u1112azÀéʯＡ漢〇々かカｶ한ЖяΩעก का\u0301①½５٣_+・😀❤\ufe0f￦\u00ad\0\ud800"
    )
)


@settings(deadline=None, max_examples=300)
@given(st.one_of(repetitive, letters))
def test_measures_are_those_of_the_plain_way(text):
    assert_same(text)


def test_lines_and_stretches_that_differ_in_one_character_are_different():
    last = "\n".join(f"이 줄의 번호는 이것: {chr(code)}" for code in range(0xAC00, 0xAE00))
    first = "\n".join(f"{chr(code)}번 줄에는 같은 글" for code in range(0xAC00, 0xAE00))
    for text in (last, first, last + "\n" + last):
        assert_same(text)
    assert measure(last).duplicate_lines == measure(first).duplicate_lines == 0


def test_measures_of_a_text_longer_than_a_block():
    rng = random.Random(3)
    words = ["나무", "사과", "바다를", "노래하는", "긴" * 40, "x" * 17, "12", "!\n", "끝났다.\n"]
    text = " ".join(rng.choices(words, k=6000))
    assert len(text) > 4 * BLOCK
    assert_same(text)
    # What came before on the pages before is no repetition, on the same pages it is.
    page = "".join(chr(0xAC00 + (n * 7919) % 11172) + " " * (n % 3 == 0) for n in range(BLOCK))
    assert measure(page + page).repetition == 0
    half = page[: len(page) // 2]
    assert measure(half + " " + half).repetition == pytest.approx(0.5, abs=0.01)


@pytest.mark.skipif(not DOCS.exists(), reason=f"{DOCS} is not here")
def test_measures_of_real_documents():
    documents = [json.loads(line)["document"] for line in DOCS.read_text("utf-8").splitlines()]
    for text in documents[::30]:
        assert_same(text)
    assert [judge(measure(text), Filters(scripts=("hangul", "latin"))) for text in documents] == [
        None
    ] * len(documents)


def test_every_letter_has_its_script():
    table = quality._classes()
    names = ("space", "digits", "symbols", *SCRIPTS)
    styled = {"MATHEMATICAL", "MODIFIER", "HENTAIGANA"}  # their names begin with that
    letters = [c for c in map(chr, range(0x20000)) if c.isalpha()]
    letters = [c for c in letters if not styled.intersection(unicodedata.name(c, "").split())]
    assert len(letters) > 60_000
    wrong = [unicodedata.name(c) for c in letters if names[table[ord(c)]] != kind(c)]
    # Phonetic letters, and a few that are called otherwise than the texts they stand in.
    assert len(wrong) < 0.005 * len(letters), wrong
    common = "".join(letters)[: letters.index("\u1d00")]
    assert {c for c in common if names[table[ord(c)]] != kind(c)} <= set("ªº")


def test_nothing_and_next_to_nothing():
    assert set(measure("")) == {0}
    assert measure(" \n\t").characters == 0
    one = measure("가")
    assert (one.characters, one.words, one.hangul, one.mean_word) == (1, 1, 1.0, 1.0)
    assert measure("𠀀😀").han == 1.0
    assert measure("𠀀😀").symbols == 0.5


def test_a_worked_example():
    m = measure("서울역에서 만나자!\nSee you @ 3.\n서울역에서 만나자!\n")
    assert (m.characters, m.words) == (34, 8)
    assert m.letters == pytest.approx((8 + 6 + 8) / 27)
    assert m.digits == pytest.approx(1 / 27)
    assert (m.hangul, m.latin) == (pytest.approx(16 / 22), pytest.approx(6 / 22))
    assert m.duplicate_lines == 0  # nine characters: too short to count
    m = measure("서울역에서 꼭 만나자!\nSee you @ 3.\n서울역에서  꼭 만나자!\nSee you at three.\n")
    assert m.duplicate_lines == pytest.approx(1 / 3)


rng = random.Random(0)
KOREAN = next(iter(stories(1))).text
BAD = {
    "min_characters": "네.",
    "min_letters": "┌──┬──┐ 12 %% 34 ├──┼──┤ 가나 └──┴──┘ 56 {};:",
    "max_digits": " ".join(f"{n * 37}년생임" for n in range(1000, 1060)),
    "max_symbols": "=-" * 60 + "가나다라마바사" * 8,
    "min_mean_word": " ".join("글자마다떨어진글이다읽을수는있다"),
    "max_mean_word": "".join(
        rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", k=400)
    ),
    "max_duplicate_lines": "\n".join(
        ["메뉴로 바로 가기를 누르세요"] * 4 + [KOREAN.replace("\n", " ")]
    ),
    "max_duplicate_characters": "\n".join(
        [KOREAN.replace("\n", " ")] * 2 + [f"서로 다른 줄 번호 {n} 하나" for n in range(9)]
    ),
    "max_repetition": "지금 바로 구매하세요! " * 40,
}


@pytest.mark.parametrize("name", BAD)
def test_each_filter_drops_its_kind_and_can_be_switched_off(name):
    measures = measure(BAD[name])
    assert judge(measures, Filters()) == name
    assert judge(measures, replace(Filters(), **{name: 0})) != name


def test_good_documents_stay():
    for story in stories(50):
        assert judge(measure(story.text), Filters()) is None
    code = Path(quality.__file__).read_text("utf-8")
    poem = (
        "산에는 꽃 피네\n꽃이 피네\n갈 봄 여름 없이\n꽃이 피네\n\n산에\n산에\n피는 꽃은\n저만치\n"
    )
    japanese = (
        "これは日本語の文章です。空白がありません。" + "漢字とかなで書かれています。読めますか。"
    )
    for text in (
        code,
        poem,
        japanese,
        "안녕하세요",
        "The quick brown fox.",
        "12시 땡!",
        "ㅋㅋㅋㅋㅋ",
    ):
        assert judge(measure(text), Filters()) is None, text


def test_scripts_are_the_share_of_the_letters():
    filters = Filters(scripts=("hangul", "latin"))
    assert judge(measure("Это русский текст, совсем."), filters) == "min_scripts"
    assert judge(measure("这是一个中文句子，没有韩文。"), filters) == "min_scripts"
    assert judge(measure("한글과 русский"), filters) == "min_scripts"  # three of ten
    assert judge(measure("한글과 함께 русский"), replace(filters, min_scripts=0.4)) is None
    assert judge(measure("print('한글') # 漢字"), filters) is None
    assert judge(measure("Это русский текст, совсем."), Filters(scripts=("cyrillic",))) is None


def test_the_first_filter_counts():
    text = "!"
    order = [field.name for field in fields(Filters)]
    filters, dropped = Filters(min_letters=0.9), []
    while (name := judge(measure(text), filters)) is not None:
        dropped.append(name)
        filters = replace(filters, **{name: 0})
    assert dropped == ["min_characters", "min_letters", "max_symbols", "min_mean_word"]
    assert dropped == sorted(dropped, key=order.index)
    assert judge(measure("가나다라마바"), Filters(max_characters=5)) == "max_characters"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"max_symbols": 1.5}, "max_symbols is 1.5, it has to be from 0 to 1"),
        ({"min_characters": -1}, "min_characters is -1, it has to be 0 or more"),
        ({"max_mean_word": float("nan")}, "max_mean_word is nan"),
        ({"scripts": ("korean",)}, "unknown script 'korean'; known: hangul, latin"),
    ],
)
def test_thresholds_that_cannot_be(bad, message):
    with pytest.raises(ValueError, match=message):
        Filters(**bad)


def test_the_loop_is_the_same_before_it_is_compiled():
    text = KOREAN[:400] * 2
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    out = np.zeros((2, 14), np.int64)
    for look, row in zip((quality._look, quality._scan()), out, strict=True):
        with np.errstate(over="ignore"):
            look(
                codes, quality._classes(), np.zeros(256, np.uint64), np.zeros(2048, np.uint32), row
            )
    assert out[0].tolist() == out[1].tolist()
    assert out[0, :9].sum() == len(text)
