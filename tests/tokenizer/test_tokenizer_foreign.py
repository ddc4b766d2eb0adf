"""Foreign tokenizers: the ids of the libraries they come from; one line for what is damaged."""

import io
import json
import re
import shutil

import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers

from malmoi.tokenizer import Tokenizer

# --- GPT-2


def test_gpt2_has_the_ids_of_transformers(gpt2_vocab, hard, korean):
    from transformers import GPT2Tokenizer

    vocab = json.loads(gpt2_vocab.read_text(encoding="utf-8"))
    lines = gpt2_vocab.with_name("gpt2_merges.txt").read_text(encoding="utf-8").split("\n")
    theirs = GPT2Tokenizer(vocab=vocab, merges=[tuple(li.split(" ")) for li in lines[1:] if li])
    ours = Tokenizer.load(gpt2_vocab)
    for text in [*hard, *korean[:3]]:
        ids = ours.encode(text)
        assert ours.decode(ids) == text
        if "<|endoftext|>" not in text:  # theirs makes the special token of it
            assert theirs.encode(text) == ids
            assert theirs.decode(ids, clean_up_tokenization_spaces=False) == text
    assert ours.encode("Hello world") == [15496, 995]  # as published
    assert 50256 not in ours.encode("<|endoftext|>")


def test_gpt2_keeps_its_ids_and_gets_bos_pad_and_unk(gpt2_vocab, tmp_path):
    shutil.copy(gpt2_vocab, tmp_path / "vocab.json")
    shutil.copy(gpt2_vocab.with_name("gpt2_merges.txt"), tmp_path / "merges.txt")
    for path in (tmp_path, tmp_path / "vocab.json", tmp_path / "merges.txt"):
        ours = Tokenizer.load(path)
        assert ours.kind == "bytebpe"
        assert (ours.bos_id, ours.eos_id, ours.pad_id, ours.unk_id) == (50257, 50256, 50258, 50259)
        assert ours.vocab_size == 50260
    vocab = json.loads(gpt2_vocab.read_text(encoding="utf-8"))
    mapping = json.loads(ours.to_json())["model"]["vocab"]
    assert mapping == vocab
    ours.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path)  # now finds the new file first
    assert again.info() == ours.info()
    assert (again.bos_id, again.pad_id) == (50257, 50258)
    assert not (tmp_path / "special_tokens_map.json").exists()


def test_a_vocabulary_that_is_not_byte_level_or_has_no_merges_is_one_line(tmp_path, gpt2_vocab):
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    with pytest.raises(ValueError, match="not a byte-level vocabulary"):
        Tokenizer.load(tmp_path)
    shutil.copy(gpt2_vocab, tmp_path / "vocab.json")
    with pytest.raises(ValueError, match="needs it beside it"):
        Tokenizer.load(tmp_path)
    for merges, reason in (("a b c\n", "not two tokens"), ("a qqq\n", "does not fit")):
        (tmp_path / "merges.txt").write_text(merges)
        with pytest.raises(ValueError, match=reason):
            Tokenizer.load(tmp_path)


# --- SentencePiece


@pytest.fixture(scope="module")
def corpus(korean) -> list[str]:
    return [line for text in korean for line in text.split("\n")]


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
@pytest.mark.parametrize("fallback", [True, False])
@pytest.mark.parametrize("normal", [True, False])
def test_sentencepiece_models_have_their_ids(
    corpus, hard, korean, tmp_path, model_type, fallback, normal
):
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus[:2000]),
        model_writer=model,
        model_type=model_type,
        vocab_size=1500,
        character_coverage=0.999,
        byte_fallback=fallback,
        normalization_rule_name="nmt_nfkc" if normal else "identity",
        remove_extra_whitespaces=normal,
        allow_whitespace_only_pieces=not normal,
        user_defined_symbols=["<sep>"] if normal else [],
        pad_id=3 if normal else -1,
        minloglevel=2,
        num_threads=1,
    )
    path = tmp_path / "spiece.model"
    path.write_bytes(model.getvalue())
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ours = Tokenizer.load(tmp_path)
    assert ours.kind == model_type
    lines = [line for text in korean[30:] for line in text.split("\n")][:300]
    for text in [*hard, "a <s> b<s>", "<sep>x <sep> y", "ＡＢＣ ﬁ ①", *lines]:
        ids = ours.encode(text)
        assert ids == theirs.encode(text), text
        if fallback and "▁" not in text:
            assert ours.decode(ids) == theirs.decode(ids)
        if fallback and not normal and "▁" not in text:
            assert ours.decode(ids) == text
    assert (ours.unk_id, ours.bos_id, ours.eos_id) == (0, 1, 2)
    assert ours.pad_id == (3 if normal else 1500)
    again = tmp_path / "again"
    again.mkdir()
    ours.save(again)
    assert Tokenizer.load(again).encode(korean[0]) == ours.encode(korean[0])


