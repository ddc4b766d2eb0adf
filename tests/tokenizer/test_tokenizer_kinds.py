"""Each kind: every text comes back, specials stay out of text, the ecosystem agrees."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from malmoi.tokenizer import KINDS, Tokenizer, train_tokenizer
from malmoi.tokenizer.pattern import cut_safely

FRAGMENTS = [
    " ",
    "\n",
    "말모이",
    "<|eos|>",
    "<0x41>",
    "▁",
    "Ġ",
    "ᄒ",
    "1876",
    "'",
    "\r\n",
    "a",
    "_",
]
texts = st.one_of(
    st.text(max_size=60),
    st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.characters(exclude_categories=["Cs"])))
    .map("".join),
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@given(text=texts)
@settings(max_examples=150, deadline=None)
def test_any_text_comes_back_and_holds_no_special(trained, kind, text):
    tokenizer = trained[kind]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not tokenizer.special_ids & set(ids)
    assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode()


@pytest.mark.parametrize("kind", KINDS)
def test_the_hard_list_also_by_the_librarys_own_decoder(trained, kind, hard):
    own = tokenizers.Tokenizer.from_str(trained[kind].to_json())
    for text in hard:
        ids = trained[kind].encode(text)
        assert trained[kind].decode(ids) == text
        assert own.decode(ids) == text


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_reads_the_file_with_the_same_ids_and_text(trained, kind, tmp_path, korean):
    from transformers import PreTrainedTokenizerFast

    trained[kind].save(tmp_path)
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    for text in korean[:5]:
        ids = trained[kind].encode(text)
        assert theirs.encode(text) == ids
        assert theirs.decode(ids, clean_up_tokenization_spaces=False) == text


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_it_is_the_same(trained, kind, tmp_path):
    before = trained[kind]
    before.save(tmp_path / "tokenizer.json")
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]
    for after in (
        Tokenizer.load(tmp_path),
        Tokenizer.load(str(tmp_path / "tokenizer.json")),
        pickle.loads(pickle.dumps(before)),
    ):
        assert after.to_json() == before.to_json()
        assert after.info() == before.info()
        assert after.encode("<|eos|> 말") == before.encode("<|eos|> 말")
    assert before.kind == kind
    assert (before.bos_id, before.eos_id, before.pad_id, before.unk_id) == (0, 1, 2, 3)
    assert before.info()["specials"] == {"<|bos|>": 0, "<|eos|>": 1, "<|pad|>": 2, "<|unk|>": 3}


def test_bos_and_eos_are_added_where_asked(trained):
    tokenizer = trained["bpe"]
    plain = tokenizer.encode("말모이")
    assert tokenizer.encode("말모이", bos=True, eos=True) == [0, *plain, 1]
    assert tokenizer.encode_batch(["", "말모이"], eos=True) == [[1], [*plain, 1]]
    assert tokenizer.encode_batch([]) == []
    assert tokenizer.decode([0, *plain, 1]) == "말모이"
    assert tokenizer.decode([0, *plain, 1], skip_special=False) == "<|bos|>말모이<|eos|>"


def test_tokens_are_shown_to_people(trained):
    tokenizer = trained["bpe"]
    shown = [tokenizer.token_text(id) for id in tokenizer.encode(" 뷁\n")]
    assert shown == ["␣", "\\xeb", "\\xb7", "\\x81", "\\n"]
    assert tokenizer.token_text(1) == "<|eos|>"
    assert tokenizer.token_bytes(1) == b""


@pytest.mark.parametrize("id", [-1, 10**6])
def test_an_id_outside_the_vocabulary_is_one_line(trained, id):
    for call in (trained["bpe"].token_bytes, trained["bpe"].token_text):
        with pytest.raises(ValueError, match=f"token id {id} is outside the vocabulary of 400"):
            call(id)
    with pytest.raises(ValueError, match="outside the vocabulary"):
        trained["bpe"].decode([5, id])


def test_a_lone_surrogate_is_one_line(trained):
    with pytest.raises(ValueError, match=r"lone surrogate '\\ud800' at character 2"):
        trained["bpe"].encode("ab\ud800")
    with pytest.raises(ValueError, match="lone surrogate"):
        train_tokenizer(["ab\ud800"], "char")


def test_a_cut_text_has_the_tokens_of_the_whole(trained, hard, korean):
    everything = "\n".join([*hard, *korean[:2], "x\n\n\ny", "a  b\n c", "!\nfoo?\n\n  bar"])
    for kind in KINDS:
        whole = tokenizers.Tokenizer.from_str(trained[kind].to_json())
        whole.encode_special_tokens = True
        parts = list(cut_safely(everything, size=3))
        assert "".join(parts) == everything
        assert len(parts) > 300
        cut = [id for part in parts for id in whole.encode(part).ids]
        assert cut == whole.encode(everything).ids == trained[kind].encode(everything)


@given(text=texts)
@settings(deadline=None)
def test_any_cut_text_has_the_tokens_of_the_whole(trained, text):
    for kind in ("bpe", "bytebpe"):
        parts = trained[kind].encode_batch(list(cut_safely(text, size=1)))
        assert [id for part in parts for id in part] == trained[kind].encode(text)


@pytest.mark.parametrize("run", ["가" * 300_000, " " * 300_000, "\n" * 300_000, "." * 300_000])
def test_endless_runs_come_back(trained, run):
    for kind in KINDS:
        assert trained[kind].decode(trained[kind].encode(run)) == run


def test_the_classic_bpe_example_worked_by_hand():
    # Sennrich et al. 2016: low 5, lower 2, newest 6, widest 3. Equal counts go by the lower ids.
    words = ["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3
    tokenizer = train_tokenizer(words, "bpe", 247 + 12)
    learnt = [tokenizer.token_text(id) for id in range(247, 259)]
    by_hand = ["es", "est", "lo", "low", "ew", "new", "newest", "dest", "idest", "widest"]
    by_hand += ["er", "lower"]
    assert learnt == by_hand
    assert [tokenizer.token_text(id) for id in tokenizer.encode("lowest")] == ["low", "est"]


def test_frequent_syllables_are_one_token_and_rare_ones_bytes(korean):
    tokenizer = train_tokenizer(korean, "bpe", 1500)
    for syllable in "다는이가을한":
        assert len(tokenizer.encode(syllable)) == 1
    assert len(tokenizer.encode("뷁")) == 3
    singles = [id for id in range(1500) if len(tokenizer.token_text(id)) == 1]
    assert len(singles) - 128 <= (1500 - 247) // 2


def test_a_pair_is_not_learnt_across_a_rare_character():
    tokenizer = train_tokenizer(["xy", *[f"a{chr(0xAC00 + i)}b" for i in range(50)]], "bpe")
    assert tokenizer.token_bytes(tokenizer.vocab_size - 1) != b"ab"


def test_char_on_shakespeare(shakespeare):
    tokenizer = train_tokenizer([shakespeare], "char")
    assert tokenizer.vocab_size == 4 + 128 + 115
    assert len(tokenizer.encode(shakespeare)) == len(shakespeare)
    lean = train_tokenizer([shakespeare], "char", byte_fallback=False)
    assert lean.vocab_size == 4 + 65
    assert lean.decode(lean.encode(shakespeare)) == shakespeare
    assert lean.encode("말") == [lean.unk_id]
    assert lean.kind == "char"


@pytest.mark.parametrize("kind", ["word", "bpe", "unigram"])
def test_without_bytes_all_characters_of_the_text_are_there(kind, sample):
    tokenizer = train_tokenizer([sample], kind, byte_fallback=False)
    assert tokenizer.decode(tokenizer.encode(sample)) == sample
    assert tokenizer.encode("뷁") == [tokenizer.unk_id]


def test_words_are_whole_and_others_go_by_characters(trained):
    word = trained["word"]
    shown = [word.token_text(id) for id in word.encode(" 말모이 말모이은 words")]
    assert shown == ["␣말모이", "␣", "말", "모", "이", "은", "␣words"]


@pytest.mark.parametrize("kind", KINDS)
def test_more_than_the_text_supports_is_one_line_that_says_how_much(kind, sample):
    with pytest.raises(ValueError, match=r"supports at most ([\d,]+) tokens") as error:
        train_tokenizer([sample], kind, 50_000)
    most = int(str(error.value).split()[-3])
    assert train_tokenizer([sample], kind, most).vocab_size == most
    with pytest.raises(ValueError, match=f"use --vocab-size {most} or less"):
        train_tokenizer([sample], kind, most + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_too_small_is_one_line_that_says_how_much(kind, sample):
    with pytest.raises(
        ValueError, match=r"vocab_size 100 is too small for .*; use \d+ or"
    ) as error:
        train_tokenizer([sample], kind, 100)
    least = int(str(error.value).split()[-3])
    assert train_tokenizer([sample], kind, least).vocab_size == least


def test_wrong_arguments_are_one_line():
    with pytest.raises(ValueError, match="no text"):
        train_tokenizer(iter([]), "bpe")
    with pytest.raises(ValueError, match="no text"):
        train_tokenizer([""], "bytebpe")
    with pytest.raises(ValueError, match="choose one of char, word"):
        train_tokenizer(["a"], "wordpiece")
    with pytest.raises(ValueError, match="bytebpe is made of bytes"):
        train_tokenizer(["a"], "bytebpe", byte_fallback=False)
    with pytest.raises(ValueError, match="at least 1"):
        train_tokenizer(["a"], "bpe", min_frequency=0)


def test_the_default_size_grows_with_the_text(shakespeare):
    sizes = [train_tokenizer([shakespeare[:n]], "bpe").vocab_size for n in (10_000, 100_000)]
    assert sizes == [247 + 129, 247 + 514]  # 2048 * (n / 1e6) ** 0.6


def test_two_processes_write_the_same_bytes(sample):
    code = (
        "import sys, hashlib; from malmoi.tokenizer import *\n"
        "text = sys.stdin.read()\n"
        "for kind in KINDS:\n"
        "    made = train_tokenizer((text[i:i + 97] for i in range(0, len(text), 97)), kind)\n"
        "    print(kind, hashlib.sha256(made.to_json().encode()).hexdigest())"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code],
            input=sample * 5,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads},
        ).stdout
        for seed, threads in (("1", "1"), ("2", "2"))
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0].count("\n") == len(KINDS)


def test_saving_never_leaves_half_a_file(trained, tmp_path):
    target = tmp_path / "tokenizer.json"
    trained["bpe"].save(target)
    before = target.read_bytes()
    trained["bpe"].save(target)
    assert target.read_bytes() == before
    json.loads(before)
    with pytest.raises(ValueError, match="cannot be written"):
        trained["bpe"].save(Path(tmp_path / "missing" / "tokenizer.json"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokenizer.json"]
