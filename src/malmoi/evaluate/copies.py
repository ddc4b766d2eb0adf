"""What stands word for word in the training text: held-out text that leaked, and generated text.

A span counts from about a hundred characters on. In texts that are split well, hardly any held-out
text lies in such spans (docs of a program with its boilerplate: 0.4 %; plays, stories of a grammar:
none), while of spans half as long there are several per cent.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from malmoi.data import TokenStore
from malmoi.decode import Policy, Request
from malmoi.decode.batch import complete
from malmoi.evaluate.overlap import SpanIndex
from malmoi.model import GPT

CHARACTERS = 100
FEWEST, MOST = 16, 128  # tokens of a span, whatever a hundred characters come to
SAMPLES, SAMPLE_TOKENS = 16, 256
INDEXED = 50_000_000  # training tokens that are looked through, from the beginning
ASKED = 1_000_000  # held-out tokens that are looked for
SHOWN = 3


@dataclass(frozen=True)
class Leak:
    """How much of a held-out part stands in the training part.

    Attributes:
        part: which one: validation or test.
        share: of its tokens, those that lie in spans of at least `length` tokens.
        length: of the shortest span that counts.
        example: the longest such span, as text.

    """

    part: str
    share: float
    length: int
    example: str


@dataclass(frozen=True)
class Recital:
    """How much of what a model says stands in its training text.

    Attributes:
        share: of the generated tokens, those in spans of at least `length` tokens.
        expected: the same of held-out text in pieces of the same size: what texts of this kind
            have in common. None: nothing is held out.
        tokens: how many were generated.
        length: of the shortest span that counts.
        spans: up to three of the longest, from different places of the training text, as text.

    """

    share: float
    expected: float | None
    tokens: int
    length: int
    spans: tuple[str, ...]


def span_length(store: TokenStore) -> int:
    """How many tokens about a hundred characters are in a text."""
    tokens = math.ceil(CHARACTERS * len(store) / max(store.counts.chars, 1))
    return min(max(tokens, FEWEST), MOST)


def index_of(train: TokenStore) -> SpanIndex | None:
    """The spans of the training part; None where most documents are shorter than one span."""
    if train.counts.documents and len(train) / train.counts.documents < 2 * span_length(train):
        return None
    return SpanIndex(train.ids[:INDEXED], span_length(train))


def find_leak(
    index: SpanIndex, stores: dict[str, TokenStore], decode: Callable[[Sequence[int]], str]
) -> Leak | None:
    """Look for held-out text in the training text.

    Args:
        index: of the training part.
        stores: the parts held out, by name; the one of which most is found is told.
        decode: ids to text, for the example.

    Returns:
        None where nothing is held out.

    """
    leaks = []
    for name, store in stores.items():
        ids = store.ids[:ASKED]
        if len(ids) < index.length:
            continue
        matches = index.matches(ids)
        covered = _covered(matches, len(ids))
        start, end, _ = max(matches, key=lambda m: m[1] - m[0], default=(0, 0, 0))
        example = decode(ids[start:end].tolist())
        leaks.append(Leak(name, float(covered.mean()), index.length, example))
    return max(leaks, key=lambda leak: leak.share, default=None)


def find_recital(
    index: SpanIndex,
    model: GPT,
    held_out: TokenStore,
    decode: Callable[[Sequence[int]], str],
    *,
    bos_id: int,
    eos_id: int,
    banned_ids: Sequence[int] = (),
) -> Recital:
    """Let the model speak and look for what it says in the training text.

    Sixteen texts of up to 256 tokens from `<bos>` on, at temperature 1: as the model has it, since
    a lower one would make it repeat what is most probable.

    Args:
        index: of the training part.
        model: in evaluation mode.
        held_out: text of the same kind that the model has not seen, to compare with; may be empty.
        decode: ids to text.
        bos_id: what each text begins with.
        eos_id: what ends it.
        banned_ids: what is never generated.

    """
    policy = Policy(1.0, banned_ids=tuple(banned_ids))
    requests = [
        Request([bos_id], policy, SAMPLE_TOKENS, stop_ids=(eos_id,), sample=sample)
        for sample in range(SAMPLES)
    ]
    texts = [np.array(c.ids, np.int64) for c in complete(model, requests, compiled=False)]
    found: list[tuple[int, np.ndarray]] = []  # where in the training text, and what
    covered = 0
    for text in texts:
        matches = index.matches(text)
        covered += int(_covered(matches, len(text)).sum())
        found += [(place, text[start:end]) for start, end, place in matches]
    tokens = sum(map(len, texts))
    pieces = len(held_out) // SAMPLE_TOKENS
    starts = np.linspace(0, pieces - 1, min(pieces, 256)).astype(np.int64) * SAMPLE_TOKENS
    same = [index.covered(held_out.ids[s : s + SAMPLE_TOKENS]).mean() for s in starts]
    return Recital(
        share=covered / max(tokens, 1),
        expected=float(np.mean(same)) if same else None,
        tokens=tokens,
        length=index.length,
        spans=tuple(decode(span.tolist()) for span in _apart(found)),
    )


def _apart(found: list[tuple[int, np.ndarray]]) -> list[np.ndarray]:
    """The longest spans that have no place of the training text in common."""
    kept: list[tuple[int, np.ndarray]] = []
    for place, span in sorted(found, key=lambda one: -len(one[1])):
        if all(place + len(span) <= p or p + len(s) <= place for p, s in kept):
            kept.append((place, span))
    return [span for _, span in kept[:SHOWN]]


def _covered(matches: Sequence[tuple[int, int, int]], size: int) -> np.ndarray:
    covered = np.zeros(size, bool)
    for start, end, _ in matches:
        covered[start:end] = True
    return covered
