"""Hangul arithmetic against Unicode's own tables, particles against worked examples."""

import unicodedata

import pytest

from malmoi.text.korean import compose, decompose, final_sound, has_final, josa


def test_decompose_agrees_with_unicode_for_every_syllable():
    for code in range(0xAC00, 0xD7A4):
        syllable = chr(code)
        lead, vowel, tail = decompose(syllable)
        assert compose(lead, vowel, tail) == syllable
        # NFD splits into conjoining jamo, whose names end as those of the letters here do.
        jamo = unicodedata.normalize("NFD", syllable)
        assert has_final(syllable) == (len(jamo) == 3) == (tail != "")
        letters = [lead, vowel, tail] if tail else [lead, vowel]
        for part, letter in zip(jamo, letters, strict=True):
            assert unicodedata.name(part).split()[-1] == unicodedata.name(letter).split()[-1]


def test_worked_syllables():
    assert decompose("한") == ("ㅎ", "ㅏ", "ㄴ")
    assert decompose("글") == ("ㄱ", "ㅡ", "ㄹ")
    assert decompose("워") == ("ㅇ", "ㅝ", "")
    assert decompose("값") == ("ㄱ", "ㅏ", "ㅄ")
    assert compose("ㄲ", "ㅗ") == "꼬"


@pytest.mark.parametrize("bad", ["", "가나", "a", "ㄱ", "ㅏ", "漢"])
def test_decompose_refuses_what_is_no_syllable(bad):
    with pytest.raises(ValueError, match="Hangul syllable"):
        decompose(bad)


@pytest.mark.parametrize(
    "parts", [("ㄱ", "ㄱ"), ("", "ㅏ"), ("ㄱ", ""), ("ㄱ", "ㅏ", "ㄸ"), ("ㄱㄲ", "ㅏ")]
)
def test_compose_refuses_what_is_no_jamo(parts):
    with pytest.raises(ValueError, match="no syllable"):
        compose(*parts)


@pytest.mark.parametrize(
    ("word", "pair", "expected"),
    [
        ("곰", "은/는", "곰은"),
        ("토끼", "은/는", "토끼는"),
        ("사슴", "이/가", "사슴이"),
        ("여우", "이/가", "여우가"),
        ("떡", "을/를", "떡을"),
        ("사과", "을/를", "사과를"),
        ("떡", "와/과", "떡과"),
        ("사과", "와/과", "사과와"),
        ("사과", "과/와", "사과와"),
        ("집", "으로/로", "집으로"),
        ("학교", "으로/로", "학교로"),
        ("서울", "으로/로", "서울로"),  # ㄹ takes 로
        ("서울", "은/는", "서울은"),
        ("곰", "이랑/랑", "곰이랑"),
        ("여우", "이랑/랑", "여우랑"),
        ("방울", "아/야", "방울아"),
        ("순이", "아/야", "순이야"),
        ("책", "이에요/예요", "책이에요"),
        ("나무", "이에요/예요", "나무예요"),
        ("산", "이었/였", "산이었"),
        ("바다", "이었/였", "바다였"),
        ("값", "을/를", "값을"),
        ("‘토끼’", "은/는", "‘토끼’는"),
        ("곰(반달곰)", "이/가", "곰(반달곰)이"),
        (unicodedata.normalize("NFD", "곰"), "은/는", unicodedata.normalize("NFD", "곰") + "은"),
    ],
)
def test_josa(word, pair, expected):
    assert josa(word, pair) == expected


@pytest.mark.parametrize(
    ("word", "pair", "expected"),
    [
        ("0", "이/가", "0이"),  # 영
        ("1", "으로/로", "1로"),  # 일
        ("2", "은/는", "2는"),  # 이
        ("3", "으로/로", "3으로"),  # 삼
        ("4", "을/를", "4를"),
        ("6", "으로/로", "6으로"),  # 육
        ("8", "으로/로", "8로"),  # 팔
        ("9", "와/과", "9와"),
        ("10", "으로/로", "10으로"),  # 십
        ("2,000", "은/는", "2,000은"),  # 이천
        ("3.5", "은/는", "3.5는"),  # 오
        ("1000000000000", "은/는", "1000000000000는"),  # 일조
        ("제2", "은/는", "제2는"),
        ("AI", "은/는", "AI는"),
        ("LLM", "은/는", "LLM은"),  # 엠
        ("URL", "으로/로", "URL로"),  # 엘
        ("CPU", "이/가", "CPU가"),
        ("Google", "으로/로", "Google로"),  # 구글
        ("iPhone", "을/를", "iPhone을"),  # 아이폰
        ("Facebook", "은/는", "Facebook은"),  # 페이스북
        ("Linux", "을/를", "Linux를"),
        ("Python", "은/는", "Python은"),
        ("ㄱ", "은/는", "ㄱ은"),  # 기역
        ("ㄹ", "으로/로", "ㄹ로"),  # 리을
        ("ㅏ", "은/는", "ㅏ는"),
        ("※", "은/는", "※은(는)"),
        ("漢", "이/가", "漢이(가)"),
    ],
)
def test_josa_after_what_is_not_hangul(word, pair, expected):
    assert josa(word, pair) == expected


def test_josa_refuses_an_unknown_pair():
    with pytest.raises(ValueError, match="unknown particle pair"):
        josa("곰", "도/도")


def test_final_sound():
    assert final_sound("달") == "ㄹ"
    assert final_sound("나무.") == ""
    assert final_sound("...") is None
