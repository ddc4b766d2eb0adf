"""`malmoi clean` on what people really have, rubbish among it; everything is accounted for."""

import gzip
import io
import json
import os
import subprocess
import sys
import threading
import time
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from malmoi.text.sources import read
from malmoi.text.stories import stories

TALES = [story.text for story in stories(60, seed=5)]


def malmoi(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "malmoi", *map(str, words)], capture_output=True, text=True,
        timeout=200, env=os.environ | {"OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def clean(*words: object, code: int = 0) -> dict[str, Any]:
    if "--workers" not in words:
        words = (*words, "--workers", 1)
    report = json.loads(malmoi("clean", *words, "--json", "--overwrite", code=code).stdout)
    read_in, kept = report["documents"]["read"], report["documents"]["kept"]
    assert read_in == kept + sum(report["dropped"].values())
    for file in report["files"]:
        assert file["read"] == file["kept"] + sum(file["dropped"].values())
    assert sum(file["read"] for file in report["files"]) == read_in
    return report


def texts(out: Path) -> list[str]:
    return [piece.text for piece in read((str(out),))]


def jsonl(path: Path, records: list[str]) -> Path:
    lines = (json.dumps({"text": text}, ensure_ascii=False) for text in records)
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_clean_text_comes_out_as_it_went_in(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "a.jsonl", TALES)
    for kind in ("jsonl", "parquet"):
        report = clean(source, "--out", tmp_path / kind, "--format", kind, "--near", 0)
        assert texts(tmp_path / kind) == TALES
        assert report["steps"] == {}
        assert report["problems"] == 0
        assert report["bytes"] == sum(len(text.encode()) for text in TALES)


def test_many_workers_write_what_one_does(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "a.jsonl", [f"{tale} {n}번" for n in range(40) for tale in TALES])
    whole = [
        (clean(source, "--out", tmp_path / name, "--workers", count), texts(tmp_path / name))
        for name, count in (("one", 1), ("three", 3))
    ]
    (one, first), (three, second) = whole
    assert first == second
    for report in (one, three):
        for name in ("out", "seconds"):
            del report[name]
    assert one == three


def test_each_step_is_told_and_can_be_left_out(tmp_path: Path) -> None:
    tale = TALES[0]
    records = [
        unicodedata.normalize("NFD", tale),  # as macOS writes names
        TALES[1].encode().decode("latin-1"),  # read in a wrong page
        TALES[2] + "\u200b\u200b",
        TALES[3],
        TALES[3] + "  ",  # the same
        TALES[4],
        TALES[4] + " 끝.",  # nearly
        "ㅋ",  # too short
        "!@#$%^&*()" * 20,
        "전화는 010-1234-5678입니다. " + TALES[5],
    ]
    source = jsonl(tmp_path / "a.jsonl", records)
    report = clean(source, "--out", tmp_path / "out", "--personal", "all", "--lang", "ko")
    assert report["documents"] == {"read": 10, "kept": 6}
    assert report["dropped"]["duplicate"] == 1
    assert report["dropped"]["near-duplicate"] == 1
    assert report["steps"]["near-duplicate"]["characters"] == len(records[6])
    out = texts(tmp_path / "out")
    assert out[:4] == TALES[:4]
    assert "010-1234" not in out[-1]
    assert "[전화번호]" in out[-1]
    for name in ("rule:nfc", "mojibake", "personal:phone"):
        assert report["steps"][name]["documents"] == 1, name
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "글 정리 보고서" in page
    assert "http" not in page.replace("http-equiv", "")  # nothing from elsewhere
    report = clean(source, "--out", tmp_path / "out", "--without", "nfc", "mojibake", "--near", 0)
    assert not {"rule:nfc", "mojibake"} & set(report["steps"])
    assert texts(tmp_path / "out")[0] == tale  # which reading normalizes, in any case
    assert report["documents"]["kept"] == 7


def test_menus_and_paragraphs_that_come_again(tmp_path: Path) -> None:
    menu = "홈으로 가기\n회사 소개 보기\n이용 약관과 개인정보 처리방침\n"
    records = [f"{menu}{tale}" for tale in TALES[:30]]
    source = jsonl(tmp_path / "a.jsonl", records)
    report = clean(source, "--out", tmp_path / "out", "--boilerplate")
    assert texts(tmp_path / "out") == TALES[:30]
    assert report["steps"]["boilerplate"]["documents"] == 30
    twice = [f"{TALES[30]}\n\n{TALES[31]}", f"{TALES[32]}\n\n{TALES[30]}\n\n{TALES[33]}"]
    source = jsonl(tmp_path / "b.jsonl", twice)
    report = clean(source, "--out", tmp_path / "out", "--paragraphs")
    first, second = texts(tmp_path / "out")
    assert first == twice[0]
    assert TALES[32].split("\n")[0] in second
    assert max(TALES[30].split("\n"), key=len) not in second


def test_a_folder_of_rubbish(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "folder.txt").mkdir(parents=True)
    jsonl(folder / "folder.txt" / "good.jsonl", TALES[:3])
    (folder / "picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9)
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9)
    with zipfile.ZipFile(folder / "archive.txt", "w") as archive:
        archive.writestr("a.txt", TALES[0])
    (folder / "empty.txt").touch()
    (folder / "blank.txt").write_text("\n \n", "utf-8")
    (folder / "loop.txt").symlink_to("loop.txt")
    (folder / "round").symlink_to(folder, target_is_directory=True)
    (folder / "broken.jsonl").write_text(
        f'{json.dumps({"text": TALES[3]})}\n{{"text": "오늘은\n{json.dumps({"text": TALES[4]})}\n'
        f'[1, 2]\n{json.dumps({"title": "글이 없다"})}\n',
        "utf-8",
    )  # fmt: skip
    (folder / "quote.csv").write_text(f'text\n"{TALES[5]}"\n"열린 따옴표\n{TALES[6]}', "utf-8")
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": TALES[7:9] * 50}), buffer)
    (folder / "half.parquet").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    whole = gzip.compress(("\n".join(TALES[9:30])).encode())
    (folder / "half.txt.gz").write_bytes(whole[: len(whole) // 2])
    invalid = bytearray("\n".join(TALES[30:36]).encode())
    invalid[len(invalid) // 2 : len(invalid) // 2 + 2] = b"\xff\xfe"
    (folder / "invalid.txt").write_bytes(invalid)
    report = clean(folder, "--out", tmp_path / "out", code=1)
    problems = {Path(file["name"]).name: file["problems"] for file in report["files"]}
    bad = {
        "picture.txt": "PNG", "picture.png": "formats", "archive.txt": "zip", "empty.txt": "empty",
        "blank.txt": "empty", "loop.txt": "symbolic links", "broken.jsonl": "malformed JSON",
        "quote.csv": "quote is never closed", "half.parquet": "Parquet",
        "half.txt.gz": "damaged or cut short",
    }  # fmt: skip
    for name, why in bad.items():
        assert problems[name], name
        assert why in problems[name][0], problems[name]
    assert not problems["good.jsonl"]
    assert len(problems["broken.jsonl"]) == 3
    assert report["dropped"]["unreadable"] == 3
    out = "\n".join(texts(tmp_path / "out"))
    for number in (*range(6), 30, 35):
        assert TALES[number].split("\n")[0] in out, (number, report)
    said = malmoi("clean", folder, "--out", tmp_path / "again", "--workers", 1, code=1)
    assert "loop.txt" in said.stderr
    assert said.stdout.splitlines()[0].startswith(f"{report['documents']['read']:,} documents")


def test_one_bad_file_of_a_glob_does_not_stop_the_others(tmp_path: Path) -> None:
    jsonl(tmp_path / "b.jsonl", TALES[:2])
    (tmp_path / "a.jsonl").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    jsonl(tmp_path / "c.jsonl", ["가" * 5_000_000 + TALES[2]])  # a line over many batches
    report = clean(tmp_path / "*.jsonl", "--out", tmp_path / "out", code=1)
    assert report["documents"]["read"] == 3
    assert [bool(file["problems"]) for file in report["files"]] == [True, False, False]


def test_a_file_that_grows_while_it_is_read(tmp_path: Path) -> None:
    path, over = tmp_path / "log.txt", threading.Event()
    path.write_text("\n".join(story.text for story in stories(1000, seed=6)), "utf-8")

    def grow() -> None:
        with open(path, "a", encoding="utf-8") as file:
            while not over.is_set():
                file.write("a line\n")
                file.flush()
                time.sleep(0.001)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        report = clean(path, "--out", tmp_path / "out", "--near", 0)
    finally:
        over.set()
        writer.join()
    assert report["documents"]["kept"] > 0


def test_a_split_keeps_near_ones_together(tmp_path: Path) -> None:
    # Half of each text is of its family: near, but not so near that one of them is dropped.
    families = [
        f"{TALES[n % 60]} {TALES[(n + 7) % 60]}" for n in range(30)
    ]  # fmt: skip
    records = [f"{family} {TALES[(n * 5 + k) % 60]}" for k in range(4) for n, family in
               enumerate(families)]  # fmt: skip
    source = jsonl(tmp_path / "a.jsonl", records)
    report = clean(source, "--out", tmp_path / "out", "--split", "70/15/15", "--near", "0.95")
    parts = {name: count for name, count in report["parts"].items() if count}
    assert set(parts) == {"train", "validation", "test"}
    assert sum(parts.values()) == report["documents"]["kept"]
    overlap = report["overlap"]
    assert overlap["test after"]["share"] <= overlap["test before"]["share"]
    assert not list((tmp_path / "out").glob("held*"))


def test_what_the_user_can_mend(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "a.jsonl", TALES[:2])
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("do not touch", "utf-8")
    for words, why in (
        (("--out", mine), "is there already"),
        (("--out", mine, "--overwrite"), "not made by malmoi clean"),
        (("--out", tmp_path / "o", "--near", "0.2"), "--near 0.2"),
        (("--out", tmp_path / "o", "--without", "nonsense"), "not a step"),
        (("--out", tmp_path / "o", "--personal", "shoes"), "--personal shoes"),
        (("--out", tmp_path / "o", "--split", "80/30"), "split '80/30'"),
        (("--out", tmp_path / "o", "--encoding", "klingon"), "klingon"),
    ):
        done = malmoi("clean", source, *words, code=2)
        assert why in done.stderr, done.stderr
    assert (mine / "thesis.txt").read_text("utf-8") == "do not touch"
    assert not list(tmp_path.glob(".*"))
    malmoi("clean", tmp_path / "nowhere", "--out", tmp_path / "o", code=1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    """A hundred megabytes more of text take no more memory."""
    peaks = []
    for times in (8, 64):
        source = tmp_path / f"{times}.jsonl"
        many = [f"{tale} {number}" for number in range(times * 25) for tale in TALES]
        jsonl(source, many)
        script = (
            "import re, sys\nfrom malmoi.cli.main import main\n"
            "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
            # Not `ru_maxrss`, which a process inherits from the one that started it.
            "print(re.search('VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1],"
            " file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, "clean", str(source), "--out", str(tmp_path / "out"),
             "--overwrite", "--workers", "1", "--near", "0", "--json"],
            capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        peaks.append(int(done.stderr.split()[-1]))
    assert peaks[1] - peaks[0] < 48 * 1024


@pytest.mark.parametrize("codec", ["cp949", "utf-16", "johab", "iso2022_kr", "utf-8-sig"])
def test_encodings_are_found(tmp_path: Path, codec: str) -> None:
    text = "\n".join(TALES[:5])
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(codec, "ignore"))
    clean(path, "--out", tmp_path / "out")
    assert "\n".join(texts(tmp_path / "out")) == text.encode(codec, "ignore").decode(codec)
