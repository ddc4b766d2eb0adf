"""Builders of the kinds: each makes the library's tokenizer out of counted words."""

import re
from collections import Counter

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers

from malmoi.tokenizer.counts import Words
from malmoi.tokenizer.load import SPECIALS
from malmoi.tokenizer.merges import learn_merges
from malmoi.tokenizer.pattern import PATTERN
from malmoi.tokenizer.pieces import byte_level_alphabet
from malmoi.tokenizer.spell import spell, spell_bytes
from malmoi.tokenizer.unigram import train_pieces

_MAX_UNIGRAM = 1_000_000  # words; its trainer looks at fewer still, but after they were cut

# --- char and word: a BPE model without merges, which goes by characters


def build_char(alphabet: list[str], fallback: bool) -> tokenizers.Tokenizer:
    """Characters alone."""
    return _bpe_backend([*SPECIALS.values(), *alphabet], [], fallback, pattern=False)


def build_word(
    words: Words, alphabet: list[str], size: int, min_frequency: int, fallback: bool
) -> tokenizers.Tokenizer:
    """The most frequent words whole, behind the alphabet."""
    known = set(alphabet)
    frequent = [
        word
        for word, count in words.most_common(size + len(alphabet))
        if count >= min_frequency and word not in known
    ]
    vocab = [*SPECIALS.values(), *alphabet]
    return _bpe_backend(
        [*vocab, *frequent[: max(0, size - len(vocab))]], [], fallback, whole_words=True
    )


# --- bpe and bytebpe


def train_bpe(
    words: Words, alphabet: list[str], size: int, min_frequency: int, fallback: bool
) -> tokenizers.Tokenizer:
    """Merges over the alphabet; a pair is not learnt across a character that goes by bytes."""
    letters = [token for token in alphabet if len(token) == 1]
    bytes_ = [token for token in alphabet if len(token) > 1]
    wanted = size - len(SPECIALS) - len(bytes_)
    tokens, merges = learn_merges(spell(words, letters), letters, wanted, min_frequency)
    return _bpe_backend([*SPECIALS.values(), *bytes_, *tokens], merges, fallback)


def train_bytebpe(words: Words, size: int, min_frequency: int) -> tokenizers.Tokenizer:
    """GPT-2's: merges over bytes, its pattern, its names of bytes."""
    byte_of = byte_level_alphabet()
    letters = sorted(byte_of)
    corpus = spell_bytes(words, [byte_of[letter] for letter in letters])
    tokens, merges = learn_merges(corpus, letters, size - len(SPECIALS), min_frequency)
    ids = {token: index for index, token in enumerate([*SPECIALS.values(), *tokens])}
    backend = tokenizers.Tokenizer(models.BPE(vocab=ids, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


# --- unigram


def train_unigram(
    words: Words, alphabet: list[str], size: int, min_frequency: int, fallback: bool
) -> tokenizers.Tokenizer:
    """A unigram language model of `size` tokens, or fewer where the words do not hold so many."""
    letters = [token for token in alphabet if len(token) == 1]
    bytes_ = [token for token in alphabet if len(token) > 1]
    known = re.compile(f"[{re.escape(''.join(letters))}]+")
    counts: Counter[str] = Counter()
    for word, count in words.most_common(_MAX_UNIGRAM):
        for piece in known.findall(word):
            counts[piece] += count
    pieces = train_pieces(counts, letters, size - len(SPECIALS) - len(bytes_), min_frequency)
    # Never found in text (PATTERN tears their names), so the score matters to nothing; the
    # library takes the lowest score as its measure for unknown characters.
    lowest = min(score for _, score in pieces)
    first = [(name, lowest) for name in (*SPECIALS.values(), *bytes_)]
    unk = list(SPECIALS).index("unk")
    backend = tokenizers.Tokenizer(models.Unigram([*first, *pieces], unk, fallback))
    backend.pre_tokenizer = _split()
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return backend


# --- shared


def _split() -> pre_tokenizers.Split:
    return pre_tokenizers.Split(Regex(PATTERN), "isolated")


def _bpe_backend(
    vocab: list[str],
    merges: list[tuple[str, str]],
    fallback: bool,
    pattern: bool = True,
    whole_words: bool = False,
) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(
        models.BPE(
            vocab={token: index for index, token in enumerate(vocab)},
            merges=merges,
            unk_token=SPECIALS["unk"],
            byte_fallback=fallback,
            ignore_merges=whole_words,
        )
    )
    if pattern:
        backend.pre_tokenizer = _split()
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return backend
