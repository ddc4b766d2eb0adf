"""Counting words: the same words as the library finds, and an error that is no larger than said."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from malmoi.tokenizer import counts as module
from malmoi.tokenizer.counts import Words
from malmoi.tokenizer.pattern import PATTERN
from malmoi.tokenizer.scan import LONGEST

# GPT-2's pattern as it stands in its own code; the library's ByteLevel has it built in.
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SPLITS = {
    "malmoi": pre_tokenizers.Split(Regex(PATTERN), "isolated"),
    "gpt2": pre_tokenizers.Split(Regex(GPT2), "isolated"),
}
FRAGMENTS = [
    " ", "  ", "\n", "\r\n", "\t", "말모이", "글", "ᄒ", "1", "1876", "'", "’", "'s", "'ll",
    "don't", "a", "_", ".", "!?", "\u0301", "\u3000", "\x85", "\U0001f600", "²", "\x1c",
]  # fmt: skip
texts = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join),
)


def by_library(pattern: str, *given: str) -> Counter[str]:
    found = Counter()
    for text in given:
        found.update(word for word, _ in SPLITS[pattern].pre_tokenize_str(text))
    return found


def as_counter(words: Words) -> Counter[str]:
    return Counter(dict(words.most_common(len(words))))


@pytest.mark.parametrize("pattern", ["malmoi", "gpt2"])
@given(given=st.lists(texts, max_size=4))
@settings(deadline=None, max_examples=150)
def test_words_are_those_of_the_library(pattern, given):
    words = Words(pattern).add(given)
    assert as_counter(words) == by_library(pattern, *given)
    assert words.counter() == Counter("".join(given))
    assert words.bytes == len("".join(given).encode())
    assert (words.error, words.dropped) == (0, 0)


@pytest.mark.parametrize("pattern", ["malmoi", "gpt2"])
def test_every_character_is_what_the_library_takes_it_for(pattern):
    codes = [*range(0xD800), *range(0xE000, 0x11000), *range(0x1F000, 0x20010), 0x30000, 0xE0100]
    for first in range(0, len(codes), 4096):
        # Beside a letter, a digit, a sign and spaces it shows each of its sides.
        text = "".join(f"a{chr(c)}a 1{chr(c)}. {chr(c)}  " for c in codes[first : first + 4096])
        assert as_counter(Words(pattern).add([text])) == by_library(pattern, text)


@pytest.mark.parametrize("pattern", ["malmoi", "gpt2"])
def test_real_text(pattern, korean):
    words = Words(pattern).add(korean[:20])
    expected = by_library(pattern, *korean[:20])
    assert as_counter(words) == expected
    assert words.total == expected.total()
    assert words.most_common(50) == sorted(expected.items(), key=lambda i: (-i[1], i[0]))[:50]


def test_batches_and_long_texts_make_no_difference(monkeypatch, sample):
    given = [sample * 40, "", sample, "끝"]
    whole = Words().add(given)
    monkeypatch.setattr(module, "_BATCH", 10)
    apart = Words().add(given)
    assert np.array_equal(whole.counts, apart.counts)
    assert whole.data[: whole.ends[-1]].tobytes() == apart.data[: apart.ends[-1]].tobytes()


@given(
    numbers=st.lists(st.integers(0, 60), min_size=1, max_size=400),
    most=st.integers(2, 40),
)
@settings(deadline=None)
def test_the_error_is_no_larger_than_said(numbers, most):
    truth = Counter(f"w{'x' * (n % 7)}{'y' * (n // 7)}" for n in numbers)
    given = [word for n in numbers for word in [f"w{'x' * (n % 7)}{'y' * (n // 7)}"]]
    words = Words(most=most).add(given)
    found = as_counter(words)
    assert len(found) <= most
    assert words.total == len(given)
    assert found.total() + words.dropped == len(given)
    for word, count in truth.items():
        assert count - words.error <= found[word] <= count
        assert word in found or count <= words.error
    if len(truth) < most:
        assert words.error == 0
        assert found == truth


def test_the_rarest_go_first_and_of_equal_ones_the_oldest():
    #  8 words fill the table; the ninth makes half of them go: all rare ones but the youngest two.
    given = ["often"] * 3 + ["more"] * 2 + ["a", "b", "c", "d", "e", "f"] + ["new"]
    words = Words(most=8).add(given)
    assert as_counter(words) == Counter({"often": 3, "more": 2, "e": 1, "f": 1, "new": 1})
    assert (words.error, words.dropped) == (1, 4)


def test_bytes_are_bounded_too():
    given = [chr(0xAC00 + i) * 100 for i in range(200)]  # 300 bytes each
    words = Words(most_bytes=4 * LONGEST).add([*given, *given[-3:]])
    assert words.ends[-1] <= 4 * LONGEST
    assert len(words.data) <= 4 * LONGEST
    assert as_counter(words)[given[-1]] == 2
    assert words.dropped + as_counter(words).total() == 203


def test_an_endless_word_is_counted_in_parts_of_whole_characters():
    words = Words().add(["가" * 1000])
    assert as_counter(words) == Counter({"가" * 341: 2, "가" * 318: 1})


def test_characters_alone():
    words = Words("none").add(["말모이 말", "\U0001f600"])
    assert words.counter() == Counter("말모이 말\U0001f600")
    assert len(words) == words.total == 0


def test_what_cannot_be_is_one_line():
    with pytest.raises(ValueError, match="lone surrogate"):
        Words().add(["a", "b\ud800"])
    with pytest.raises(ValueError, match="too small"):
        Words(most=1)
