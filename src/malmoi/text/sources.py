"""What DATA names: files, folders, globs, web addresses, the hub, and what is built in.

`read` is the one door for raw text. It names, opens and decompresses; `formats.py`, the
neighbour, takes the documents out of what was opened.
"""

import bz2
import glob
import gzip
import http.client
import io
import lzma
import os
import re
import shutil
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from malmoi.text.encoding import Notes, check_encoding
from malmoi.text.formats import KINDS, documents
from malmoi.text.records import Piece, document, texts

__all__ = ["Piece", "downloaded", "read"]

_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_TIMEOUT = 30.0  # seconds without a byte from a server
_STORIES = 10_000  # stories of `builtin:stories` where no count is given
_TYPES = {  # what a server calls what its address does not name
    "application/json": ".json",
    "application/jsonl": ".jsonl",
    "application/x-ndjson": ".jsonl",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
}
_Reader = Callable[[str | None, str | None], Iterator[Piece]]  # of field and encoding


def read(
    sources: Sequence[str], *, field: str | None = None, encoding: str | None = None
) -> Iterator[Piece]:
    """Read documents from everything that `sources` name, in that order, in flat memory.

    A document is the text of a piece with `first` and of those after it that lack it. Reading the
    same sources again gives the same pieces; what is to be fetched is fetched again (`downloaded`
    fetches once).

    Args:
        sources: Paths of files or folders, globs, `https://...`,
            `hf://owner/name[/config][:split][#field]`, `builtin:stories[:count][@seed]`.
        field: The field of records that holds the text; None finds it.
        encoding: A codec's name; None detects it for each file.

    Raises:
        ValueError: one line about what cannot be read. A name that leads nowhere is found at
            once, what is wrong inside a file when it is reached.

    """
    if isinstance(sources, str):
        sources = [sources]
    if not sources:
        raise ValueError("no data: name a file, a folder, an address, or builtin:stories")
    if encoding is not None:
        check_encoding(encoding)
    return _all([(source, _readers(source)) for source in sources], field, encoding)


def _all(
    named: list[tuple[str, list[_Reader]]], field: str | None, encoding: str | None
) -> Iterator[Piece]:
    for source, readers in named:
        empty = True
        for reader in readers:
            for piece in reader(field, encoding):
                empty = False
                yield piece
        if empty:
            raise ValueError(f"{source}: empty: there is no text in it")


def _readers(source: str) -> list[_Reader]:
    """What one source stands for, found without opening anything."""
    if source.startswith("builtin:"):
        return [_builtin(source)]
    if source.startswith("hf://"):
        return [partial(_hub, source)]
    if source.startswith(("http://", "https://")):
        return [partial(_web, source)]
    if scheme := re.match(r"[a-z][a-z0-9+.-]+://", source):
        known = "https://, http:// and hf://"
        raise ValueError(f"{source}: cannot read {scheme[0]} addresses, only {known}")
    return [partial(read_file, path, path) for path in _paths(source)]


def local_files(source: str) -> list[str]:
    """The files that a source names; none for an address or what is built in.

    Raises:
        ValueError: there is no such file.

    """
    return [] if re.match(r"(builtin:|[a-z][a-z0-9+.-]+://)", source) else _paths(source)


def _paths(source: str) -> list[str]:
    if not source:
        raise ValueError("an empty name among the data: name a file, a folder or an address")
    path = Path(os.path.expanduser(source))
    try:
        if path.is_dir():
            return _folder(path)
        if path.is_file():
            return [str(path)]
        if path.exists():  # a pipe can be read only once, and we read twice
            raise ValueError(f"{source}: neither a file nor a folder; save it to a file first")
    except OSError as error:
        raise ValueError(f"{source}: {error.strerror}") from None
    if not glob.has_magic(source):
        raise ValueError(f"{source}: no such file or folder")
    matched = [Path(match) for match in glob.glob(str(path), recursive=True)]
    found = sorted((str(match) for match in matched if match.is_file()), key=_by_parts)
    if not found:  # "corpora/*/" names folders
        found = [file for match in sorted(matched) if match.is_dir() for file in _folder(match)]
    if not found:
        raise ValueError(f"{source}: no file matches")
    return found


