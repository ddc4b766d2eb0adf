"""Foreign tokenizers in: `tokenizer.json`, `vocab.json` + `merges.txt`, SentencePiece `.model`.

Everything becomes a `tokenizers.Tokenizer` and the ids of its bos, eos, pad and unk. A file may
come from anywhere: whatever is wrong with it becomes one line.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers

from malmoi.tokenizer.pieces import byte_level_alphabet

SPECIALS = {"bos": "<|bos|>", "eos": "<|eos|>", "pad": "<|pad|>", "unk": "<|unk|>"}
ROLES_FILE = "special_tokens_map.json"
PROBE = "Hi  <|eos|> 한글 \U0001f600\n\x00 <0x41>"

# Names in use, most telling first. What none of them matches gets a new token.
_KNOWN = {
    "bos": ["<|bos|>", "<s>", "<|begin_of_text|>", "<bos>", "[BOS]", "<|startoftext|>", "[CLS]"],
    "eos": ["<|eos|>", "</s>", "<|end_of_text|>", "<eos>", "[EOS]", "[SEP]"],
    "pad": ["<|pad|>", "<pad>", "[PAD]", "<|finetune_right_pad_id|>"],
    "unk": ["<|unk|>", "<unk>", "[UNK]"],
}
_KNOWN["bos"].append("<|endoftext|>")
_KNOWN["eos"].append("<|endoftext|>")


def read(path: Path) -> tuple[tokenizers.Tokenizer, dict[str, int]]:
    """Read a file or folder of any known form (see `Tokenizer.load`); the ids of the four roles.

    Raises ValueError.
    """
    file = _find(path)
    if file.suffix == ".model":
        from malmoi.tokenizer.sentencepiece_model import read_model

        backend, named = read_model(file)
    elif file.name.endswith("vocab.json"):
        backend, named = _read_vocab_and_merges(file), {}
    else:
        backend, named = _read_tokenizer_json(file), {}
    named = {**named, **_named_beside(file)}
    with one_line_errors(f"{file}: not usable as a tokenizer"):
        roles = _settle_roles(backend, named)
        _keep_specials_out_of_text(backend)
    return backend, roles


def roles_by_name(backend: tokenizers.Tokenizer) -> dict[str, int]:
    """Which ids are bos, eos, pad and unk by the names in use; roles nobody has are left out."""
    found = {}
    for role, names in _KNOWN.items():
        ids = [id for id in map(backend.token_to_id, names) if id is not None]
        if ids:
            found[role] = ids[0]
    return found


@contextmanager
def one_line_errors(what: str) -> Iterator[None]:
    """Turn whatever the Rust library raises, a panic too, into `ValueError(what: ...)`."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:  # PanicException derives from BaseException alone
        lines = str(error).splitlines() or [type(error).__name__]
        raise ValueError(f"{what}: {lines[0][:200]}") from None


def _find(path: Path) -> Path:
    if path.is_file():
        if path.name.endswith("merges.txt"):
            return path.with_name(path.name.removesuffix("merges.txt") + "vocab.json")
        return path
    if not path.is_dir():
        raise ValueError(f"{path}: no such file or folder; give a tokenizer.json or its folder")
    for name in ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json"):
        if (path / name).is_file():
            return path / name
    others = sorted(path.glob("*.model"))
    if len(others) == 1:
        return others[0]
    raise ValueError(f"{path}: no tokenizer.json, *.model or vocab.json with merges.txt in it")


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{file}: not UTF-8 text; damaged, or not a tokenizer") from None


def _read_json_object(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(_read_text(file))
    except (json.JSONDecodeError, RecursionError):
        raise ValueError(f"{file}: not valid JSON; damaged, or not a tokenizer") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file}: holds no JSON object")
    return content


def _read_tokenizer_json(file: Path) -> tokenizers.Tokenizer:
    spec = _read_json_object(file)
    model = spec.get("model")
    if not isinstance(model, dict) or not model.get("vocab"):
        raise ValueError(f"{file}: not a tokenizer.json (it has no model with a vocabulary)")
    # The library cuts each merge's right side at so many bytes without a look, and a cut within a
    # character ends the whole process. BERT's WordPiece has such prefixes; BPE models do not.
    if model.get("continuing_subword_prefix") and "merges" in model:
        raise ValueError(f"{file}: a BPE model with a continuing_subword_prefix: not supported")
    vocab, added = model["vocab"], spec.get("added_tokens")
    ids = list(vocab.values()) if isinstance(vocab, dict) else []
    ids += [t.get("id") for t in added if isinstance(t, dict)] if isinstance(added, list) else []
    _refuse_holes(file, ids)
    with one_line_errors(f"{file}: not a tokenizer.json"):
        return tokenizers.Tokenizer.from_str(json.dumps(spec))


