"""Which documents train, which validate and which test.

The side of a document follows from its own text, not from where it lies, so that neither the
order of the files nor what is added later moves it, and a duplicate never sits on both sides.
Near-duplicates stay together where `groups` tells of them: they go where the first of them goes.
"""

import math
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from hashlib import blake2b
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from malmoi.text.records import Piece

SPLITS = ("train", "validation", "test")
FEW = 10  # with fewer distinct documents than this, each is cut by position
EXACT = 4096  # with up to this many distinct documents, the parts are exact by rank

Pieces = Iterable[Piece] | Callable[[], Iterable[Piece]]
Groups = Callable[[Piece], int] | Sequence[int] | NDArray[np.int64]
"""what tells the group of a document from its first piece, or the groups in the documents' order"""


@dataclass(frozen=True)
class Split:
    """The parts of a corpus as fractions that sum to one.

    Raises:
        ValueError: a part is negative, nothing is left to train on, or they do not sum to one.

    """

    train: float
    validation: float
    test: float

    def __post_init__(self) -> None:
        parts = (self.train, self.validation, self.test)
        if not all(math.isfinite(part) and part >= 0 for part in parts):
            raise ValueError(f"split {self}: every part has to be zero or more")
        if abs(sum(parts) - 1) > 1e-6:
            raise ValueError(f"split {self}: the parts have to sum to 100 (or to 1)")
        if not self.train:
            raise ValueError(f"split {self}: nothing is left to train on")

    @classmethod
    def parse(cls, text: str) -> "Split":
        """Read "80/10/10", "90/10", "0.9/0.05/0.05" or "100": train, validation, test.

        Raises:
            ValueError: not one to three numbers, or not a split of a whole.

        """
        try:
            parts = [float(part) for part in text.split("/")]
        except ValueError:
            parts = []
        if not 1 <= len(parts) <= 3:
            raise ValueError(f"split {text!r}: expected train/validation/test, as in 80/10/10")
        whole = sum(parts)
        for total in (1, 100):  # thirds are written 33.3: within rounding is good enough
            if abs(whole - total) <= 0.002 * total:
                parts = [part / whole for part in parts]
                break
        else:
            raise ValueError(f"split {text!r}: the parts sum to {whole:g}, not to 100 (or to 1)")
        return cls(*parts, *[0.0] * (3 - len(parts)))

    def __str__(self) -> str:
        """In percent, without trailing parts that are zero: "80/10/10", "90/10", "100"."""
        parts = [f"{100 * part:.10g}" for part in (self.train, self.validation, self.test)]
        while len(parts) > 1 and parts[-1] == "0":
            parts.pop()
        return "/".join(parts)

    @property
    def ends(self) -> tuple[Fraction, Fraction]:
        """Where train ends and where validation ends, from 0 to 1, exactly.

        Floats would lose a character: 0.29 * 100 is 28.999999999999996.
        """
        train, validation, test = (
            Fraction(part).limit_denominator(10**6)
            for part in (self.train, self.validation, self.test)
        )
        return train, train + validation if test else Fraction(1)


@dataclass(frozen=True)
class Plan:
    """How a corpus is split: what `plan` found out by reading it once.

    Attributes:
        split: The fractions asked for.
        seed: The seed of the hash.
        lengths: By position: the characters of each document, in order; otherwise empty.
        bounds: By document: the hashes at which validation and test begin.
        groups: By document: which of them stay together, if any have to.

    """

    split: Split
    seed: int
    lengths: array
    bounds: tuple[int, int]
    groups: Groups | None = field(default=None, repr=False, compare=False)

    @property
    def by_position(self) -> bool:
        """Whether documents are cut, rather than dealt out whole."""
        return bool(self.lengths)

    def __str__(self) -> str:
        """One line for the user."""
        return f"{self.split} by " + (
            "position in each document" if self.by_position else f"document (seed {self.seed})"
        )

    def assign(self, pieces: Iterable[Piece]) -> Iterator[tuple[str, Piece]]:
        """Yield every piece with its split's name, in order, in flat memory.

        Raises:
            ValueError: the text is not the one that was planned for.

        """
        return self._by_position(pieces) if self.by_position else self._by_document(pieces)

    def _by_document(self, pieces: Iterable[Piece]) -> Iterator[tuple[str, Piece]]:
        side = SPLITS[0]
        for piece, digest in _digests(pieces, self.seed, self.groups):
            if digest is not None:
                side = SPLITS[bisect_right(self.bounds, digest)]
            yield side, piece

    def _by_position(self, pieces: Iterable[Piece]) -> Iterator[tuple[str, Piece]]:
        lengths = iter(self.lengths)
        left = 0  # characters that the current document still has
        for piece in pieces:
            if piece.first:
                length = next(lengths, 0)
                marks = [0, *(math.floor(length * end) for end in self.split.ends), length]
                at, left = 0, left + length
            left -= len(piece.text)
            if left < 0 or (piece.first and left + len(piece.text) != length):
                raise ValueError(f"{piece.source}: the text changed while it was read; try again")
            start = at  # of this piece in its document
            for side, begin, end in zip(SPLITS, marks, marks[1:], strict=False):
                if take := piece.text[at - start : max(at, end) - start]:
                    yield side, replace(piece, text=take, first=at == begin)
                    at += len(take)
        if left or next(lengths, 0):
            raise ValueError("the text became shorter while it was read; try again")


