"""`malmoi tokenizer`: training that is the same everywhere, reports that say what they measured."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from malmoi.cli.card import WORDS, cut_text
from malmoi.cli.lineup import choose_sentence, short_names
from malmoi.cli.output import columns
from malmoi.text.sources import read
from malmoi.text.split import Split, plan
from malmoi.tokenizer import Tokenizer, train_tokenizer

Call = Callable[..., Any]
DATA = Path(__file__).parents[3] / "shared" / "data"

ANIMALS = ("다람쥐", "토끼", "여우", "곰")
TEXTS = [
    f"{n}번째 밤에 {ANIMALS[n % 4]} {n % 7}마리가 도토리를 주웠어요. " * (1 + n % 5)
    + chr(0xAC00 + n)
    for n in range(120)
]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "nights.jsonl"
    lines = (json.dumps({"text": text}, ensure_ascii=False) for text in TEXTS)
    path.write_text("\n".join(lines), "utf-8")
    return path


def test_training_writes_what_the_library_would(text: Path, call: Call, tmp_path: Path) -> None:
    out = tmp_path / "new" / "tokenizer.json"
    result = call("tokenizer", "train", text, "--out", out, "--vocab-size", 350, "--json").json
    assert set(result) == {
        "tokenizer", "kind", "vocab_size", "bytes", "characters", "words", "distinct_words",
        "dropped_words", "count_error", "seconds",
    }  # fmt: skip
    given = [piece.text for piece in read([str(text)])]
    assert out.read_text("utf-8") == train_tokenizer(given, "bpe", 350).to_json()
    assert (result["kind"], result["vocab_size"]) == ("bpe", 350)
    assert result["bytes"] == sum(len(one.encode()) for one in given)
    assert result["characters"] == sum(map(len, given))
    assert (result["dropped_words"], result["count_error"]) == (0, 0)


def test_a_folder_is_filled_and_nothing_is_overwritten(
    text: Path, call: Call, tmp_path: Path
) -> None:
    answer = call("tokenizer", "train", text, "--out", tmp_path, "--kind", "char", "--lang", "ko")
    assert answer.code == 0, answer.err
    assert f"{tmp_path / 'tokenizer.json'}: char, 토큰" in answer.out
    before = (tmp_path / "tokenizer.json").read_bytes()
    again = call("tokenizer", "train", text, "--out", tmp_path, "--kind", "bpe")
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "is there already" in again.err
    assert (tmp_path / "tokenizer.json").read_bytes() == before
    again = call("tokenizer", "train", text, "--out", tmp_path, "--kind", "bpe", "--overwrite")
    assert again.code == 0
    assert Tokenizer.load(tmp_path).kind == "bpe"


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_the_file_is_the_same_in_every_process(kind: str, tmp_path: Path) -> None:
    """With a table that is too small, so that words are dropped, too."""
    words = (f"{chr(0xAC00 + n * 7 % 3000)}{chr(0xAC00 + n * n % 5000)}다" for n in range(6000))
    (tmp_path / "text.txt").write_text(" ".join(words), "utf-8")
    found = []
    for seed, threads in (("1", "1"), ("2", "4")):
        out = tmp_path / f"{seed}.json"
        done = subprocess.run(
            [sys.executable, "-m", "malmoi", "tokenizer", "train", str(tmp_path / "text.txt"),
             "--out", str(out), "--kind", kind, "--most-words", "1500", "--json"],
            capture_output=True, text=True, check=False,
            env=os.environ | {
                "PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads,
            },
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.append((json.loads(done.stdout), out.read_bytes()))
    assert found[0][0]["count_error"] == found[1][0]["count_error"] > 0
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--vocab-size", 100], "too small for bpe"),
        (["--vocab-size", 9_000_000], "too large for bpe"),
        (["--min-frequency", 0], "min_frequency is 0"),
        (["--most-words", 3], "--most-words 3"),
        (["--kind", "wordpiece"], "invalid choice 'wordpiece'"),
        (["--field", "nowhere"], "nowhere"),
    ],
)
def test_what_is_wrong_is_one_line(
    flags: list[Any], said: str, text: Path, call: Call, tmp_path: Path
) -> None:
    answer = call("tokenizer", "train", text, "--out", tmp_path / "t.json", *flags)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert said in answer.err
    assert not list(tmp_path.iterdir())


def test_more_errors(text: Path, call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", "utf-8")
    for args, said in (
        (("train", text, "--out", tmp_path / "file" / "t.json"), "cannot be made"),
        (("train", tmp_path / "none.txt", "--out", tmp_path / "t.json"), "none.txt"),
        (("report", text, "--tokenizers", tmp_path / "none"), "no such file or folder"),
        (("report", text, "--tokenizers", "bpe", "--sentence", "가" * 301), "300 characters"),
        (("report", text, "--tokenizers", "bpe", "--split", "100"), "nothing to measure on"),
        (("report", text, "--tokenizers", "char", "--vocab-size", 500), "--vocab-size 500"),
        (("report", text, "--tokenizers", "bpe", "--vocab-size", 5), "too small for bpe"),
        (("report", text, "--tokenizers"), "--tokenizers"),
        ((), "train, report"),
    ):
        answer = call("tokenizer", *args)
        assert (answer.code, answer.err.count("\n")) == (2, 1), answer.err
        assert said in answer.err


def test_a_report_of_kinds_a_file_and_a_run(
    text: Path, speaker: Path, call: Call, tmp_path: Path
) -> None:
    train_tokenizer(TEXTS, "bytebpe", 300).save(tmp_path / "own.json")
    answer = call(
        "tokenizer", "report", text, "--tokenizers", "char", "bpe", tmp_path / "own.json", speaker,
        "--out", tmp_path / "report", "--sentence", "  뷁 다람쥐가 뛴다. ", "--json",
        "--lang", "ko",
    )  # fmt: skip
    result = answer.json
    assert [entry["name"] for entry in result["tokenizers"]] == ["char", "bpe", "own", "run"]
    assert [entry["trained"] for entry in result["tokenizers"]] == [True, True, False, False]

    # Kinds learnt on one part, and everything is measured on the rest.
    def pieces() -> Any:
        return read([str(text)])

    parts = plan(pieces, Split.parse("80/20"))
    sides: dict[bool, list[str]] = {True: [], False: []}
    for part, piece in parts.assign(pieces()):
        sides[part == "train"].append(piece.text)
    assert result["text"]["characters"] == sum(map(len, sides[False]))
    assert result["text"]["split"] == "80/20"
    bpe = train_tokenizer(sides[True], "bpe")
    assert result["tokenizers"][1]["tokens"] == sum(map(len, bpe.encode_batch(sides[False])))
    assert result["sentence"] == "뷁 다람쥐가 뛴다."
    for entry in result["tokenizers"]:
        data = b"".join(bytes.fromhex(t["hex"]) for t in entry["sentence"]["tokens"])
        assert data.decode() == result["sentence"]
        assert entry["round_trip"] == 1
        assert entry["blocks"]["lost"] == []
        assert entry["nfd"]["tokens"] > 1
    assert json.loads((tmp_path / "report" / "report.json").read_text("utf-8")) == result
    assert result["figure"] == str(tmp_path / "report" / "tokens.png")
    assert (tmp_path / "report" / "tokens.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"report.json", "tokens.png"}


def test_people_read_a_table_in_their_language(text: Path, call: Call, tmp_path: Path) -> None:
    train_tokenizer(TEXTS[:3], "char", byte_fallback=False).save(tmp_path / "lean.json")
    args = ("tokenizer", "report", text, "--tokenizers", tmp_path / "lean.json", "--lang")
    korean, english = (call(*args, language) for language in ("ko", "en"))
    for answer, language in ((korean, "ko"), (english, "en")):
        assert answer.code == 0, answer.err
        assert WORDS[language]["torn_syllables"] in answer.out
        assert "Basic Latin" in answer.out  # lost without bytes
        assert "--split" not in answer.out  # nothing was trained
    characters = sum(map(len, (piece.text for piece in read([str(text)]))))
    assert f"Measured on {characters:,} characters" in english.out
    assert set(WORDS["ko"]) == set(WORDS["en"])
    for answer in (korean, english):
        assert max(map(columns, answer.out.split("“")[0].splitlines())) <= 100


@pytest.mark.parametrize("kinds", [("bpe", "char"), ("char", "bpe"), ("char",)])
def test_kinds_in_any_order_are_the_same(kinds: tuple[str, ...], text: Path, call: Call) -> None:
    def report(*names: str) -> list[dict[str, Any]]:
        return call("tokenizer", "report", text, "--tokenizers", *names, "--json").json[
            "tokenizers"
        ]

    found = report(*kinds)
    assert [entry["name"] for entry in found] == list(kinds)
    assert found[kinds.index("char")] == report("char")[0]


def test_only_the_first_characters_are_measured_where_asked(text: Path, call: Call) -> None:
    args = ("tokenizer", "report", text, "--tokenizers", "char", "--json", "--characters")
    assert call(*args, 100).json["text"]["characters"] == 100
    assert call(*args, 0).json["text"]["characters"] > 100


@pytest.mark.parametrize("name", ["gpt2_vocab.json", "gpt2_merges.txt"])
def test_gpt2_is_one_of_them(name: str, text: Path, call: Call) -> None:
    if not (DATA / name).is_file():
        pytest.skip(f"{name} is not at ../shared/data")
    answer = call(
        "tokenizer", "report", text, "--tokenizers", DATA / name, "bytebpe", "--vocab-size", 300,
        "--json",
    )  # fmt: skip
    gpt2, own = answer.json["tokenizers"]
    assert (gpt2["name"], gpt2["kind"]) == ("gpt2", "bytebpe")
    assert own["vocab_size"] == 300
    assert gpt2["torn_syllables"] > 0.95
    assert gpt2["tokens_per_syllable"] > own["tokens_per_syllable"]


def test_names_are_short_and_different(tmp_path: Path) -> None:
    for name in (
        "a/tokenizer.json",
        "b/tokenizer.json",
        "gpt2_vocab.json",
        "c/vocab.json",
        "x.model",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}", "utf-8")
    sources = [
        "bpe", "bpe", *(str(tmp_path / name) for name in (
            "a/tokenizer.json", "a", "b", "gpt2_vocab.json", "c/vocab.json", "x.model")),
    ]  # fmt: skip
    assert short_names(sources) == ["bpe", "bpe 2", "a", "a 2", "b", "gpt2", "c", "x"]


def test_a_sentence_with_hangul_is_chosen() -> None:
    texts = [
        "See http://a.b/c for more on this topic.",
        "짧다. 말모이는 첫 우리말 사전의 이름이다. x",
    ]
    assert choose_sentence(texts) == "말모이는 첫 우리말 사전의 이름이다."
    assert choose_sentence(["no  end"]) == "no end"
    assert choose_sentence([" \n"]) == " \n"


def test_a_cut_is_shown_with_bars() -> None:
    tokens = [
        {"hex": " 말".encode().hex(), "text": " 말", "special": False},
        {"hex": "20eb", "text": None, "special": False},
        {"hex": "b781", "text": None, "special": False},
        {"hex": "0a", "text": "\n", "special": False},
        {"hex": "", "text": "<|unk|>", "special": True},
    ]
    assert cut_text({"tokens": tokens}) == "␣말|␣<EB>|<B7><81>|\\n|<|unk|>"
