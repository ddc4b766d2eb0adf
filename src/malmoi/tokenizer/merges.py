"""Byte pair encoding learnt from counted words (Sennrich et al. 2016), for any number of them.

The trainer of the `tokenizers` library wants the text itself and keeps some 600 bytes a distinct
word; this one takes words that were counted (`counts.py`) and spelt (`spell.py`), and some 60. Both
learn the same merges: always the most frequent pair of neighbours, of equally frequent ones the one
of the lower ids.
"""

import heapq
from collections.abc import Sequence

import numpy as np

from malmoi.tokenizer.counts import Ints
from malmoi.tokenizer.scan import compiled
from malmoi.tokenizer.spell import Corpus, Symbols

_AT_ONCE = 4096  # merges between two looks at the outer world, Ctrl-C for one
_MULTIPLIER = 0x9E3779B97F4A7C15 - (1 << 64)  # 2**64 / golden ratio, as signed
_SPARE = 1 << 16  # pairs, and places of pairs, for which there is room besides
_BASE = 0x5851F42D4C957F2D  # of the polynomial that is the hash of a token


def learn_merges(
    corpus: Corpus, letters: Sequence[str], tokens: int, min_frequency: int
) -> tuple[list[str], list[tuple[str, str]]]:
    """Learn until there are so many tokens, or no pair occurs `min_frequency` times.

    Args:
        corpus: in symbols below `len(letters)`; it is used up.
        letters: the name of each symbol.
        tokens: how many to have in the end, `letters` among them.
        min_frequency: at least 1.

    Returns:
        The tokens by id, and the merges by rank. Two merges may give the same token.

    """
    names = list(letters)
    merges: list[tuple[str, str]] = []
    # Tokens are told apart by what they spell, which is kept as a hash that can be joined.
    codes = np.arange(1, len(letters) + 1, dtype=np.int64) * _MULTIPLIER
    powers = np.full(len(letters), _BASE, dtype=np.int64)
    while len(names) < tokens:
        most = min(_AT_ONCE, tokens - len(names))
        codes = np.concatenate([codes[: len(names)], np.zeros(most, dtype=np.int64)])
        powers = np.concatenate([powers[: len(names)], np.zeros(most, dtype=np.int64)])
        learnt = _learn(
            corpus.symbols, corpus.starts, corpus.sizes, corpus.counts,
            codes, powers, len(names), most, min_frequency, _SPARE,
        )  # fmt: skip
        for left, right, token in learnt.tolist():
            merges.append((names[left], names[right]))
            if token == len(names):
                names.append(names[left] + names[right])
        if not len(learnt):
            break
    return names, merges


@compiled()
def _find(keys: Ints, key: int | np.int64) -> np.int64:
    """Return the slot of a key, or the free one where it belongs; free ones hold -1."""
    mask = np.int64(len(keys) - 1)
    mixed = key * np.int64(_MULTIPLIER)
    slot = (mixed ^ (mixed >> 32)) & mask
    while keys[slot] != key and keys[slot] != -1:
        slot = (slot + 1) & mask
    return slot


@compiled()
def _pair(left: int | np.int64, right: int | np.int64) -> np.int64:
    """Return the key of a pair; keys are ordered as pairs are."""
    return np.int64(left) << 32 | np.int64(right)


@compiled()
def _index(
    symbols: Symbols, starts: Ints, sizes: Symbols, spare: int
) -> tuple[Ints, Symbols, Ints]:
    """Number all pairs: a hash table of keys, the number in each of its slots, and each one's key.

    There is room for half as many again.
    """
    size = 8
    while size < spare:
        size *= 2
    keys, numbers = np.full(2 * size, -1, np.int64), np.empty(2 * size, np.int32)
    named = np.empty(size, np.int64)
    pairs = 0
    for word in range(len(starts)):
        for i in range(starts[word], starts[word] + sizes[word] - 1):
            key = _pair(symbols[i], symbols[i + 1])
            slot = _find(keys, key)
            if keys[slot] == -1:
                keys[slot], numbers[slot], named[pairs] = key, pairs, key
                pairs += 1
                if 3 * pairs > 2 * len(named):
                    more = np.empty(2 * len(named), np.int64)
                    more[:pairs] = named[:pairs]
                    named = more
                    keys = np.full(2 * len(keys), -1, np.int64)
                    numbers = np.empty(len(keys), np.int32)
                    for pair in range(pairs):
                        slot = _find(keys, named[pair])
                        keys[slot], numbers[slot] = named[pair], pair
    named[pairs:] = -1
    return keys, numbers, named


