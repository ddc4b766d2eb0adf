import bz2
import gzip
import http.server
import io
import json
import lzma
import os
import sys
import tarfile
import tempfile
import threading
import tracemalloc
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from malmoi.text.sources import Piece, downloaded, read

KOREAN = "가는 말이 고와야 오는 말이 곱다.\n" * 30


def text_of(*sources: object, **options: str) -> list[str]:
    out: list[str] = []
    for piece in read([str(source) for source in sources], **options):
        if piece.first:
            out.append("")
        out[-1] += piece.text
    return out


def fails(*sources: object, match: str, **options: str) -> str:
    with pytest.raises(ValueError, match=match) as caught:
        text_of(*sources, **options)
    assert type(caught.value) is ValueError
    assert "\n" not in str(caught.value)
    return str(caught.value)


def zstd(data: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(data)
    return out.getvalue().to_pybytes()


def parquet(records: list[dict[str, str]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), out)
    return out.getvalue()


COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}
FORMATS = {
    "a.txt": KOREAN.encode(),
    "a.md": KOREAN.encode("cp949"),
    "a": KOREAN.encode("utf-16"),
    "a.log": KOREAN.encode("utf-8-sig"),
    "a.jsonl": json.dumps({"text": KOREAN}).encode(),
    "a.NDJSON": json.dumps({"content": KOREAN}).encode(),
    "a.json": json.dumps([{"document": KOREAN}]).encode(),
    "a.csv": f'document,n\n"{KOREAN}",1\n'.encode("cp949"),
    "a.tsv": f'n\tdocument\n1\t"{KOREAN}"\n'.encode(),
    "a.parquet": parquet([{"text": KOREAN}]),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("extension", ["", *COMPRESS])
def test_every_format_plain_and_compressed(tmp_path: Path, name: str, extension: str) -> None:
    data = FORMATS[name]
    path = tmp_path / (name + extension)
    path.write_bytes(COMPRESS[extension](data) if extension else data)
    assert text_of(path) == [KOREAN]


def test_what_a_file_begins_with_counts_not_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(b'{"text": "a"}'))
    (tmp_path / "b.txt.gz").write_bytes(b"never compressed")
    (tmp_path / "c.bin").write_bytes(parquet([{"text": "c"}]))
    assert text_of(*sorted(tmp_path.iterdir())) == ["a", "never compressed", "c"]


def test_compressed_in_several_members(tmp_path: Path) -> None:
    for extension, compress in COMPRESS.items():
        path = tmp_path / f"a.txt{extension}"
        path.write_bytes(compress(b"first, ") + compress(b"second"))
        assert text_of(path) == ["first, second"]


def test_pieces_say_where_they_are_from(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n\n{"text": "b"}\n', encoding="utf-8")
    assert list(read([str(path)])) == [Piece("a", True, f"{path}:1"), Piece("b", True, f"{path}:3")]


def test_nfc(tmp_path: Path) -> None:
    path = tmp_path / "맥에서 온 파일.txt"  # macOS writes names and texts decomposed
    path.write_text(unicodedata.normalize("NFD", KOREAN), encoding="utf-8")
    assert text_of(path) == [KOREAN]


def test_reading_twice_gives_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(KOREAN, encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"text": "b"}\n', encoding="utf-8")
    assert list(read([str(tmp_path)])) == list(read([str(tmp_path)]))


# Folders and globs


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "b.txt",
        "a/z.md",
        "a/y.jsonl.gz",
        "a/sub/x.txt",
        "c.txt",
        ".hidden/h.txt",
        ".d.txt",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = json.dumps({"text": name}).encode() if "jsonl" in name else name.encode()
        path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "empty.txt").touch()
    return tmp_path


def test_folder(tree: Path) -> None:
    """All that has a known extension, in the order of the paths, hidden and blank ones left out."""
    want = ["a/sub/x.txt", "a/y.jsonl.gz", "a/z.md", "b.txt", "c.txt"]
    assert text_of(tree) == want
    assert text_of(f"{tree}/") == want


def test_glob(tree: Path) -> None:
    assert text_of(tree / "*.txt") == ["b.txt", "c.txt"]
    assert text_of(tree / "**/*.txt") == ["a/sub/x.txt", "b.txt", "c.txt"]
    assert text_of(tree / "[bc].txt") == ["b.txt", "c.txt"]
    assert text_of(tree / "a*") == ["a/sub/x.txt", "a/y.jsonl.gz", "a/z.md"]


def test_a_name_with_brackets_is_a_name_first(tmp_path: Path) -> None:
    path = tmp_path / "[1] a.txt"
    path.write_text("x", encoding="utf-8")
    assert text_of(path) == ["x"]


def test_several_sources_in_their_order(tree: Path) -> None:
    assert text_of(tree / "c.txt", tree / "b.txt") == ["c.txt", "b.txt"]


