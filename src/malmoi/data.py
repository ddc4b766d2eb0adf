"""Text and a tokenizer make a token store; a store and a step number make a batch.

A store is a flat file of token ids, memory-mapped, so a corpus may be larger than memory. Documents
lie one behind the other as `<bos> ... <eos>`. The batch of a step is a pure function of the seed
and the step: nothing has to be remembered to go on with a run, and two machines agree without
talking.
"""

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from malmoi.mixing import mix

SPLITS = ("train", "validation", "test")
_BATCH_CHARS = 1 << 22  # text given to the tokenizer's threads at a time


class Encodes(Protocol):
    """What a store needs of a tokenizer."""

    vocab_size: int
    bos_id: int
    eos_id: int

    def encode_batch(self, texts: Sequence[str]) -> list[Any]:
        """Ids of each text."""
        ...


@dataclass(frozen=True)
class Counts:
    """How much text one part of the corpus holds."""

    documents: int = 0
    chars: int = 0
    bytes: int = 0
    tokens: int = 0


class TokenStore:
    """One part of a corpus as token ids: `ids` `[N]` memory-mapped, `offsets` `[documents]`."""

    def __init__(self, folder: Path, name: str) -> None:
        try:
            meta = json.loads((folder / f"{name}.json").read_text("utf-8"))
            self.counts = Counts(**meta["counts"])
            self.bos_id = int(meta["bos_id"])
            dtype = np.dtype({"uint16": np.uint16, "uint32": np.uint32}[meta["dtype"]])
            path, starts = folder / f"{name}.bin", folder / f"{name}.offsets"
            right = path.stat().st_size == self.counts.tokens * dtype.itemsize
            if not right or starts.stat().st_size != self.counts.documents * 8:
                raise ValueError("its size is not what it was when it was written")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{folder / name}.bin: token store missing or damaged ({error}); train anew"
            ) from None
        self.path = path
        empty = not self.counts.tokens
        self.ids: np.ndarray = (
            np.empty(0, dtype) if empty else np.memmap(path, dtype=dtype, mode="r")
        )
        self.offsets: np.ndarray = (
            np.empty(0, np.int64) if empty else np.memmap(starts, dtype=np.int64, mode="r")
        )

    def __len__(self) -> int:
        return len(self.ids)

    def check(self, vocab_size: int) -> None:
        """See that a store from elsewhere holds ids of the vocabulary and documents in order.

        Raises:
            ValueError: it does not.

        """
        starts = np.asarray(self.offsets)
        ordered = not len(starts) or (starts[0] == 0 and starts[-1] < len(self))
        ordered = ordered and bool((np.diff(starts) > 0).all())
        parts = (self.ids[i : i + (1 << 24)] for i in range(0, len(self), 1 << 24))
        highest = max((int(part.max()) for part in parts), default=0)
        if not ordered or highest >= vocab_size:
            raise ValueError(f"{self.path}: damaged (ids or offsets out of range); train anew")


class _Writer:
    def __init__(self, folder: Path, name: str, tokenizer: Encodes) -> None:
        self.folder, self.name, self.tokenizer = folder, name, tokenizer
        self.dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32)
        self.ids = open(folder / f"{name}.bin", "wb")  # noqa: SIM115 - closed by `close`
        self.offsets = open(folder / f"{name}.offsets", "wb")  # noqa: SIM115
        self.pending: list[tuple[str, bool]] = []
        self.waiting = self.documents = self.chars = self.bytes = self.tokens = 0

    def add(self, text: str, first: bool) -> None:
        self.pending.append((text, first))
        self.waiting += len(text)
        if self.waiting >= _BATCH_CHARS:
            self.flush()

    def flush(self) -> None:
        texts = [text for text, _ in self.pending]
        parts: list[Any] = []
        starts: list[int] = []
        for ids, (text, first) in zip(
            self.tokenizer.encode_batch(texts), self.pending, strict=True
        ):
            if first:
                if self.documents:
                    parts.append([self.tokenizer.eos_id])
                    self.tokens += 1
                starts.append(self.tokens)
                parts.append([self.tokenizer.bos_id])
                self.documents += 1
                self.tokens += 1
            parts.append(ids)
            self.tokens += len(ids)
            self.chars += len(text)
            self.bytes += len(text.encode())
        self.pending, self.waiting = [], 0
        np.array(starts, np.int64).tofile(self.offsets)
        self._write(parts)

    def _write(self, parts: list[Any]) -> None:
        np.fromiter(itertools.chain.from_iterable(parts), self.dtype).tofile(self.ids)

    def close(self, complete: bool) -> None:
        if complete:
            self.flush()
            if self.documents:
                self._write([[self.tokenizer.eos_id]])
                self.tokens += 1
        for file in (self.ids, self.offsets):
            file.flush()
            os.fsync(file.fileno())
            file.close()
        counts = Counts(self.documents, self.chars, self.bytes, self.tokens)
        meta = {
            "dtype": self.dtype.name,
            "bos_id": self.tokenizer.bos_id,
            "counts": asdict(counts),
        }
        (self.folder / f"{self.name}.json").write_text(json.dumps(meta, indent=1), "utf-8")


