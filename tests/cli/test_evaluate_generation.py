"""`malmoi evaluate --generation`: the table and its JSON, on a tiny trained run."""

import contextlib
import io
import json
import math
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from malmoi.cli.main import main
from malmoi.cli.speak import open_run
from malmoi.data import TokenStore
from malmoi.decode import Policy, generate
from malmoi.evaluate.prompts import held_out
from malmoi.speak import banned

Call = Callable[..., Any]
FLAGS = ("--generation", "--prompts", 6)
METHODS = [
    "greedy", "temperature 1.0", "temperature 0.8", "top-k 50", "top-p 0.95", "min-p 0.05",
    "repetition 1.1", "beam search 4",
]  # fmt: skip
MEASURES = {
    "perplexity", "distinct_1", "distinct_2", "distinct_3", "repetition", "self_bleu", "bleu",
    "chrf", "copied", "particles", "particle_count", "texts", "tokens",
}  # fmt: skip


@pytest.fixture(scope="module")
def found(speaker: Path) -> dict[str, Any]:
    """The JSON of one call, for the whole module."""
    out, before = io.StringIO(), signal.getsignal(signal.SIGTERM)
    try:
        with contextlib.redirect_stdout(out):
            main(["evaluate", str(speaker), "--json", *map(str, FLAGS)])
    finally:
        signal.signal(signal.SIGTERM, before)
    return json.loads(out.getvalue())


def test_the_contract_of_the_json(found: dict[str, Any]) -> None:
    assert list(found) == ["generation"]
    result = found["generation"]
    assert result["on"] == "test"
    assert (result["prompts"], result["seed"]) == (6, 0)
    # The context is 64, so half of it is new.
    assert (result["prompt_tokens"], result["new_tokens"]) == (32, 32)
    assert list(result["methods"]) == METHODS
    assert set(result["reference"]) == MEASURES
    for row in result["methods"].values():
        assert set(row) == MEASURES | {"settings"}
        assert row["texts"] == 6
        assert 0 < row["tokens"] <= 6 * 32
        assert 0 <= row["distinct_1"] <= row["distinct_3"] <= 1
    assert result["methods"]["repetition 1.1"]["settings"] == {
        "temperature": 0.8,
        "repetition_penalty": 1.1,
    }
    assert set(result["signatures"]) == {"bleu", "chrf"}
    assert "tok:char" in result["signatures"]["bleu"]
    assert result["reference"]["bleu"] is None
    assert result["reference"]["particles"] == 1  # the source is right


def test_greedy_and_the_reference_are_what_the_parts_say(
    found: dict[str, Any], speaker: Path
) -> None:
    _, model, tokenizer = open_run(speaker, "cpu")
    asked = held_out(TokenStore(speaker / "data", "test"), 6, 32, 32)
    policy = Policy(temperature=0, banned_ids=banned(tokenizer))
    stop = [tokenizer.eos_id]
    done = generate(model, [one.prompt for one in asked], policy, max_new_tokens=32, stop_ids=stop)
    greedy, reference = found["generation"]["methods"]["greedy"], found["generation"]["reference"]
    grams = [tuple(one.ids[at : at + 4]) for one in done for at in range(len(one.ids) - 3)]
    different = sum(
        len({tuple(one.ids[at : at + 4]) for at in range(len(one.ids) - 3)}) for one in done
    )
    assert greedy["tokens"] == sum(len(one.ids) for one in done)
    assert greedy["repetition"] == pytest.approx(1 - different / len(grams))
    # The definition of the reference's perplexity: one pass over each text.
    losses = []
    for one in asked:
        ids = torch.tensor([one.prompt + one.reference])
        with torch.no_grad():
            logprobs = model(ids[:, :-1]).float().log_softmax(-1)[0]
        taken = logprobs.gather(1, ids[0, 1:, None])[len(one.prompt) - 1 :, 0]
        losses += taken.tolist()
    assert len(losses) == reference["tokens"]
    assert reference["perplexity"] == pytest.approx(math.exp(-sum(losses) / len(losses)), rel=0.02)
    # What is most probable at each step or as a whole is more probable than what people wrote.
    beams = found["generation"]["methods"]["beam search 4"]
    assert greedy["perplexity"] < reference["perplexity"]
    assert beams["perplexity"] < found["generation"]["methods"]["temperature 1.0"]["perplexity"]


