"""Unicode hygiene: named rules that repair how a text is written down, never what it says.

Each rule is a pure function on one document and can be switched by its name. They run in the order
of `RULES`, which is that of cause and effect: what breaks lines and hides letters goes first, what
joins letters comes after. Text that needs nothing comes back as the very same object, after one
look for suspicious characters. `mojibake.py`, the neighbour, repairs text that was decoded wrongly;
`quality.py` judges whole documents.

No rule touches quotation marks, dashes, emoji, Hanja or the private use area.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from malmoi.text.korean import LEADS, TAILS, VOWELS, compose

Change = Callable[[str], tuple[str, int]]
_ROUNDS = 8  # a bound for the loop in `apply`; two rounds are the rule, the second finds nothing
_LONG = 256  # characters from which on numpy is faster than `re`
_JOINED = re.compile("[\u1100-\u11ff\u3164\uffa0]")  # letters that join others, or are blank
_WINDOW = 12  # characters of a sample on each side of the first change


@dataclass(frozen=True)
class Rule:
    """One repair.

    `change` maps a text to (new text, characters of the old one that were changed or removed).
    `marks` is a class of characters, as `re` writes them: a text without one of them is right as
    it is. Empty: only `change` can tell. `english` and `korean` say what the rule does.
    """

    name: str
    change: Change
    marks: str
    english: str
    korean: str
    default: bool = True


@dataclass(frozen=True)
class Applied:
    """A text after the rules, with what they did: only rules that changed something are named.

    `counts`: rule -> characters changed or removed. `samples`: rule -> (before, after) around its
    first change; what the eye cannot see is written as an escape, such as \\u200b.
    """

    text: str
    counts: dict[str, int]
    samples: dict[str, tuple[str, str]]


def apply(text: str, names: Iterable[str] | None = None) -> Applied:
    """Apply rules to one document, in the order of `RULES`, until none of them finds anything.

    Args:
        text: one document.
        names: which rules, in any order; None: those that are on by default.

    Raises:
        ValueError: a name is not that of a rule.

    """
    plan = _Plan(DEFAULT if names is None else tuple(names))
    counts: dict[str, int] = {}
    samples: dict[str, tuple[str, str]] = {}
    found, before_round = plan.marks_in(text), ""
    for _ in range(_ROUNDS):
        if text is before_round:
            break
        before_round = text
        for rule, marks in plan.rules if found else plan.unmarked:
            if not marks(found):
                continue
            after, count = rule.change(text)
            if count:
                if rule.name not in samples:
                    samples[rule.name] = _sample(text, after)
                counts[rule.name] = counts.get(rule.name, 0) + count
                text, found = after, plan.marks_in(after)
    # One round is not always enough: composing reorders accents, and so another one may come to
    # stand before a joiner, whose place was judged by the first.
    return Applied(text, counts, samples)


@cache
class _Plan:
    """The rules of some names, and how to see with one look which of them a text needs."""

    def __init__(self, names: tuple[str, ...]) -> None:
        for name in names:
            if name not in RULES:
                raise ValueError(f"unknown rule {name!r}; known: {', '.join(RULES)}")
        chosen = [rule for rule in RULES.values() if rule.name in names]
        # An empty pattern is found everywhere.
        looks = [re.compile(f"[{rule.marks}]" if rule.marks else "").search for rule in chosen]
        self.rules = list(zip(chosen, looks, strict=True))
        self.unmarked = [(rule, look) for rule, look in self.rules if not rule.marks]
        any_mark = "".join(rule.marks for rule in chosen)
        # Not [...]+, which says the same: only what begins with one character is searched for fast.
        self._any = re.compile(f"[{any_mark}][{any_mark}]*" if any_mark else "(?!)")
        self._units = np.zeros(1 << 16, bool)  # the same for numpy, by what UTF-16 writes
        self._units[0xD800:0xE000] = True  # halves: alone, they are marks
        for match in self._any.finditer("".join(map(chr, range(1 << 16)))):
            self._units[match.start() : match.end()] = True

    def marks_in(self, text: str) -> str:
        """The different marks that a text has."""
        if len(text) > _LONG:
            units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), "<u2")
            if not self._units.take(units).any():
                return ""
        found = self._any.findall(text)
        return "".join(set("".join(found))) if found else ""


def same_start(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning; comparing slices is fast."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _sample(before: str, after: str) -> tuple[str, str]:
    at = same_start(before, after)
    window = slice(max(0, at - _WINDOW), at + _WINDOW)
    return _visible(before[window]), _visible(after[window])


def _visible(text: str) -> str:
    """The text with escapes for all that is not seen, or seen only together with its neighbour."""
    seen = [c.isprintable() and not (_JOINED.match(c) or unicodedata.combining(c)) for c in text]
    escaped = (c.encode("unicode_escape").decode("ascii") for c in text)
    return "".join(c if ok else code for c, ok, code in zip(text, seen, escaped, strict=True))


def _replacing(pattern: str, new: str | dict[str, str]) -> Change:
    """A rule that replaces single characters, or what counts as one."""
    compiled = re.compile(pattern)
    by = new if isinstance(new, str) else lambda match: new[match[0]]
    return lambda text: compiled.subn(by, text)


def _shorter(text: str, after: str) -> tuple[str, int]:
    return after, len(text) - len(after)


def _surrogates(text: str) -> tuple[str, int]:
    """Halves of characters, as UTF-16 has them: joined where both are there."""
    # The decoder of UTF-16 does just that, with U+FFFD for a half that stands alone.
    after = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return after, sum("\ud800" <= c <= "\udfff" for c in text)


# Right-to-left letters: Hebrew, Arabic, Syriac, Thaana, N'Ko and their neighbours.
_RTL = re.compile("[\u05be-\u061b\u061d-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff"
                  "\U0001e800-\U0001efff]")  # fmt: skip
_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_BIDI_CONTROL = re.compile(f"[{_BIDI}]")
_CLOSED_BY = dict.fromkeys("\u202a\u202b\u202d\u202e", "\u202c")  # embeddings and overrides: PDF
_CLOSED_BY |= dict.fromkeys("\u2066\u2067\u2068", "\u2069")  # isolates: PDI


def _bidi(text: str) -> tuple[str, int]:
    """Direction controls, kept only where a line has right-to-left letters and they balance."""
    return _shorter(text, "\n".join(map(_bidi_line, text.split("\n"))))


def _bidi_line(line: str) -> str:
    keep: set[int] = set()
    if _RTL.search(line):
        opened: list[int] = []
        for match in _BIDI_CONTROL.finditer(line):
            at, control = match.start(), match[0]
            if control in _CLOSED_BY:
                opened.append(at)
            elif control in "\u202c\u2069":
                if opened and _CLOSED_BY[line[opened[-1]]] == control:
                    start = opened.pop()
                    if (
                        line[start] not in "\u202d\u202e"
                    ):  # overrides forge names: no text needs them
                        keep |= {start, at}
            else:
                keep.add(at)  # a mark stands by itself
    return _BIDI_CONTROL.sub(lambda match: match[0] if match.start() in keep else "", line)


# Where joiners (U+200C, U+200D) are spelling: scripts whose letters join, and sequences of emoji.
_INDIC = "\u0900-\u0dff\u1000-\u109f\u1780-\u17ff"
_JOINING = f"\u0300-\u036f\u0600-\u08ff\u1800-\u18af\ufb50-\ufdff\ufe70-\ufefc{_INDIC}"
_PICTURE = "\u00a9\u00ae\u203c-\u203d\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001fbff"
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
_INVISIBLE = "\u00ad\u200b-\u200d\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffc"
_NEEDLESS = re.compile(
    f"[{_INVISIBLE}](?!(?<=[{_JOINING}][\u200c\u200d])[{_JOINING}]"
    f"|(?<=[{_INDIC}][\u200c\u200d])"  # a consonant at the end of a word that must not join
    f"|(?<=[{_PICTURE}\ufe0f]\u200d)[{_PICTURE}]"
    f"|(?<=[{_UNSPACED}]\u200b)[{_UNSPACED}])"  # the end of a word, where no spaces are written
)
_TAGS = "\U000e0000-\U000e007f"
_FLAG_OR_TAG = re.compile(f"(\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f)|[{_TAGS}]")


def _zero_width(text: str) -> tuple[str, int]:
    """Invisible characters; those that spell something stay, as do the flags of England and co."""
    return _shorter(text, _FLAG_OR_TAG.sub(r"\1", _NEEDLESS.sub("", text)))


_SPACES = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\u3164"
_HALF_WIDTH = {}
for _letter in map(chr, range(0xFFA0, 0xFFDD)):
    if _which := unicodedata.decomposition(_letter):  # as in "<narrow> 3131"
        _HALF_WIDTH[_letter] = chr(int(_which.split()[1], 16))
_FULL_WIDTH = {chr(0xFEE0 + code): chr(code) for code in range(0x21, 0x7F)}

_TAILS = "".join(TAILS)
_RUN = re.compile("[ㄱ-ㅣ][ㄱ-ㅣ]+")
# KS X 1001 writes a syllable that it does not have as a filler and three letters or fillers.
_FILLED = re.compile(f"\u3164([{LEADS}])([{VOWELS}])([{_TAILS}\u3164])")
_SYLLABLE = re.compile(f"([{LEADS}])([{VOWELS}])((?:[{_TAILS}](?![{VOWELS}]))?)")
_SPELLED = re.compile(f"(?:{_SYLLABLE.pattern})+")
# Laughter, tears and faces (ㅋㅠ, ㅎㅜ, ㅇㅡㅇ, ㅇㅗㅇ) are runs of these letters only; they stay.
_FACE = "ㅋㅎㅇㅠㅜㅡㅗ"


def _jamo(text: str) -> tuple[str, int]:
    """Letters of the keyboard's kind that spell syllables, as some PDF tools leave them."""
    if not re.search("[ㄱ-ㅎ][ㅏ-ㅣ]", text):
        return text, 0  # ㅋㅋㅋ and ㅠㅠ by the thousand
    count = 0

    def filled(match: re.Match[str]) -> str:
        nonlocal count
        count += len(match[0])
        return compose(match[1], match[2], match[3].strip("\u3164"))

    def spelled(match: re.Match[str]) -> str:
        nonlocal count
        run = match[0]
        if not run.strip(_FACE) or not _SPELLED.fullmatch(run):
            return run
        count += len(run)
        return _SYLLABLE.sub(lambda part: compose(part[1], part[2], part[3]), run)

    after = _FILLED.sub(filled, text) if "\u3164" in text else text
    return _RUN.sub(spelled, after), count


