"""Each rule against worked examples and Unicode's own tables; all of them against themselves."""

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malmoi.text import rules
from malmoi.text.korean import decompose
from malmoi.text.rules import DEFAULT, RULES, apply
from malmoi.text.stories import stories

DOCS = Path(__file__).parents[3] / "shared" / "data" / "python_docs_ko.jsonl"

FAMILY = "👩\u200d❤\ufe0f\u200d👩"
ENGLAND = "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"

# One character of every kind that a rule looks at, and what stands beside them in real texts.
TRICKY = (
    "a1-가각힣ㄱㄴㅋㅎㅏㅗㅠㅡㅣ \t\n\r\v\f\0\x07\x1b[m\x7f\x85\x9f\u2028\u2029\ufeff\u00ad\u200b"
    "\u200c\u200d\u2060\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2068\u2069\ufffc"
    "\ufffe\ud83d\ude00\udc00\U0001f3f4\U000e0067\U000e007f\U0001f469\u2764\ufe0f\U0001f3fb"
    "\u0627\u0628\u064b\u05d0\u0915\u094d\u0e01\u0301\u0327\u0344\u00e9\u1112\u1161\u11ab\u1100"
    "\uffa1\uffa4\uffc2\uffa0\u3164\u00a0\u3000\u2003\u2001Ａ（\uac00\u11a8\u212b\uf900\u3099か“”’…"
)
tricky = st.text(st.sampled_from(TRICKY), max_size=30)
# Whatever Unicode has, lone surrogates too.
anything = st.text(st.characters(exclude_categories=()), max_size=30)
names = st.sets(st.sampled_from(list(RULES))).map(tuple)


@pytest.mark.parametrize(
    ("rule", "before", "after"),
    [
        ("surrogates", "\ud83d\ude00!", "😀!"),
        ("surrogates", "\ude00\ud83d", "\ufffd\ufffd"),
        ("surrogates", "\ud83d\ud83d\ude00\udcff가", "\ufffd😀\ufffd가"),
        ("line-ends", "a\r\nb\rc\u0085d\u2028e\u2029f\fg\vh", "a\nb\nc\nd\ne\nf\ng\nh"),
        ("line-ends", "가\r\r\n\n나", "가\n\n\n나"),
        ("controls", "가\0나\x07\t다\x7f\x9f\n", "가나\t다\n"),
        ("controls", "\x1b[1;31m오류\x1b[0m: \x1b그대로 [31m", "오류: 그대로 [31m"),
        ("bidi", "\u202a한글\u202c\u200e \u2067text\u2069", "한글 text"),
        ("bidi", "exe.\u202etxt\u202c", "exe.txt"),
        # Balanced in a line of Hebrew: kept; what is left over goes, and so does an override.
        ("bidi", "\u2067שלום\u2069\u200f!", "\u2067שלום\u2069\u200f!"),
        ("bidi", "\u202bשלום\u2069\u202c", "\u202bשלום\u202c"),
        ("bidi", "\u202bשלום", "שלום"),
        ("bidi", "\u202b\u2067שלום\u202c\u2069", "\u2067שלום\u2069"),
        ("bidi", "\u202eשלום\u202c", "שלום"),
        ("bidi", "\u2067שלום\u2069\n\u2067가\u2069", "\u2067שלום\u2069\n가"),
        ("zero-width", "\ufeff안\u200b녕\u2060하\u00ad세\ufeff요\u200d", "안녕하세요"),
        ("zero-width", FAMILY + "\u200b🏽\u200d⚕", FAMILY + "🏽\u200d⚕"),
        ("zero-width", "👩\u200d가 나\u200d👩 👩\u200d\u200d👩", "👩가 나👩 👩👩"),
        ("zero-width", "می\u200cخواهم a\u200cb", "می\u200cخواهم ab"),  # Persian
        ("zero-width", "क\u094d\u200dष \u0d28\u0d4d\u200d", "क\u094d\u200dष \u0d28\u0d4d\u200d"),
        ("zero-width", "ภาษา\u200bไทย\u200b가", "ภาษา\u200bไทย가"),
        ("zero-width", ENGLAND + "a\U000e0041\U000e007f" + ENGLAND, ENGLAND + "a" + ENGLAND),
        ("halfwidth", "ﾡﾤﾾ ￂￌￜ ｶﾅ", "ㄱㄴㅎ ㅏㅗㅣ ｶﾅ"),
        ("jamo", "ㅎㅏㄴㄱㅡㄹ", "한글"),
        ("jamo", "안녕ㅎㅏㅅㅔ요", "안녕하세요"),
        ("jamo", "ㄱㅏㅄㅇㅣ ㄷㅏㄺㅂㅗㄷㅏ ㅆㅏㄷㅏ", "값이 닭보다 싸다"),
        ("jamo", "ㄲㅏㄸㅏㄱ", "까딱"),
        ("jamo", "\u3164ㄸㅗㅁ\u3164ㅍㅔ\u3164", "똠페"),  # as KS X 1001 spells what it lacks
        ("spaces", "가\u00a0나\u3000다\u2003라\u3164마", "가 나 다 라 마"),
        ("fullwidth", "Ｐｙｔｈｏｎ３（！）～", "Python3(!)~"),
        ("nfc", "\u1112\u1161\u11ab\u1100\u1173\u11af cafe\u0301", "한글 café"),
        ("nfc", "가\u11a8", "각"),
        ("nfc", "\u1112\u119e\u11ab ㅎㅏㄴ", "\u1112\u119e\u11ab ㅎㅏㄴ"),  # ᄒᆞᆫ has no syllable
        ("whitespace", "if x:  \n    return 1\t\n\n\n\n\nx = 2 ", "if x:\n    return 1\n\n\nx = 2"),
        ("whitespace", "\n\n\n\n가\n \n\t\n \n나\n", "\n\n가\n\n\n나\n"),
    ],
)  # fmt: skip
def test_worked_examples(rule, before, after):
    assert apply(before, (rule,)).text == after
    assert apply(after, (rule,)).text == after


