"""The loss over every token, against the definition."""

import math
from pathlib import Path

import pytest
import torch

from malmoi.data import write_stores
from malmoi.evaluate.loss import evaluate, scored_tokens
from malmoi.model import GPT, build
from malmoi.tokenizer import train_tokenizer

DOCUMENTS = ["옛날 옛적에 토끼가 살았어요.", "짧은 글", "길고 긴 글 " * 20, "끝"]


@pytest.fixture
def corpus(tmp_path: Path):
    tokenizer = train_tokenizer(iter(DOCUMENTS), "char", min_frequency=1)
    pieces = [("train", text, True) for text in DOCUMENTS]
    return tokenizer, write_stores(pieces, tokenizer, tmp_path)["train"]


@pytest.mark.parametrize("preset", ["gpt2", "malmoi"])
def test_every_token_once_with_what_precedes_it(corpus, preset: str) -> None:
    tokenizer, store = corpus
    config = build(preset, tokenizer.vocab_size, context_length=512, d_model=32, num_layers=2)
    model = GPT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        loss = evaluate(model, store)
        # Everything fits one window, so the definition is one pass; a bos is never a target.
        ids = torch.from_numpy(store.ids.astype("int64"))[None]
        logprobs = model(ids[:, :-1]).log_softmax(-1)
        taken = logprobs[0].gather(1, ids[0, 1:, None]).squeeze(1)[ids[0, 1:] != store.bos_id]
    assert loss.tokens == len(taken) == sum(len(d) + 1 for d in DOCUMENTS) == scored_tokens(store)
    assert loss.loss == pytest.approx(-float(taken.mean()), rel=1e-5)
    assert loss.perplexity == pytest.approx(math.exp(loss.loss))
    bits = -float(taken.sum()) / math.log(2)
    assert loss.bits_per_byte == pytest.approx(bits / sum(len(d.encode()) for d in DOCUMENTS))
    assert loss.bits_per_char == pytest.approx(bits / sum(map(len, DOCUMENTS)))


def test_short_windows_are_scored_one_by_one(corpus) -> None:
    """The bigram sees one token back, so the windows cannot matter: a check of the batching."""
    tokenizer, store = corpus
    losses = []
    for context in (3, 7, 400):
        model = GPT(build("bigram", tokenizer.vocab_size, context_length=context)).eval()
        losses.append(evaluate(model, store).loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] == pytest.approx(losses[2], rel=1e-5)


def test_the_mode_of_the_model_is_kept(corpus) -> None:
    tokenizer, store = corpus
    model = GPT(
        build(
            "gpt2", tokenizer.vocab_size, context_length=64, d_model=16, num_layers=1, dropout=0.5
        )
    )
    model.train()
    assert evaluate(model, store).loss == evaluate(model, store).loss
    assert model.training


def test_an_estimate_reads_less(corpus) -> None:
    tokenizer, store = corpus
    model = GPT(build("bigram", tokenizer.vocab_size, context_length=8)).eval()
    done: list[int] = []
    loss = evaluate(model, store, most_tokens=40, progress=done.append)
    assert done[-1] <= 48
    assert loss.loss == pytest.approx(evaluate(model, store).loss, rel=0.1)