# What goes wrong


def test_missing(tmp_path: Path) -> None:
    fails(tmp_path / "no.txt", match=r"no\.txt: no such file or folder")
    fails(tmp_path / "*.txt", match=r"\*\.txt: no file matches")
    fails(tmp_path, match="no readable files in this folder; it reads .txt")
    fails("s3://bucket/key", match="cannot read s3:// addresses")
    fails("", match="empty name")
    fails("~nobody-of-this-name/x.txt", match="no such file")
    with pytest.raises(ValueError, match="no data"):
        read([])


def test_what_is_missing_is_known_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    with pytest.raises(ValueError, match="no such file"):
        read([str(tmp_path / "a.txt"), str(tmp_path / "b.txt")])


@pytest.mark.parametrize("data", [b"", b" \n\t\n", b"\xef\xbb\xbf", gzip.compress(b"")])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json", "a.csv"])
def test_empty(tmp_path: Path, data: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(data)
    fails(tmp_path / name, match=f"{name}: empty: there is no text in it")
    fails(tmp_path, match="empty: there is no text in it")


def test_empty_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").touch()
    (tmp_path / "b.parquet").write_bytes(parquet([{"text": ""}]))
    fails(tmp_path / "a.parquet", match="empty")
    fails(tmp_path / "b.parquet", match="empty")


def test_binary(tmp_path: Path) -> None:
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("x"), io.BytesIO())
    for name, data, what in (
        ("a.png", b"\x89PNG\r\n\x1a\n" + os.urandom(99), "PNG"),
        ("a.txt", bytes(99), "binary"),
        ("a.docx", b"PK\x03\x04" + os.urandom(99), "zip"),
        ("a.tar.gz", gzip.compress(tar.getvalue()), "tar"),
        ("a.parquet", b"PK\x03\x04" + os.urandom(99), "readable as Parquet"),
    ):
        (tmp_path / name).write_bytes(data)
        fails(tmp_path / name, match=f"{name}: not .*{what}")