def test_a_damaged_sentencepiece_model_is_one_line(tmp_path):
    for content in (b"", b"not a model", bytes(range(256))):
        (tmp_path / "x.model").write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.model: not a .*model"):
            Tokenizer.load(tmp_path)


# --- any tokenizer.json


def _saved(backend: tokenizers.Tokenizer, folder) -> Tokenizer:
    backend.save(str(folder / "tokenizer.json"))
    return Tokenizer.load(folder)


def test_a_unigram_file_does_not_let_text_become_special(tmp_path):
    letters = [(char, -2.0) for char in "▁as<>0x41/b"]
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("<0x41>", 0.0), *letters]
    backend = tokenizers.Tokenizer(models.Unigram(pieces, 0, True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    ours = _saved(backend, tmp_path)
    for text in ("<s>", "a <s>b</s>", "<0x41>"):
        assert not {0, 1, 2, 3} & set(ours.encode(text))
        assert ours.decode(ours.encode(text)) == text
    assert ours.decode([1, 3, 2]) == "A"


def test_roles_come_from_the_files_beside_and_stay(tmp_path, gpt2_vocab):
    base = Tokenizer.load(gpt2_vocab)
    backend = tokenizers.Tokenizer.from_str(base.to_json())
    backend.add_special_tokens([AddedToken("<|im_end|>", special=True)])
    backend.save(str(tmp_path / "tokenizer.json"))
    beside = {"eos_token": {"content": "<|im_end|>"}, "pad_token": "<|im_end|>", "bos_token": None}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(beside))
    ours = Tokenizer.load(tmp_path)
    assert (ours.eos_id, ours.bos_id, ours.pad_id) == (50260, 50257, 50258)
    other = tmp_path / "other"
    other.mkdir()
    ours.save(other)
    assert Tokenizer.load(other).eos_id == 50260


def test_decoders_of_the_ecosystem_give_the_same_text(tmp_path):
    vocab = {"[UNK]": 0, "the": 1, "cat": 2, "##s": 3, "sat": 4}
    wordpiece = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    wordpiece.pre_tokenizer = pre_tokenizers.Whitespace()
    wordpiece.normalizer = normalizers.Lowercase()
    wordpiece.decoder = decoders.WordPiece()
    wordlevel = tokenizers.Tokenizer(models.WordLevel({**vocab, "cats": 5}, unk_token="[UNK]"))
    wordlevel.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    for backend in (wordpiece, wordlevel):
        ours = _saved(backend, tmp_path)
        ids = ours.encode("the cats sat")
        assert ours.kind == "word"
        assert ours.decode(ids) == backend.decode(ids) == "the cats sat"


def test_a_decoder_that_needs_all_tokens_is_refused(tmp_path):
    backend = tokenizers.Tokenizer(models.BPE(vocab={"a": 0, "b": 1}, merges=[]))
    backend.decoder = decoders.CTC()
    with pytest.raises(ValueError, match=r"not usable .* CTC"):
        _saved(backend, tmp_path)


# --- damage


def test_a_missing_path_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="no such file or folder"):
        Tokenizer.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no tokenizer\.json"):
        Tokenizer.load(tmp_path)


def _damaged(good: dict) -> list[object]:
    model = good["model"]
    return [
        [],
        {},
        {"model": 5},
        {**good, "version": "9"},
        {**good, "model": {**model, "vocab": {}}},
        {**good, "model": {**model, "vocab": {**model["vocab"], "x": -1}}},
        {**good, "model": {**model, "vocab": {**model["vocab"], "zzz": 4_000_000_000}}},
        {**good, "model": {**model, "merges": [["no", "such"]]}},
        # Ends the whole process inside the library, were it not refused before.
        {**good, "model": {**model, "continuing_subword_prefix": "x"}},
        {**good, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}},  # noqa: E501
        {**good, "decoder": {"type": "Nonsense"}},
    ]  # fmt: skip


def test_a_damaged_tokenizer_json_is_one_line(trained, tmp_path):
    file = tmp_path / "tokenizer.json"
    text = trained["bpe"].to_json()
    contents = [json.dumps(damaged) for damaged in _damaged(json.loads(text))]
    contents += ["", text[:-100], "[" * 100_000]
    for content in contents:
        file.write_text(content)
        with pytest.raises(ValueError, match=re.escape(str(file))) as error:
            Tokenizer.load(file)
        assert "\n" not in str(error.value)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not UTF-8"):
        Tokenizer.load(file)
