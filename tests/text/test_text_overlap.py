import math
import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malmoi.text.near import NearIndex, signatures
from malmoi.text.overlap import WIDTH, Ngrams, Overlap, overlap
from malmoi.text.records import Piece
from malmoi.text.sources import read
from malmoi.text.split import Split, assign

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA}")
SYLLABLES = [chr(0xAC00 + i) for i in range(0, 11172, 13)]


def grams(text: str, width: int = WIDTH) -> list[str]:
    """The definition, for texts of Hangul, digits and Latin letters; no n-gram without letters."""
    kept = "".join(sign.lower() for sign in text if sign.isalnum()) or text
    return [kept[i : i + width] for i in range(max(1, len(kept) - width + 1))] if kept else []


def naive(texts: list[str], others: list[str], width: int = WIDTH) -> tuple[int, int, int]:
    there = {gram for text in others for gram in grams(text, width)}
    found = [sum(gram in there for gram in grams(text, width)) for text in texts]
    looked = [len(grams(text, width)) for text in texts]
    mostly = sum(2 * f >= n > 0 for f, n in zip(found, looked, strict=True))
    return sum(found), sum(looked), mostly


def prose(rng: random.Random, length: int) -> str:
    return "".join(rng.choices([*SYLLABLES, " "], k=length))


TEXTS = st.lists(st.text(alphabet="가나 .A", max_size=25), max_size=6)


@settings(deadline=None)
@given(TEXTS, TEXTS, st.integers(1, 6))
def test_against_sets_of_strings(texts: list[str], others: list[str], width: int) -> None:
    ngrams = Ngrams(width, bits=12)
    ngrams.add(others)
    result = ngrams.look(texts)
    assert (result.found, result.looked, result.mostly) == naive(texts, others, width)
    assert result.texts == len(texts)
    assert len(ngrams) == len({gram for text in others for gram in grams(text, width)})
    assert result.rate == 1
    assert result.error == 0


def test_forty_letters_whatever_the_spaces() -> None:
    rng = random.Random(0)
    passage = "".join(rng.choices(SYLLABLES, k=40))
    spaced = " ".join(passage[i : i + 3] for i in range(0, 40, 3)) + ","
    there = [prose(rng, 100) + spaced + prose(rng, 100)]
    result = overlap([prose(rng, 60) + passage + prose(rng, 60)], there)
    assert result.found == 1
    assert overlap([prose(rng, 60) + passage[1:] + prose(rng, 60)], there).found == 0
    assert overlap([passage[:39]], there).found == 0  # a short text is found as a text only
    assert overlap([passage[:39]], [*there, passage[:39] + "!"]).share == 1


def test_what_is_said() -> None:
    result = Overlap(found=5, looked=400, rate=1.0, texts=1200, mostly=3)
    assert str(result) == "1.25% of passages of 40 letters; 3 of 1,200 texts mostly"
    assert result.share == 0.0125
    part = Overlap(found=50, looked=200, rate=0.25, texts=10, mostly=3, width=20)
    assert part.error == pytest.approx(math.sqrt(0.25 * 0.75 * 0.75 / 200))
    assert str(part) == "25.00% ± 2.65% of passages of 20 letters; 3 of 10 texts mostly"
    assert overlap([], ["가나다"]).share == 0


def test_a_sample_is_as_right_as_its_standard_error_says() -> None:
    """Twenty splits of one text, each with a table that holds a sixteenth of it or so."""
    z = []
    for seed in range(20):
        rng = random.Random(seed)
        parts = [prose(rng, 400) for _ in range(150)]
        texts = [part if rng.random() < 0.3 else prose(rng, 400) for part in parts[:60]]
        ngrams = Ngrams(bits=12)
        ngrams.add(parts)
        result = ngrams.look(texts)
        found, looked, _ = naive(texts, parts)
        assert 1 / 32 <= result.rate <= 1 / 8
        assert abs(result.looked - looked * result.rate) < 5 * math.sqrt(looked * result.rate)
        z.append((result.share - found / looked) / result.error)
    assert abs(sum(z) / len(z)) < 4 / math.sqrt(len(z))
    assert 0.5 < math.sqrt(sum(one * one for one in z) / len(z)) < 1.7


def test_memory_is_fixed_and_nothing_is_found_that_is_not_there() -> None:
    rng = random.Random(0)
    warm = Ngrams(bits=4)  # so that all loops are compiled
    warm.add([prose(rng, 500)])
    warm.look([prose(rng, 500)])
    tracemalloc.start()
    try:
        ngrams = Ngrams(bits=14)
        ngrams.add(prose(rng, 2000) for _ in range(200))
        result = ngrams.look(prose(rng, 2000) for _ in range(200))
        size, peak = ngrams.nbytes, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 8 * 2**14
    # A batch of a million characters, as text and in UTF-16 three times, is what is more.
    assert peak < 2 * size + 15 * 2**20
    assert 2**14 * 3 / 8 - 1 <= len(ngrams) <= 2**14 * 3 / 4
    assert result.found == 0
    assert result.looked > 1000


def test_bad_arguments_are_one_line() -> None:
    with pytest.raises(ValueError, match="n-grams of 0 letters"):
        Ngrams(0)
    for bits in (3, 33):
        with pytest.raises(ValueError, match="give 4 to 32 bits"):
            Ngrams(bits=bits)


# Together with the split


def test_a_split_by_groups_is_clean() -> None:
    """Half of the texts have near-duplicates: without groups they sit on both sides."""
    rng = random.Random(0)
    texts = []
    for _ in range(150):
        first = prose(rng, 600)
        texts.append(first)
        if rng.random() < 0.5:
            at = rng.randrange(500)
            texts.append(first[:at] + rng.choice(SYLLABLES) + first[at + 1 :])
    rng.shuffle(texts)
    pieces = [Piece(text, True, f"x:{i}") for i, text in enumerate(texts)]
    index = NearIndex(chain=True)
    index.add_all(signatures(texts), range(len(texts)))

    def test_in_train(**how: object) -> Overlap:
        sides: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
        for side, piece in assign(pieces, Split(0.8, 0.1, 0.1), **how):  # type: ignore[arg-type]
            sides[side].append(piece.text)
        assert all(len(side) > 15 for side in sides.values())
        result = overlap(sides["test"], sides["train"])
        assert (result.found, result.looked, result.mostly) == naive(sides["test"], sides["train"])
        return result

    before, after = test_in_train(), test_in_train(groups=index.groups())
    assert before.share > 0.2
    assert before.mostly > 5
    assert after.found == after.mostly == 0


@needs_data
def test_the_python_documentation() -> None:
    texts = [piece.text for piece in read([str(DATA / "python_docs_ko.jsonl")])]
    random.Random(0).shuffle(texts)
    train, test = texts[60:], texts[:60]
    there = overlap(test, train)
    found, looked, mostly = naive(test, train)
    assert there.found == pytest.approx(found, rel=0.02)
    assert there.looked == pytest.approx(looked, rel=0.02)
    assert abs(there.mostly - mostly) <= 1
    sampled = overlap(test, train, bits=16)
    assert sampled.rate < 0.1
    assert abs(sampled.share - there.share) < 5 * sampled.error