def _folder(folder: Path) -> list[str]:
    found = []
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = os.path.join(parent, name)
            if (
                not name.startswith(".")
                and format_extension(name) in KINDS
                and os.path.isfile(path)
            ):
                found.append(path)
    if not found:
        raise ValueError(f"{folder}: no readable files in this folder; it reads {' '.join(KINDS)}")
    return sorted(found, key=_by_parts)


def _raise(error: OSError) -> None:
    raise ValueError(f"{error.filename}: {error.strerror}") from None


def _by_parts(path: str) -> tuple[str, ...]:
    return Path(path).parts  # the same order whatever the separator of the system is


def format_extension(name: str) -> str:
    """The extension that tells the format, in lower case: ".jsonl" for "a.JSONL.gz"."""
    stem, extension = os.path.splitext(name.lower())
    return os.path.splitext(stem)[1] if extension in _COMPRESSED else extension


def read_file(
    path: str, name: str, field: str | None, encoding: str | None, notes: Notes | None = None
) -> Iterator[Piece]:
    """The documents of a file; `notes` as in `documents`."""
    try:
        with opened(path) as raw:
            magic = raw.read(4)
        if not magic:
            return
        kind = "parquet" if magic == b"PAR1" else KINDS.get(format_extension(path), "plain")
        with opened(path, seekable=kind == "parquet") as raw:
            bounded = raw if kind == "parquet" else as_it_is(raw)
            yield from documents(bounded, kind, name, field=field, encoding=encoding, notes=notes)
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise ValueError(f"{name}: {error.strerror}") from None
        raise ValueError(f"{name}: the compressed file is damaged or cut short: {error}") from None


@contextmanager
def opened(path: str, *, seekable: bool = False) -> Iterator[BinaryIO]:
    """The bytes of a file, decompressed by what it begins with, whatever it is called."""
    with ExitStack() as stack:
        file: BinaryIO = stack.enter_context(open(path, "rb"))
        head = file.read(10)
        file.seek(0)
        raw = file
        if head.startswith(b"\x1f\x8b\x08"):
            raw = cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=file)))
        elif head.startswith(b"BZh") and head[4:] in (b"1AY&SY", b"\x17rE8P\x90"):
            raw = cast(BinaryIO, stack.enter_context(bz2.BZ2File(file)))
        elif head.startswith(b"\xfd7zXZ\0"):
            raw = cast(BinaryIO, stack.enter_context(lzma.LZMAFile(file)))
        elif head.startswith(b"\x28\xb5\x2f\xfd"):
            import pyarrow as pa

            raw = stack.enter_context(pa.input_stream(file, compression="zstd"))
        if seekable and raw is not file:
            unpacked = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(raw, unpacked, 1 << 20)
            unpacked.seek(0)
            raw = cast(BinaryIO, unpacked)
        yield raw


def as_it_is(raw: BinaryIO) -> BinaryIO:
    """A file as long as it is now: what others write behind its end is not waited for."""
    if not isinstance(raw, io.BufferedReader):
        return raw  # of a compressed file that grows, the end is damage
    return cast(BinaryIO, _Bounded(raw, os.fstat(raw.fileno()).st_size))


class _Bounded:
    """The first bytes of a file."""

    def __init__(self, raw: BinaryIO, size: int) -> None:
        self.raw, self.left = raw, size

    def read(self, count: int) -> bytes:
        data = self.raw.read(min(count, self.left))
        self.left -= len(data)
        return data


def _builtin(source: str) -> _Reader:
    match = re.fullmatch(r"builtin:([^:@]*)(?::(\d+))?(?:@(\d+))?", source)
    if match is None or match[1] != "stories":
        raise ValueError(
            f"{source}: there is no such text built in; there is builtin:stories[:COUNT][@SEED], "
            f"as in builtin:stories:20000@7"
        )
    return partial(_stories, int(match[2] or _STORIES), int(match[3] or 0))


