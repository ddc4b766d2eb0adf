import random
import tracemalloc
import unicodedata
from collections import Counter
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malmoi.text.duplicates import Seen, batches, digest, letters, paragraphs, without
from malmoi.text.sources import read

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA}")
FEW_SIGNS = st.text(alphabet="가나 \t\n\u3000.a", max_size=6)


def folded(text: str) -> str:
    return " ".join(text.split())


# Exact duplicates


@settings(deadline=None)  # the first example compiles
@given(st.lists(FEW_SIGNS))
def test_seen_is_a_set_of_folded_texts(texts: list[str]) -> None:
    seen, want = Seen(), set()
    for text in texts:
        assert seen.add(text) == (folded(text) in want)
        want.add(folded(text))
        assert len(seen) == len(want)


def test_white_space_does_not_count_but_all_else_does() -> None:
    seen = Seen()
    assert not seen.add("동해물과 백두산이\n마르고 닳도록")
    assert seen.add("  동해물과\u00a0백두산이 \t마르고\r\n\r\n닳도록 ")
    assert not seen.add("동해물과백두산이 마르고 닳도록")
    assert not seen.add("동해물과 백두산이 마르고 닳도록.")
    assert not seen.add("")
    assert seen.add(" \n")


@settings(deadline=None)  # the first example compiles
@given(st.text(), st.integers(1, 600))
def test_digest_is_that_of_the_folded_text_short_or_long(text: str, times: int) -> None:
    """Long texts are folded by a loop of our own; every space of Python's counts as one."""
    long = text * times
    want = blake2b(folded(long).encode("utf-16-le"), digest_size=16).digest()
    assert digest(long) == want


def test_digest_of_every_white_space_and_of_half_a_surrogate_pair() -> None:
    spaces = [chr(code) for code in range(0x11000) if chr(code).isspace()]
    assert len(spaces) > 20
    words = ["가", "\ud83d", "b", "😀"] * 100
    gaps = random.Random(0).choices(spaces, k=len(words))
    text = "".join(word + gap for word, gap in zip(words, gaps, strict=True))
    want = " ".join(words).encode("utf-16-le", "surrogatepass")
    assert digest(text) == blake2b(want, digest_size=16).digest()


def test_memory_of_many_texts() -> None:
    texts = [f"문서 {i}" for i in range(50_000)]
    warm = Seen()  # so that all loops are compiled
    for text in texts[:2000]:
        warm.add(text)
    seen = Seen()
    tracemalloc.start()
    try:
        assert not any(seen.add(text) for text in texts)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert all(seen.add(text) for text in texts)
    assert len(seen) == len(texts)
    assert 21 <= seen.nbytes / len(seen) <= 43
    assert kept <= 43 * len(texts) + 10_000
    assert peak <= 1.6 * 43 * len(texts)  # while it grows there are two tables


# What is compared


def naive_letters(text: str) -> str:
    def kept(sign: str) -> bool:
        kind = unicodedata.category(sign)
        return kind[0] in "LMN" or kind in ("Cs", "Co") or ord(sign) > 0xFFFF

    def lower(sign: str) -> str:
        return sign.lower() if ord(sign) <= 0xFFFF and len(sign.lower()) == 1 else sign

    return "".join(lower(sign) for sign in text if kept(sign)) or text


@settings(deadline=None)  # the first example compiles
@given(st.lists(st.text()))
def test_letters_against_unicode_itself(texts: list[str]) -> None:
    units, ends = letters(texts)
    starts = [0, *ends[:-1]]
    found = [units[a:b].tobytes().decode("utf-16-le") for a, b in zip(starts, ends, strict=False)]
    assert found == [naive_letters(text) for text in texts]


def test_letters_of_examples() -> None:
    def of(text: str) -> str:
        return letters([text])[0].tobytes().decode("utf-16-le")

    assert (
        of("아버지가 방에 들어가신다.") == of("아버지가방에 들어가신다") == "아버지가방에들어가신다"
    )
    assert of("GPT-2, İ!") == "gpt2İ"
    assert of("हिन्दी 😀") == "हिन्दी😀"
    assert of("--- ***") == "--- ***"
    assert of("") == ""


@settings(deadline=None)  # the first example compiles
@given(st.lists(st.text(max_size=30)), st.integers(1, 50))
def test_batches_lose_nothing(texts: list[str], characters: int) -> None:
    parts = list(batches(texts, characters))
    assert [text for part in parts for text in part] == texts
    assert all(sum(len(text) + 1 for text in part[:-1]) < characters for part in parts)


# Paragraphs


def cut(text: str, least: int = 1) -> list[str]:
    return [text[a:b] for a, b in paragraphs(text, least)]


def test_paragraphs_of_examples() -> None:
    assert cut("하나\n둘\n\n셋\n \t\n\n넷") == ["하나\n둘", "셋", "넷"]
    assert cut("하나\n둘 둘\n") == ["하나", "둘 둘"]  # no blank line: every line
    assert cut("\n\n하나\n\n") == ["하나"]
    assert cut("하나\n\n둘 둘 둘\n\n셋", 5) == ["둘 둘 둘"]
    assert cut("") == []
    assert [len(part) for part in cut("가" * 99 + "\n" + "나" * 100, 100)] == [100]


def test_without_examples() -> None:
    text = "하나\n둘\n\n  셋\n \n\n  넷\n"
    spans = list(paragraphs(text, 1))
    assert without(text, []) == text
    assert without(text, spans[:1]) == "  셋\n \n\n  넷\n"
    assert without(text, spans[1:2]) == "하나\n둘\n\n  넷\n"
    assert without(text, spans[2:]) == "하나\n둘\n\n  셋"
    assert without(text, spans) == ""


@settings(deadline=None)  # the first example compiles
@given(st.text(alphabet="가b \n", max_size=40), st.integers(1, 4), st.data())
def test_without_keeps_the_other_paragraphs(text: str, least: int, data: st.DataObject) -> None:
    spans = list(paragraphs(text, least))
    assert all(b - a >= least for a, b in spans)
    gone = [span for span in spans if data.draw(st.booleans())]
    left = without(text, gone)
    want = [text[a:b].strip() for a, b in spans if (a, b) not in gone]
    at = 0
    for part in want:
        at = left.find(part, at)
        assert at >= 0
        at += len(part)
    signs = Counter(text) - Counter(left)
    for a, b in gone:
        signs -= Counter(text[a:b])
    assert set(signs) <= {" ", "\n"}  # nothing else went


# Real data


@needs_data
def test_lines_of_the_python_documentation() -> None:
    lines = [
        line
        for piece in read([str(DATA / "python_docs_ko.jsonl")])
        for line in piece.text.split("\n")
    ]
    seen = Seen()
    again = sum(seen.add(line) for line in lines)
    want = {folded(line) for line in lines}
    assert len(seen) == len(want)
    assert again == len(lines) - len(want) > 1000
