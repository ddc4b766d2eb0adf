"""Builders of the kinds: each makes the library's tokenizer out of text or counts."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from operator import itemgetter

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from malmoi.tokenizer.load import SPECIALS
from malmoi.tokenizer.pattern import PATTERN
from malmoi.tokenizer.pieces import byte_level_alphabet
from malmoi.tokenizer.unigram import train_pieces

# --- char and word: a BPE model without merges, which goes by characters


def build_char(alphabet: list[str], fallback: bool) -> tokenizers.Tokenizer:
    """Characters alone."""
    return _bpe_backend([*SPECIALS.values(), *alphabet], [], fallback, pattern=False)


def count_words(parts: Iterable[str]) -> Counter[str]:
    """Words as `PATTERN` cuts them, and how often each occurs."""
    split = _split()
    words: Counter[str] = Counter()
    for part in parts:
        words.update(map(itemgetter(0), split.pre_tokenize_str(part)))
    return words


def build_word(
    words: Counter[str], alphabet: list[str], size: int, min_frequency: int, fallback: bool
) -> tokenizers.Tokenizer:
    """The most frequent words whole, behind the alphabet."""
    known = set(alphabet)
    frequent = [
        word for word, count in words.items() if count >= min_frequency and word not in known
    ]
    frequent.sort(key=lambda word: (-words[word], word))
    vocab = [*SPECIALS.values(), *alphabet]
    return _bpe_backend(
        [*vocab, *frequent[: max(0, size - len(vocab))]], [], fallback, whole_words=True
    )


# --- bpe and bytebpe


def train_bpe(
    parts: Iterable[str],
    chars: Counter[str],
    alphabet: list[str],
    size: int,
    min_frequency: int,
    fallback: bool,
) -> tokenizers.Tokenizer:
    """Merges over the alphabet."""
    letters = [token for token in alphabet if len(token) == 1]
    bytes_ = [token for token in alphabet if len(token) > 1]
    # A pair must not be learnt across a character that goes by bytes: the text is cut there.
    cut_out = _cut_at(set(chars) - set(letters))
    trained = tokenizers.Tokenizer(models.BPE())
    trained.pre_tokenizer = _split()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(SPECIALS) - len(bytes_),
        min_frequency=min_frequency,
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        show_progress=False,
    )
    trained.train_from_iterator((piece for part in parts for piece in cut_out(part)), trainer)
    tokens, merges = _learnt(trained)
    return _bpe_backend([*SPECIALS.values(), *bytes_, *tokens], merges, fallback)


def train_bytebpe(parts: Iterable[str], size: int, min_frequency: int) -> tokenizers.Tokenizer:
    """GPT-2's: merges over bytes, its pattern, its names of bytes."""
    trained = tokenizers.Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(SPECIALS),
        min_frequency=min_frequency,
        initial_alphabet=sorted(byte_level_alphabet()),
        show_progress=False,
    )
    trained.train_from_iterator(parts, trainer)
    tokens, merges = _learnt(trained)
    ids = {token: index for index, token in enumerate([*SPECIALS.values(), *tokens])}
    backend = tokenizers.Tokenizer(models.BPE(vocab=ids, merges=merges))
    backend.pre_tokenizer = trained.pre_tokenizer
    backend.decoder = decoders.ByteLevel()
    return backend


# --- unigram


def train_unigram(
    words: Counter[str], alphabet: list[str], size: int, min_frequency: int, fallback: bool
) -> tokenizers.Tokenizer:
    """A unigram language model of `size` tokens, or fewer where the words do not hold so many."""
    letters = [token for token in alphabet if len(token) == 1]
    bytes_ = [token for token in alphabet if len(token) > 1]
    cut_out = _cut_at({char for word in words for char in word} - set(letters))
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for piece in cut_out(word):
            counts[piece] += count
    del counts[""]
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


def _learnt(trained: tokenizers.Tokenizer) -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens by id, and merges by rank, of a BPE model just trained."""
    model = json.loads(trained.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return tokens, [(left, right) for left, right in model["merges"]]


def _cut_at(characters: set[str]) -> Callable[[str], list[str]]:
    """A function that cuts a text at these characters and leaves them out."""
    if not characters:
        return lambda text: [text]
    return re.compile(f"[{re.escape(''.join(sorted(characters)))}]").split