def plan(pieces: Pieces, split: Split, *, seed: int = 0, groups: Groups | None = None) -> Plan:
    """Read a corpus once, or its first few thousand documents, and decide how to split it.

    Up to `EXACT` distinct documents are ranked by their hash, so that the parts are the nearest
    whole numbers of documents, and at least one each; the hashes of more are compared with the
    fractions themselves. Fewer than `FEW` are cut by position. A group counts as one document that
    stands there as often as it has members.

    Args:
        pieces: What `read` gives, as a function that opens it anew (`lambda: read(data)`) or as
            something that can be iterated over again (a list).
        split: The fractions.
        seed: Another seed, another split (by document only).
        groups: What stays on one side: for each document, in order, a number that those of its
            group share (`NearIndex.groups` makes them), or a function of its first piece. A group
            takes the hash of its first document, so that here the order of files does matter.
            Where documents are cut by position, groups change nothing.

    Raises:
        ValueError: there is no text, or there are fewer or more groups than documents.

    """
    counts: dict[int, int] = {}
    lengths = array("q")
    for piece, digest in _digests(_again(pieces), seed, groups):
        if digest is not None:
            counts[digest] = counts.get(digest, 0) + 1
            if len(counts) > EXACT:
                first, second = (math.ceil(end * 2**64) for end in split.ends)
                return Plan(split, seed, array("q"), (first, second), groups)
            if len(counts) < FEW:
                lengths.append(0)
        if len(counts) < FEW:
            lengths[-1] += len(piece.text)
    if not counts:
        raise ValueError("no text to split")
    if len(counts) < FEW:
        return Plan(split, seed, lengths, (0, 0))
    return Plan(split, seed, array("q"), _ranked(counts, split), groups)


def assign(
    pieces: Pieces, split: Split, *, seed: int = 0, groups: Groups | None = None
) -> Iterator[tuple[str, Piece]]:
    """Yield every piece with its split's name: `plan`, then `Plan.assign`.

    A document that is cut by position begins anew (`first`) in each part. Arguments and errors
    are those of `plan`; the corpus is opened twice and never held in memory.
    """
    return plan(pieces, split, seed=seed, groups=groups).assign(_again(pieces))


def _again(pieces: Pieces) -> Iterator[Piece]:
    opened = iter(pieces() if callable(pieces) else pieces)
    if opened is pieces:
        raise TypeError("a generator can be read once only: pass a function, lambda: read(...)")
    return opened


def _digests(
    pieces: Iterable[Piece], seed: int, groups: Groups | None
) -> Iterator[tuple[Piece, int | None]]:
    """Each piece; where a document begins, with the digest of the first of its group."""
    firsts: dict[int, int] = {}
    shared: set[int] | None = None
    if groups is not None and not callable(groups):  # a dictionary of all would be large
        members, counts = np.unique(np.asarray(groups), return_counts=True)
        shared = set(members[counts > 1].tolist())
    number = 0
    for piece in pieces:
        digest = None
        if piece.first:
            digest = _digest(piece, seed)
            if callable(groups):
                digest = firsts.setdefault(groups(piece), digest)
            elif groups is not None and shared is not None:
                if number == len(groups):
                    raise ValueError(f"{piece.source}: groups for {number:,} documents only")
                if (group := int(groups[number])) in shared:
                    digest = firsts.setdefault(group, digest)
            number += 1
        yield piece, digest
    if groups is not None and not callable(groups) and number < len(groups):
        raise ValueError(f"groups for {len(groups):,} documents, but there are only {number:,}")


def _digest(piece: Piece, seed: int) -> int:
    """64 bits that depend on the document's beginning (all of it, unless it is long) and seed."""
    data = piece.text.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8, key=str(seed).encode()[:64]).digest())


def _ranked(counts: dict[int, int], split: Split) -> tuple[int, int]:
    """The hashes at which validation and test begin, so that the counts are nearest to `split`.

    Duplicates share a hash and so a side; `counts` says how many documents each hash has.
    """
    digests = sorted(counts)
    before = [0, *accumulate(counts[digest] for digest in digests)]  # documents before each rank
    total, ranks = before[-1], len(digests)

    def nearest(end: Fraction, least: int, most: int) -> int:
        return min(range(least, most + 1), key=lambda rank: abs(before[rank] - total * end))

    train_end, validation_end = split.ends
    some = [int(part > 0) for part in (split.validation, split.test)]
    first = nearest(train_end, 1, ranks - sum(some)) if any(some) else ranks
    second = nearest(validation_end, first + some[0], ranks - some[1]) if some[1] else ranks
    if not some[0]:
        second = first
    beyond = [*digests, 2**64]
    return beyond[first], beyond[second]
