"""Particles that agree, against sentences that people wrote and Unicode's own decomposition."""

import csv
import json
import random
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malmoi.evaluate.particles import PAIRS, Particles, agrees, particles

DATA = Path(__file__).parents[3] / "shared" / "data"
OTHER = {"은": "는", "이": "가", "을": "를", "와": "과", "으로": "로"}
OTHER |= {b: a for a, b in OTHER.items()}
syllables = st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3)


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    """Korean that people wrote."""
    docs, chat = DATA / "python_docs_ko.jsonl", DATA / "chatbot_ko.csv"
    if not docs.exists() or not chat.exists():
        pytest.skip(f"no Korean text in {DATA}")
    lines = docs.read_text("utf-8").splitlines()
    with open(chat, encoding="utf-8") as file:
        pairs = [f"{row['Q']}\n{row['A']}" for row in csv.DictReader(file)]
    return {"docs": "\n".join(json.loads(line)["document"] for line in lines),
            "chat": "\n".join(pairs)}  # fmt: skip


def test_a_worked_example() -> None:
    text = "곰은 나무를 보고, 토끼는 물과 불을 봤다. 서울로 간 사람이 '집으로' 왔다. 비와 눈가?"
    found = particles([text])
    assert found.right == {"은/는": 2, "이/가": 1, "을/를": 2, "와/과": 2, "으로/로": 2}
    assert found.wrong == {"은/는": 0, "이/가": 1, "을/를": 0, "와/과": 0, "으로/로": 0}
    assert (found.count, found.share) == (10, 0.9)


def test_all_that_can_be_wrong() -> None:
    wrong = "곰는 나무은 토끼이 사람가 물를 비을 눈와 나라과 서울으로 집로 바다으로"
    assert sum(particles([wrong]).wrong.values()) == len(wrong.split())
    assert particles([wrong]).share == 0


@pytest.mark.parametrize(
    "words",
    [
        "먹는 있는 없는 않는 받는 찾는 남는 주고받는 재미있는 돕는 놓는 뒤섞는",  # verbs
        "작은 좋은 많은 같은 높은 먹은 낮은 젊은",
        "있을 없을 받을 같을 먹을",
        "많이 같이 깊이 없이 높이 가까이 똑같이",
        "하는 되는 가는 나오는 보여주는 만드는 만들어지는 시키는 나은 지은 모은",
        "아이 사이 차이 나이 오이 고양이 게이트웨이 디스플레이",  # nouns
        "국가 작가 평가 증가 전문가 물가 바닷가 뭔가 누군가 언젠가",
        "마을 가을 노을",
        "결과 효과 사과 초과 학과 무화과",
        "경로 종로 바로 서로 새로 도로 스스로 그대로 제대로 하므로",
        "인가 하는가 사람인가 그런가 한가 하던가",  # endings
        "은 는 이 가 으로 로",  # nothing before them
        "API는 3을 a로 foo가",  # not all Hangul before them
        "사람은_ 나무를2 곰이a",
    ],
)
def test_words_that_only_end_like_particles(words: str) -> None:
    assert particles([words]).count == 0


def test_nouns_that_look_like_verbs_are_counted() -> None:
    words = "값은 밖은 삶이 흙을 닭이 부담은 강남은 시작은 가죽이 방식은 사용자는 코드는 이는 나는"
    assert particles([words]).share == 1
    assert particles([words]).count == len(words.split())


@given(st.text(syllables, min_size=1, max_size=4), st.sampled_from(sorted(OTHER)))
def test_agreement_is_whether_unicode_ends_the_syllable_in_a_consonant(
    stem: str, form: str
) -> None:
    last = unicodedata.normalize("NFD", stem)[-1]
    closed = "\u11a8" <= last <= "\u11c2" and not (form in ("으로", "로") and last == "\u11af")
    assert agrees(stem, form) in (None, closed == (form in ("은", "이", "을", "과", "으로")))


@given(st.lists(st.text(syllables, max_size=3)), st.sampled_from(sorted(OTHER)))
def test_decomposed_text_counts_the_same(stems: list[str], form: str) -> None:
    text = " ".join(stem + form for stem in stems)
    assert particles([unicodedata.normalize("NFD", text)]) == particles([text])


def test_texts_are_not_tied_together() -> None:
    assert particles(["사람", "은 나무", "를"]).count == 0
    assert particles(["사람은", "나무를"]).count == 2


def test_no_particles_at_all() -> None:
    none = dict.fromkeys(PAIRS, 0)
    assert particles(["No Korean here.", ""]) == particles([]) == Particles(none, none)
    assert particles([]).share is None


@pytest.mark.parametrize(("name", "least"), [("docs", 0.9999), ("chat", 0.998)])
def test_people_write_them_right(written: dict[str, str], name: str, least: float) -> None:
    found = particles([written[name]])
    assert found.share is not None
    assert found.share >= least
    for pair in PAIRS:
        assert found.right[pair] > 200
        assert found.wrong[pair] <= 0.004 * found.right[pair], pair


def test_wrong_particles_are_found(written: dict[str, str]) -> None:
    """Each particle of a real text is changed with probability 1/2, or always."""
    rng = random.Random(0)
    text = written["docs"][:500_000]

    def changed(probability: float) -> Particles:
        def other(match: re.Match[str]) -> str:
            stem, form = match.groups()
            # Only of the words that are taken for particles: the others are no question here.
            change = agrees(stem, form) is not None and rng.random() < probability
            return stem + (OTHER[form] if change else form)

        pattern = r"(?<!\w)([가-힣]+?)(은|는|이|가|을|를|와|과|으로|로)(?!\w)"
        return particles([re.sub(pattern, other, text)])

    right, half, wrong = particles([text]), changed(0.5), changed(1.0)
    assert wrong.count > 0.99 * right.count
    assert wrong.share == pytest.approx(0, abs=0.001)
    assert half.share == pytest.approx(0.5, abs=0.02)