def test_the_same_seed_gives_the_same_table(
    found: dict[str, Any], speaker: Path, call: Call
) -> None:
    assert call("evaluate", speaker, "--json", *FLAGS).json == found
    other = call("evaluate", speaker, "--json", *FLAGS, "--seed", 1).json["generation"]
    mine = found["generation"]
    assert other["methods"]["temperature 1.0"] != mine["methods"]["temperature 1.0"]
    for name in ("greedy", "beam search 4"):
        assert other["methods"][name] == mine["methods"][name]
    assert other["reference"] == mine["reference"]


def test_the_table_has_a_line_for_each(found: dict[str, Any], speaker: Path, call: Call) -> None:
    answer = call("evaluate", speaker, *FLAGS)
    assert answer.code == 0
    lines = answer.out.splitlines()
    heads = lines[0].split()
    assert heads[0] == "perplexity"
    assert heads[-2:] == ["particles", "tokens"]
    rows = {**found["generation"]["methods"], "reference": found["generation"]["reference"]}
    for line, (name, row) in zip(lines[1:], rows.items(), strict=False):
        assert line.startswith(name)
        cells = line.removeprefix(name).split()
        assert len(cells) == len(heads)
        assert cells[0] == f"{row['perplexity']:.2f}"
        assert cells[heads.index("BLEU")] == ("-" if row["bleu"] is None else f"{row['bleu']:.2f}")
    assert found["generation"]["signatures"]["bleu"] in answer.out
    assert max(map(len, lines)) <= 120


def test_other_text_as_data(speaker: Path, call: Call, tmp_path: Path) -> None:
    """Text that the model was trained on is found to be copied, by the reference at least."""
    train = TokenStore(speaker / "data", "train")
    _, _, tokenizer = open_run(speaker, "cpu")
    (tmp_path / "text.txt").write_text(tokenizer.decode(train.ids[1:1000].tolist()), "utf-8")
    answer = call("evaluate", speaker, tmp_path / "text.txt", "--json", "--generation",
                  "--prompts", 1000, "--new-tokens", 16)  # fmt: skip
    result = answer.json["generation"]
    assert result["on"] == "data"
    assert result["reference"]["copied"] > 0.9
    assert result["prompts"] == result["reference"]["texts"] < 1000
    assert f"{result['prompts']} prompts of the 1000 asked for" in answer.err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--prompts", 3], "--prompts 3: belongs to --generation"),
        (["--new-tokens", 3], "--new-tokens 3: belongs to --generation"),
        (["--generation", "--prompts", 0], "--prompts 0: has to be 1 or more"),
        (["--generation", "--new-tokens", 63], "--new-tokens 63: has to be from 1 to 62"),
        (["--generation", "--new-tokens", 0], "--new-tokens 0: has to be from 1 to 62"),
        (["--generation", "--seed", -1], "--seed -1: has to be from 0"),
    ],
)
def test_what_is_wrong_is_one_line(
    speaker: Path, call: Call, flags: list[object], words: str
) -> None:
    answer = call("evaluate", speaker, *flags)
    assert answer.code == 2
    assert answer.out == ""
    assert words in answer.err
    assert answer.err.count("\n") == 1


def test_without_sacrebleu_it_says_what_to_install(
    speaker: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    answer = call("evaluate", speaker, "--generation")
    assert answer.code == 2
    assert answer.err == (
        "malmoi evaluate: BLEU and chrF need sacrebleu: pip install 'malmoi[metrics]'\n"
    )
