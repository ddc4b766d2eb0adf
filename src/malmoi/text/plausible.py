"""How probable a text is in a language: what tells the encodings apart that decode everything.

Characters are judged by themselves where they are many (Hangul, Han, kana), in pairs where they
are letters of an alphabet. `frequent.py`, the neighbour, has the data; `readings.py` compares the
encodings by these numbers. `syllables.py` judges Korean far more closely, and nothing else.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

from malmoi.text import frequent, frequent_latin

ASCII = -3.0
"""nats of any printable ASCII character: what all encodings agree on decides nothing"""
RANDOM = -5.5
"""nats of any other byte that means nothing"""
ANY = "any"
"""the language of texts in Unicode: the best of all of them, character by character"""
LATIN = frozenset(frequent_latin.WORDS)
"""languages in Latin letters"""
_LOST = -14.0  # a byte that does not decode
_FOREIGN = -13.0  # a letter that the language does not have
_ASCII = re.compile(r"[\x00-\x7f]")
_NON_ASCII = re.compile(r"[^\x00-\x7f]+")
_LETTERS = re.compile(r"[^\W\d_]{2,}")
_PLAIN_WORDS = re.compile(rb"(?<![a-z\x80-\xff])[a-z]+(?![a-z\x80-\xff])")
_EDGE = " "
_KEPT = 50_000  # entries of a table, which noise would let grow for ever
_WORDS = frequent_latin.WORDS | frequent.WORDS

_SIGNS = dict.fromkeys("’“”", -4.5) | dict.fromkeys("‘…–—«»„·°•\xa0№", -6.0)
_SIGNS |= dict.fromkeys("©®™€£§¿¡½²³×‹›‚º→", -8.0) | dict.fromkeys("±µ÷¼¾¶ª´¬¨¢¥‰†‡", -10.0)
_CJK_SIGNS = dict.fromkeys("、。，", -3.6) | dict.fromkeys("　（）「」：？！", -5.5)
_CJK_SIGNS |= dict.fromkeys("；『』《》【】〈〉・～．“”‘’…—", -7.0)
_KOREAN_SIGNS = dict.fromkeys("“”‘’·…", -5.5) | dict.fromkeys("─━│「」『』※▶■□●○→◆△▲◇★☆①②③㈜℃", -8)
_KOREAN_SIGNS |= dict.fromkeys("ㅋㅎㅠㅜㅡㅇㄱㄴㄷㄹ", -6.5)


def log_probabilities(text: str, languages: Sequence[str]) -> list[float]:
    """Judge a piece of text, a line of it for instance, in each of several languages.

    Args:
        text: As it was decoded, in NFC; U+FFFD stands for bytes that were not.
        languages: Codes of the words in `frequent.py` and `frequent_latin.py`, all of them; or
            all of "ko", "zh", "zh-hant", "ja" and `ANY`.

    Returns:
        Nats, for comparing: the probabilities of all texts do not add up to 1. What is printable
        ASCII counts `ASCII` a character in all languages, so that the rest decides.

    """
    if languages[0] not in _WORDS:
        return [sum(map(_characters(language).__getitem__, text)) for language in languages]
    text = _EDGE + text
    runs = [text[run.start() - 1 : run.end() + 1] for run in _NON_ASCII.finditer(text)]
    pairs = [pair for run in runs for pair in pairwise(run)]
    others = sum(run[-1].isascii() for run in runs)  # in pairs, though they are ASCII
    plain = ASCII * (len(_ASCII.findall(text)) - 1 - others)
    words = [word.lower() for word in _LETTERS.findall(text) if not word.isascii()]
    found = []
    for language in languages:
        judge = _pairs(language)
        nats = plain + sum(map(judge.__getitem__, pairs))
        for word in words:
            if word in judge.words:
                nats += max(0.0, 2.2 * len(word) - 6)  # known as a whole, not only by its letters
        found.append(nats)
    return found


def latin_shares(data: bytes) -> dict[str, float]:
    """Which language in Latin letters a text is in, by its words that are the same in all pages.

    Args:
        data: In any encoding that has ASCII as it is.

    Returns:
        Nats of each, against all of them being as probable; languages in other letters are 0.

    """
    words = Counter(match.decode() for match in _PLAIN_WORDS.findall(data.lower()))
    nats = {
        name: sum(n for word, n in words.items() if word in listed) * 1.2
        for name, listed in _function_words().items()
    }
    top = max(nats.values())
    level = top + math.log(sum(math.exp(n - top) for n in nats.values()) / len(nats))
    return {name: n - level for name, n in nats.items()}


@cache
def _function_words() -> dict[str, frozenset[str]]:
    return {name: frozenset(words.split()) for name, words in frequent_latin.FUNCTION_WORDS.items()}


class _Characters(dict[str, float]):
    """Nats of each character, found out when it first occurs."""

    def __init__(self, language: str) -> None:
        super().__init__()
        self._language = language
        match language:
            case "ko":
                self._ranks(frequent.HANGUL, 0.85)
                self.update(_KOREAN_SIGNS)
            case "zh" | "zh-hant":
                simplified = language == "zh"
                self._ranks(frequent.HANZI if simplified else frequent.HANZI_TRADITIONAL, 0.65)
                self.update(_CJK_SIGNS)
            case "ja":
                self._ranks(frequent.KANJI, 0.2)
                self._ranks(frequent.KANA, 0.65)
                self.update(_CJK_SIGNS)

    def _ranks(self, characters: str, share: float) -> None:
        """Zipf's law with Mandelbrot's offset, which fits syllables and signs alike."""
        characters = "".join(dict.fromkeys(characters))
        weights = [1 / (rank + 10) for rank in range(len(characters))]
        scale = share / sum(weights)
        for character, weight in zip(characters, weights, strict=True):
            self[character] = math.log(weight * scale)

    def __missing__(self, char: str) -> float:
        if self._language == ANY:
            nats = max(_characters(name)[char] for name in ("ko", "zh", "zh-hant", "ja"))
            if char.lower() in _every_letter():
                nats = max(nats, -4.0)
        else:
            nats = self._rare(char)
        if len(self) < _KEPT:
            self[char] = nats
        return nats

    def _rare(self, char: str) -> float:
        language = self._language
        match _block(char):
            case "hangul" if language == "ko":
                return -9.5 if _row(char, "euc_kr") else -13.5  # CP949's own: 똠, 펲
            case "han" if language == "ko":
                return -10.5 if char in frequent.HANZI_TRADITIONAL else -12.0
            case "han" if language == "zh":
                row = _row(char, "gb2312")
                return -9.5 if 0 < row < 0xD8 else -12.0 if row else -14.0
            case "han" if language == "zh-hant":
                return -9.5 if 0 < _row(char, "big5") < 0xC7 else -12.5
            case "han" if language == "ja":
                row = _row(char, "euc_jp")
                return -8.5 if 0 < row < 0xD0 else -12.0 if row else -14.0
            case "kana":
                return -8.5 if language == "ja" else -11.5
            case "halfwidth kana":
                return -10.0 if language == "ja" else _FOREIGN
            case "fullwidth":
                return -7.5 if language in ("ja", "zh", "zh-hant") else -9.5
        return _other(char)


class _Pairs(dict[tuple[str, str], float]):
    """Nats of each character after the one before it, in a language of letters."""

    def __init__(self, language: str) -> None:
        super().__init__()
        self.words = frozenset(_WORDS[language].split())
        self._latin = language in LATIN
        listed = sorted(self.words)
        self._count = Counter(pair for word in listed for pair in pairwise(f" {word} "))
        self._after = Counter(char for word in listed for char in f" {word}")
        self._single = Counter(char for word in listed for char in f"{word} ")
        self._total = self._single.total()

    def __missing__(self, pair: tuple[str, str]) -> float:
        nats = self._judge(*pair)
        if len(self) < _KEPT:
            self[pair] = nats
        return nats

    def _judge(self, before: str, char: str) -> float:
        if char.isascii() and not (_is_letter(before) and not before.isascii()):
            return _other(char)
        letter = _is_letter(char)
        if not letter and char != _EDGE and not char.isascii():
            return _SIGNS.get(char, _other(char))
        nats = 0.0
        if letter and char != char.lower():
            # Capitals begin words or come in rows; in other pages' bytes they stand anywhere.
            nats -= 1.0 if not _is_letter(before) or before != before.lower() else 6.0
        first = _small(before) if _is_letter(before) else _EDGE
        second = _small(char) if letter else _EDGE
        if not self._latin and letter and first != _EDGE and first.isascii() != second.isascii():
            return nats + _FOREIGN  # Latin and other letters in one word
        if second.isascii() and first not in self._single:
            return nats + (ASCII if letter or not char.isprintable() else _other(char))
        if second not in self._single:
            accented = self._latin and unicodedata.name(char, "").startswith("LATIN")
            return nats + (-10.0 if accented else _FOREIGN)
        smooth = (self._single[second] + 1.0) / (self._total + 1.0 * len(self._single))
        share = (self._count[first, second] + 8 * smooth) / (self._after[first] + 8)
        if not letter:
            return math.log(share) - 1.5  # the end of a word, and which sign ends it
        return nats + math.log(share)


@cache
def _characters(language: str) -> _Characters:
    return _Characters(language)


@cache
def _pairs(language: str) -> _Pairs:
    return _Pairs(language)


@cache
def _every_letter() -> frozenset[str]:
    return frozenset("".join(_WORDS.values())) - set(_EDGE)


def _is_letter(char: str) -> bool:
    return char not in "ªº" and (char.isalpha() or "\u0e30" <= char <= "\u0e4e")  # Thai vowels


def _small(char: str) -> str:
    return "i" if char == "İ" else char.lower()


def _row(char: str, codec: str) -> int:
    """The first of the two bytes of a character in a national standard; 0 where it is not in it.

    The rows are ordered by how usual the characters are, in two levels.
    """
    code = char.encode(codec, "ignore")
    return code[0] if len(code) == 2 else 0


def _block(char: str) -> str:
    if "가" <= char <= "힣":
        return "hangul"
    if "\u4e00" <= char <= "\u9fff" or "\u3400" <= char <= "\u4dbf" or char >= "\U00020000":
        return "han"
    if "\u3041" <= char <= "\u30ff":
        return "kana"
    if "\uff61" <= char <= "\uff9f":
        return "halfwidth kana"
    if "\uff01" <= char <= "\uff5e":
        return "fullwidth"
    return "other"


def _other(char: str) -> float:
    """Nats of what belongs to no language."""
    if char.isascii():
        return ASCII if char.isprintable() or char in "\t\n\r\f" else -9.0
    if char == "\ufffd":
        return _LOST
    if char in _SIGNS:
        return _SIGNS[char]
    match unicodedata.category(char):
        case "Cc" | "Cn" | "Co" | "Cs":
            return -16.0
        case "So" | "Sm" | "Po" | "Ps" | "Pe" | "Pd" | "Pi" | "Pf" | "Sc" | "Zs" | "No" | "Nl":
            return -10.0
    return _FOREIGN
