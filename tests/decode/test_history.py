"""Histories against what one computes from the whole text anew."""

from collections import Counter

import torch
from hypothesis import given
from hypothesis import strategies as st

from malmoi.decode.history import History

ids = st.lists(st.integers(0, 4), max_size=30)


def naive_banned(text: list[int], n: int) -> set[int]:
    suffix = text[len(text) - n + 1 :]
    grams = [text[start : start + n] for start in range(len(text) - n + 1)]
    return {gram[-1] for gram in grams if gram[:-1] == suffix}


def same(history: History, prompt: list[int], new: list[int]) -> None:
    assert history.prompt == prompt
    assert history.new == new
    assert len(history) == len(prompt) + len(new)
    assert history.seen.dtype == torch.long
    assert history.seen.tolist() == list(dict.fromkeys(prompt + new))
    tokens, counts = history.counts()
    assert tokens.dtype == torch.long
    assert counts.dtype == torch.float32
    assert dict(zip(tokens.tolist(), counts.tolist(), strict=True)) == Counter(new)


@given(ids, ids, st.integers(1, 5))
def test_all_is_as_computed_from_the_whole_text(prompt: list[int], new: list[int], n: int) -> None:
    early = History(prompt)
    for end, token in enumerate(new):
        banned = early.ngram_banned(n)
        assert len(set(banned)) == len(banned)
        assert set(banned) == naive_banned(prompt + new[:end], n)
        early.append(token)
    same(early, prompt, new)
    late = History(prompt)
    for token in new:
        late.append(token)
    for asked in (n, n + 1, n):
        assert set(late.ngram_banned(asked)) == naive_banned(prompt + new, asked)


@given(ids, ids, ids, ids, st.booleans())
def test_copies_go_their_own_ways(
    prompt: list[int], shared: list[int], one: list[int], other: list[int], asked: bool
) -> None:
    first = History(prompt)
    for token in shared:
        first.append(token)
    if asked:
        first.ngram_banned(2)
    first.forbidden, first.allowed = (3,), torch.ones(5, dtype=torch.bool)
    second = first.copy()
    assert second.forbidden == (3,)
    assert second.allowed is first.allowed
    second.forbidden = ()
    assert first.forbidden == (3,)
    # one token each by turns, so that a shared buffer would show
    for step in range(max(len(one), len(other))):
        for history, tokens in ((first, one), (second, other)):
            if step < len(tokens):
                history.append(tokens[step])
                history.ngram_banned(2)
    for history, tokens in ((first, one), (second, other)):
        same(history, prompt, shared + tokens)
        text = prompt + shared + tokens
        assert set(history.ngram_banned(2)) == naive_banned(text, 2)


def test_a_view_taken_earlier_stays_as_it_was() -> None:
    history = History([1, 2])
    seen = history.seen
    for token in range(100):
        history.append(token)
    assert seen.tolist() == [1, 2]
    assert history.seen.tolist() == [1, 2, 0, *range(3, 100)]
