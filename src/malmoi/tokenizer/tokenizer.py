"""The tokenizer: one class around `tokenizers.Tokenizer` for every kind.

It differs from the library in three ways that matter for a language model: text never turns into
special tokens, decoding goes byte by byte (see `pieces.py`), and a long text is encoded by all
cores.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tokenizers

from malmoi.tokenizer import chat, load
from malmoi.tokenizer.pattern import PATTERN, cut_safely
from malmoi.tokenizer.pieces import token_table

# An encoding of the library takes some 200 bytes a token: so much text at a time (characters).
_BATCH = 1 << 20


class Tokenizer:
    """Text to ids and back.

    `kind` is `char`, `word`, `bpe`, `bytebpe` or `unigram`, read off the model itself. `pad_id` and
    `unk_id` are ids of their own always; `bos_id` and `eos_id` are for the kinds trained here, and
    are one for a foreign tokenizer that publishes one token for both (GPT-2's `<|endoftext|>`).

    What the kinds trained here encode comes back exactly, any text of valid Unicode. A foreign
    tokenizer keeps what it keeps: SentencePiece's usual ones fold white space, for example.

    `chat_template` may be set; it is saved and loaded with the tokenizer. None: see `chat.py`.
    """

    kind: str
    vocab_size: int
    bos_id: int
    eos_id: int
    pad_id: int
    unk_id: int
    drops_first_space: bool
    special_ids: frozenset[int]
    chat_template: str | None

    def __init__(self, backend: tokenizers.Tokenizer, roles: Mapping[str, int]) -> None:
        """Wrap `backend`; `roles` holds the ids of bos, eos, pad and unk, all special tokens."""
        # Without this the text "<|eos|>" would become the special token.
        backend.encode_special_tokens = True
        backend.no_padding()
        backend.no_truncation()
        self._backend = backend
        self._roles = dict(roles)
        self.chat_template = None
        self.bos_id, self.eos_id, self.pad_id, self.unk_id = (
            roles[role] for role in ("bos", "eos", "pad", "unk")
        )
        if self.pad_id in (self.bos_id, self.eos_id, self.unk_id):
            raise ValueError(f"its pad has the id {self.pad_id} of another special token")
        spec = json.loads(backend.to_str())
        self.vocab_size = max(backend.get_vocab(with_added_tokens=True).values()) + 1
        self._bytes, self._special, self.drops_first_space = token_table(spec, self.vocab_size)
        self.special_ids = frozenset(self._special)
        self.kind = _kind(spec)
        self._cut: Callable[[str], Iterable[str]] = cut_safely if _cuts(spec) else _whole

    def encode(self, text: str, bos: bool = False, eos: bool = False) -> list[int]:
        """Ids of `text`, with the `bos` and `eos` ids around it where asked.

        Raises ValueError for a lone surrogate, which no UTF-8 can hold.
        """
        return self.encode_batch([text], bos=bos, eos=eos)[0]

    def encode_batch(
        self, texts: Sequence[str], bos: bool = False, eos: bool = False
    ) -> list[list[int]]:
        """The same as `encode` for each text, on all cores. Raises ValueError as `encode` does."""
        head = [self.bos_id] if bos else []
        result = [head[:] for _ in texts]
        for group in _groups(self._cut, texts):
            with _one_line_errors([part for _, part in group]):
                encodings = self._backend.encode_batch_fast(
                    [part for _, part in group], add_special_tokens=False
                )
            for (row, _), encoding in zip(group, encodings, strict=True):
                result[row].extend(encoding.ids)
        if eos:
            for ids in result:
                ids.append(self.eos_id)
        return result

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """Text of `ids`; bytes that form no character become U+FFFD.

        With `skip_special=False` special tokens appear by name. Raises ValueError for an id outside
        the vocabulary.
        """
        if skip_special:
            parts = [self.token_bytes(id) for id in ids]
        else:
            parts = [
                self._special[id].encode() if id in self._special else self.token_bytes(id)
                for id in ids
            ]
        data = b"".join(parts)
        if self.drops_first_space:
            data = data.removeprefix(b" ")
        return data.decode("utf-8", "replace")

    def token_bytes(self, id: int) -> bytes:
        """Exact bytes that the token adds to the text; `b""` for special tokens.

        Raises ValueError for an id outside the vocabulary.
        """
        if not 0 <= id < self.vocab_size:
            raise ValueError(f"token id {id} is outside the vocabulary of {self.vocab_size} tokens")
        return self._bytes[id]

    def token_text(self, id: int) -> str:
        """The token in a readable form for people: spaces as `␣`, bytes and controls escaped."""
        data = self.token_bytes(id)
        if id in self._special:
            return self._special[id]
        text = data.decode("utf-8", "backslashreplace").replace(" ", "␣")
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)

    def info(self) -> dict[str, Any]:
        """`kind`, `vocab_size` and `specials` (name of each special token -> id)."""
        return {
            "kind": self.kind,
            "vocab_size": self.vocab_size,
            "specials": {name: id for id, name in sorted(self._special.items())},
        }

    def to_json(self) -> str:
        """The content of `tokenizer.json`, the same for the same tokenizer."""
        return self._backend.to_str()

    def save(self, path: Path | str) -> None:
        """Write `tokenizer.json` to `path` (a file, or a folder that is there).

        The file is whole at all times: written beside, synced, renamed. Where the names of the
        special tokens alone do not tell which is bos or eos, the ecosystem's
        `special_tokens_map.json` is written beside it, and with a chat template its
        `tokenizer_config.json`.
        """
        path = Path(path)
        if path.is_dir():
            path = path / "tokenizer.json"
        names = {f"{role}_token": self._special[id] for role, id in self._roles.items()}
        if load.roles_by_name(self._backend) != self._roles:
            _write(path.with_name(load.ROLES_FILE), json.dumps(names, ensure_ascii=False))
        config = path.with_name(chat.CONFIG_FILE)
        if self.chat_template is not None or config.exists():  # an old one may hold another
            _write(config, chat.config_text(names, self.chat_template))
        # It would win over the template just written, as it does in `transformers`.
        path.with_name(chat.TEMPLATE_FILE).unlink(missing_ok=True)
        _write(path, self.to_json())

    @classmethod
    def load(cls, path: Path | str) -> "Tokenizer":
        """Read a tokenizer of any form.

        `path` is a `tokenizer.json`, a SentencePiece `.model`, a `vocab.json` with `merges.txt`
        beside it (`x_vocab.json` with `x_merges.txt` too), or a folder that holds one of these, a
        run folder for one. A missing pad, unk, bos or eos gets a new id behind the others, so that
        published ids stay. A chat template comes from the ecosystem's files beside it. Raises
        ValueError where it is missing or cannot be read.
        """
        path = Path(path)
        template = chat.read_template(path if path.is_dir() else path.parent)
        backend, roles = load.read(path)
        try:
            tokenizer = cls(backend, roles)
            tokenizer.chat_template = template
            tokenizer.decode(tokenizer.encode(load.PROBE))
        except ValueError as error:
            raise ValueError(f"{path}: not usable as a tokenizer: {error}") from None
        return tokenizer

    def __reduce__(self) -> tuple[Any, ...]:
        # The library's own state forgets `encode_special_tokens`; worker processes need it.
        return _rebuild, (self.to_json(), self._roles, self.chat_template)

    def __repr__(self) -> str:
        return f"Tokenizer(kind={self.kind!r}, vocab_size={self.vocab_size})"


def _rebuild(text: str, roles: dict[str, int], chat_template: str | None) -> Tokenizer:
    tokenizer = Tokenizer(tokenizers.Tokenizer.from_str(text), roles)
    tokenizer.chat_template = chat_template
    return tokenizer


def _kind(spec: dict[str, Any]) -> str:
    model = spec["model"]
    if model["type"] == "Unigram":
        return "unigram"
    if model["type"] != "BPE":
        return "word"
    if not model["merges"]:
        return "word" if model["ignore_merges"] else "char"
    byte_level = '"ByteLevel"' in json.dumps([spec["pre_tokenizer"], spec["decoder"]])
    return "bytebpe" if byte_level else "bpe"


def _cuts(spec: dict[str, Any]) -> bool:
    """Whether `cut_safely` holds for this tokenizer: its own patterns, nothing else in the way."""
    before = spec["pre_tokenizer"]
    if spec["normalizer"] is not None or not all(t["special"] for t in spec["added_tokens"]):
        return False
    if before is None:
        return spec["model"]["type"] == "BPE" and not spec["model"]["merges"]
    if before["type"] == "ByteLevel":
        return before["use_regex"] and not before["add_prefix_space"]
    return before["type"] == "Split" and before["pattern"] == {"Regex": PATTERN}


def _whole(text: str) -> list[str]:
    return [text]


def _groups(
    cut: Callable[[str], Iterable[str]], texts: Sequence[str]
) -> Iterator[list[tuple[int, str]]]:
    """(row, part) pairs in groups of about `_BATCH` characters, which bounds the memory."""
    group: list[tuple[int, str]] = []
    size = 0
    for row, text in enumerate(texts):
        for part in cut(text):
            group.append((row, part))
            size += len(part)
            if size >= _BATCH:
                yield group
                group, size = [], 0
    if group:
        yield group


@contextmanager
def _one_line_errors(texts: list[str]) -> Iterator[None]:
    try:
        with load.one_line_errors("the text cannot be encoded"):
            yield
    except ValueError:
        for text in texts:
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise ValueError(
                    f"the text holds a lone surrogate {text[error.start]!a} at character "
                    f"{error.start}, which is no valid Unicode; clean the text first"
                ) from None
        raise


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ValueError(f"{path}: cannot be written: {error.strerror}") from None
