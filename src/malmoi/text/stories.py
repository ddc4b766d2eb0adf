"""The built-in corpus `builtin:stories`: short Korean children's stories without end.

Not a text file but a source: it tells as many stories as are asked for, the same ones for the
same seed, and it knows the exact probability of each. So the entropy of the source is known, and
with it the loss no model can get below: a floor in bits per byte that a real text cannot offer.

The words are in story_words.py and story_events.py, the plots in story_plots.py and
story_phrases.py, the language they are written in is explained in story_grammar.py.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from itertools import count as endless

from malmoi.text.story_events import TABLES
from malmoi.text.story_grammar import Grammar
from malmoi.text.story_phrases import PHRASES
from malmoi.text.story_plots import PLOTS


@dataclass(frozen=True)
class Story:
    """One document, and log2 of the probability that the source tells exactly this text."""

    text: str
    log2_probability: float


@cache
def story_grammar() -> Grammar:
    """The grammar of all plots, each as likely as the next; compiled at the first call."""
    return Grammar("[" + "|".join(f"<{name}>" for name in PLOTS) + "]", PHRASES | PLOTS, TABLES)


def stories(count: int | None = None, *, seed: int = 0) -> Iterator[Story]:
    """Tell `count` stories, or without end if None; the same for the same seed.

    No text comes twice, so that any split of one stream has no story of one part in another. It
    costs about 80 bytes of memory a story, for a set of 64-bit hashes. That skipping leaves the
    probabilities as they are: the likeliest story has less than 2^-150, so among a billion
    stories a repeat, or two texts of one hash, is expected 0.03 times.

    Raises ValueError if count is negative.
    """
    if count is not None and count < 0:
        raise ValueError(f"count must be at least 0, not {count}")
    return _tell(count, seed)


def _tell(count: int | None, seed: int) -> Iterator[Story]:
    grammar = story_grammar()
    rng = random.Random(seed)
    told: set[bytes] = set()
    for _ in endless() if count is None else range(count):
        while True:
            story = Story(*grammar.tell(rng))
            key = blake2b(story.text.encode(), digest_size=8).digest()
            if key not in told:
                break
        told.add(key)
        yield story


def log2_probability(text: str) -> float:
    """log2 of the probability of a text, by reading it: -inf for one that could not be told.

    Independent of how a story was drawn: it sums over all derivations of the text.
    """
    return story_grammar().log2_probability(text)


def story_entropy(stories: Iterable[Story]) -> float:
    """Entropy of the source in bits per UTF-8 byte, as measured on these stories.

    The sum of -log2 p over the sum of bytes; the end of a document is part of its probability
    and counts as no byte. Raises ValueError if there are no stories.
    """
    bits, size = 0.0, 0
    for story in stories:
        bits -= story.log2_probability
        size += len(story.text.encode())
    if not size:
        raise ValueError("the entropy of no stories at all is not defined")
    return bits / size
