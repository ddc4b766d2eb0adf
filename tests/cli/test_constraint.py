"""Strings that become ids to be forced or banned, for tokenizers of our own and foreign ones."""

from pathlib import Path

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from malmoi.cli.constraint import continuation_ids, token_ids
from malmoi.speak import Prompt
from malmoi.tokenizer import Tokenizer, train_tokenizer

TEXT = "다람쥐 한 마리가 도토리를 주웠어요. A squirrel gathers words. " * 20


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([TEXT], "bpe", 290)


def test_a_text_behind_a_prompt(tokenizer: Tokenizer) -> None:
    for before in ("", "다람쥐", "다람쥐 "):
        [prompt] = Prompt.all(tokenizer, [before], 32)
        for text in (" 한 마리", "리가", "漢", " "):
            ids = continuation_ids(tokenizer, prompt, text)
            assert tokenizer.decode([*prompt.ids, *ids]) == before + text


def test_tokens_of_a_text(tokenizer: Tokenizer) -> None:
    for word in ("다람", "마리가", "."):
        said = {tokenizer.token_bytes(id).decode() for id in token_ids(tokenizer, word)}
        assert said
        assert said <= {word, " " + word}
    for text in ("", "다람쥐 두 마리가", "\udcff", "<|eos|>"):
        with pytest.raises(ValueError, match="no single token"):
            token_ids(tokenizer, text)


def test_a_tokenizer_that_puts_a_space_before_every_text(tmp_path: Path) -> None:
    backend = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=80, special_tokens=special, show_progress=False)
    backend.train_from_iterator([TEXT], trainer)
    backend.save(str(tmp_path / "tokenizer.json"))
    foreign = Tokenizer.load(tmp_path)
    assert foreign.drops_first_space
    for before in ("", "다람쥐", "다람쥐 "):
        [prompt] = Prompt.all(foreign, [before], 32)
        for text in ("한 마리", "리가", *([" 한", " "] if before else [])):
            ids = continuation_ids(foreign, prompt, text)
            assert foreign.decode([*prompt.ids, *ids]) == before + text
    [prompt] = Prompt.all(foreign, ["다람쥐"], 32)
    with pytest.raises(ValueError, match="cannot stand behind the prompt"):
        continuation_ids(foreign, prompt, "漢")  # it has no tokens for it
