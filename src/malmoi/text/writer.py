"""Documents to compressed shards: JSON lines in zstd, or Parquet; whole or not there at all.

All is written into a folder beside the one that is meant, which takes its place at the end.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import orjson

Format = Literal["jsonl", "parquet"]
_ROWS = 4 << 20  # bytes of text that are written at once; a row group of Parquet


def json_line(text: str, source: str) -> bytes:
    """A document as a line of JSON with its end."""
    record = {"text": text, "source": source}
    try:
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # half a surrogate pair, which JSON can only spell
        return (json.dumps(record) + "\n").encode("ascii")


class ShardWriter:
    """Writes documents of one part, `PART-00000.jsonl.zst` and so on.

    Args:
        folder: is there already.
        part: how the files are called.
        kind: the format.
        most: bytes of text in a shard, before compression.

    """

    def __init__(self, folder: Path, part: str, kind: Format, most: int) -> None:
        self.folder, self.part, self.kind, self.most = folder, part, kind, most
        self.names: list[str] = []
        self.documents = self.bytes = 0
        self._held = 0  # bytes in the shard at hand
        self._file: Any = None
        self._rows: list[Any] = []  # lines of JSON, or pairs for Parquet
        self._waiting = 0  # bytes of text in them

    def add(self, text: str, source: str) -> None:
        """Write a document and where it came from."""
        size = len(text.encode("utf-8", "replace"))
        if self.kind == "jsonl":
            self.add_line(json_line(text, source), size)
        else:
            self._add((text, source), size)

    def add_line(self, line: bytes, size: int) -> None:
        """Write a document that is a line of JSON already, of `size` bytes of text."""
        assert self.kind == "jsonl"
        self._add(line, size)

    def _add(self, row: bytes | tuple[str, str], size: int) -> None:
        if self._file is None:
            self._open()
        self.documents += 1
        self.bytes += size
        self._held += size
        self._rows.append(row)
        self._waiting += size
        if self._waiting > _ROWS:
            self._flush()
        if self._held >= self.most:
            self.close()

    def close(self) -> None:
        """End the shard at hand."""
        if self._file is None:
            return
        self._flush()
        self._file.close()
        self._file, self._held = None, 0
        _sync(self.folder / self.names[-1])

    def _open(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        ending = "jsonl.zst" if self.kind == "jsonl" else "parquet"
        self.names.append(f"{self.part}-{len(self.names):05}.{ending}")
        path = str(self.folder / self.names[-1])
        if self.kind == "jsonl":
            self._file = pa.CompressedOutputStream(path, "zstd")
        else:
            columns = pa.schema([("text", pa.string()), ("source", pa.string())])
            self._file = pq.ParquetWriter(path, columns, compression="zstd")

    def _flush(self) -> None:
        if not self._rows:
            return
        if self.kind == "jsonl":
            self._file.write(b"".join(self._rows))
        else:
            import pyarrow as pa

            texts, sources = zip(*self._rows, strict=True)
            table = {"text": pa.array(texts, pa.string()), "source": pa.array(sources, pa.string())}
            self._file.write_table(pa.table(table))
        self._rows, self._waiting = [], 0


@contextmanager
def new_folder(out: Path, overwrite: bool) -> Iterator[Path]:
    """A folder beside `out` to write into; it becomes `out` when all went well, else it is gone.

    Raises:
        ValueError: there is something at `out` already, and `overwrite` was not given; or it may
            not be replaced.

    """
    if out.exists() or out.is_symlink():
        ours = (out / "report.html").exists() or (out.is_dir() and not any(out.iterdir()))
        if not overwrite and any(out.iterdir() if out.is_dir() else [out]):
            raise ValueError(f"{out} is there already: give --overwrite, or another --out")
        if not ours:
            raise ValueError(f"{out}: not made by malmoi clean, so it is not replaced")
    home = out.absolute().parent
    home.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=home))
    try:
        beside.chmod(0o755)
        yield beside
        old = None
        if out.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".old", dir=home))
            os.replace(out, old)
        os.replace(beside, out)
        _sync(home)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # folders cannot be opened there
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
