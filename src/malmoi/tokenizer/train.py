"""Training a tokenizer of each kind from text.

All kinds but `bytebpe` have one alphabet: the 128 ASCII characters, the other characters that the
text uses enough, and a token for each byte that the UTF-8 of any further character can hold (115 of
the 256; the others never occur and would only widen the softmax). On top of it

- `char` has nothing,
- `word` whole words with the space before them; other words go by characters,
- `bpe` merges of frequent neighbours, `unigram` the pieces of a unigram language model.

`bytebpe` is GPT-2's: merges over the 256 bytes. The same text gives the same file, byte by byte.
"""

from collections import Counter
from collections.abc import Iterable

import tokenizers
from tokenizers import AddedToken

from malmoi.tokenizer import build
from malmoi.tokenizer.alphabet import choose_alphabet, default_size
from malmoi.tokenizer.counts import MOST_WORDS, Pattern, Words
from malmoi.tokenizer.load import SPECIALS
from malmoi.tokenizer.tokenizer import Tokenizer

KINDS = ("char", "word", "bpe", "bytebpe", "unigram")


_PATTERNS: dict[str, Pattern] = {"char": "none", "bytebpe": "gpt2"}


def train_tokenizer(
    texts: Iterable[str],
    kind: str,
    vocab_size: int | None = None,
    *,
    min_frequency: int | None = None,
    byte_fallback: bool = True,
) -> Tokenizer:
    """Train a tokenizer on `texts`, which is read once and never held in memory as a whole.

    It is `count_text`, then `train_on`: see there for the arguments and what is raised.
    """
    check(kind, vocab_size, min_frequency=min_frequency, byte_fallback=byte_fallback)
    words = count_text(texts, kind)
    return train_on(
        words, kind, vocab_size, min_frequency=min_frequency, byte_fallback=byte_fallback
    )


def count_text(texts: Iterable[str], kind: str, *, most_words: int = MOST_WORDS) -> Words:
    """What a tokenizer of this kind is trained on: the text's characters and words, counted.

    Its memory is bounded, whatever the length of the text. Where there are more than `most_words`
    distinct words the counts are no longer exact, and `error` of the result says by how much at
    most; characters are counted exactly always. 10 GB made like Korean (1.3 billion words, 20
    million distinct) took 2.6 GiB and 9 minutes of one core, all the training of a bpe included;
    0.6 % of the occurrences were dropped, and `error` was 2.

    Raises ValueError where the kind is unknown or a text holds a lone surrogate.
    """
    check(kind)
    return Words(_PATTERNS.get(kind, "malmoi"), most_words).add(texts)


def train_on(
    words: Words,
    kind: str,
    vocab_size: int | None = None,
    *,
    min_frequency: int | None = None,
    byte_fallback: bool = True,
) -> Tokenizer:
    """Train a tokenizer on counted words, as `count_text` made them for the same kind.

    `vocab_size` counts everything: 4 special tokens, alphabet and the rest. Without it:

    - `char`: every character seen `min_frequency` times; `word`: those, and the words seen as
      often, 30,000 tokens at most;
    - `bpe`, `unigram`, `bytebpe`: alphabet + 2048 * (characters / 1,000,000) ** 0.6 (words grow
      with text about so: Heaps' law), 32,000 at most. English: 1 MB 2,400, 5 MB 5,600, 100 MB
      32,000; Korean has some 1,000 to 2,000 syllables more.

    `min_frequency` (2 where not given) is how often a character, word, pair or piece must occur to
    become a token. In `bpe`, `unigram` and `word` other characters than ASCII take half of what
    `vocab_size` leaves at most, the most frequent ones, so that rare syllables and not room for
    words are given up.

    `byte_fallback=False` leaves the bytes out (`char`: 69 tokens on tinyshakespeare instead of
    247) and takes all characters seen; a character never seen then becomes `unk` and is lost, so
    text no longer comes back exactly. `bytebpe` cannot do without its bytes.

    Raises ValueError where the kind is unknown, there is no text, or `vocab_size` is too small for
    the alphabet or larger than the text supports.
    """
    check(kind, vocab_size, min_frequency=min_frequency, byte_fallback=byte_fallback)
    if kind != "char" and words.pattern != _PATTERNS.get(kind, "malmoi"):
        raise ValueError(f"words that were counted for another kind cannot train {kind}")
    backend = _build(words, kind, vocab_size, min_frequency or 2, byte_fallback)
    roles = {role: index for index, role in enumerate(SPECIALS)}
    backend.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in SPECIALS.values()]
    )
    return Tokenizer(backend, roles)


def check(
    kind: str,
    vocab_size: int | None = None,
    *,
    min_frequency: int | None = None,
    byte_fallback: bool = True,
) -> None:
    """Raise what can be told before any text is read; see `train_on`."""
    if kind not in KINDS:
        raise ValueError(f"tokenizer kind {kind!r} is unknown; choose one of {', '.join(KINDS)}")
    if kind == "bytebpe" and not byte_fallback:
        raise ValueError("bytebpe is made of bytes and has no byte_fallback=False; use bpe")
    if min_frequency is not None and min_frequency < 1:
        raise ValueError(f"min_frequency is {min_frequency}; it must be at least 1")
    choose_alphabet(kind, Counter(), vocab_size, 1, byte_fallback, 0.5)


def _build(
    words: Words, kind: str, vocab_size: int | None, min_frequency: int, fallback: bool
) -> tokenizers.Tokenizer:
    chars = words.counter()
    if not chars:
        raise ValueError("there is no text to train a tokenizer on")
    found = 0
    # Half of the room is for single characters, all of it where nothing else fills it.
    for share in (0.5, 1.0):
        alphabet = choose_alphabet(kind, chars, vocab_size, min_frequency, fallback, share)
        size = vocab_size or default_size(kind, len(alphabet), chars.total())
        match kind:
            case "char":
                backend = build.build_char(alphabet, fallback)
            case "word":
                backend = build.build_word(words, alphabet, size, min_frequency, fallback)
            case "unigram":
                backend = build.train_unigram(words, alphabet, size, min_frequency, fallback)
            case "bpe":
                backend = build.train_bpe(words, alphabet, size, min_frequency, fallback)
            case _:
                backend = build.train_bytebpe(words, size, min_frequency)
        found = backend.get_vocab_size()
        if vocab_size is None or found >= vocab_size:
            return backend
    raise ValueError(
        f"vocab_size {vocab_size:,} is too large for {kind}: the text supports at most {found:,} "
        f"tokens; use --vocab-size {found} or less"
    )
