"""The rows of a batch in one KV cache: prompts come in, tokens are read, rows leave.

Rows in use always stand side by side at the beginning of the cache: one that leaves is replaced by
the last. Few tokens at a time are read by the compiled `Stepper`, many by the model itself.

What a row gets does not depend on the others. In float32 on the CPU, where the stepper reads, that
holds to the last bit: every prompt is read by itself, and the stepper sums in one order whatever is
beside a row. Torch's matrix products round otherwise for many rows than for one.

When a row has filled the model's context, its later half is read anew, from position 0, and
generation goes on from there; that holds for learned and for rotary positions alike, and keeps
what the model sees equal to what it was trained on. A prompt longer than the context keeps its end.
"""

import contextlib
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from malmoi.model import GPT, KVCache, Span

CHUNK = 512
"""tokens of a prompt that are read at once, so that memory does not grow with its length"""
GROUP = 2048
"""most tokens of several prompts that are read at once"""
SHORT = 32
"""tokens of prompts that the stepper reads at once"""
SMALL = 2e8
"""with fewer multiplications, one thread is quicker than waking others"""


class Rows:
    """Up to `slots` rows of up to `capacity` tokens; the cache is allocated here, once.

    Use it as a context: the stepper's threads live inside it.

    Args:
        model: in evaluation mode.
        slots: most rows at a time.
        capacity: most tokens of a row; the context length at most.
        ahead: most tokens read at once for a row that is being generated.
        compiled: whether to use the stepper; where it can be used, when not given.

    """

    def __init__(
        self, model: GPT, slots: int, capacity: int, *, ahead: int = 1, compiled: bool | None = None
    ) -> None:
        self.model, self.capacity = model, min(capacity, model.config.context_length)
        weight = model.output_weight
        self.device, self.dtype = weight.device, weight.dtype
        self.cache = KVCache(
            model.config, slots, self.capacity, dtype=self.dtype, device=self.device
        )
        self.summary: tuple[np.ndarray, np.ndarray] | None = None
        """of the rows `read` last, where the stepper did: its most probable ids and totals"""
        self.lengths: list[int] = []
        """tokens read of each row in use"""
        self._exact = self.device.type == "cpu" and self.dtype == torch.float32
        self._context = contextlib.ExitStack()
        self._stepper, self._short = None, 0
        if compiled is not False and self.device.type == "cpu":
            from malmoi.model.stepper import Stepper

            if Stepper.supports(model):
                lanes = max(slots * ahead, min(SHORT, self.capacity))
                self._stepper = Stepper(model, self.cache, lanes)
                self._short = min(SHORT, self._stepper.alone)
        self._weights = 12 * model.config.num_layers * model.config.d_model**2  # about

    def __enter__(self) -> "Rows":
        if self._stepper is not None:
            self._context.enter_context(self._stepper)
        return self

    def __exit__(self, *error: object) -> None:
        self._context.close()

    @property
    def free(self) -> int:
        """How many more rows there is room for."""
        return self.cache.keys.shape[1] - len(self.lengths)

    def admit(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Read prompts into new rows behind those in use; logits `[len(prompts), V]` after each.

        The last `capacity` tokens of each are read.
        """
        assert len(prompts) <= self.free
        self.summary = None
        kept = [list(prompt[-self.capacity :]) for prompt in prompts]
        first = len(self.lengths)
        self.lengths += [0] * len(kept)
        return self._prefill(range(first, len(self.lengths)), kept)

    def _prefill(self, rows: Sequence[int], texts: list[list[int]]) -> Tensor:
        """Read whole texts into rows; logits `[len(texts), V]` after each."""
        short = [number for number, text in enumerate(texts) if len(text) <= self._short]
        long = [number for number, text in enumerate(texts) if len(text) > self._short]
        logits: dict[int, Tensor] = {}
        if long:
            found = self._prefill_long([rows[i] for i in long], [texts[i] for i in long])
            logits |= zip(long, found.unbind(), strict=True)
        while short:
            group, size = [], 0
            while short and size + len(texts[short[0]]) <= self._short:
                size += len(texts[short[0]])
                group.append(short.pop(0))
            found = self._prefill_short([rows[i] for i in group], [texts[i] for i in group])
            logits |= zip(group, found.unbind(), strict=True)
        return torch.stack([logits[number] for number in range(len(texts))])

    def _prefill_short(self, rows: list[int], texts: list[list[int]]) -> Tensor:
        """The same by the stepper, which is quicker for a few tokens."""
        assert self._stepper is not None
        ids = [token for text in texts for token in text]
        slots = [row for row, text in zip(rows, texts, strict=True) for _ in text]
        places = [place for text in texts for place in range(len(text))]
        ends = [end - 1 for end in accumulate(len(text) for text in texts)]
        for row, text in zip(rows, texts, strict=True):
            self.lengths[row] = len(text)
        return self._stepper.read(ids, slots, places, ends).clone()

    def _prefill_long(self, rows: Sequence[int], texts: list[list[int]]) -> Tensor:
        if self._stepper is not None:
            self._stepper.rest()
        last: dict[int, Tensor] = {}
        for part in _parts(texts, 1 if self._exact else GROUP):
            spans: list[Span] = []
            ids: list[int] = []
            for number, start, end in part:
                spans.append(Span(len(ids), end - start, rows[number], start))
                ids += texts[number][start:end]
            small = len(ids) * self._weights < SMALL
            with _one_thread() if small else contextlib.nullcontext():
                hidden = self.model.hidden_spans(
                    torch.tensor(ids, device=self.device), spans, self.cache
                )
                if self._exact:  # a product of several rows rounds otherwise than of one
                    last[part[0][0]] = self._logits(hidden[-1:])
                else:
                    for (number, _, _), span in zip(part, spans, strict=True):
                        last[number] = hidden[span.begin + span.count - 1]
        for row, text in zip(rows, texts, strict=True):
            self.lengths[row] = len(text)
        in_order = [last[number] for number in range(len(texts))]
        return torch.cat(in_order) if self._exact else self._logits(torch.stack(in_order))

    def _logits(self, hidden: Tensor) -> Tensor:
        """Float32 on the CPU, where tokens are chosen."""
        return F.linear(hidden, self.model.output_weight).float().cpu()

    def read(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Read one or more new tokens of the first rows; logits `[sum of counts, V]` after each.

        Valid until the next call. Use `slide` before, and `rewind` after, where needed.
        """
        lengths = self.lengths[: len(tokens)]
        assert len(tokens) == len(lengths)
        self.summary = None
        counts = [len(ids) for ids in tokens]
        flat = [token for ids in tokens for token in ids]
        if self._stepper is not None and len(flat) <= self._stepper.lanes:
            slots = [row for row, count in enumerate(counts) for _ in range(count)]
            places = [at + i for at, n in zip(lengths, counts, strict=True) for i in range(n)]
            logits = self._stepper.read(flat, slots, places)
            self.summary = self._stepper.summary
        elif max(counts) == 1:
            view = self.cache.rows(slice(0, len(tokens)))
            view.lengths[:] = torch.tensor(lengths)
            ids = torch.tensor(flat, device=self.device)[:, None]
            logits = self._logits(self.model.hidden(ids, view)[:, 0])
        else:
            begins = accumulate(counts, initial=0)
            spans = [
                Span(begin, count, row, self.lengths[row])
                for row, (begin, count) in enumerate(zip(begins, counts, strict=False))
            ]
            ids = torch.tensor(flat, device=self.device)
            logits = self._logits(self.model.hidden_spans(ids, spans, self.cache))
        for row, count in enumerate(counts):
            self.lengths[row] += count
        return logits

    def room(self, row: int) -> int:
        """How many more tokens a row can hold before it has to slide."""
        return self.capacity - self.lengths[row]

    def slide(self, row: int) -> None:
        """Forget the earlier half of a full row and read the later one anew."""
        kept = self.capacity // 2
        text = self.cache.ids[row, self.lengths[row] - kept : self.lengths[row]].tolist()
        self.lengths[row] = 0
        if kept:
            self._prefill([row], [text])

    def rewind(self, row: int, tokens: int) -> None:
        """Take back the last tokens of a row, as if they had not been read."""
        self.lengths[row] -= tokens

    def drop(self, row: int) -> None:
        """Let a row leave; the last row in use takes its number."""
        last = len(self.lengths) - 1
        if row != last:
            self.cache.lengths[last] = self.lengths[last]
            self.cache.take(self.cache, last, row)
            self.lengths[row] = self.lengths[last]
        self.lengths.pop()

    @contextlib.contextmanager
    def choosing(self) -> Iterator[None]:
        """While tokens are chosen: torch keeps to one thread, for the stepper's wait beside it."""
        if self._stepper is None:
            yield
            return
        with _one_thread():
            yield


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _parts(texts: list[list[int]], most: int) -> Iterator[list[tuple[int, int, int]]]:
    """Pieces (text, start, end) to be read together: at most `most` tokens, but one piece at least.

    A piece has at most `CHUNK` tokens; those of one text come one after another.
    """
    part: list[tuple[int, int, int]] = []
    size = 0
    for text, ids in enumerate(texts):
        for start in range(0, len(ids), CHUNK):
            end = min(start + CHUNK, len(ids))
            if part and (size + end - start > most or part[-1][0] == text):
                yield part
                part, size = [], 0
            part.append((text, start, end))
            size += end - start
    if part:
        yield part
