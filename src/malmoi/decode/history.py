"""What the next token of a row may depend on beside its logits: the ids so far, and rules.

A `Policy` is what the user asked for and never changes; a `History` is the state of one row and
grows by a token at a time. All it keeps is brought up to date by each new token, so that penalties
cost the same at the thousandth token as at the first.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Followers = dict[tuple[int, ...], tuple[int, ...]]


class History:
    """The ids of one row, in order: those of its prompt and those generated since.

    Attributes:
        prompt: ids that were given.
        new: ids that were generated; grown by `append` alone.
        forbidden: ids that may not come next (stop ids while the row is too short, say).
        allowed: bool `[V]`, true for what may come next; None: everything may.

    """

    def __init__(self, prompt: Sequence[int]) -> None:
        self.prompt = list(prompt)
        self.new: list[int] = []
        self.forbidden: Sequence[int] = ()
        self.allowed: Tensor | None = None
        # Each distinct id has a slot in two arrays: the id, and how often it was generated.
        self._slots = {token: slot for slot, token in enumerate(dict.fromkeys(self.prompt))}
        self._ids = np.fromiter(self._slots, np.int64, len(self._slots))
        self._counts = np.zeros(len(self._slots), np.float32)
        # For each n that was asked for: what followed each n - 1 ids, and how many ids were read.
        self._followers: dict[int, tuple[Followers, int]] = {}

    def __len__(self) -> int:
        return len(self.prompt) + len(self.new)

    def append(self, token: int) -> None:
        """Add a generated id, in constant time (amortised)."""
        self.new.append(token)
        slot = self._slots.setdefault(token, len(self._slots))
        if slot == len(self._ids):  # the arrays are full: room for twice as many
            room = max(slot, 16)
            self._ids = np.concatenate([self._ids, np.zeros(room, np.int64)])
            self._counts = np.concatenate([self._counts, np.zeros(room, np.float32)])
        self._ids[slot] = token
        self._counts[slot] += 1

    @property
    def seen(self) -> Tensor:
        """Distinct ids of the prompt and the new ids, in order of first appearance."""
        return torch.from_numpy(self._ids[: len(self._slots)])

    def counts(self) -> tuple[Tensor, Tensor]:
        """Distinct new ids, and how many times each was generated (float32)."""
        generated = self._counts.nonzero()[0]
        return torch.from_numpy(self._ids[generated]), torch.from_numpy(self._counts[generated])

    def ngram_banned(self, n: int) -> list[int]:
        """Ids that would repeat some `n` ids in a row, of prompt and new ids together.

        The first call reads the whole text, later ones only what came since.
        """
        if n == 1:
            return list(self._slots)
        followers, read = self._followers.get(n, ({}, 0))
        for end in range(max(read, n - 1), len(self)):
            before, token = self._slice(end - n + 1, end), self._slice(end, end + 1)
            known = followers.get(before, ())
            if token[0] not in known:
                # Tuples, not lists: copies of a history can share them.
                followers[before] = known + token
        self._followers[n] = followers, len(self)
        if len(self) < n:
            return []
        return list(followers.get(self._slice(len(self) - n + 1, len(self)), ()))

    def copy(self) -> "History":
        """A history that goes its own way from here; the rules of the moment go along."""
        other = History(())
        other.prompt, other.new = self.prompt, self.new.copy()  # a prompt never changes
        other.forbidden, other.allowed = self.forbidden, self.allowed
        other._slots = self._slots.copy()
        other._ids, other._counts = self._ids.copy(), self._counts.copy()
        other._followers = {n: (table.copy(), read) for n, (table, read) in self._followers.items()}
        return other

    def _slice(self, start: int, end: int) -> tuple[int, ...]:
        """Ids from `start` to `end` of prompt and new ids, without joining the two lists."""
        given = len(self.prompt)
        if start >= given:
            return tuple(self.new[start - given : end - given])
        return (*self.prompt[start:end], *self.new[: max(end - given, 0)])
