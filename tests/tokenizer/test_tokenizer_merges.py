"""Learning merges: equal to the plain algorithm, and to the library's trainer on real text."""

import json
from collections import Counter
from itertools import pairwise

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, trainers

from malmoi.tokenizer import merges as module
from malmoi.tokenizer import train_tokenizer
from malmoi.tokenizer.build import _split
from malmoi.tokenizer.counts import Words
from malmoi.tokenizer.merges import learn_merges
from malmoi.tokenizer.pieces import byte_level_alphabet
from malmoi.tokenizer.spell import spell, spell_bytes
from malmoi.tokenizer.train import count_text, train_on


def naive(words: Counter[str], letters: list[str], tokens: int, min_frequency: int):
    """Count all pairs, join the most frequent one, again (Sennrich et al. 2016)."""
    names = list(letters)
    merges = []
    corpus = [([letters.index(char) for char in word], count) for word, count in words.items()]
    while len(names) < tokens:
        pairs = Counter()
        for word, count in corpus:
            for pair in pairwise(word):
                pairs[pair] += count
        if not pairs:
            break
        (left, right), count = min(pairs.items(), key=lambda item: (-item[1], item[0]))
        if count < min_frequency:
            break
        name = names[left] + names[right]
        merges.append((names[left], names[right]))
        if name not in names:
            names.append(name)
        new = names.index(name)
        for word, _ in corpus:
            i = 0
            while i + 1 < len(word):
                if (word[i], word[i + 1]) == (left, right):
                    word[i : i + 2] = [new]
                i += 1
    return names, merges


words_of_abc = st.lists(st.text("abc", min_size=1, max_size=12), min_size=1, max_size=12)


@given(words=words_of_abc, frequency=st.integers(1, 3), room=st.sampled_from([0, 4, 1 << 16]))
@settings(deadline=None, max_examples=150)
def test_equal_to_the_plain_algorithm(words, frequency, room):
    """Few letters and long words: overlaps (aaa), and tokens that two merges spell."""
    table = Words().add(words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SPARE", room)  # without it all is counted anew very often
        found = learn_merges(spell(table, list("abc")), list("abc"), 60, frequency)
    assert found == naive(Counter(words), list("abc"), 60, frequency)


def test_a_token_that_two_merges_spell_is_one_token():
    # ab, bc and b-alone make both ab+c and a+bc; found by the plain algorithm, too.
    words = ["abc"] * 5 + ["ab"] * 9 + ["xbc"] * 8 + ["zabc", "aabc"]
    letters = list("abcxz")
    names, merges = learn_merges(spell(Words().add(words), letters), letters, 40, 1)
    assert (names, merges) == naive(Counter(words), letters, 40, 1)
    assert len(set(names)) == len(names)


def by_library(texts, split, letters: list[str], size: int):
    trained = tokenizers.Tokenizer(models.BPE())
    trained.pre_tokenizer = split
    trainer = trainers.BpeTrainer(
        vocab_size=size, min_frequency=2, initial_alphabet=letters, show_progress=False
    )
    trained.train_from_iterator(texts, trainer)
    model = json.loads(trained.to_str())["model"]
    names = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return names, [(left, right) for left, right in model["merges"]]


def test_equal_to_the_library_on_korean(korean):
    table = Words().add(korean)
    letters = sorted(table.counter())
    expected = by_library(korean, _split(), letters, 6000)
    assert learn_merges(spell(table, letters), letters, 6000, 2) == expected
    assert len(expected[1]) > 4000


def test_equal_to_the_library_on_bytes(korean):
    table = Words("gpt2").add(korean)
    byte_of = byte_level_alphabet()
    letters = sorted(byte_of)
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    expected = by_library(korean, split, letters, 6000)
    corpus = spell_bytes(table, [byte_of[letter] for letter in letters])
    assert learn_merges(corpus, letters, 6000, 2) == expected


@pytest.mark.parametrize("at_once", [1, 7])
def test_how_often_all_is_counted_anew_makes_no_difference(monkeypatch, at_once, sample):
    table = Words().add([sample] * 3)
    letters = sorted(table.counter())
    expected = learn_merges(spell(table, letters), letters, 300, 2)
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    monkeypatch.setattr(module, "_SPARE", 0)
    assert learn_merges(spell(table, letters), letters, 300, 2) == expected


def test_words_are_cut_where_a_character_is_no_letter():
    corpus = spell(Words().add(["ab뷁cd뷁", "뷁", "a뷁b", "뷁ab"]), list("abcd"))
    pieces = [
        corpus.symbols[start : start + size].tolist()
        for start, size in zip(corpus.starts, corpus.sizes, strict=True)
    ]
    assert pieces == [[0, 1], [2, 3], [0, 1]]  # single letters have no pairs
    assert corpus.counts.tolist() == [1, 1, 1]
    nothing = spell(Words().add(["뷁"]), list("ab"))
    assert learn_merges(nothing, list("ab"), 10, 1) == (["a", "b"], [])


def test_a_bounded_table_trains_nearly_the_same_tokenizer(korean):
    exact = count_text(korean, "bpe")
    bounded = count_text(korean, "bpe", most_words=len(exact) // 2)
    assert bounded.error > 0
    assert len(bounded) <= len(exact) // 2
    taken = [
        sum(map(len, train_on(table, "bpe", 2500).encode_batch(korean)))
        for table in (exact, bounded)
    ]
    assert taken[1] == pytest.approx(taken[0], rel=0.03)


@pytest.mark.parametrize("kind", ["word", "unigram", "bytebpe"])
def test_other_kinds_take_bounded_tables(kind, sample):
    table = count_text([sample] * 5, kind, most_words=60)
    assert table.error > 0
    tokenizer = train_on(table, kind)
    assert tokenizer.decode(tokenizer.encode(sample)) == sample


def test_words_of_another_pattern_are_refused(sample):
    with pytest.raises(ValueError, match="counted for another kind"):
        train_on(count_text([sample], "bpe"), "bytebpe")
    # Characters are in all of them.
    assert train_on(count_text([sample], "bpe"), "char").to_json() == (
        train_tokenizer([sample], "char").to_json()
    )