def write_stores(
    pieces: Iterable[tuple[str, str, bool]], tokenizer: Encodes, folder: Path
) -> dict[str, TokenStore]:
    """Encode a stream of text into one store for each part, at constant memory.

    Args:
        pieces: part (`train`, `validation`, `test`), text, and whether a new document begins.
        tokenizer: its `encode_batch` may use all cores.
        folder: where `train.bin` and so on go; made if need be.

    """
    folder.mkdir(parents=True, exist_ok=True)
    writers = {name: _Writer(folder, name, tokenizer) for name in SPLITS}
    complete = False
    try:
        for part, text, first in pieces:
            writers[part].add(text, first)
        complete = True
    finally:
        for writer in writers.values():
            writer.close(complete)
    return {name: TokenStore(folder, name) for name in SPLITS}


class Batches:
    """Training batches: window `index` of epoch `e` is the same on every machine at any time.

    An epoch cuts the store into windows of `context_length` tokens, begun at an offset of its own,
    and visits each exactly once in an order of its own. With several ranks, each takes its
    `batch_size` windows of the step's `world_size * batch_size`.

    Raises:
        ValueError: the text is shorter than one window.

    """

    def __init__(
        self,
        store: TokenStore,
        context_length: int,
        batch_size: int,
        seed: int,
        *,
        world_size: int = 1,
        rank: int = 0,
    ) -> None:
        self.store, self.length, self.size, self.seed = store, context_length, batch_size, seed
        self.world_size, self.rank = world_size, rank
        # One window is given up for the freedom of the offset, one token for the last target.
        self.windows = max(0, (len(store) - 1) // context_length - 1)
        if self.windows == 0 and len(store) - 1 >= context_length:
            self.windows = 1
        if self.windows == 0:
            raise ValueError(
                f"the training text has {len(store):,} tokens, which is less than one window of "
                f"{context_length} tokens: add text, or set a smaller --context-length"
            )
        self.room = len(store) - 1 - self.windows * context_length

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids and targets `[batch_size, context_length]` of a step, int64.

        A target is -1 where the next token begins a document: nobody could know which.
        """
        first = (step * self.world_size + self.rank) * self.size
        index = np.arange(first, first + self.size)
        epochs, within = index // self.windows, index % self.windows
        starts = np.empty(self.size, np.int64)
        for epoch in np.unique(epochs):
            mine = epochs == epoch
            key = mix(np.uint64(self.seed), np.uint64(epoch))
            offset = int(key % np.uint64(self.room + 1)) if self.room else 0
            starts[mine] = permute(within[mine], self.windows, int(key)) * self.length + offset
        span = starts[:, None] + np.arange(self.length + 1)
        tokens = self.store.ids[span].astype(np.int64)
        targets = tokens[:, 1:].copy()
        targets[targets == self.store.bos_id] = -1
        return tokens[:, :-1], targets


def documents_in_windows(store: TokenStore, context_length: int) -> Iterator[tuple[int, int]]:
    """Spans `(start, end)` that cover every token once, so that each is scored exactly once.

    A window begins where a document begins and takes in the documents after it that still fit; a
    document longer than the context is cut into windows one behind the other. The targets of a
    window are the tokens `start + 1 ... end`.
    """
    ends = np.append(store.offsets[1:], len(store))
    start = 0
    while start < len(store) - 1:
        # The furthest document end within reach of this window.
        reach = int(np.searchsorted(ends, start + context_length, side="right"))
        end = int(ends[reach - 1]) if reach else 0
        if end <= start:
            end = start + context_length
        end = min(end, len(store) - 1)
        yield start, end
        start = end


def permute(index: np.ndarray, size: int, key: int) -> np.ndarray:
    """Where a permutation of `range(size)`, chosen by `key`, sends each of `index`.

    A Feistel network over the next power of four, walked again where it leads outside (Black &
    Rogaway 2002): any element of a permutation of billions costs the same few operations and no
    memory.
    """
    half = np.uint64(max(1, (max(size - 1, 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    values = index.astype(np.uint64)
    outside = np.ones(len(values), bool)
    while outside.any():
        left, right = values[outside] >> half, values[outside] & mask
        for turn in range(6):
            left, right = right, left ^ (mix(np.uint64(key), np.uint64(turn), right) & mask)
        values[outside] = (left << half) | right
        outside = values >= np.uint64(size)
    return values.astype(np.int64)
