"""The rows of a batch in one KV cache: prompts come in, tokens are read, rows leave.

Rows in use always stand side by side at the beginning of the cache: one that leaves is replaced by
the last. Few tokens at a time are read by the compiled `Stepper`, many by the model itself.

What a row gets does not depend on the others. In float32 on the CPU that holds to the last bit:
every prompt is read by itself, and the stepper sums in one order whatever is beside a row.

When a row has filled the model's context, its later half is read anew, from position 0, and
generation goes on from there; that holds for learned and for rotary positions alike, and keeps
what the model sees equal to what it was trained on. A prompt longer than the context keeps its end.
"""

import contextlib
from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from malmoi.model import GPT, KVCache

CHUNK = 512
"""tokens of each prompt that are read at once, so that memory does not grow with its length"""
GROUP = 4096
"""most tokens, padding included, that are read at once for several prompts"""
STEPPER_WORK = 5e8
"""bfloat16: with more multiplications than this a step, torch's matrix product is quicker"""


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
        self.lengths: list[int] = []
        """tokens read of each row in use"""
        self._exact = self.device.type == "cpu" and self.dtype == torch.float32
        self._context = contextlib.ExitStack()
        self._stepper = None
        if compiled is not False and self.device.type == "cpu":
            from malmoi.model.stepper import Stepper

            if Stepper.supports(model):
                self._stepper = Stepper(model, self.cache, self._most_lanes(slots * ahead))

    def _most_lanes(self, wanted: int) -> int:
        if self._exact:
            return wanted
        embeddings = [self.model.token_embedding, getattr(self.model, "ngram_embedding", None)]
        looked_up = sum(p.numel() for m in embeddings if m is not None for p in m.parameters())
        weights = sum(p.numel() for p in self.model.parameters()) - looked_up
        if self.model.config.tie_embeddings:
            weights += self.model.token_embedding.weight.numel()
        return max(1, min(wanted, int(STEPPER_WORK / max(weights, 1))))

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
        kept = [list(prompt[-self.capacity :]) for prompt in prompts]
        first = len(self.lengths)
        self.lengths += [0] * len(kept)
        logits: list[Tensor] = []
        for group in self._groups(kept):
            begin = first + len(logits)
            read = self._prefill(begin, kept[len(logits) : len(logits) + group])
            logits += read.unbind()
        return torch.stack(logits)

    def _groups(self, prompts: list[list[int]]) -> Iterator[int]:
        """How many neighbouring prompts to read together; one where bits have to agree."""
        if self._exact:
            yield from [1] * len(prompts)
            return
        begin = 0
        while begin < len(prompts):
            end, tokens = begin, 0
            while end < len(prompts):
                tokens += len(prompts[end])
                padded = (end + 1 - begin) * max(map(len, prompts[begin : end + 1]))
                if end > begin and (padded > GROUP or padded > 1.3 * tokens + 64):
                    break
                end += 1
            yield end - begin
            begin = end

    def _prefill(self, first: int, texts: list[list[int]]) -> Tensor:
        """Read whole texts into rows from `first` on; logits `[len(texts), V]` after each."""
        if self._stepper is not None:
            self._stepper.rest()
        view = self.cache.rows(slice(first, first + len(texts)))
        view.lengths.zero_()
        last: list[Tensor | None] = [None] * len(texts)
        for begin in range(0, max(map(len, texts)), CHUNK):
            part = [text[begin : begin + CHUNK] for text in texts]
            hidden = self._forward(view, part)
            for row, ids in enumerate(part):
                if ids:
                    last[row] = hidden[row, len(ids) - 1]
        for row, text in enumerate(texts):
            self.lengths[first + row] = len(text)
        self.cache.lengths[first : first + len(texts)] = view.lengths
        rows = [row for row in last if row is not None]
        assert len(rows) == len(texts)
        return (
            torch.cat([self._logits(row[None]) for row in rows])
            if self._exact
            else (self._logits(torch.stack(rows)))
        )

    def _logits(self, hidden: Tensor) -> Tensor:
        """Float32 on the CPU, where tokens are chosen."""
        return F.linear(hidden, self.model.output_weight).float().cpu()

    def read(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Read one or more new tokens of every row in use; logits `[sum of counts, V]` after each.

        Valid until the next call. Use `slide` before, and `rewind` after, where needed.
        """
        assert len(tokens) == len(self.lengths)
        counts = [len(ids) for ids in tokens]
        stepper = self._stepper
        if stepper is not None and sum(counts) <= stepper.lanes:
            slots = [row for row, count in enumerate(counts) for _ in range(count)]
            places = [at + i for at, n in zip(self.lengths, counts, strict=True) for i in range(n)]
            flat = [token for ids in tokens for token in ids]
            logits = torch.from_numpy(stepper.read(flat, slots, places))
        else:
            view = self.cache.rows(slice(0, len(tokens)))
            view.lengths[:] = torch.tensor(self.lengths)
            hidden = self._forward(view, tokens)
            if len(set(counts)) == 1:
                hidden = hidden.flatten(0, 1)
            else:
                hidden = torch.cat([hidden[row, :n] for row, n in enumerate(counts)])
            logits = self._logits(hidden)
        for row, count in enumerate(counts):
            self.lengths[row] += count
        return logits

    def _forward(self, cache: KVCache, texts: Sequence[Sequence[int]]) -> Tensor:
        """Hidden states `[B, T, C]` of texts padded on the right."""
        longest = max(map(len, texts))
        ids = torch.tensor([[*text, *[0] * (longest - len(text))] for text in texts])
        hidden = self.model.hidden(ids.to(self.device), cache)
        cache.advance(torch.tensor([len(text) for text in texts], device=self.device))
        return hidden

    def room(self, row: int) -> int:
        """How many more tokens a row can hold before it has to slide."""
        return self.capacity - self.lengths[row]

    def slide(self, row: int) -> None:
        """Forget the earlier half of a full row and read the later one anew."""
        kept = self.capacity // 2
        text = self.cache.ids[row, self.lengths[row] - kept : self.lengths[row]].tolist()
        self.lengths[row] = 0
        if kept:
            self._prefill(row, [text])

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
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def starts(counts: Sequence[int]) -> list[int]:
    """Where each of several runs begins in a flat list."""
    return [0, *accumulate(counts)][:-1]