@compiled()
def _tally(
    symbols: Symbols, starts: Ints, sizes: Symbols, counts: Ints,
    keys: Ints, numbers: Symbols, named: Ints, spare: int,
) -> tuple[int, np.int64, Ints, Ints, Ints, Symbols]:  # fmt: skip
    """Count all pairs, and list where they stand.

    Returns how many pairs there are, how many places are listed in all, and of each pair how often
    it occurs in the text, how many places are listed, where its list begins, and all lists: the
    numbers of the words in which it stands, a word for each time. There is room for half as many
    places again.
    """
    frequency, occurs, first = np.zeros((3, len(named)), np.int64)
    total = 0
    for word in range(len(starts)):
        for i in range(starts[word], starts[word] + sizes[word] - 1):
            pair = numbers[_find(keys, _pair(symbols[i], symbols[i + 1]))]
            frequency[pair] += counts[word]
            occurs[pair] += 1
            total += 1
    places = np.empty(total + total // 2 + spare, np.int32)
    pairs = 0
    used = np.int64(0)
    while pairs < len(named) and named[pairs] != -1:
        first[pairs] = used
        used += occurs[pairs]
        occurs[pairs] = 0
        pairs += 1
    for word in range(len(starts)):
        for i in range(starts[word], starts[word] + sizes[word] - 1):
            pair = numbers[_find(keys, _pair(symbols[i], symbols[i + 1]))]
            places[first[pair] + occurs[pair]] = word
            occurs[pair] += 1
    return pairs, used, frequency, occurs, first, places


@compiled()
def _spellings(codes: Ints, known: int, most: int) -> tuple[Ints, Symbols]:
    """Return the tokens by what they spell: a hash table of codes, and the token in each slot."""
    slots = 1 << 10
    while slots < 2 * (known + most):
        slots *= 2
    spelt, tokens = np.full(slots, -1, np.int64), np.empty(slots, np.int32)
    for token in range(known):
        slot = _find(spelt, codes[token])
        spelt[slot], tokens[slot] = codes[token], token
    return spelt, tokens


@compiled()
def _learn(
    symbols: Symbols, starts: Ints, sizes: Symbols, counts: Ints,
    codes: Ints, powers: Ints, known: int, most: int, min_frequency: int, spare: int,
) -> Symbols:  # fmt: skip
    """Learn `most` new tokens; fewer where no pair is left or the memory set aside is used up.

    Everything that is known of pairs is found out anew at the beginning: how often each occurs, and
    in which words. So what is learnt does not depend on how often this is called.

    Returns (left, right, token) of each merge.
    """
    keys, numbers, named = _index(symbols, starts, sizes, spare)
    pairs, used, frequency, occurs, first, places = _tally(
        symbols, starts, sizes, counts, keys, numbers, named, spare
    )
    fresh = np.zeros(len(named), np.int32)  # places that are to be listed, of each pair
    spelt, tokens = _spellings(codes, known, most)
    heap = [
        (-frequency[pair], named[pair], np.int64(pair))
        for pair in range(pairs)
        if frequency[pair] >= min_frequency
    ]
    heapq.heapify(heap)
    learnt = np.empty((2 * most, 3), np.int32)
    merges = 0
    end = known + most
    full = False
    while known < end and merges < len(learnt) and len(heap) > 0 and not full:
        minus, key, pair = heapq.heappop(heap)
        if frequency[pair] != -minus:  # it has changed since; its turn is later
            if frequency[pair] >= min_frequency:
                heapq.heappush(heap, (-frequency[pair], key, pair))
            continue
        left, right = key >> 32, key & 0xFFFFFFFF
        code = codes[left] * powers[right] + codes[right]
        slot = _find(spelt, code)
        if spelt[slot] == -1:
            spelt[slot], tokens[slot] = code, known
            codes[known], powers[known] = code, powers[left] * powers[right]
            known += 1
        token = np.int64(tokens[slot])  # ab + c may spell a token that a + bc spelt before
        learnt[merges] = left, right, token
        merges += 1

        new_pair, new_word = np.empty((2, 2 * occurs[pair]), np.int32)
        new = 0
        for place in range(first[pair], first[pair] + occurs[pair]):
            word = places[place]
            weight = counts[word]
            # It may hold the pair no longer, which changes nothing.
            begin = write = read = starts[word]
            stop = begin + sizes[word]
            while read < stop:
                if symbols[read] != left or read + 1 == stop or symbols[read + 1] != right:
                    symbols[write] = symbols[read]
                    write += 1
                    read += 1
                    continue
                for side in range(2):
                    if side == 0:
                        if write == begin:
                            continue
                        was = _pair(symbols[write - 1], left)
                        now = _pair(symbols[write - 1], token)
                    else:
                        if read + 2 >= stop:
                            continue
                        was = _pair(right, symbols[read + 2])
                        now = _pair(token, symbols[read + 2])
                    slot = _find(keys, was)
                    if keys[slot] != -1:  # else the table was full: all will be counted anew
                        frequency[numbers[slot]] -= weight
                    slot = _find(keys, now)
                    if keys[slot] == -1:
                        if pairs == len(named):
                            full = True
                            continue
                        keys[slot], numbers[slot], named[pairs] = now, pairs, now
                        pairs += 1
                    frequency[numbers[slot]] += weight
                    new_pair[new], new_word[new] = numbers[slot], word
                    new += 1
                frequency[pair] -= weight
                symbols[write] = token
                write += 1
                read += 2
            sizes[word] = write - begin

        for i in range(new):
            fresh[new_pair[i]] += 1
        for i in range(new):
            pair = np.int64(new_pair[i])
            if fresh[pair] > 0:
                size = occurs[pair] + fresh[pair]
                fresh[pair] = 0
                if used + size > len(places):
                    full = True
                    break
                for place in range(occurs[pair]):  # of the same token, spelt otherwise
                    places[used + place] = places[first[pair] + place]
                first[pair] = used
                used += size
                if frequency[pair] >= min_frequency:
                    heapq.heappush(heap, (-frequency[pair], named[pair], pair))
            places[first[pair] + occurs[pair]] = new_word[i]
            occurs[pair] += 1
    return learnt[:merges]
