"""Text and a tokenizer make a token store; a store and a step number make a batch.

A store is a flat file of token ids, memory-mapped, so a corpus may be larger than memory. Documents
lie one behind the other as `<bos> ... <eos>`. The batch of a step is a pure function of the seed
and the step: nothing has to be remembered to go on with a run, and two machines agree without
talking.
"""

import itertools
import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from malmoi.mixing import mix
from malmoi.packing import Packing, best_fit, cut_by_stream, documents_in_windows, permute
from malmoi.tokenizer.pattern import cut_safely

__all__ = [
    "SPLITS", "Batches", "Counts", "Encodes", "TokenStore", "documents_in_windows", "permute",
    "write_stores",
]  # fmt: skip

SPLITS = ("train", "validation", "test")
_BATCH_CHARS = 1 << 21  # text given to the tokenizer's threads at a time
_PART_CHARS = 1 << 16  # a document is cut when that much of it has come; where a token cannot be
_LONGEST_WORD = 1 << 22  # characters without a safe place, after which any place will do


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
    """One part's files. `add` and `end` gather text; `write`, in another thread, encodes it."""

    def __init__(self, folder: Path, name: str, tokenizer: Encodes) -> None:
        self.folder, self.name, self.tokenizer = folder, name, tokenizer
        self.dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32)
        self.ids = open(folder / f"{name}.bin", "wb")  # noqa: SIM115 - closed by `close`
        self.offsets = open(folder / f"{name}.offsets", "wb")  # noqa: SIM115
        self.pending: list[tuple[str, bool]] = []
        self.held: tuple[str, bool] | None = None  # what may go on in the next piece
        self.waiting = 0
        self.documents = self.chars = self.bytes = self.tokens = 0

    def add(self, text: str, first: bool) -> None:
        if first:
            self.end()
        elif self.held is not None:
            text, first = self.held[0] + text, self.held[1]
        if len(text) >= _PART_CHARS and (place := _last_cut(text)):
            self._queue(text[:place], first)
            text, first = text[place:], False
        self.held = text, first

    def end(self) -> None:
        """The document is over."""
        if self.held is not None:
            self._queue(*self.held)
            self.held = None

    def _queue(self, text: str, first: bool) -> None:
        self.pending.append((text, first))
        self.waiting += len(text)

    def take(self) -> list[tuple[str, bool]]:
        """What has been gathered."""
        pending, self.pending, self.waiting = self.pending, [], 0
        return pending

    def write(self, pending: list[tuple[str, bool]]) -> None:
        """Encode parts of text, each with whether a document begins with it."""
        parts: list[Any] = []
        starts: list[int] = []
        encoded = self.tokenizer.encode_batch([text for text, _ in pending])
        for ids, (text, first) in zip(encoded, pending, strict=True):
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
        np.array(starts, np.int64).tofile(self.offsets)
        self._write(parts)

    def _write(self, parts: list[Any]) -> None:
        np.fromiter(itertools.chain.from_iterable(parts), self.dtype).tofile(self.ids)

    def close(self, complete: bool) -> None:
        if complete and self.documents:
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


def _last_cut(text: str) -> int:
    """The last place at which a text may be cut so that its tokens stay; 0: it has to wait."""
    tail = 1 << 12
    while tail < len(text):
        place = len(next(cut_safely(text, len(text) - tail)))
        if place < len(text):
            return place
        tail *= 16
    return 0 if len(text) < _LONGEST_WORD else len(text)


def write_stores(
    pieces: Iterable[tuple[str, str, bool]], tokenizer: Encodes, folder: Path
) -> dict[str, TokenStore]:
    """Encode a stream of text into one store for each part, at constant memory.

    While a batch is encoded, by all cores, the text of the next is read. A long document is encoded
    in parts, cut where the tokens stay those of the whole (`tokenizer.pattern.cut_safely`); how it
    came in pieces makes no difference.

    Args:
        pieces: part (`train`, `validation`, `test`), text, and whether a new document begins.
        tokenizer: its `encode_batch` may use all cores; it is called in a thread of its own.
        folder: where `train.bin` and so on go; made if need be.

    """
    folder.mkdir(parents=True, exist_ok=True)
    writers = {name: _Writer(folder, name, tokenizer) for name in SPLITS}
    complete = False
    running: Future[None] | None = None  # one at a time, so that memory stays flat
    with ThreadPoolExecutor(1) as pool:
        try:
            for part, text, first in pieces:
                writer = writers[part]
                writer.add(text, first)
                if writer.waiting >= _BATCH_CHARS:
                    if running is not None:
                        running.result()
                    running = pool.submit(writer.write, writer.take())
            if running is not None:
                running.result()
            for writer in writers.values():
                writer.end()
                writer.write(writer.take())
            complete = True
        finally:
            if running is not None:
                with suppress(Exception):  # has been raised above, or another has
                    running.result()
            for writer in writers.values():
                writer.close(complete)
    return {name: TokenStore(folder, name) for name in SPLITS}


