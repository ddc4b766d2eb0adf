"""What can be counted about generated texts: do they vary, repeat, copy, and come near a reference.

The loss says how well a model knows text; this says what comes out by a way of decoding. No single
number is quality: greedy decoding has a low perplexity because it repeats itself, and a reference
is only one of many good continuations. So each is read beside the same number of human text.

- `distinct-n` (Li et al. 2016, arXiv:1510.03055): different n-grams of words among all n-grams of
  words, in all texts together. Words are what stands between spaces, so that it does not depend on
  the tokenizer; in Korean, words with their particles. More text means a lower value.
- `repetition` (as seq-rep-4 of Welleck et al. 2019, arXiv:1908.04319): the n-grams of 4 tokens that
  occurred before in the same text, among all. Of tokens, since loops have no need of spaces.
- `self-BLEU` (Zhu et al. 2018, arXiv:1802.01886): the mean BLEU of each text with all others as its
  references: 0 where they share nothing, 100 where all are one.
- `BLEU` and `chrF` against references are sacrebleu's, from 0 to 100, with its signatures.
- `perplexity` of the tokens under the model itself, before any change of its probabilities; the
  mark of the end is not counted.
- `copied`: the tokens that lie in a span of `SPAN` tokens or more that stands in the training text.
- `particles`: see `malmoi.evaluate.particles`.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from malmoi.evaluate.overlap import SpanIndex
from malmoi.evaluate.particles import particles

SPAN = 32
"""tokens in a row that count as copied from the training text"""
REPEATED = 4
"""tokens of an n-gram whose repetition counts"""
ORDER = 4
"""words or characters of BLEU's longest n-gram"""


@dataclass(frozen=True)
class Continuation:
    """One text behind a prompt, generated or of a human hand.

    Attributes:
        prompt: ids that it continues.
        ids: its own.
        logprobs: log-probability (nats) of each of `ids` under the model.
        text: what `ids` say.

    """

    prompt: Sequence[int]
    ids: Sequence[int]
    logprobs: Sequence[float]
    text: str


@dataclass(frozen=True)
class Measures:
    """The numbers of a set of texts; None where there is nothing to count or to compare with."""

    perplexity: float | None
    distinct_1: float | None
    distinct_2: float | None
    distinct_3: float | None
    repetition: float | None
    self_bleu: float | None
    bleu: float | None
    chrf: float | None
    copied: float | None
    particles: float | None
    particle_count: int
    """how many particles `particles` is of"""
    texts: int
    tokens: int

    def dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


class Bleu:
    """BLEU and chrF, both of `sacrebleu`.

    BLEU counts words, and where the references are Korean, characters: a Korean word with its
    particles is seldom repeated whole, and the splitting into morphemes that sacrebleu offers
    (`ko-mecab`) needs a dictionary of its own. It is not taken by itself where it happens to be
    installed: the same texts have the same score everywhere. Signatures tell which it was.

    Args:
        references: what tells the language; at least one text.
        tokenize: one of sacrebleu's names instead, such as `13a`, `char`, `intl`, `ko-mecab`.

    Raises:
        ValueError: sacrebleu is not installed, or does not know or have `tokenize`.

    """

    def __init__(self, references: Sequence[str], tokenize: str | None = None) -> None:
        metrics = library()
        self.references = references
        tokenize = tokenize or ("char" if is_korean(references) else "13a")
        if tokenize not in metrics.BLEU.TOKENIZERS:
            names = ", ".join(sorted(metrics.BLEU.TOKENIZERS))
            raise ValueError(f"BLEU has no tokenizer {tokenize!r}; it has {names}")
        try:
            # By force: our texts may have spaces before full stops, about which it would warn.
            self._bleu = metrics.BLEU(tokenize=tokenize, force=True)
        except (ImportError, RuntimeError):
            raise ValueError(
                f"BLEU's tokenizer {tokenize!r} needs packages of its own; char and 13a do not"
            ) from None
        self._chrf = metrics.CHRF()
        self._metrics = metrics
        # Signatures are complete once something has been scored.
        self._bleu.corpus_score(["a"], [["a"]])
        self._chrf.corpus_score(["a"], [["a"]])
        self.signatures = {
            "bleu": str(self._bleu.get_signature()),
            "chrf": str(self._chrf.get_signature()),
        }
        """by which others can make the same numbers"""

    def scores(self, texts: Sequence[str]) -> tuple[float, float]:
        """BLEU and chrF of texts, one for each reference, as a whole (corpus level)."""
        if len(texts) != len(self.references):
            raise ValueError(f"{len(texts)} texts for {len(self.references)} references")
        bleu = self._bleu.corpus_score(list(texts), [list(self.references)])
        chrf = self._chrf.corpus_score(list(texts), [list(self.references)])
        return float(bleu.score), float(chrf.score)

    def self_bleu(self, texts: Sequence[str]) -> float | None:
        """Mean sentence BLEU of each text with all others as references; None for fewer than two.

        What sacrebleu gives with `effective_order`. The highest count of an n-gram among all other
        texts is the highest of all, or the second highest for the text that has that one: so the
        cost grows with the number of texts, not with its square.
        """
        if len(texts) < 2:
            return None
        words = [self._bleu.tokenizer(text.rstrip()).split() for text in texts]
        counts = [
            Counter(gram for n in range(1, ORDER + 1) for gram in ngrams(one, n)) for one in words
        ]
        best: dict[Sequence[Any], tuple[int, int]] = {}
        for count in counts:
            for gram, number in count.items():
                first, second = best.get(gram, (0, 0))
                best[gram] = max(first, number), max(second, min(first, number))
        scores = []
        for place, (one, count) in enumerate(zip(words, counts, strict=True)):
            correct, total = [0] * ORDER, [0] * ORDER
            for gram, number in count.items():
                first, second = best[gram]
                others = second if number == first else first
                total[len(gram) - 1] += number
                correct[len(gram) - 1] += min(number, others)
            lengths = [len(other) for at, other in enumerate(words) if at != place]
            nearest = min(lengths, key=lambda length: (abs(length - len(one)), length))
            score = self._metrics.BLEU.compute_bleu(
                correct, total, len(one), nearest, smooth_method="exp", effective_order=True
            )
            scores.append(float(score.score))
        return sum(scores) / len(scores)


