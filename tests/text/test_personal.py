"""Tables of what is masked and what only looks like it; every number here is made up."""

import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malmoi.text import personal
from malmoi.text.personal import KINDS, TAGS, mask

DATA = Path(__file__).parents[3] / "shared" / "data"
DOCS = DATA / "python_docs_ko.jsonl"


def registration(first_twelve):
    """The number with its check digit, as the rule of the register says it, step by step."""
    total = 0
    for position, digit in enumerate(first_twelve):
        total += int(digit) * [2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5][position]
    check = 11 - total % 11
    if check >= 10:
        check -= 10
    if first_twelve[6] in "5678":  # foreigners: two more
        check += 2
        if check >= 10:
            check -= 10
    return f"{first_twelve[:6]}-{first_twelve[6:]}{check}"


def luhn(number):
    """The number with Luhn's digit: from the right, every other digit doubled, nines cast out."""
    for last in "0123456789":
        total = 0
        for place, digit in enumerate(reversed(number + last)):
            value = int(digit) * 2 if place % 2 else int(digit)
            total += value - 9 if value > 9 else value
        if total % 10 == 0:
            return number + last
    raise AssertionError


def grouped(number, gap, *sizes):
    parts, at = [], 0
    for size in sizes:
        parts.append(number[at : at + size])
        at += size
    return gap.join(parts)


MAN, WOMAN = registration("780512112346"), registration("010229400001".replace("0229", "0228"))
FOREIGNER = registration("910203523451")
WRONG = MAN[:-1] + str((int(MAN[-1]) + 1) % 10)
VISA = luhn("453201511283036")
RESIDENT = [
    MAN, WOMAN, FOREIGNER, MAN.replace("-", " - "), MAN.replace("-", "–"), MAN.replace("-", ""),
    MAN.replace("-", " "), "211005-3123456", "201001-4000000",  # the last two born without
]  # fmt: skip
PHONES = [
    "010-1234-5678", "010-0000-0000", "010 1234 5678", "010.1234.5678", "01012345678",
    "010)1234-5678", "(010)1234-5678", "010 - 1234 - 5678", "010–1234–5678", "011-123-4567",
    "016-9876-5432",
    "019.234.5678", "02-123-4567", "02-1234-5678", "02)123-4567", "(02) 1234-5678",
    "02.1234.5678", "031-123-4567", "(042)123-4567", "051)1234-5678", "064-712-3456",
    "070-1234-5678", "0505-123-4567", "080-123-4567", "02-123-4567~8", "1588-1234", "1544-0000",
    "1899-9999", "1600-1588", "+82-10-1234-5678", "+82 10 1234 5678", "+821012345678",
    "+82 (0)10-1234-5678", "+82-2-123-4567", "+82)31-123-4567",
]  # fmt: skip
CARDS = [
    VISA, grouped(VISA, "-", 4, 4, 4, 4), grouped(VISA, " ", 4, 4, 4, 4),
    grouped(luhn("542418123456789"), "-", 4, 4, 4, 4), luhn("222100000000000"),
    grouped(luhn("37828224631000"), " ", 4, 6, 5), luhn("37828224631000"), luhn("3056930902590"),
    grouped(luhn("3852000002323"), "-", 4, 6, 4), luhn("353011133330000"),
    luhn("601111111111111"), grouped(luhn("625094000000000"), "-", 4, 4, 4, 4),
    grouped(luhn("941012345678901"), "-", 4, 4, 4, 4),
]  # fmt: skip
EMAILS = [
    "hong@example.com", "gil.dong+news@mail.example.co.kr", "a_b-c%d@x-y.kr", "HONG@EXAMPLE.ORG",
    "01012345678@example.com", "1588-1234@example.net", "h@example.info",
]  # fmt: skip
# Where they stand: (before, after).
PLACES = [
    ("", ""), ("연락은 ", "로 주세요."), ("(", ")"), ("번호: ", ", 끝"), ("값:", "."), ("“", "”"),
    ("\t", "\n"), ("가나다", "입니다"), ("a, ", "; b"), ("- ", " (담당자)"), ("1) ", "/"),
]  # fmt: skip
ALL = [
    (kind, number)
    for kind, numbers in zip(KINDS, (RESIDENT, PHONES, CARDS, EMAILS), strict=True)
    for number in numbers
]


