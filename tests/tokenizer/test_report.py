"""The report card: each number equal to a plain count, text by text and byte by byte."""

import math
import unicodedata
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from malmoi.tokenizer import Tokenizer, train_tokenizer
from malmoi.tokenizer import report as module
from malmoi.tokenizer.blocks import assigned, check_blocks, ranges
from malmoi.tokenizer.report import cut, measure, renyi_efficiency

TEXTS = [
    "말모이는 첫 사전이다. 뷁쀍!",
    "don't  panic\n한글 \U0001f600",
    "\u1112\u1161\u11ab 각 x",
    " ",
]


def plainly(tokenizer: Tokenizer, texts: list[str]) -> dict[str, float]:
    """The measures, as slowly as they are defined."""
    tokens = fragments = unknown = syllables = torn = back = 0
    on_syllables = 0.0
    used: Counter[int] = Counter()
    for text in texts:
        ids = tokenizer.encode(text)
        used.update(ids)
        back += tokenizer.decode(ids) == text
        owner: list[tuple[int, int]] = []  # of each byte: which token, and how long that is
        for number, id in enumerate(ids):
            data = tokenizer.token_bytes(id)
            tokens += 1
            unknown += id == tokenizer.unk_id
            fragments += data != data.decode("utf-8", "ignore").encode()
            owner += [(number, len(data))] * len(data)
        at = 0
        for char in b"".join(map(tokenizer.token_bytes, ids)).decode():
            size = len(char.encode())
            if "가" <= char <= "힣":
                syllables += 1
                torn += len({token for token, _ in owner[at : at + size]}) > 1
                on_syllables += sum(1 / length for _, length in owner[at : at + size])
            at += size
    return {
        "tokens": tokens,
        "tokens_per_character": tokens / sum(map(len, texts)),
        "tokens_per_syllable": on_syllables / syllables,
        "tokens_per_word": tokens / sum(len(text.split()) for text in texts),
        "bytes_per_token": sum(len(text.encode()) for text in texts) / tokens,
        "byte_fragments": fragments / tokens,
        "torn_syllables": torn / syllables,
        "unknown": unknown / tokens,
        "round_trip": back / len(texts),
        "vocabulary_used": len(used) / tokenizer.vocab_size,
    }


@pytest.fixture(scope="module")
def lossy() -> Tokenizer:
    """Without bytes: what it has not seen is unknown."""
    return train_tokenizer(["말모이는 첫 사전"], "char", byte_fallback=False)


@pytest.fixture(scope="module")
def composing(trained) -> Tokenizer:
    """A tokenizer that joins jamo to syllables before it looks."""
    import tokenizers

    backend = tokenizers.Tokenizer.from_str(trained["bpe"].to_json())
    backend.normalizer = normalizers.NFC()
    return Tokenizer(backend, dict(zip(("bos", "eos", "pad", "unk"), range(4), strict=True)))


def test_all_numbers_are_those_of_a_plain_count(all_kinds, lossy):
    tokenizers = {**all_kinds, "lossy": lossy}
    text, results = measure(tokenizers, TEXTS)
    assert text == {
        "texts": 4, "characters": sum(map(len, TEXTS)), "syllables": 14, "words": 11,
        "bytes": sum(len(one.encode()) for one in TEXTS),
    }  # fmt: skip
    for name, tokenizer in tokenizers.items():
        expected = plainly(tokenizer, TEXTS)
        found = {key: results[name][key] for key in expected}
        assert found == pytest.approx(expected), name
    assert results["lossy"]["unknown"] > 0.5
    assert results["lossy"]["round_trip"] == 0.25  # " " alone comes back
    assert 0 < results["bpe"]["torn_syllables"] < 1
    assert results["char"]["round_trip"] == 1