@pytest.mark.parametrize("extension", COMPRESS)
def test_compressed_and_cut_short(tmp_path: Path, extension: str) -> None:
    data = COMPRESS[extension](os.urandom(30_000).hex().encode())
    path = tmp_path / f"a.txt{extension}"
    path.write_bytes(data[: len(data) // 2])
    fails(path, match="damaged or cut short")
    if extension == ".zst":
        return  # this writer's frames have no checksum that could tell
    path.write_bytes(data[:100] + bytes(100) + data[200:])
    fails(path, match="damaged or cut short")


def test_a_missing_field_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n', encoding="utf-8")
    fails(path, match=r"a\.jsonl: no field 'body'; the fields are: text", field="body")


def test_encoding_is_checked_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(KOREAN.encode())
    with pytest.raises(ValueError, match="unknown encoding 'klingon'"):
        read([str(tmp_path)], encoding="klingon")
    fails(tmp_path / "a.txt", match=r"a\.txt: byte 0 .* is not ascii", encoding="ascii")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_cannot_be_read_twice(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    fails(tmp_path / "pipe", match="neither a file nor a folder")


def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x", encoding="utf-8")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    fails(path, match="Permission denied")


# What is built in


@pytest.fixture
def fake_stories(monkeypatch: pytest.MonkeyPatch) -> None:
    def stories(count: int | None, *, seed: int) -> Iterator[SimpleNamespace]:
        assert count is not None
        for i in range(count):
            yield SimpleNamespace(text=f"이야기 {i} ({seed})")

    module = ModuleType("malmoi.text.stories")
    module.stories = stories  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "malmoi.text.stories", module)


@pytest.mark.usefixtures("fake_stories")
def test_builtin_names_count_and_seed() -> None:
    assert len(text_of("builtin:stories")) == 10_000
    assert text_of("builtin:stories:2") == ["이야기 0 (0)", "이야기 1 (0)"]
    assert text_of("builtin:stories:1@7") == ["이야기 0 (7)"]
    assert len(text_of("builtin:stories@7")) == 10_000
    assert next(read(["builtin:stories:1"])).source == "builtin:stories"


@pytest.mark.parametrize(
    "name", ["poems", "", "stories:many", "stories:3@", "stories:-1", "stories:0"]
)
@pytest.mark.usefixtures("fake_stories")
def test_unknown_builtin(name: str) -> None:
    fails(f"builtin:{name}", match="builtin:stories|empty")


def test_builtin_stories() -> None:
    pytest.importorskip("malmoi.text.stories", reason="the built-in corpus is not there yet")
    some = text_of("builtin:stories:20@7")
    assert len(some) == 20
    assert some == text_of("builtin:stories:20@7") != text_of("builtin:stories:20@8")


# The web


class Handler(http.server.BaseHTTPRequestHandler):
    pages: ClassVar[dict[str, tuple[int, str, bytes]]] = {}

    def do_GET(self) -> None:
        status, kind, body = self.pages.get(self.path, (404, "text/html", b"<html>"))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) + (5 if "short" in self.path else 0)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{served.server_address[1]}"
    served.shutdown()
    thread.join()
    served.server_close()
    assert list(tmp_path.iterdir()) == []  # nothing is left behind, whatever went wrong


def test_web(server: str) -> None:
    record = json.dumps({"text": KOREAN}).encode()
    Handler.pages = {
        "/a.txt": (200, "text/plain", KOREAN.encode("cp949")),
        "/a.jsonl.gz": (200, "application/gzip", gzip.compress(record)),
        "/api?x=1": (200, "application/json; charset=utf-8", b"[" + record + b"]"),
        "/%ED%95%9C%20%EA%B8%80.txt": (200, "text/plain", KOREAN.encode()),
        "/a.parquet": (200, "application/octet-stream", parquet([{"text": KOREAN}])),
    }
    names = ("a.txt", "a.jsonl.gz", "api?x=1", "한 글.txt", "a.parquet")
    urls = [f"{server}/{name}" for name in names]
    assert text_of(*urls) == [KOREAN] * 5
    assert next(read(urls)).source == f"{server}/a.txt"
    with downloaded([*urls, "other.txt"]) as local:
        assert local[-1] == "other.txt"
        Handler.pages = {}
        assert text_of(*local[:-1]) == text_of(*local[:-1]) == [KOREAN] * 5


def test_web_errors(server: str) -> None:
    Handler.pages = {
        "/page": (200, "text/html", b"<html>"),
        "/gone.txt": (503, "text/plain", b""),
        "/empty.txt": (200, "text/plain", b""),
        "/short.txt": (200, "text/plain", b"abc"),
    }
    fails(f"{server}/no.txt", match=r"no\.txt: the server answered 404")
    fails(f"{server}/gone.txt", match="the server answered 503")
    fails(f"{server}/page", match="web page; give the address of the raw file")
    fails(f"{server}/empty.txt", match="empty")
    fails(f"{server}/short.txt", match="the connection broke after 3 of 8 bytes")
    fails("http://127.0.0.1:1/a.txt", match="cannot be reached")
    fails("http://[bad/a.txt", match="bad")
    fails("http:///a.txt", match="a.txt: ")


def test_web_error_while_downloading_leaves_nothing(server: str) -> None:
    Handler.pages = {"/a.txt": (200, "text/plain", b"abc")}
    with pytest.raises(ValueError, match="404"), downloaded([f"{server}/a.txt", f"{server}/b"]):
        pass


# The hub, from a folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("datasets", reason="the extra `hub` is not installed")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.parquet").write_bytes(
        parquet([{"Q": f"질문 {i}", "A": "답"} for i in range(3)])
    )
    (folder / "test.parquet").write_bytes(parquet([{"Q": "시험", "A": "답"}]))
    return folder


def test_hub(hub: Path) -> None:
    assert text_of(f"hf://{hub}#Q") == ["질문 0", "질문 1", "질문 2"]
    assert text_of(f"hf://{hub}:test#Q") == ["시험"]
    assert text_of(f"hf://{hub}:test", field="A") == ["답"]
    fails(f"hf://{hub}", match="which field is the text.*Q, A")
    fails(f"hf://{hub}#X", match="no field 'X'.*Q, A")
    fails(f"hf://{hub}:nope", match=f"hf://{hub}:nope: .*nope")
    fails(f"hf://{hub}/nothing-here", match="nothing-here")
    fails("hf://", match="expected hf://owner/name")


def test_hub_config_split_and_field(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def load_dataset(*args: object, **options: object) -> list[dict[str, str]]:
        calls.append((*args, options.get("split"), options.get("streaming")))
        return [{"text": "t", "body": "b"}]

    fake = ModuleType("datasets")
    fake.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", fake)
    assert text_of("hf://e9t/nsmc") == ["t"]
    assert text_of("hf://wikimedia/wikipedia/20231101.ko:train#body") == ["b"]
    assert text_of("hf://imdb:test") == ["t"]
    assert calls == [
        ("e9t/nsmc", None, "train", True),
        ("wikimedia/wikipedia", "20231101.ko", "train", True),
        ("imdb", None, "test", True),
    ]


def test_hub_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    fails("hf://owner/name", match=r"pip install 'datasets>=3'")


# Larger than memory


@pytest.mark.parametrize("extension", ["", ".gz"])
def test_memory_stays_flat_for_a_long_file(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"long.txt{extension}"
    block = (b"The quick brown fox jumps over the lazy dog, again and again.\n" * 20_000)[: 1 << 20]
    with path.open("wb") if not extension else gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(block)
    tracemalloc.start()
    try:
        total = sum(len(piece.text) for piece in read([str(path)]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 64 << 20
    assert peak < 16 << 20