class Batches:
    """Training batches: window `index` of epoch `e` is the same on every machine at any time.

    An epoch visits each window exactly once in an order of its own. With `pack="stream"` it cuts
    the store into windows of `context_length` tokens, begun at an offset of its own; documents run
    into each other and are cut anywhere. With `pack="best-fit"` whole documents are put together
    into windows, the same in every epoch (`packing.py`). With several ranks, each takes its
    `batch_size` windows of the step's `world_size * batch_size`.

    Raises:
        ValueError: the text is shorter than one window; with best-fit, there is none.

    """

    def __init__(
        self,
        store: TokenStore,
        context_length: int,
        batch_size: int,
        seed: int,
        *,
        pack: Literal["stream", "best-fit"] = "stream",
        world_size: int = 1,
        rank: int = 0,
    ) -> None:
        self.store, self.length, self.size, self.seed = store, context_length, batch_size, seed
        self.world_size, self.rank = world_size, rank
        self.packing: Packing | None = None
        """None: the stream"""
        # One window is given up for the freedom of the offset, one token for the last target.
        self.windows = max(0, (len(store) - 1) // context_length - 1)
        if self.windows == 0 and len(store) - 1 >= context_length:
            self.windows = 1
        self.room = len(store) - 1 - self.windows * context_length
        if pack == "best-fit":
            self.packing = best_fit(store.offsets, len(store), context_length)
            self.windows = self.packing.windows
        if self.windows == 0:
            raise ValueError(
                f"the training text has {len(store):,} tokens, which is less than one window of "
                f"{context_length} tokens: add text, or set a smaller --context-length"
            )

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids and targets `[batch_size, context_length]` of a step, int64.

        A target is -1 where a document ends: nobody could know which comes next. Padding is bos,
        without targets.
        """
        first = (step * self.world_size + self.rank) * self.size
        index = np.arange(first, first + self.size)
        epochs, within = index // self.windows, index % self.windows
        windows, offsets = np.empty(self.size, np.int64), np.empty(self.size, np.int64)
        for epoch in np.unique(epochs):
            mine = epochs == epoch
            key = mix(np.uint64(self.seed), np.uint64(epoch))
            offsets[mine] = int(key % np.uint64(self.room + 1)) if self.room else 0
            windows[mine] = permute(within[mine], self.windows, int(key))
        if self.packing is None:
            return self._stream(windows * self.length + offsets)
        places, foretold = self.packing.places(windows)
        tokens = self._tokens(np.maximum(places, 0))
        tokens[places < 0] = self.store.bos_id
        after = self._tokens(np.minimum(places + 1, len(self.store) - 1))
        return tokens, np.where(foretold, after, -1)

    def _stream(self, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tokens = self._tokens(starts[:, None] + np.arange(self.length + 1))
        targets = tokens[:, 1:].copy()
        # By where documents begin: where bos and eos are one token, its id does not tell.
        begun = np.searchsorted(self.store.offsets, np.add.outer([1, self.length + 1], starts))
        count = begun[1] - begun[0]
        row = np.repeat(np.arange(len(starts)), count)
        document = np.arange(len(row)) + (begun[0] - np.cumsum(count) + count)[row]
        targets[row, self.store.offsets[document] - starts[row] - 1] = -1
        return tokens[:, :-1], targets

    def _tokens(self, places: np.ndarray) -> np.ndarray:
        ids: np.ndarray = self.store.ids[places].astype(np.int64)
        return ids

    def summary(self) -> dict[str, Any]:
        """How documents lie in windows, for a report.

        `windows` of an epoch, `documents`, how many of them are `cut`, how many the stream would
        cut (`cut_by_stream`), and which share of the tokens is `padding`.
        """
        counts, store = self.store.counts, self.store
        stream = cut_by_stream(store.offsets, len(store), self.length)
        packing = self.packing
        return {
            "windows": self.windows,
            "documents": counts.documents,
            "cut": stream if packing is None else packing.cut,
            "cut_by_stream": stream,
            "padding": 0.0 if packing is None else packing.padding,
        }