@given(texts=st.lists(st.text("가뷁한 a\n\u1112\U0001f600é", max_size=20), min_size=1, max_size=5))
@settings(deadline=None, max_examples=60)
def test_any_text(trained, texts):
    if not "".join(texts):
        with pytest.raises(ValueError, match="no text to measure"):
            measure(trained, texts)
        return
    _, results = measure(trained, texts)
    for name in ("char", "bytebpe"):
        ids = [id for text in texts for id in trained[name].encode(text)]
        assert results[name]["tokens"] == len(ids)
        if any("가" <= char <= "힣" for text in texts for char in text):
            expected = plainly(trained[name], [text for text in texts if text])
            assert results[name]["torn_syllables"] == pytest.approx(expected["torn_syllables"])
            assert results[name]["tokens_per_syllable"] == pytest.approx(
                expected["tokens_per_syllable"]
            )
        else:
            assert results[name]["torn_syllables"] is None


def test_many_batches_are_one_text(trained, monkeypatch):
    once = measure(trained, TEXTS * 3)
    monkeypatch.setattr(module, "_BATCH", 5)
    assert measure(trained, TEXTS * 3) == once


def test_nfd(trained, composing, lossy):
    texts = ["말모이는 첫 사전이다.", "한글", "plain"]
    tokenizers = {"bpe": trained["bpe"], "composing": composing, "lossy": lossy}
    _, results = measure(tokenizers, texts)
    for name, tokenizer in tokenizers.items():
        nfc, nfd = (
            [id for t in texts for id in tokenizer.encode(unicodedata.normalize(form, t))]
            for form in ("NFC", "NFD")
        )
        assert results[name]["nfd"]["tokens"] == pytest.approx(len(nfd) / len(nfc))
    assert results["bpe"]["nfd"]["tokens"] > 5
    assert results["bpe"]["nfd"]["byte_fragments"] > 0.8
    assert (results["bpe"]["nfd"]["round_trip"], results["bpe"]["nfd"]["composed"]) == (1, 0)
    # "plain" is the same in both forms, so it comes back as itself.
    assert results["composing"]["nfd"]["tokens"] == 1
    assert results["composing"]["nfd"]["round_trip"] == pytest.approx(1 / 3)
    assert results["composing"]["nfd"]["composed"] == pytest.approx(2 / 3)
    assert results["lossy"]["nfd"]["unknown"] > 0.5


def test_only_the_beginning_is_looked_at_in_nfd(trained, monkeypatch):
    monkeypatch.setattr(module, "NFD_CHARACTERS", 3)
    _, results = measure(trained, ["가나", "다라마"])  # two, and one of the next
    char = trained["char"]
    expected = len(char.encode(unicodedata.normalize("NFD", "가나다"))) / len(char.encode("가나다"))
    assert results["char"]["nfd"]["tokens"] == pytest.approx(expected)


def test_renyi_efficiency_is_that_of_its_authors():
    """The values in the tests of `tokenization-scorer`, the package of Zouhar et al."""
    examples = {
        "pick @@ed pick @@l @@ed pick @@les": (0.8265064834225245, 0.9211854965885544),
        "pick @@e @@d pick @@l @@e @@d pick @@l @@e @@s": (
            0.9204840242168808,
            0.9609557933859342,
        ),
    }
    for text, (value, shannon) in examples.items():
        counts = list(Counter(text.split()).values())
        assert renyi_efficiency(counts) == pytest.approx(value, abs=1e-12)
        assert renyi_efficiency([0, *counts, 0]) == pytest.approx(value, abs=1e-12)
        assert renyi_efficiency(counts, alpha=1) == pytest.approx(shannon, abs=1e-12)


def test_renyi_efficiency_at_its_ends():
    assert renyi_efficiency([7] * 50) == pytest.approx(1)
    assert renyi_efficiency([5]) is None
    assert renyi_efficiency([]) is None
    shannon = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)
    assert renyi_efficiency([3, 1], alpha=1) == pytest.approx(shannon)
    assert renyi_efficiency([3, 1], alpha=1 + 1e-7) == pytest.approx(shannon, abs=1e-5)