# Characters before which a text may be cut without changing its NFC: they never join what stands
# before them. A piece begins with one of them, or none, and goes on to the next.
_PIECE_START = "\u0000-\u02ff\u2010-\u2027\u2030-\u205e\u3131-\u318e\u4e00-\u9fff\uac00-\ud7a3"
_PIECE = re.compile(f"[{_PIECE_START}]?[^{_PIECE_START}]+")


def _nfc(text: str) -> tuple[str, int]:
    """Canonical composition, Unicode's NFC."""
    if unicodedata.is_normalized("NFC", text):
        return text, 0
    count = 0

    def normalise(match: re.Match[str]) -> str:
        nonlocal count
        old = match[0]
        new = unicodedata.normalize("NFC", old)
        if new != old:
            start = same_start(old, new)
            end = same_start(old[:start:-1], new[:start:-1])
            count += max(1, len(old) - start - end)
        return new

    return _PIECE.sub(normalise, text), count


_BLANK = re.compile("(?:(?<=\n)|\\A)\n{3,}")


def _whitespace(text: str) -> tuple[str, int]:
    """Spaces at the ends of lines, and more than two blank lines; indentation stays."""
    after = text
    if " \n" in after or "\t\n" in after or after.endswith((" ", "\t")):
        after = "\n".join(line.rstrip(" \t") for line in after.split("\n"))
    if "\n\n\n\n" in after or after.startswith("\n\n\n"):
        after = _BLANK.sub("\n\n", after)
    return _shorter(text, after)