@pytest.mark.parametrize(
    "text",
    [
        "ㅋㅋㅋ", "ㅋㅋㅋㅋ큐ㅠㅠ", "ㅠㅠ", "ㅜㅜ", "ㅋㅠ", "ㅎㅜ", "힘들다ㅋㅠ", "ㅋㅋㅠㅠ",
        "ㅇㅇ", "ㅇㅋ", "ㄱㅅ", "ㅡㅡ", "ㅡㅡ;", "ㅇㅅㅇ", "ㅇㅡㅇ", "ㅇㅗㅇ", "ㅠㅡㅠ", "ㅗㅜㅑ",
        "ㄱㄴㄷ", "ㄱ, ㄴ, ㄷ", "ㄱ ㅏ", "ㅏㅑㅓㅕ", "자음 ㄱ과 모음 ㅏ", "하ㄴ글", "ㄱ.", "ㅎㅎ",
        "ㅋㅋㅋㅏ", "ㄳㅏ", "ㄱㅏㅃ", "ㅏㄱㅏ",
    ],
)  # fmt: skip
def test_letters_that_stand_for_themselves_stay(text):
    assert apply(text, ("jamo",)).text == text


def test_letters_that_spell_every_syllable_and_every_word():
    for code in range(0xAC00, 0xD7A4):
        letters = "".join(decompose(chr(code)))
        if letters.strip("ㅋㅎㅇㅠㅜㅡㅗ"):
            assert apply(letters, ("jamo",)).text == chr(code)
    for story in stories(20):
        for word in story.text.split():
            letters = "".join("".join(decompose(c)) if "가" <= c <= "힣" else c for c in word)
            if word.isalpha() and len(word) > 1:
                assert apply(letters, ("jamo",)).text == word


def test_half_and_full_width_are_what_unicode_says():
    narrow = [
        chr(code)
        for code in range(0x10000)
        if "HALFWIDTH HANGUL" in unicodedata.name(chr(code), "")
    ]
    assert len(narrow) == 52
    for c in narrow:
        (wide,) = apply(c, ("halfwidth",)).text
        assert unicodedata.name(wide) == unicodedata.name(c).removeprefix("HALFWIDTH ")
    ascii_ = "".join(map(chr, range(0x21, 0x7F)))
    full = "".join(chr(ord(c) + 0xFEE0) for c in ascii_)
    assert unicodedata.normalize("NFKC", full) == ascii_ == apply(full, ("fullwidth",)).text


def test_pieces_for_nfc_begin_where_nothing_can_join():
    starts = rules._PIECE_START
    inside = [
        chr(c)
        for a, b in zip(starts[::3], starts[2::3], strict=True)
        for c in range(ord(a), ord(b) + 1)
    ]
    second = {
        chr(int(parts[1], 16))
        for code in range(0x110000)
        if len(parts := unicodedata.decomposition(chr(code)).split()) == 2 and "<" not in parts[0]
    }
    assert len(second) > 50
    for c in inside:
        assert unicodedata.is_normalized("NFC", c)
        assert not unicodedata.combining(c)
        assert c not in second


@settings(deadline=None)
@given(st.one_of(tricky, anything))
def test_nfc_is_unicodes(text):
    assert apply(text, ("nfc",)).text == unicodedata.normalize("NFC", text)


