import random
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malmoi.text.boilerplate import LONGEST, LineCounts, strip
from malmoi.text.sources import read

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA}")
MENU = ["로그인", "회원가입", "고객센터"]
NOTICE = "저작권자 ⓒ 말모이신문, 무단전재 및 재배포 금지"


def counted(texts: list[str], bits: int = 16) -> LineCounts:
    counts = LineCounts(bits)
    for text in texts:
        counts.add(text)
    return counts


def body(i: int) -> str:
    return f"{i}번째 기사의 첫 문장입니다.\n\n그리고 {i}번째 기사의 둘째 문장입니다."


def article(i: int) -> str:
    return "\n".join([*MENU, "", f"제목 {i}번", "소개", body(i), "", NOTICE])


# Counting


LINES = st.sampled_from(["가나다", "라마바사", "아자차", "  가나다 ", "", "}", "한 줄", "한  줄"])


@settings(deadline=None)
@given(st.lists(st.lists(LINES, max_size=6), max_size=12))
def test_counts_are_those_of_sets_of_lines(documents: list[list[str]]) -> None:
    counts = counted(["\n".join(lines) for lines in documents])
    want = Counter(
        line for lines in documents for line in {" ".join(line.split()) for line in lines}
    )
    for line in ("가나다", "라마바사", "아자차", "한 줄"):
        assert counts.count(line) == want[line]
    assert counts.count("\t가나다") == want["가나다"]
    assert counts.documents == len(documents)
    assert counts.lines == sum(n for line, n in want.items() if line not in ("", "}"))


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 7))
def test_a_sketch_that_is_too_small_never_counts_too_few(seed: int, bits: int) -> None:
    rng = random.Random(seed)
    documents = [
        {f"줄 번호 {int(rng.paretovariate(0.5)) % 300}" for _ in range(8)} for _ in range(40)
    ]
    counts = counted(["\n".join(lines) for lines in documents], bits)
    want = Counter(line for lines in documents for line in lines)
    assert all(counts.count(line) >= n for line, n in want.items())
    assert counts.lines == want.total()


def test_how_much_a_full_sketch_counts_too_high() -> None:
    """At most 2 % of the lines by more than `excess`, which is e times lines over cells."""
    documents = [[f"이 줄은 {i}쪽 {j}째 줄이다" for j in range(50)] for i in range(400)]
    counts = counted(["\n".join(lines) for lines in documents], 12)
    assert counts.lines == 20_000
    assert counts.excess == 13  # 2.718 * 20,000 / 4,096
    over = [counts.count(line) - 1 for lines in documents for line in lines]
    assert sum(over) > 0  # it is too full to be right
    assert sum(one > 13 for one in over) <= 0.02 * len(over)


def test_least_takes_the_larger_of_number_and_share_and_adds_the_excess() -> None:
    counts = counted([article(i) for i in range(40)])
    assert counts.least() == 10
    assert counts.least(3, 0) == 3
    assert counts.least(3, 0.5) == 20
    assert counts.least(3, 0.501) == 21
    small = counted([article(i) for i in range(40)], 4)  # 40 * 8 lines in 16 cells a row
    assert small.lines == 320
    assert small.excess == 54
    assert small.least(3, 0.5) == 20 + 54


@pytest.mark.parametrize("bits", [3, 29, -1])
def test_bits_outside_are_refused_in_one_line(bits: int) -> None:
    with pytest.raises(ValueError, match="give 4 to 28 bits"):
        LineCounts(bits)


