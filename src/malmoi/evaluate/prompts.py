"""Prompts from held-out text, and what really came next.

Where a corpus has enough documents these are their beginnings, since that is where people begin;
where it has few, windows inside of them.
"""

from dataclasses import dataclass

import numpy as np

from malmoi.data import TokenStore

LEAST = 2
"""tokens of text that a prompt has, and what follows it, at the least"""


@dataclass(frozen=True)
class HeldOut:
    """A prompt and its reference, as ids.

    Attributes:
        prompt: it begins with `<bos>` where the document begins.
        reference: what followed in the same document, without `<eos>`.

    """

    prompt: list[int]
    reference: list[int]


def held_out(store: TokenStore, count: int, prompt_tokens: int, new_tokens: int) -> list[HeldOut]:
    """Up to `count` prompts, evenly spaced over the store, always the same ones.

    Args:
        store: of the held-out text.
        count: how many are wanted; there are fewer where the text is too short.
        prompt_tokens: of a prompt; of a document too short for that, its first half.
        new_tokens: most tokens of a reference.

    Raises:
        ValueError: not a single document is long enough.

    """
    ends = np.append(store.offsets[1:], len(store)) - 1  # where the `<eos>` stands
    spans = [
        (start, end)
        for start, end in zip(store.offsets.tolist(), ends.tolist(), strict=True)
        if end - start - 1 >= 2 * LEAST
    ]
    if not spans:
        raise ValueError(
            f"{store.path}: no document of {2 * LEAST} tokens or more to take prompts from"
        )
    if len(spans) < count:
        window = prompt_tokens + new_tokens
        spans = [
            (at, end)
            for start, end in spans
            # What is left at the end of a document makes no prompt of its own.
            for at in range(start, max(start + 1, end - window + 1), window)
        ]
    chosen = np.linspace(0, len(spans) - 1, min(count, len(spans))).astype(np.int64)
    return [_cut(store, spans[place], prompt_tokens, new_tokens) for place in chosen]


def _cut(store: TokenStore, span: tuple[int, int], prompt: int, new: int) -> HeldOut:
    start, end = span
    first = int(store.ids[start] == store.bos_id)
    half = first + (end - start - first) // 2
    middle = start + max(min(prompt, half), first + 1)
    ids = store.ids[start : min(end, middle + new)].tolist()
    return HeldOut(ids[: middle - start], ids[middle - start :])