def _read_vocab_and_merges(file: Path) -> tokenizers.Tokenizer:
    """GPT-2's published form, byte-level BPE."""
    merges_file = file.with_name(file.name.removesuffix("vocab.json") + "merges.txt")
    vocab = _read_json_object(file)
    _refuse_holes(file, list(vocab.values()))
    if missing := [char for char in byte_level_alphabet() if char not in vocab]:
        raise ValueError(
            f"{file}: not a byte-level vocabulary ({len(missing)} of 256 bytes are missing)"
        )
    if not merges_file.is_file():
        raise ValueError(f"{merges_file}: no such file; {file.name} needs it beside it")
    # Not splitlines(): a token may hold U+0085, which is a line break to it.
    lines = _read_text(merges_file).replace("\r\n", "\n").split("\n")
    if lines[0].startswith("#version"):
        lines = lines[1:]
    merges = []
    for line in filter(None, lines):
        left, _, right = line.partition(" ")
        if not left or not right or " " in right:
            raise ValueError(f"{merges_file}: a line is not two tokens: {line[:60]!r}")
        merges.append((left, right))
    with one_line_errors(f"{merges_file}: does not fit {file.name}"):
        backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _refuse_holes(file: Path, ids: list[Any]) -> None:
    """One token with the id 4,000,000,000 would keep the library busy for minutes."""
    if not all(isinstance(id, int) and 0 <= id <= 2 * len(ids) + 100_000 for id in ids):
        raise ValueError(f"{file}: a token's id is not a whole number in the vocabulary's range")


def _named_beside(file: Path) -> dict[str, str]:
    """Names of the roles from the ecosystem's files beside `file`, where there are any."""
    named: dict[str, str] = {}
    for name in ("tokenizer_config.json", ROLES_FILE):
        if not (beside := file.with_name(name)).is_file():
            continue
        content = _read_json_object(beside)
        for role in SPECIALS:
            value = content.get(f"{role}_token")
            if isinstance(value, dict):
                value = value.get("content")
            if isinstance(value, str) and value:
                named[role] = value
    return named


def _settle_roles(backend: tokenizers.Tokenizer, named: dict[str, str]) -> dict[str, int]:
    """Ids of the roles: by `named`, else by known names, else new ones; all special tokens then.

    A role whose token would be another role's (GPT-2's bos and unk are its eos, many pads are)
    gets its own: a loss that masks pad or bos must not mask the end of the text.
    """
    by_name = {role: backend.id_to_token(id) for role, id in roles_by_name(backend).items()}
    chosen: dict[str, str] = {}
    for role in ("eos", "bos", "unk", "pad"):
        name = named.get(role) or by_name.get(role)
        if name in chosen.values():
            name = by_name.get(role)
        name = name or SPECIALS[role]
        if name in chosen.values():
            name = SPECIALS[role]
            while name in chosen.values():
                name = name.replace("|>", "_|>")
        chosen[role] = name
    taken = backend.get_added_tokens_decoder().values()
    # A token that is added but not special would still be found in text: added again as special.
    special = {token.content for token in taken if token.special}
    new = [name for name in dict.fromkeys(chosen[role] for role in SPECIALS) if name not in special]
    if new:
        backend.add_special_tokens([AddedToken(n, special=True, normalized=False) for n in new])
    ids = backend.get_vocab(with_added_tokens=True)
    return {role: ids[chosen[role]] for role in SPECIALS}


def _keep_specials_out_of_text(backend: tokenizers.Tokenizer) -> None:
    """Make sure that the text `<s>` is not encoded as the token `<s>`, nor `<0x41>` as a byte.

    The library's Unigram and WordLevel find any token of the vocabulary in the text, special or
    not. Where a probe shows that, pieces are cut after the first character of those names too.
    """
    backend.encode_special_tokens = True
    added = backend.get_added_tokens_decoder().items()
    names = {token.content: id for id, token in added if token.special and len(token.content) > 1}
    found = [name for name, id in names.items() if _shows_up(backend, name, id)]
    cuts = [f"{re.escape(name[0])}(?={re.escape(name[1:])})" for name in found]
    byte = backend.token_to_id("<0x41>")
    if byte is not None and _shows_up(backend, "<0x41>", byte):
        cuts.append("<(?=0x[0-9A-F]{2}>)")
    if cuts:
        cut = pre_tokenizers.Split(Regex("|".join(cuts)), "merged_with_previous")
        then = backend.pre_tokenizer
        backend.pre_tokenizer = pre_tokenizers.Sequence([then, cut]) if then else cut


def _shows_up(backend: tokenizers.Tokenizer, name: str, id: int) -> bool:
    return any(
        id in backend.encode(text, add_special_tokens=False).ids for text in (name, f"a {name} b")
    )