def test_memory_is_fixed() -> None:
    counts = LineCounts(16)
    counts.add("가나다 라마바")
    tracemalloc.start()
    try:
        for i in range(2000):
            counts.add("\n".join(f"이 줄은 {i}쪽 {j}째 줄이다" for j in range(20)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert counts.lines == 40_001
    assert counts.nbytes == 4 * 4 * 2**16
    assert peak < 200_000


# What may be boilerplate


@pytest.mark.parametrize(
    "line",
    [
        "로그인",
        "홈 > 뉴스 > 정치",
        "  이전 글 | 다음 글",
        "- 회원가입",
        NOTICE,
        "[사진=연합뉴스] 재판매 및 DB 금지",
        "Copyright (c) 2024 Malmoi Inc. All rights reserved.",
        "Sign in | Register",
        "이용 약관 (2024년 개정)",
        "本サイトの著作権について",
        "Все права защищены",
    ],
)
def test_prose_is_counted(line: str) -> None:
    counts = counted([f"앞에 있는 줄\n{line}\n뒤에 있는 줄"] * 3)
    assert counts.count(line) == 3
    assert counts.count(f" {line}\t") == 3


@pytest.mark.parametrize(
    "line",
    [
        "", "   ", "\t", "}", "});", "{", "-", "*", "•", "1.", "---", "***", "====", "| - | - |",
        "```", "```python", "~~~", "# 소개", "## 사용법", "| 이름 | 값 |", "// 값을 돌려준다",
        "/* 주석 */", "예제:", "예를 들면::", "else:", "try:", "import sys", "return None", "pass",
        "from os import path", "    Return the value", "\tEnd of file", 'print("안녕하세요")',
        "def main():", "End", "x = 값", "Value = compute(x);", "const name = 'Home'", "1,234", "값",
        "2024-01-02 03:04", "가" * (LONGEST + 1), "`코드`를 보라",
    ],
)  # fmt: skip
def test_what_is_no_prose_is_never_counted(line: str) -> None:
    counts = counted([line] * 3)
    assert counts.count(line) == 0
    assert counts.documents == 3
    assert strip(f"하나\n{line}\n둘", counts, 1)[1] == []


def test_blocks_of_code_are_left_alone() -> None:
    text = "머리말이 되는 문장\n```\n로그인 화면을 그린다\n~~~\n```\n꼬리말이 되는 문장"
    counts = counted([text] * 5)
    assert counts.count("로그인 화면을 그린다") == 0
    assert counts.lines == 10
    assert strip(text, counts, 5) == (text, [])  # too short to go alone
    text = text.replace("문장", "문장이며 열두 글자")
    left, gone = strip(text, counted([text] * 5), 5)
    assert gone == ["머리말이 되는 문장이며 열두 글자", "꼬리말이 되는 문장이며 열두 글자"]
    assert left == "```\n로그인 화면을 그린다\n~~~\n```"


# Taking it out


def test_menus_and_notices_go_headings_stay() -> None:
    texts = [article(i) for i in range(30)]
    counts = counted(texts)
    for i, text in enumerate(texts):
        left, gone = strip(text, counts, 20)
        assert gone == [*MENU, NOTICE]
        assert left.rstrip("\n") == f"제목 {i}번\n소개\n{body(i)}"
    assert strip(texts[0], counts, 31) == (texts[0], [])
    assert strip(texts[0], counts)[1] == [*MENU, NOTICE]  # 10 documents by default


def test_a_menu_needs_three_lines_blank_ones_aside() -> None:
    def gone(*lines: str) -> list[str]:
        return strip("\n".join(lines), counts, 5)[1]

    counts = counted(["\n".join([*MENU, "가게", NOTICE])] * 5)
    assert gone("로그인", "회원가입", "새로운 문장") == []
    assert gone("로그인", "", "회원가입", " ", "고객센터") == MENU
    assert gone("로그인", "새로운 문장", "회원가입", "고객센터") == []
    assert gone("로그인", "회원가입", "---", "고객센터") == []
    assert gone("로그인", NOTICE, "가게") == ["로그인", NOTICE, "가게"]
    assert gone("로그인", NOTICE) == [NOTICE]
    assert gone("새로운 문장", "로그인", "로그인", "로그인") == ["로그인"] * 3


def test_blank_lines_around_what_goes_become_one() -> None:
    counts = counted([NOTICE] * 5)
    assert strip(f"하나\n\n{NOTICE}\n\n둘", counts, 5)[0] == "하나\n\n둘"
    assert strip(f"{NOTICE}\n\n둘", counts, 5)[0] == "둘"
    assert strip(f"하나\n{NOTICE}\n둘", counts, 5)[0] == "하나\n둘"
    assert strip(NOTICE, counts, 5) == ("", [NOTICE])


@settings(deadline=None)
@given(st.lists(st.lists(LINES, max_size=8), min_size=1, max_size=8), st.integers(1, 5))
def test_only_repeated_lines_go_and_the_others_keep_their_order(
    documents: list[list[str]], least: int
) -> None:
    texts = ["\n".join(lines) for lines in documents]
    counts = counted(texts)
    for text in texts:
        left, gone = strip(text, counts, least)
        assert all(counts.count(line) >= least for line in gone)
        full = [line for line in text.split("\n") if line.strip()]
        rest = [line for line in left.split("\n") if line.strip()]
        assert Counter(full) == Counter(gone) + Counter(rest)
        lines = iter(full)
        assert all(line in lines for line in rest)  # in order


# Real data


@needs_data
def test_the_python_documentation() -> None:
    texts = [piece.text for piece in read([str(DATA / "python_docs_ko.jsonl")])]
    counts = counted(texts, 20)
    want = Counter(
        line for text in texts for line in {" ".join(s.split()) for s in text.split("\n")}
    )
    for line in ("각주", "예제", "의미", "이 모듈은", "가용성"):
        assert counts.count(line) == want[line]
    gone: Counter[str] = Counter()
    for text in texts:
        left, lines = strip(text, counts)
        assert len(left) + sum(map(len, lines)) <= len(text)
        gone.update(lines)
    assert {line[:20]: n for line, n in gone.items()} == {
        "이 모듈은 웹어셈블리에서 작동하지 않": 22,
        "이 모듈은 더는 파이썬 표준 라이브러": 19,
    }
