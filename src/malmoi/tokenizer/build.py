"""Builders of the kinds: each makes the library's tokenizer out of text or counts."""

import json
import re
import struct
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import IO

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from malmoi.tokenizer.alphabet import choose_alphabet, count_characters, default_size, too_large
from malmoi.tokenizer.load import SPECIALS
from malmoi.tokenizer.pattern import PATTERN
from malmoi.tokenizer.unigram import train_pieces

_MAX_WORDS = 30_000

# --- char and word: a BPE model without merges, which goes by characters


def build_char(alphabet: list[str], vocab_size: int | None, fallback: bool) -> tokenizers.Tokenizer:
    """Characters alone."""
    vocab = [*SPECIALS.values(), *alphabet]
    if vocab_size is not None and vocab_size > len(vocab):
        raise too_large("char", vocab_size, len(vocab))
    return _bpe_backend(vocab, [], fallback, pattern=False)


def count_words(parts: Iterable[str]) -> Counter[str]:
    """Words as `PATTERN` cuts them, and how often each occurs."""
    split = _split()
    words: Counter[str] = Counter()
    for part in parts:
        words.update(map(itemgetter(0), split.pre_tokenize_str(part)))
    return words


def build_word(
    words: Counter[str],
    alphabet: list[str],
    vocab_size: int | None,
    min_frequency: int,
    fallback: bool,
) -> tokenizers.Tokenizer:
    """The most frequent words whole, behind the alphabet."""
    known = set(alphabet)
    frequent = [
        word for word, count in words.items() if count >= min_frequency and word not in known
    ]
    frequent.sort(key=lambda word: (-words[word], word))
    vocab = [*SPECIALS.values(), *alphabet]
    if vocab_size is not None and vocab_size > len(vocab) + len(frequent):
        raise too_large("word", vocab_size, len(vocab) + len(frequent))
    room = max(0, (vocab_size or max(_MAX_WORDS, len(vocab))) - len(vocab))
    return _bpe_backend([*vocab, *frequent[:room]], [], fallback, whole_words=True)


# --- bpe and bytebpe


def train_bpe(
    parts: Iterable[str], vocab_size: int | None, min_frequency: int, fallback: bool
) -> tokenizers.Tokenizer:
    """Merges over the alphabet."""
    with tempfile.TemporaryFile() as spool:
        chars = count_characters((part, 1) for part in _spooled(parts, spool))
        alphabet = choose_alphabet("bpe", chars, vocab_size, min_frequency, fallback)
        size = vocab_size or default_size(len(alphabet), chars.total())
        letters = [token for token in alphabet if len(token) == 1]
        # A pair must not be learnt across a character that goes by bytes: the text is cut there.
        rare = "".join(sorted(set(chars) - set(letters)))
        cut_out = re.compile(f"[{re.escape(rare)}]") if rare else None
        replay = _replay(spool)
        trained = tokenizers.Tokenizer(models.BPE())
        trained.pre_tokenizer = _split()
        before = len(SPECIALS) + len(alphabet) - len(letters)
        trainer = trainers.BpeTrainer(
            vocab_size=size - before,
            min_frequency=min_frequency,
            initial_alphabet=letters,
            limit_alphabet=len(letters),
            show_progress=False,
        )
        kept = (piece for part in replay for piece in (cut_out.split(part) if cut_out else [part]))
        trained.train_from_iterator(kept, trainer)
    tokens, merges = _learnt(trained)
    vocab = [*SPECIALS.values(), *(t for t in alphabet if len(t) > 1), *tokens]
    if vocab_size is not None and len(vocab) < vocab_size:
        raise too_large("bpe", vocab_size, len(vocab))
    return _bpe_backend(vocab, merges, fallback)


def train_bytebpe(
    parts: Iterable[str], vocab_size: int | None, min_frequency: int
) -> tokenizers.Tokenizer:
    """GPT-2's: merges over bytes, its pattern, its names of bytes."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    smallest = len(SPECIALS) + len(letters)
    if vocab_size is not None and vocab_size < smallest:
        raise ValueError(
            f"vocab_size {vocab_size} is too small for bytebpe: specials and bytes already take "
            f"{smallest}; use {smallest} or more"
        )
    trained = tokenizers.Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    with tempfile.TemporaryFile() as spool:
        characters = sum(len(part) for part in _spooled(parts, spool))
        if not characters:
            raise ValueError("there is no text to train a tokenizer on")
        trainer = trainers.BpeTrainer(
            vocab_size=(vocab_size or default_size(len(letters), characters)) - len(SPECIALS),
            min_frequency=min_frequency,
            initial_alphabet=letters,
            show_progress=False,
        )
        trained.train_from_iterator(_replay(spool), trainer)
    tokens, merges = _learnt(trained)
    vocab = [*SPECIALS.values(), *tokens]
    if vocab_size is not None and len(vocab) < vocab_size:
        raise too_large("bytebpe", vocab_size, len(vocab))
    ids = {token: index for index, token in enumerate(vocab)}
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
    known = set(letters)
    unknown = sorted({char for word in words for char in word} - known)
    cut_out = re.compile(f"[{re.escape(''.join(unknown))}]") if unknown else None
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for piece in cut_out.split(word) if cut_out else (word,):
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


def _learnt(trained: tokenizers.Tokenizer) -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens by id, and merges by rank, of a BPE model just trained."""
    model = json.loads(trained.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return tokens, [(left, right) for left, right in model["merges"]]


_LENGTH = struct.Struct("<I")


def _spooled(parts: Iterable[str], spool: IO[bytes]) -> Iterator[str]:
    """Pass `parts` on and keep them in `spool`: BPE reads twice, first for the alphabet."""
    for part in parts:
        data = part.encode()
        spool.write(_LENGTH.pack(len(data)))
        spool.write(data)
        yield part


def _replay(spool: IO[bytes]) -> Iterator[str]:
    spool.seek(0)
    while head := spool.read(_LENGTH.size):
        yield spool.read(_LENGTH.unpack(head)[0]).decode()