@pytest.mark.parametrize(("kind", "number"), ALL)
def test_personal_data_is_masked_wherever_it_stands(kind, number):
    for language in TAGS:
        tag = TAGS[language][KINDS.index(kind)]
        for before, after in PLACES:
            if before == "(" and re.match("0[0-9]*[)]", number):
                continue  # whose bracket that is nobody can tell
            done = mask(before + number + after, language=language)
            assert done.text == before + tag + after
            assert done.counts == {kind: 1}
            # In a long text, where numpy looks first, as in a short one.
            long = "나무가 자란다.\n" * 40
            within = mask(long + before + number + after + "\n" + long, language=language)
            assert within.text == long + before + tag + after + "\n" + long
    others = set(KINDS) - {kind}
    if kind == "email":
        assert "@" in mask(number, others).text
    else:
        assert mask(number, others).text is number


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        # A word before makes sure of what the form alone does not.
        (f"주민등록번호 {WRONG}", "주민등록번호 [주민등록번호]"),
        (f"주민번호: {WRONG.replace('-', '')}", "주민번호: [주민등록번호]"),
        ("전화 0212345678", "전화 [전화번호]"),
        ("Tel: 031 123 4567, Fax. 0311234568", "Tel: [전화번호], Fax. [전화번호]"),
        ("고객센터 1588-1599", "고객센터 [전화번호]"),
        ("☎15881234", "☎[전화번호]"),
        ("TEL010-1234-5678 HP 0111234567", "TEL[전화번호] HP [전화번호]"),
        # Several, and one beside another.
        ("02-123-4567/010-1234-5678", "[전화번호]/[전화번호]"),
        ("02-123-4567,010-1234-5678.", "[전화번호],[전화번호]."),
        (f"{MAN} 010-1234-5678 a@b.kr", "[주민등록번호] [전화번호] [이메일]"),
        ("mailto:a@b.kr <a@b.kr>,b@b.kr", "mailto:[이메일] <[이메일]>,[이메일]"),
        ("홍길동<hong@example.com>의 메일", "홍길동<[이메일]>의 메일"),
        ("hong@example.kr(담당 홍길동)", "[이메일](담당 홍길동)"),
        ("https://example.com/?to=hong@example.com&x", "https://example.com/?to=[이메일]&x"),
        ("...hong@example.com.", "...[이메일]."),
    ],
)
def test_worked_examples(text, masked):
    done = mask(text)
    assert done.text == masked
    assert sum(done.counts.values()) == masked.count("[")
    assert mask(masked).text == masked


NOT_PERSONAL = [
    # registration numbers that cannot be
    WRONG, WRONG.replace("-", ""), "851303-1056740", "850230-1234567", "850803-9056741",
    "850803-0056741", "990101-3123456", "110111-1234567", "110111-0006246", "850803-105674",
    "850803-10567412", "850803-1******",
    # bar codes, books, periodicals
    "8801043015981", "9788932917245", "978-89-329-1724-5", "8808071100061", "ISBN 89-329-1724-1",
    "ISSN 1599-1234", "ISSN 1225-1046", "979-11-6224-123-4",
    # times, dates, years, prices, amounts
    "1700000000000", "1712012345678", "2024-01-15", "2024.01.15 12:34:56", "20240115123456",
    "1592-1598", "1644-1911", "1800-1899년", "1588-1577년", "12,345,678원", "₩1,234,567",
    "010,123원", "1.234.567,89",
    # versions, decimals, addresses of machines, identifiers
    "v1.2.3", "3.11.7-1588", "1.588.1234", "0.0101234567890123", "3.14159265358979323846",
    "192.168.010.123", "10.0.0.1:8080", "127.0.0.1", "2001:db8::8a2e:370:7334",
    "01:23:45:67:89:ab", "550e8400-e29b-41d4-a716-446655440000", "a01012345678", "0x01012345678",
    "01012345678f", "01011010101", "0502.0020.0002", "SKU_010-1234-5678", "1-010-1234-5678",
    "010-1234-56789",
    "010-1234-5678-9", "02-12-2020", "02-123-456", "333-02-1234567", "110-123-456789",
    "123-45-67890", "0212345678", "02 123 4567", "15881234",
    # card numbers without the check digit, or of no issuer
    VISA[:-1] + str((int(VISA[-1]) + 5) % 10), luhn("123456789012345"), luhn("941012345678901"),
    "1234 5678 9012 3456", "4532 " + grouped(VISA, " ", 4, 4, 4, 4),
    grouped(VISA, " ", 4, 4, 4, 4) + " 7", VISA + "1", f"0.{VISA}", "4532-0151 1283-0366",
    # code, and places on the net
    "user@decorator", "@property", "@app.route('/')", "git@github.com:owner/name.git",
    "ssh git@github.com", "ssh://git@github.com/a/b", "https://joe:secret@example.com/x",
    "root@localhost", "me@host.com:/tmp/x", "x = W@x.to(device)", "y = a@b.T", "q@k.mT",
    "loss@h.at[0]", "icon@2x.png", "pkg@1.2.3", "lodash@4.17.21", "actions/checkout@v4",
    "이메일@한국", "a@b", "@", "a @ b.kr", "@example.com", "name@example.nosuchdomain",
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_PERSONAL)
def test_what_only_looks_personal_stays(text):
    for whole in (
        text,
        f"여기에 {text} 하나",
        f"({text})",
        f"{text}\n",
        f"나무가 자란다.\n{text}\n" * 30,
    ):
        assert mask(whole).text is whole


