"""Hangul arithmetic and the particles that agree with the sound before them.

A Hangul syllable is a number: U+AC00 + (lead * 21 + vowel) * 28 + tail. So whether a word ends
in a consonant, which decides between 은 and 는, is one remainder. Words in digits or Latin
letters take the particle of how they are read aloud: 3(삼)은, 2(이)는, AI(에이아이)는.
"""

import re
import unicodedata

LEADS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
TAILS = ("", *"ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ")

_FIRST, _LAST = 0xAC00, 0xD7A3  # 가, 힣

# What a pair is called -> (after a consonant, after a vowel). 와/과 is named the other way round
# by custom; every pair may be written in either order.
_PAIRS: dict[str, tuple[str, str]] = {}
for _closed, _open in (
    ("은", "는"),
    ("이", "가"),
    ("을", "를"),
    ("과", "와"),
    ("으로", "로"),
    ("이랑", "랑"),
    ("아", "야"),
    ("이에요", "예요"),
    ("이었", "였"),
    ("이라", "라"),
    ("이라고", "라고"),
    ("이라는", "라는"),
    ("이다", "다"),
    ("이나", "나"),
):
    _PAIRS[f"{_closed}/{_open}"] = _PAIRS[f"{_open}/{_closed}"] = (_closed, _open)

# How each digit ends when read: 영 일 이 삼 사 오 육 칠 팔 구.
_DIGIT_TAILS = dict(zip("0123456789", "ㅇㄹ ㅁ  ㄱㄹㄹ ", strict=True))
# Names of Latin letters that end in a consonant; all others end in a vowel (에이, 비, 씨 ...).
_LETTER_TAILS = {"L": "ㄹ", "M": "ㅁ", "N": "ㄴ", "R": "ㄹ"}


def decompose(syllable: str) -> tuple[str, str, str]:
    """Split one precomposed syllable into (lead, vowel, tail): 한 -> ("ㅎ", "ㅏ", "ㄴ").

    The tail is "" where there is none. Raises ValueError for anything but one such syllable.
    """
    if len(syllable) != 1 or not _FIRST <= ord(syllable) <= _LAST:
        raise ValueError(f"not one Hangul syllable: {syllable!r}")
    rest, tail = divmod(ord(syllable) - _FIRST, len(TAILS))
    lead, vowel = divmod(rest, len(VOWELS))
    return LEADS[lead], VOWELS[vowel], TAILS[tail]


def compose(lead: str, vowel: str, tail: str = "") -> str:
    """Join jamo into one syllable, the inverse of `decompose`; ValueError if they cannot be."""
    try:
        parts = LEADS.index(lead), VOWELS.index(vowel), TAILS.index(tail)
    except ValueError:
        raise ValueError(f"no syllable of {lead!r}, {vowel!r}, {tail!r}") from None
    if len(lead) != 1 or len(vowel) != 1:
        raise ValueError(f"no syllable of {lead!r}, {vowel!r}, {tail!r}")
    return chr(_FIRST + (parts[0] * len(VOWELS) + parts[1]) * len(TAILS) + parts[2])


def has_final(syllable: str) -> bool:
    """Whether one Hangul syllable ends in a consonant; ValueError if it is not a syllable."""
    return decompose(syllable)[2] != ""


def final_sound(word: str) -> str | None:
    """The consonant jamo a word ends in when read aloud; "" for a vowel; None if unreadable.

    Closing quotes, brackets and punctuation are skipped. The rules for what is not Hangul:

    - A number is read in Sino-Korean: 3 삼, 10 십, 2,000 이천, 10000 만, and 조 (12 to 15 zeros)
      ends in a vowel.
    - Capitals and single letters are read by name: L 엘, M 엠, N 엔, R 알; the others end open.
    - Another Latin word is guessed from its spelling, as it is usually written in Hangul: -l, -le
      end in ㄹ (애플), -m(e), -n(e), -ng are closed (게임, 폰), so are -b, -c, -k, -p, -t after a
      vowel (북, 팁); everything else ends in a vowel (버스, 리스트).
    - A lone jamo is read by name: ㄱ 기역, ㄹ 리을, ㅏ 아.
    """
    word = unicodedata.normalize("NFC", word)
    while word and not word[-1].isalnum():
        word = word[:-1]
    if not word:
        return None
    last = word[-1]
    if _FIRST <= ord(last) <= _LAST:
        return decompose(last)[2]
    if last in _DIGIT_TAILS:
        return _number_tail(word)
    if last.isascii():
        return _latin_tail(word)
    if last in VOWELS:
        return ""
    if last in LEADS or last in TAILS:
        return "ㄹ" if last == "ㄹ" else "ㅇ"
    return None


def _number_tail(word: str) -> str:
    match = re.search(r"[\d,]+$", word)
    digits = match.group().replace(",", "") if match else word
    zeros = len(digits) - len(digits.rstrip("0"))
    # 조 (10^12) and 해 (10^20) are the powers of ten thousand that end in a vowel.
    if zeros < len(digits) and (12 <= zeros < 16 or 20 <= zeros < 24):
        return ""
    return _DIGIT_TAILS[digits[-1]].strip()


def _latin_tail(word: str) -> str:
    match = re.search(r"[A-Za-z]+$", word)
    letters = match.group() if match else ""
    if letters.isupper() or len(letters) == 1:
        return _LETTER_TAILS.get(letters[-1].upper(), "")
    letters = letters.lower()
    if letters.endswith(("l", "le")):
        return "ㄹ"
    if letters.endswith(("m", "me")):
        return "ㅁ"
    if letters.endswith(("n", "ne")):
        return "ㄴ"
    if letters.endswith("ng"):
        return "ㅇ"
    if re.search(r"[aeiouy][bckpt]$", letters):
        return "ㅂ"  # some stop: which one no particle asks
    return ""


def josa(word: str, pair: str) -> str:
    """The word with the particle of the pair that agrees with it: ("곰", "은/는") -> "곰은".

    Pairs: 은/는, 이/가, 을/를, 와/과, 으로/로, 이랑/랑, 아/야, 이에요/예요, 이었/였, 이라/라,
    이라고/라고, 이라는/라는, 이다/다, 이나/나, each in either order. 으로/로 takes 로 after ㄹ
    as well. After a word that nobody can tell how to read, both are written as usual: "※은(는)".
    Raises ValueError for a pair not in the list.
    """
    try:
        closed, open_ = _PAIRS[pair]
    except KeyError:
        raise ValueError(f"unknown particle pair {pair!r}; known: {', '.join(_PAIRS)}") from None
    sound = final_sound(word)
    if sound is None:
        return f"{word}{closed}({open_})"
    if sound == "" or (sound == "ㄹ" and closed == "으로"):
        return word + open_
    return word + closed