@settings(deadline=None)
@given(st.text(st.sampled_from("가\ud83d\ude00\ud800\udfffa😀"), max_size=12))
def test_surrogates_are_joined_as_json_joins_them(text):
    assert apply(text, ("surrogates",)).text == "".join(
        "\ufffd" if "\ud800" <= c <= "\udfff" else c for c in json.loads(json.dumps(text))
    )


@settings(max_examples=400, deadline=None)
@given(st.one_of(tricky, anything), names)
def test_rules_are_idempotent_in_any_company(text, chosen):
    once = apply(text, chosen)
    assert sum(once.counts.values()) <= 3 * len(text) + 3
    twice = apply(once.text, chosen)
    assert twice.text is once.text
    assert not twice.counts
    assert not twice.samples


@settings(max_examples=300, deadline=None)
@given(st.one_of(tricky, anything), st.sampled_from(list(RULES)))
def test_one_look_finds_whatever_a_rule_changes(text, name):
    changed, count = RULES[name].change(text)
    assert (count > 0) == (changed != text)
    assert RULES[name].change(changed) == (changed, 0)
    assert apply(text, (name,)).text == changed
    # Long texts are looked at by numpy. Letters and a newline keep the filling out of it.
    filling = "나무 한 그루가 서 있다.\n" * 20
    assert apply(filling + text + "\n.", (name,)).text.endswith(
        RULES[name].change("\n" + text + "\n.")[0]
    )


def test_clean_text_is_the_same_object():
    texts = [
        "", "나무", "“인용”과 ‘작은따옴표’ — 줄표…", "def f():\n\n\n    return {\n\t'a': 1}\n",
        "漢字와 かな, Ünïcödé", "😀👍🏽", "가나다라 마바사 “아자차카” 타파하\n" * 100,
        "all of it in ASCII\n" * 100, "😀 웃음\n" * 100,
    ]  # fmt: skip
    for text in texts:
        done = apply(text)
        assert done.text is text
        assert done.counts == done.samples == {}


def test_counts_and_samples():
    done = apply(
        "그는\u00a0“안녕”\u200b이라고 말했다.  \r\n\u1112\u1161\u11ab\u1100\u1173\u11af\r\n"
    )
    assert done.text == "그는 “안녕”이라고 말했다.\n한글\n"
    assert done.counts == {"line-ends": 2, "zero-width": 1, "spaces": 1, "nfc": 6, "whitespace": 2}
    before, after = done.samples["zero-width"]
    assert "”\\u200b이라고" in before
    assert "”이라고" in after
    assert "\\u1112\\u1161\\u11ab" in done.samples["nfc"][0]
    assert "한글" in done.samples["nfc"][1]
    assert "\\xa0" in done.samples["spaces"][0]
    for sample in done.samples.values():  # they can be printed anywhere
        assert all(part.isprintable() and part.encode("utf-8") for part in sample)


def test_a_sample_shows_the_first_change_of_a_long_text():
    text = "가" * 5000 + "\u200b" + "나" * 5000 + "\u200b"
    assert apply(text).samples["zero-width"] == (
        "가" * 12 + "\\u200b" + "나" * 11,
        "가" * 12 + "나" * 12,
    )


def test_what_is_on_and_what_a_rule_is_called():
    assert set(RULES) - set(DEFAULT) == {"fullwidth"}
    assert apply("ＡＢＣ").text == "ＡＢＣ"
    assert apply("가\u200b\r\n", ()).text == "가\u200b\r\n"
    for name, rule in RULES.items():
        assert rule.name == name
        assert rule.english.endswith(".")
        assert rule.korean.endswith(".")
    with pytest.raises(ValueError, match="unknown rule 'nfd'; known: surrogates, line-ends"):
        apply("가", ("nfc", "nfd"))


def test_order_matters_and_is_kept():
    # Half-width letters become ordinary ones, which spell a syllable, whatever order is asked for.
    assert apply("ﾾￂﾤ", ("jamo", "halfwidth")).text == "한"
    # Full width first: a letter and an accent become one.
    assert apply("Ａ\u0301", ("nfc", "fullwidth")).text == "Á"
    assert apply("가 \u200b\n").text == "가\n"
    # Composing moves the accent in front of the joiner, which then has no letter to join.
    assert apply("\u0301\u094d\u200c").text == "\u094d\u0301"


@pytest.mark.skipif(not DOCS.exists(), reason=f"{DOCS} is not here")
def test_a_real_text_comes_back_from_macos_and_windows():
    lines = DOCS.read_text("utf-8").splitlines()
    texts = [apply(json.loads(line)["document"]).text for line in lines[:40]]
    assert sum(map(len, texts)) > 100_000
    for text in texts:
        damaged = unicodedata.normalize("NFD", "\ufeff" + text.replace("\n", " \r\n"))
        assert apply(damaged).text == text.rstrip(" ")
