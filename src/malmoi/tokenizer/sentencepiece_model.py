"""SentencePiece `.model` files (unigram and BPE) as `tokenizers` pipelines with the same ids."""

from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)  # types of a piece
_UNIGRAM, _BPE = 1, 2  # types of a model


def read_model(file: Path) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    """Read `file`; the tokenizer, and the names of its bos, eos, pad and unk where it has them.

    Raises ValueError where it is no SentencePiece model, one of another type than unigram and BPE,
    or the extra `sentencepiece` is not installed.
    """
    try:
        from sentencepiece import sentencepiece_model_pb2
    except ImportError:
        raise ValueError(
            f"{file}: reading SentencePiece needs an extra: pip install 'malmoi[sentencepiece]'"
        ) from None
    proto_module: Any = sentencepiece_model_pb2  # its classes are made on import
    proto = proto_module.ModelProto()
    try:
        proto.ParseFromString(file.read_bytes())
    except Exception:  # protobuf's DecodeError, an OSError: the file is the reason in any case
        raise ValueError(f"{file}: not a SentencePiece model, or a damaged one") from None
    trainer = proto.trainer_spec
    if not proto.pieces or trainer.model_type not in (_UNIGRAM, _BPE):
        raise ValueError(f"{file}: not a unigram or BPE model of SentencePiece")
    if trainer.treat_whitespace_as_suffix or not proto.normalizer_spec.escape_whitespaces:
        raise ValueError(f"{file}: a SentencePiece model with white space as suffix: not supported")
    if len({piece.piece for piece in proto.pieces}) != len(proto.pieces):
        raise ValueError(f"{file}: a damaged SentencePiece model: a piece appears twice")
    build = _unigram if trainer.model_type == _UNIGRAM else _bpe
    backend = build(proto)
    if steps := _normalizer(proto.normalizer_spec):
        backend.normalizer = normalizers.Sequence(steps)
    backend.decoder = decoders.Sequence(_decoder(proto.normalizer_spec))
    special = [p.piece for p in proto.pieces if p.type in (_CONTROL, _UNKNOWN)]
    backend.add_special_tokens([AddedToken(n, special=True, normalized=False) for n in special])
    named = {}
    for role in ("bos", "eos", "pad", "unk"):
        index = getattr(trainer, f"{role}_id")
        if 0 <= index < len(proto.pieces) and proto.pieces[index].piece in special:
            named[role] = proto.pieces[index].piece
    return backend, named


def _unigram(proto: Any) -> tokenizers.Tokenizer:
    normal = [p.score for p in proto.pieces if p.type == _NORMAL]
    best, worst = max(normal, default=0.0), min(normal, default=0.0)
    vocab = []
    for piece in proto.pieces:
        score = piece.score
        if piece.type == _USER_DEFINED:  # so much that it always wins: unigram_model.cc
            score = len(piece.piece.encode()) * best - 0.1
        elif piece.type == _UNUSED:
            score = worst
        vocab.append((piece.piece, score))
    unk = next((i for i, p in enumerate(proto.pieces) if p.type == _UNKNOWN), 0)
    return tokenizers.Tokenizer(models.Unigram(vocab, unk, proto.trainer_spec.byte_fallback))


def _bpe(proto: Any) -> tokenizers.Tokenizer:
    """SentencePiece has scores of pieces, `tokenizers` ranks of merges: all that make a piece."""
    vocab = {piece.piece: i for i, piece in enumerate(proto.pieces)}
    merging = {p.piece: p.score for p in proto.pieces if p.type in (_NORMAL, _USER_DEFINED)}
    merges = []
    for piece, score in merging.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in merging and right in merging:
                merges.append((-score, vocab[left], vocab[right], left, right))
    merges.sort()
    user_defined = [p.piece for p in proto.pieces if p.type == _USER_DEFINED]
    unk = next((p.piece for p in proto.pieces if p.type == _UNKNOWN), None)
    backend = tokenizers.Tokenizer(
        models.BPE(
            vocab=vocab,
            merges=[(left, right) for *_, left, right in merges],
            unk_token=unk,
            fuse_unk=True,
            byte_fallback=proto.trainer_spec.byte_fallback,
            ignore_merges=bool(user_defined),
        )
    )
    if user_defined:  # found before all else, longest first
        longest_first = sorted(user_defined, key=len, reverse=True)
        pattern = "|".join(_escape(symbol) for symbol in longest_first)
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    return backend


def _escape(symbol: str) -> str:
    return "".join(f"\\x{{{ord(char):x}}}" for char in symbol)


def _normalizer(spec: Any) -> list[Any]:
    steps: list[Any] = []
    if spec.precompiled_charsmap:
        if spec.name.startswith("nmt"):
            # To the library "\r\n" is one character to map, to SentencePiece two (to spaces).
            steps.append(normalizers.Replace("\r\n", "\n\n"))
        if "nfkc" in spec.name:
            # Nor does it join NFD jamo to syllables. NFKC of NFC is NFKC: nothing else changes.
            steps.append(normalizers.NFC())
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps.append(normalizers.Replace(Regex(r"\A +| +\z"), ""))
        steps.append(normalizers.Replace(Regex(" {2,}"), " "))
    if spec.add_dummy_prefix:
        steps.append(normalizers.Prepend("▁"))
    steps.append(normalizers.Replace(" ", "▁"))
    return steps


def _decoder(spec: Any) -> list[Any]:
    steps: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if spec.add_dummy_prefix:
        steps.append(decoders.Strip(content=" ", left=1, right=0))
    return steps