def _stories(count: int, seed: int, field: str | None, encoding: str | None) -> Iterator[Piece]:
    from malmoi.text.stories import stories

    for story in stories(count, seed=seed):
        yield from document(story.text, "builtin:stories")


@contextmanager
def downloaded(sources: Sequence[str]) -> Iterator[list[str]]:
    """Fetch the web addresses among `sources` once, to be read as often as needed.

    Yields:
        The sources with each address replaced by a file, which is deleted at the end.

    Raises:
        ValueError: an address does not answer, or not with a file; one line.

    """
    with tempfile.TemporaryDirectory(prefix="malmoi-") as folder:
        local = []
        for number, source in enumerate(sources):
            if source.startswith(("http://", "https://")):
                home = Path(folder, str(number))
                home.mkdir()
                source = str(_fetch(source, home))
            local.append(source)
        yield local


def _web(url: str, field: str | None, encoding: str | None) -> Iterator[Piece]:
    with tempfile.TemporaryDirectory(prefix="malmoi-") as folder:
        yield from read_file(str(_fetch(url, Path(folder))), url, field, encoding)


def _fetch(url: str, folder: Path) -> Path:
    """Stream a web address into a file whose name tells its format."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
        path = urllib.parse.quote(parts.path, safe="/%:@!$&'()*+,;=~")
        query = urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~?")
        plain = urllib.parse.urlunsplit((parts.scheme, host, path, query, ""))
        request = urllib.request.Request(plain, headers={"User-Agent": "malmoi"})
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            kind = answer.headers.get_content_type()
            name = os.path.basename(urllib.parse.unquote(parts.path))
            extension = format_extension(name)
            if kind == "text/html" and extension not in (".html", ".htm"):
                raise ValueError("the server sent a web page; give the address of the raw file")
            # Of the name only the extensions matter, and a name can be longer than a disk allows.
            target = folder / f"data{extension if extension in KINDS else _TYPES.get(kind, '')}"
            with open(target, "wb") as file:
                shutil.copyfileobj(answer, file, 1 << 20)
                size = file.tell()
            expected = answer.headers.get("Content-Length")
            if expected is not None and size < int(expected):
                raise ValueError(f"the connection broke after {size:,} of {int(expected):,} bytes")
    except urllib.error.HTTPError as error:
        error.close()
        raise ValueError(f"{url}: the server answered {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise ValueError(f"{url}: cannot be reached: {error.reason}") from None
    except TimeoutError:
        raise ValueError(f"{url}: the server was silent for {_TIMEOUT:.0f} seconds") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{url}: {what}") from None
    return target


def _hub(source: str, field: str | None, encoding: str | None) -> Iterator[Piece]:
    """`hf://owner/name[/config][:split][#field]`; an absolute path is a folder that is here."""
    match = re.fullmatch(r"hf://([^:#]+?)/?(?::([^#]+))?(?:#(.+))?", source)
    if match is None:
        raise ValueError(f"{source}: expected hf://owner/name[/config][:split][#field]")
    where, split, own_field = match.groups()
    config = None
    if not where.startswith("/") and where.count("/") == 2:
        where, config = where.rsplit("/", 1)
    try:
        import datasets
    except ImportError:
        raise ValueError(f"{source}: hub data needs an extra: pip install 'datasets>=3'") from None
    rows = _rows(source, partial(datasets.load_dataset, where, config), split or "train")
    yield from texts(rows, own_field or field, source)


def _rows(source: str, load: Callable[..., Any], split: str) -> Iterator[tuple[int, Any]]:
    try:
        yield from enumerate(load(split=split, streaming=True), 1)
    except Exception as error:  # of a dozen classes, from the four libraries behind `datasets`
        what = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{source}: {what}") from error
