"""A tokenizer's report card: how it cuts a text, in numbers that allow comparison.

Text is counted as it was given, tokens by the bytes they add to it (`Tokenizer.token_bytes`).
`blocks.py` asks the same of characters that the text need not hold.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from malmoi.tokenizer.tokenizer import Tokenizer

ALPHA = 2.5
"""order of Rényi's entropy at which Zouhar et al. found the highest correlation with BLEU"""
NFD_CHARACTERS = 200_000
"""so much of the beginning of a text is looked at in NFD, too"""

_BATCH = 1 << 20  # characters that are encoded at once
_FIRST, _LAST = 0xAC00, 0xD7A3  # 가, 힣

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def measure(
    tokenizers: Mapping[str, Tokenizer], texts: Iterable[str]
) -> tuple[dict[str, int], dict[str, dict[str, Any]]]:
    """Measure several tokenizers on the same texts, which are read once.

    Returns:
        What the text holds: `texts`, `characters` (code points), `syllables` (U+AC00 to U+D7A3),
        `words` (어절: what white space separates), `bytes` (of UTF-8).

        And of each tokenizer:

        - `tokens`; `tokens_per_character`, `tokens_per_word`, `bytes_per_token`: by the numbers
          above;
        - `tokens_per_syllable`: each token is shared out evenly among its bytes, and what falls to
          the bytes of syllables is divided by their number. (All tokens by all syllables would
          charge Hangul with the Latin letters beside it.)
        - `byte_fragments`: share of the tokens whose bytes are no whole characters;
        - `torn_syllables`: share of the syllables whose three bytes are not in one token;
        - `unknown`: share of the tokens that are `unk`;
        - `round_trip`: share of the texts that come back from their tokens, byte by byte;
        - `vocabulary_used`: share of the vocabulary that occurs;
        - `renyi_efficiency`: see `renyi_efficiency`;
        - `nfd`: the first `NFD_CHARACTERS` once more in NFD, where a syllable is two or three
          jamo: `tokens` (times as many as in NFC), `byte_fragments`, `unknown`, `round_trip`, and
          `composed` (share of the texts that come back in NFC instead).

        A share of nothing is None. Syllables are those that the tokens spell; where `round_trip`
        is 1 they are the text's.

    Raises:
        ValueError: there is no text, or it holds a lone surrogate.

    """
    text = dict.fromkeys(("texts", "characters", "syllables", "words", "bytes"), 0)
    tallies = {name: Tally(tokenizer) for name, tokenizer in tokenizers.items()}
    in_nfc = {name: Tally(tokenizer) for name, tokenizer in tokenizers.items()}
    in_nfd = {name: Tally(tokenizer) for name, tokenizer in tokenizers.items()}
    for batch in _batches(texts):
        left = NFD_CHARACTERS - text["characters"]
        for one in batch:
            codes = np.frombuffer(one.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
            text["texts"] += 1
            text["characters"] += len(one)
            text["syllables"] += int(((codes >= _FIRST) & (codes <= _LAST)).sum())
            text["words"] += len(one.split())
            text["bytes"] += len(one.encode("utf-8", "surrogatepass"))
        for tally in tallies.values():
            tally.add(batch)
        if left > 0:
            nfc = [unicodedata.normalize("NFC", one) for one in _first(batch, left)]
            nfd = [unicodedata.normalize("NFD", one) for one in nfc]
            for name in tokenizers:
                in_nfc[name].add(nfc)
                in_nfd[name].add(nfd, nfc)
    if not text["characters"]:
        raise ValueError("there is no text to measure tokenizers on")
    results = {}
    for name, tally in tallies.items():
        results[name] = tally.result(text) | {"nfd": _compare(in_nfc[name], in_nfd[name])}
    return text, results


def renyi_efficiency(counts: Ints | Sequence[int], alpha: float = ALPHA) -> float | None:
    """Rényi's entropy of the tokens in a text, as a share of the most that it could be.

    H_alpha(p) / log n with H_alpha(p) = log(sum p_i ** alpha) / (1 - alpha), where p are the shares
    of the n tokens that occur (Zouhar et al. 2023, "Tokenization and the Noiseless Channel", ACL,
    with the n of their `tokenization-scorer`: tokens that do not occur are left out). 1: all are
    equally frequent. It is low where a few tokens are very frequent, as is so of bytes, and where
    many are rare. For alpha = 1 it is Shannon's entropy.

    Returns:
        None for fewer than two kinds of tokens, where log n is 0.

    """
    present = np.asarray(counts, dtype=np.float64)
    present = present[present > 0]
    if len(present) < 2:
        return None
    shares = present / present.sum()
    if alpha == 1:
        entropy = -(shares * np.log(shares)).sum()
    else:
        entropy = np.log((shares**alpha).sum()) / (1 - alpha)
    return float(entropy / np.log(len(present)))


def cut(tokenizer: Tokenizer, text: str) -> dict[str, Any]:
    """A text's tokens, for a picture: each with `id`, `hex` (its bytes) and `text`.

    `text` is None where the bytes are no whole characters, and the name of a special token.
    """
    ids = tokenizer.encode(text)
    tokens = []
    for id in ids:
        data = tokenizer.token_bytes(id)
        try:
            spelt: str | None = data.decode()
        except UnicodeDecodeError:
            spelt = None
        special = id in tokenizer.special_ids
        tokens.append({
            "id": id, "hex": data.hex(), "text": tokenizer.token_text(id) if special else spelt,
            "special": special,
        })  # fmt: skip
    return {"text": text, "tokens": tokens, "round_trip": tokenizer.decode(ids) == text}


class TokenBytes:
    """The bytes of all tokens of a vocabulary, to be joined without a loop.

    Attributes:
        sizes: bytes of each token, int64 [vocabulary].
        fragment: whether they are no whole characters, bool [vocabulary].

    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        every = [tokenizer.token_bytes(id) for id in range(tokenizer.vocab_size)]
        self._data = np.frombuffer(b"".join(every), dtype=np.uint8)
        self.sizes: Ints = np.array([len(data) for data in every], dtype=np.int64)
        self._begins = np.cumsum(self.sizes) - self.sizes
        self.fragment: Bools = np.array([not _whole(data) for data in every], dtype=bool)

    def join(self, ids: Ints) -> tuple[Bytes, Ints]:
        """What tokens spell, and where each of them begins in it."""
        sizes = self.sizes[ids]
        begins = np.cumsum(sizes) - sizes
        shift = np.repeat(self._begins[ids] - begins, sizes)
        return self._data[np.arange(len(shift)) + shift], begins


def torn_characters(data: Bytes, begins: Ints) -> tuple[Ints, Bools, Bools]:
    """Where each character begins, whether a token begins within it, whether it is a syllable.

    Args:
        data: UTF-8.
        begins: where the tokens begin in it.

    """
    starts = np.flatnonzero(data & 0xC0 != 0x80)
    borders = np.zeros(len(data) + 1, dtype=np.int64)
    borders[begins] = 1
    so_far = np.cumsum(borders)
    ends = np.append(starts[1:], len(data))
    torn = so_far[ends - 1] > so_far[starts]
    syllable = ends - starts == 3
    codes = np.zeros(len(starts), dtype=np.int64)
    for place, (kept, shift) in enumerate(((0x0F, 12), (0x3F, 6), (0x3F, 0))):
        codes[syllable] |= (data[starts[syllable] + place].astype(np.int64) & kept) << shift
    return starts, torn, syllable & (codes >= _FIRST) & (codes <= _LAST)


class Tally:
    """Counts of one tokenizer's tokens, text by text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.counts: Ints = np.zeros(tokenizer.vocab_size, dtype=np.int64)
        self.texts = self.back = self.composed = self.syllables = self.torn = 0
        self.on_syllables = 0.0
        self._table = TokenBytes(tokenizer)

    @property
    def tokens(self) -> int:
        return int(self.counts.sum())

    def add(self, texts: Sequence[str], composed: Sequence[str] | None = None) -> None:
        """Encode and count; `composed` are the texts in another form that may come back instead."""
        rows = self.tokenizer.encode_batch(texts)
        ids = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
        self.counts += np.bincount(ids, minlength=len(self.counts))
        data, begins = self._table.join(ids)
        starts, torn, syllable = torn_characters(data, begins)
        self.syllables += int(syllable.sum())
        self.torn += int((torn & syllable).sum())
        sizes = self._table.sizes[ids]
        weight = np.repeat(1 / np.maximum(sizes, 1), sizes)
        first = starts[syllable]
        self.on_syllables += float((weight[first] + weight[first + 1] + weight[first + 2]).sum())
        ends = np.append(begins, len(data))[np.cumsum([len(row) for row in rows])]
        begin = 0
        for number, (text, end) in enumerate(zip(texts, ends.tolist(), strict=True)):
            spelt = data[begin:end].tobytes()
            if self.tokenizer.drops_first_space:
                spelt = spelt.removeprefix(b" ")
            self.texts += 1
            self.back += spelt == text.encode()
            if composed is not None and text != composed[number]:
                self.composed += spelt == composed[number].encode()
            begin = end

    def shares(self) -> dict[str, float | None]:
        """What is a share of this text's own."""
        tokens = self.tokens
        fragments = int(self.counts[self._table.fragment].sum())
        return {
            "byte_fragments": _share(fragments, tokens),
            "unknown": _share(int(self.counts[self.tokenizer.unk_id]), tokens),
            "round_trip": _share(self.back, self.texts),
        }

    def result(self, text: Mapping[str, int]) -> dict[str, Any]:
        """All but NFD; see `measure`."""
        tokens = self.tokens
        return {
            "kind": self.tokenizer.kind,
            "vocab_size": self.tokenizer.vocab_size,
            "tokens": tokens,
            "tokens_per_character": _share(tokens, text["characters"]),
            "tokens_per_syllable": _share(self.on_syllables, self.syllables),
            "tokens_per_word": _share(tokens, text["words"]),
            "bytes_per_token": _share(text["bytes"], tokens),
            "torn_syllables": _share(self.torn, self.syllables),
            "vocabulary_used": _share(int((self.counts > 0).sum()), len(self.counts)),
            "renyi_efficiency": renyi_efficiency(self.counts),
        } | self.shares()


def _compare(nfc: Tally, nfd: Tally) -> dict[str, float | None]:
    return {
        "tokens": _share(nfd.tokens, nfc.tokens),
        **nfd.shares(),
        "composed": _share(nfd.composed, nfd.texts),
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _whole(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        if text:
            batch.append(text)
            size += len(text)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _first(texts: Sequence[str], most: int) -> Iterator[str]:
    """The first texts, up to so many characters; the last of them may be cut."""
    for text in texts:
        if most <= 0:
            return
        yield text[:most]
        most -= len(text)
