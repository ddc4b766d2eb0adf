"""`malmoi score`: figures that agree with each other, with `generate` and with the model."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from malmoi.run import Run
from malmoi.tokenizer import Tokenizer

Call = Callable[..., Any]
TEXT = "3번째 밤에 다람쥐 漢"


def test_the_figures_agree(call: Call, speaker: Path) -> None:
    [one] = call("score", speaker, TEXT, "--tokens", "--top", 300, "--json").json["texts"]
    tokenizer = Tokenizer.load(speaker)
    ids = tokenizer.encode(TEXT, bos=True)
    assert [token["id"] for token in one["token_scores"]] == ids
    # The model itself, asked without a cache.
    model = Run.open(speaker).load_model()
    with torch.inference_mode():
        logprobs = model(torch.tensor([ids])).log_softmax(-1)[0]
    own = [float(logprobs[place, id]) for place, id in enumerate(ids[1:])]
    told = [token["logprob"] for token in one["token_scores"]]
    assert told[0] is None
    assert told[1:] == pytest.approx(own, abs=1e-4)
    assert one["logprob"] == pytest.approx(sum(own), abs=1e-3)
    assert one["bits"] == pytest.approx(-sum(own) / math.log(2), abs=1e-3)
    assert one["bytes"] == len(TEXT.encode())
    assert one["bits_per_byte"] == pytest.approx(one["bits"] / one["bytes"])
    assert one["perplexity"] == pytest.approx(math.exp(-sum(own) / len(own)), rel=1e-3)
    for token, row in zip(one["token_scores"][1:], logprobs, strict=False):
        better = int((row > row[token["id"]]).sum())
        assert int(token["rank"]) == better + 1
        assert math.fsum(math.exp(other["logprob"]) for other in token["top"]) == pytest.approx(1)


def test_a_table_for_people(call: Call, speaker: Path) -> None:
    out = call("score", speaker, TEXT, "두\n줄", "", "--tokens", "--top", 2).out
    assert out.splitlines()[0].split() == ["bits", "bits/byte", "perplexity", "tokens", "text"]
    assert "<|bos|>" in out
    assert ">2" in out
    assert "두 줄" in out
    [_, empty] = call("score", speaker, "").out.splitlines()
    assert empty.split() == ["0.00", "-", "-", "0"]


def test_texts_from_a_file_and_longer_than_the_context(
    call: Call, speaker: Path, tmp_path: Path
) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "가\\n나"}\n"' + "다람쥐 " * 500 + '"\n', "utf-8")
    found = call("score", speaker, "첫째", "--file", file, "--json").json["texts"]
    assert [one["text"][:3] for one in found] == ["첫째", "가\n나", "다람쥐"]
    assert found[2]["tokens"] > 500
    assert all(one["bits_per_byte"] > 0 for one in found)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ([], "no text to score"),
        (["a", "--top", "-1"], "--top -1: has to be 0 or more"),
        (["a", "--top", "3"], "--top 3: belongs to --tokens"),
        (["a", "--tokens", "--top", "301"], "--top 301: has to be from 0 to 300"),
        (["--file", "absent.txt"], "absent.txt: cannot be read"),
        (["\udcff"], "lone surrogate"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    call: Call, speaker: Path, flags: list[str], says: str
) -> None:
    answer = call("score", speaker, *flags)
    assert answer.code == 2
    [line] = answer.err.splitlines()
    assert says in line
    assert answer.out == ""