_LINE_ENDS = "\r\v\f\u0085\u2028\u2029"
_CONTROLS = "\u0000-\u0008\u000e-\u001f\u007f-\u0084\u0086-\u009f\ufffe\uffff"
# With what a terminal takes for a colour, after ESC.
_CONTROL = re.compile(f"[{_CONTROLS}](?:(?<=\x1b)\\[[0-?]*[ -/]*[@-~])?")


def _controls(text: str) -> tuple[str, int]:
    return _shorter(text, _CONTROL.sub("", text))


_TABLE = (
    Rule("surrogates", _surrogates, "\ud800-\udfff",
         "Join the halves of a character that UTF-16 cut in two; a lone half becomes U+FFFD.",
         "UTF-16에서 둘로 나뉜 글자는 다시 합치고, 짝이 없는 반쪽은 U+FFFD로 바꾼다."),
    Rule("line-ends", _replacing(f"[{_LINE_ENDS}](?:(?<=\r)\n)?", "\n"), _LINE_ENDS,
         "Write every line end (CRLF, CR, NEL, U+2028, U+2029, page break) as one newline.",
         "줄 끝(CRLF, CR, NEL, U+2028, U+2029, 쪽 나눔)을 모두 줄 바꿈 하나로 쓴다."),
    Rule("controls", _controls, _CONTROLS,
         "Remove control characters and terminal colours; tabs and newlines stay.",
         "제어 문자와 터미널 색 코드를 지운다. 탭과 줄 바꿈은 남긴다."),
    Rule("bidi", _bidi, _BIDI,
         "Remove direction controls, except balanced ones in lines with right-to-left letters.",
         "글 방향 제어 문자를 지운다. 아랍 문자처럼 왼쪽으로 쓰는 줄에서 짝이 맞으면 남긴다."),
    Rule("zero-width", _zero_width, _INVISIBLE + _TAGS,
         "Remove invisible characters; joiners stay in emoji and in scripts that need them.",
         "보이지 않는 문자를 지운다. 이모지와 이음 문자가 필요한 글의 결합 문자는 남긴다."),
    Rule("halfwidth", _replacing(f"[{''.join(_HALF_WIDTH)}]", _HALF_WIDTH), "\uffa0-\uffdc",
         "Write half-width Hangul letters as ordinary ones.",
         "반각 한글 자모를 보통 자모로 바꾼다."),
    Rule("jamo", _jamo, "ㅏ-ㅣ",
         "Compose runs of Hangul letters that spell syllables (ㅎㅏㄴ); ㅋㅋ, ㅠㅠ, ㄱㄴㄷ stay.",
         "음절로 풀어쓴 자모(ㅎㅏㄴ)를 모아쓴다. ㅋㅋ, ㅠㅠ, ㄱㄴㄷ은 그대로 둔다."),
    Rule("spaces", _replacing(f"[{_SPACES}]", " "), _SPACES,
         "Write no-break, ideographic and other blank characters as a space.",
         "줄 바꿈 없는 공백, 전각 공백 등 빈칸으로 보이는 문자를 보통 공백으로 바꾼다."),
    Rule("fullwidth", _replacing("[！-～]", _FULL_WIDTH), "！-～",
         "Write full-width Latin letters, digits and signs as ASCII.",
         "전각 영문자, 숫자, 기호를 아스키 문자로 바꾼다.", default=False),
    Rule("nfc", _nfc, "",
         "Compose letters that are stored in parts (as macOS does): Unicode's NFC.",
         "자모나 악센트가 따로 저장된 글자(맥에서 온 글)를 합친다. 유니코드 NFC."),
    Rule("whitespace", _whitespace, "",
         "Remove spaces at line ends, and blank lines beyond two; indentation stays.",
         "줄 끝의 공백과 세 줄째부터의 빈 줄을 지운다. 들여쓰기는 남긴다."),
)  # fmt: skip
RULES: dict[str, Rule] = {rule.name: rule for rule in _TABLE}
"""by name, in the order in which they run"""
DEFAULT = tuple(rule.name for rule in _TABLE if rule.default)