def test_gpt2_tears_korean(gpt2_vocab, korean):
    gpt2 = Tokenizer.load(gpt2_vocab)
    _, results = measure({"gpt2": gpt2}, korean[:3])
    expected = plainly(gpt2, korean[:3])
    assert {key: results["gpt2"][key] for key in expected} == pytest.approx(expected)
    assert results["gpt2"]["torn_syllables"] > 0.99
    assert results["gpt2"]["tokens_per_syllable"] > 2


def test_a_cut_spells_the_text(all_kinds, lossy, hard):
    for tokenizer in all_kinds.values():
        for text in hard:
            record = cut(tokenizer, text)
            data = b"".join(bytes.fromhex(token["hex"]) for token in record["tokens"])
            spelt = data.removeprefix(b" ") if tokenizer.drops_first_space else data
            assert (spelt.decode() == text) == record["round_trip"]
            for token in record["tokens"]:
                if token["text"] is not None:
                    assert token["text"].encode() == bytes.fromhex(token["hex"])
                else:
                    assert "\ufffd" in bytes.fromhex(token["hex"]).decode("utf-8", "replace")
    unknown = cut(lossy, "뷁")
    assert unknown["tokens"] == [{"id": 3, "hex": "", "text": "<|unk|>", "special": True}]
    assert not unknown["round_trip"]


def test_blocks_are_those_of_unicode():
    blocks = pytest.importorskip("fontTools.unicodedata")
    found = list(ranges())
    assert len(found) > 340
    for name, first, last in found:
        # Another version may have filled a hole, but none moves a block.
        if blocks.block(chr(first)) != "No_Block":
            assert blocks.block(chr(first)) == blocks.block(chr(last)) == name
    for (_, _, last), (name, first, _) in pairwise(found):
        assert last < first, name
    every = "".join(text for _, text in assigned())
    known = [
        chr(code) for code in range(0x110000)
        if unicodedata.category(chr(code)) not in ("Cn", "Cs")
    ]  # fmt: skip
    assert list(every) == known


def test_every_block_comes_back_from_the_kinds(trained):
    for name, tokenizer in trained.items():
        found = check_blocks(tokenizer)
        assert found["lost"] == [], name
        assert found["blocks"] > 300
        in_bytes = {block["block"] for block in found["in_bytes"]}
        assert "CJK Unified Ideographs" in in_bytes
        assert "Basic Latin" not in in_bytes
        whole = sum(len(tokenizer.encode(chr(code))) == 1 for code in range(0xAC00, 0xD7A4))
        assert 0 < 11172 - found["syllables_torn"] <= whole


def test_blocks_that_are_lost_are_told(lossy, composing):
    found = check_blocks(lossy)
    lost = {block["block"]: block for block in found["lost"]}
    assert len(lost) == found["blocks"]
    assert lost["Basic Latin"] == {"block": "Basic Latin", "characters": 128, "lost": 127}
    assert lost["Hangul Syllables"]["lost"] == 11172 - len(set("말모이는첫사전"))
    # NFC changes a few characters by themselves and others only beside a neighbour.
    lost = {block["block"]: block for block in check_blocks(composing)["lost"]}
    nfc = normalizers.NFC().normalize_str  # of the library's Unicode, which may be another
    for name, text in assigned():
        assert (name in lost) == (nfc(text) != text), name
        if name in lost:
            assert lost[name]["lost"] == sum(nfc(char) != char for char in text)
    assert "CJK Compatibility Ideographs" in lost


def test_token_bytes_are_joined_as_they_are(trained):
    for tokenizer in trained.values():
        table = module.TokenBytes(tokenizer)
        ids = np.arange(tokenizer.vocab_size)[::-1]
        data, begins = table.join(ids)
        expected = [tokenizer.token_bytes(id) for id in ids.tolist()]
        assert data.tobytes() == b"".join(expected)
        assert begins.tolist() == np.cumsum([0, *map(len, expected)])[:-1].tolist()
