"""A small language model of Korean syllables: which of a few candidates stands in this place?

It chooses for `mojibake.py` among the characters that a damaged place may have been. It is made
from a list of words with their counts (`words.ko.txt.xz`, of texts that the project may use: see
`benchmarks/make_words.py`), and takes the undamaged words of the text at hand into account.
"""

import lzma
import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from heapq import nlargest
from importlib.resources import files
from itertools import accumulate

ORDER = 4
"""syllables, the one that is judged among them"""
EDGE = "\n"
"""stands before and after a word"""
_LAST = "\U0010ffff"
_HANGUL = re.compile("[가-힣]+")
_SYLLABLES = 11_172
_OWN = 4
"""a word of the text at hand counts as much as so many of the list, as it will come again"""
_BEAM = 24
_CANDIDATES = 48
"""of one place, the most frequent ones, are tried"""

# What is no Hangul and yet stands in Korean texts, with its share among all characters.
_SIGNS = dict.fromkeys(
    "·…“”‘’—–→•「」『』《》〈〉※↔←↑↓≥≤×÷±°©®™─│├└▶◆■□○●★☆✓✅❌😊🙂👍ㅋㅎㅠㅜㅡ", 1e-4
)
_SIGNS |= {"·": 3e-3, "…": 2e-3, "“": 3e-3, "”": 3e-3, "‘": 3e-3, "’": 3e-3, "—": 2e-3, "→": 2e-3}
_RARE = 1e-9


class SyllableModel:
    """Probabilities of characters after those before them, inside words.

    N-grams of 1 to 4 syllables, interpolated after Witten and Bell (1991): a context counts the
    more, the more often and the less variedly it was continued. They are kept as one sorted list
    of all strings of four, in which every shorter n-gram is a range.

    Args:
        counts: words of Hangul, and how often each was seen.
        base: a model whose counts are added to these.

    """

    def __init__(
        self, counts: Iterable[tuple[str, int]] = (), base: "SyllableModel | None" = None
    ) -> None:
        found: Counter[str] = Counter()
        for word, count in counts:
            text = EDGE + word + EDGE
            for at in range(len(text) - 1):
                found[text[at : at + ORDER]] += count
        self._grams = sorted(found)
        self._sums = [0, *accumulate(found[gram] for gram in self._grams)]
        self._base = base
        self._followed = cache(self._count)
        self._probability = lru_cache(1 << 18)(self._interpolate)

    def knowing(self, texts: Iterable[str]) -> "SyllableModel":
        """A model that knows the words of these texts as well; this one stays as it is."""
        found = Counter(word for text in texts for word in _HANGUL.findall(text))
        return SyllableModel(((word, _OWN * n) for word, n in found.items()), self)

    def log_probability(self, context: str, character: str, *, inside: bool = False) -> float:
        """Natural logarithm of the probability of `character` after `context`.

        Args:
            context: what stands before; its last syllables count.
            character: one; what is no Hangul ends a word.
            inside: nothing is known of what stands before, it need not be the beginning of a word.

        """
        word = context
        for at in range(len(context) - 1, -1, -1):
            if not "가" <= context[at] <= "힣":
                word = context[at + 1 :]
                break
        before = "" if inside else (EDGE + word)[1 - ORDER :]
        if "가" <= character <= "힣":
            return math.log(self._probability(before, character))
        ends = math.log(self._probability(before, EDGE)) if word else 0.0
        if character.isascii():
            return ends
        return ends + math.log(_SIGNS.get(character, _RARE))

    def _interpolate(self, context: str, syllable: str) -> float:
        share = 1.0 / (_SYLLABLES + 1)
        for begin in range(len(context), -1, -1):
            part = context[begin:]
            total, kinds = self._followed(part)
            if not total:
                break  # what was never seen was not seen after anything either
            share = (self._seen(part + syllable) + kinds * share) / (total + kinds)
        return share

    def _seen(self, gram: str) -> int:
        """How often an n-gram was seen."""
        begin, end = self._range(gram)
        here = self._sums[end] - self._sums[begin]
        return here + (self._base._seen(gram) if self._base is not None else 0)

    def _count(self, context: str) -> tuple[int, int]:
        """How often it was followed by anything, and by how many different ones."""
        begin, end = self._range(context)
        size = len(context)
        begin += begin < end and len(self._grams[begin]) == size  # the end of a word, by itself
        total = self._sums[end] - self._sums[begin]
        kinds = len({gram[size] for gram in self._grams[begin:end]})
        if self._base is not None:  # what both know counts twice among the kinds: no matter
            more, others = self._base._followed(context)
            total, kinds = total + more, kinds + others
        return total, kinds

    def _range(self, gram: str) -> tuple[int, int]:
        begin = bisect_left(self._grams, gram)
        return begin, bisect_left(self._grams, gram + _LAST, begin)

    def choose(
        self, places: Sequence[Sequence[str]], before: str = "", after: str = EDGE
    ) -> tuple[str, float]:
        """The most probable text that has one of the candidates in each place, by beam search.

        Args:
            places: the candidates of each place, a character each.
            before: the text in front of them.
            after: the character behind them.

        Returns:
            The text, and its log-probability.

        """
        start = before[1 - ORDER :]
        beam = [(start, 0.0)]
        for candidates in places:
            if len(candidates) > _CANDIDATES:
                candidates = nlargest(
                    _CANDIDATES, candidates, key=lambda c: self.log_probability("", c, inside=True)
                )
            grown: dict[str, tuple[str, float]] = {}
            for text, score in beam:
                context = text[1 - ORDER :]
                for candidate in candidates:
                    value = score + self.log_probability(context, candidate)
                    key = (context + candidate)[1 - ORDER :]  # alike from here on
                    if key not in grown or grown[key][1] < value:
                        grown[key] = text + candidate, value
            beam = sorted(grown.values(), key=lambda pair: -pair[1])[:_BEAM]
        ended = ((text, score + self.log_probability(text, after)) for text, score in beam)
        text, score = max(ended, key=lambda pair: pair[1])
        return text[len(start) :], score


@cache
def words() -> tuple[tuple[str, int], ...]:
    """The list of words that is shipped: (word, count), the most frequent first."""
    packed = files("malmoi.text").joinpath("words.ko.txt.xz").read_bytes()
    lines = lzma.decompress(packed).decode("utf-8").splitlines()
    return tuple((word, int(count)) for word, count in (line.split("\t") for line in lines))


@cache
def korean() -> SyllableModel:
    """The model of that list; frequent words count by the root only, as every text has its own."""
    return SyllableModel((word, max(1, round(2 * count**0.5))) for word, count in words())