def measure(
    texts: Sequence[Continuation], bleu: Bleu, index: SpanIndex, *, reference: bool = False
) -> Measures:
    """All numbers of one way of decoding.

    Args:
        texts: one for each of the references of `bleu`.
        bleu: made of what really followed.
        index: of the training text, for spans of `SPAN`.
        reference: `texts` are the references, of which BLEU and chrF say nothing.

    """
    strings = [one.text for one in texts]
    scores = (None, None) if reference else bleu.scores(strings)
    found = particles(whole_words(text) for text in strings)
    return Measures(
        perplexity=perplexity([logprob for one in texts for logprob in one.logprobs]),
        distinct_1=distinct(strings, 1),
        distinct_2=distinct(strings, 2),
        distinct_3=distinct(strings, 3),
        repetition=repetition(one.ids for one in texts),
        self_bleu=bleu.self_bleu(strings),
        bleu=scores[0],
        chrf=scores[1],
        copied=copied(texts, index),
        particles=found.share,
        particle_count=found.count,
        texts=len(texts),
        tokens=sum(len(one.ids) for one in texts),
    )


def ngrams(tokens: Sequence[Any], n: int) -> list[tuple[Any, ...]]:
    """All n-grams of a text, from its beginning on."""
    return list(zip(*(tokens[k:] for k in range(n)), strict=False))


def distinct(texts: Iterable[str], n: int) -> float | None:
    """Different n-grams of words among all n-grams of words; None where there are none."""
    grams = [gram for text in texts for gram in ngrams(text.split(), n)]
    return len(set(grams)) / len(grams) if grams else None


def repetition(texts: Iterable[Sequence[int]], n: int = REPEATED) -> float | None:
    """The share of n-grams of ids that occurred before in the same text; None without n-grams."""
    new = total = 0
    for ids in texts:
        grams = ngrams(ids, n)
        new, total = new + len(set(grams)), total + len(grams)
    return 1 - new / total if total else None


def perplexity(logprobs: Sequence[float]) -> float | None:
    """How many tokens a model wavers between: e to the mean of -logprob (nats); None for none."""
    return math.exp(min(-sum(logprobs) / len(logprobs), 700.0)) if logprobs else None


def copied(texts: Iterable[Continuation], index: SpanIndex) -> float | None:
    """The share of the new ids that lie in a span of the index; it may begin in the prompt."""
    count = total = 0
    for one in texts:
        covered = index.covered(np.array([*one.prompt, *one.ids]))[len(one.prompt) :]
        count, total = count + int(covered.sum()), total + len(one.ids)
    return count / total if total else None


def is_korean(texts: Iterable[str]) -> bool:
    """Whether one letter in ten or more is a Hangul syllable: Korean text with code has some."""
    letters = [c for text in texts for c in text if c.isalpha()]
    return sum("가" <= c <= "힣" for c in letters) * 10 >= max(1, len(letters))


def whole_words(text: str) -> str:
    """A continuation without what may be pieces of words, at its beginning and its end."""
    match = re.fullmatch(r"\S*\s(.*\s)?\S*", text, re.DOTALL)
    return (match[1] or "") if match else ""


def library() -> Any:
    """`sacrebleu.metrics`.

    Raises:
        ValueError: it is not installed.

    """
    try:
        from sacrebleu import metrics
    except ImportError:
        raise ValueError("BLEU and chrF need sacrebleu: pip install 'malmoi[metrics]'") from None
    return metrics