def test_every_year_range_stays_and_numbers_that_are_none_go():
    for first in (1522, 1577, 1588, 1599, 1600, 1644, 1661, 1800, 1811, 1855, 1899):
        for second in range(1000, 10000, 7):
            text = f"{first}-{second}"
            assert (mask(text).text == text) == (first < second <= 2100)


def test_every_check_digit_but_the_right_one_fails():
    for start in ("700101123456", "991231200000", "050505312345", "850607634567", "100203798765"):
        right = registration(start)
        for digit in "0123456789":
            number = right[:-1] + digit
            assert (mask(number).text != number) == (number == right)
    for start in ("453201511283036", "37828224631000"):
        for digit in "0123456789":
            assert (mask(start + digit).text != start + digit) == (start + digit == luhn(start))


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from([number for _, number in ALL] + NOT_PERSONAL + ["가 ", " ", "\n", "9"])
    )
)
def test_short_and_long_texts_are_masked_alike(parts):
    text = " ".join(parts) + " "
    filling = "나무가 자란다. "
    done = mask(text)
    assert mask(text + filling * 40).text == done.text + filling * 40
    assert sum(done.counts.values()) == sum(done.text.count(tag) for tag in TAGS["ko"])


@settings(deadline=None, max_examples=300)
@given(st.text(st.sampled_from("0123456789-. ()+~82@ab.k:/가"), max_size=60))
def test_nothing_but_numbers_and_addresses_goes(text):
    """Whatever the digits: letters stay, and each tag stands for eight digits or an address."""
    done = mask(text)
    tags = "|".join(map(re.escape, TAGS["ko"]))
    kept = re.split(tags, done.text)
    pattern = "(.*?)".join(map(re.escape, kept))
    match = re.fullmatch(pattern, text, re.DOTALL)
    assert match
    for gone in match.groups():
        assert "가" not in gone
        assert "@" in gone or sum(c.isdigit() for c in gone) >= 8


def test_lengths_that_would_hurt_a_careless_pattern():
    long = ["0" * 50_000, "a" * 50_000 + "@", "@" + "a." * 30_000]
    again = ["010-", "a@", "a.b-@x.", "1234 ", "(02", "+82", "1-", "900101-", "a@b.", "010 "]
    for text in (*long, *(part * 20_000 for part in again)):
        assert mask(text).text is text


def test_kinds_and_languages():
    text = f"{MAN} 010-1234-5678"
    assert mask(text, ["phone"], "en").text == f"{MAN} [phone]"
    assert mask(text, []).text is text
    assert mask(text, KINDS, "en").counts == {"resident": 1, "phone": 1}
    with pytest.raises(ValueError, match="unknown kind of personal data 'name'; known: resident"):
        mask(text, ["phone", "name"])
    with pytest.raises(ValueError, match="no tags in language 'fr'; known: ko, en"):
        mask(text, language="fr")


def test_many_in_one_text():
    rng = random.Random(0)
    people = [
        f"{n} 010-{rng.randrange(10000):04}-{rng.randrange(10000):04} p{n}@x.kr"
        for n in range(3000)
    ]
    done = mask("\n".join(people))
    assert done.counts == {"phone": 3000, "email": 3000}
    assert done.text == "\n".join(f"{n} [전화번호] [이메일]" for n in range(3000))


@pytest.mark.skipif(not DOCS.exists(), reason=f"{DATA} is not here")
def test_the_python_documentation_has_addresses_only():
    texts = [json.loads(line)["document"] for line in DOCS.read_text("utf-8").splitlines()]
    found = [mask(text) for text in texts]
    assert {kind for done in found for kind in done.counts} == {"email"}
    addresses = {text[a:b] for text in texts for a, b, _ in personal._emails(text)}
    assert 8 <= len(addresses) < 20
    assert all(re.fullmatch(r"[\w.-]+@[\w.-]+\.(org|com|at)", address) for address in addresses)
