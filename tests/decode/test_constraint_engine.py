"""Constraints through the engine: whatever an untrained model would say, it keeps to the rule."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peers import random_model

from malmoi.decode import Completion, Request, complete
from malmoi.decode.policy import Policy
from malmoi.decode.speculate import DraftModel, PromptLookup, Speculator
from malmoi.model import GPT
from malmoi.tokenizer import Tokenizer, train_tokenizer
from malmoi.tokenizer.grammar import Grammar

SAMPLE = """말모이는 현대 한국어의 첫 사전이다. 말을 모은다는 뜻이다.
The first dictionary of modern Korean gathered words; don't forget 1,234 of them.
{"name": "주시경", "age": 38, "words": ["말", "글"], "alive": false, "next": null}
"""
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 4},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
        "kind": {"enum": ["말", "글"]},
    },
    "required": ["name", "age", "kind"],
    "additionalProperties": False,
}
CHOICES = ["네", "네네", "아니요", "a.b|", "말모이"]

Rule = tuple[Callable[[Tokenizer], Grammar], Callable[[str], object]]


def is_person(text: str) -> bool:
    value = json.loads(text)
    assert list(value) == ["name", "age", "kind"]
    return len(value["name"]) <= 4 and 0 <= value["age"] <= 99 and value["kind"] in ("말", "글")


RULES: dict[str, Rule] = {
    "regex": (
        lambda tokenizer: Grammar.regex(tokenizer, r"[가-힣]{2,5}(, \d{1,3}){1,4}[.!]"),
        lambda text: re.fullmatch(r"[가-힣]{2,5}(, \d{1,3}){1,4}[.!]", text),
    ),
    "choices": (lambda tokenizer: Grammar.choices(tokenizer, CHOICES), CHOICES.__contains__),
    "schema": (lambda tokenizer: Grammar.json_schema(tokenizer, SCHEMA), is_person),
}
POLICIES = [Policy(0.0), Policy(), Policy(1.4, top_p=0.9, repetition_penalty=1.2)]


@pytest.fixture(scope="module", params=["bpe", "bytebpe", "char"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    sizes = {"bpe": 330, "bytebpe": 300}
    return train_tokenizer([SAMPLE] * 3, request.param, sizes.get(request.param))


def model(tokenizer: Tokenizer, preset: Any = "llama", seed: int = 0) -> GPT:
    return random_model(preset, tokenizer.vocab_size, noise=0.1, context_length=48, seed=seed)


def answers(
    tokenizer: Tokenizer, rule: Rule, seeds: range, speculator: Speculator | None = None,
    compiled: bool | None = None,
) -> list[Completion]:  # fmt: skip
    assert tokenizer.eos_id is not None
    requests = [
        Request(tokenizer.encode("말이"), policy, 300, stop_ids=(tokenizer.eos_id,), seed=seed,
                constraint=rule[0](tokenizer))
        for seed in seeds for policy in POLICIES
    ]  # fmt: skip
    return complete(model(tokenizer), requests, slots=4, speculator=speculator, compiled=compiled)


def text_of(tokenizer: Tokenizer, ids: list[int]) -> str:
    text = tokenizer.decode([*tokenizer.encode("말이"), *ids])
    return text.removeprefix("말이")


@pytest.mark.parametrize("name", RULES)
def test_every_text_obeys(tokenizer: Tokenizer, name: str) -> None:
    rule = RULES[name]
    texts = set()
    for row in answers(tokenizer, rule, range(6)):
        assert row.finish_reason == "stop"
        texts.add(text_of(tokenizer, row.ids))
        assert rule[1](text_of(tokenizer, row.ids))
        assert torch.tensor(row.logprobs).isfinite().all()
    assert len(texts) > 2


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("kind", ["lookup", "self", "other"])
@pytest.mark.parametrize("compiled", [None, False])
def test_speculation_changes_no_text(
    tokenizer: Tokenizer, name: str, kind: str, compiled: bool | None
) -> None:
    draft = model(tokenizer, "gpt2", 1) if kind == "other" else model(tokenizer)
    speculator: Speculator = (
        PromptLookup(5) if kind == "lookup" else DraftModel(draft, tokenizer.vocab_size, 3)
    )
    plain = answers(tokenizer, RULES[name], range(2), compiled=compiled)
    mine = answers(tokenizer, RULES[name], range(2), speculator, compiled)
    assert [row.ids for row in mine] == [row.ids for row in plain]
    assert [row.finish_reason for row in mine] == ["stop"] * len(plain)


def test_a_json_object_of_a_model_that_stops_nowhere(tokenizer: Tokenizer) -> None:
    """What the limit cuts off is the beginning of what is allowed."""
    (row,) = complete(
        model(tokenizer),
        [
            Request(
                tokenizer.encode("말"), Policy(1.0), 30, constraint=Grammar.json_object(tokenizer)
            )
        ],
    )
    again = Grammar.json_object(tokenizer)
    for token in row.ids:
        assert again.allowed()[token]
        again.accept(token)
    assert row.finish_reason == "length"


def test_rules_that_leave_nothing_are_a_clear_error(tokenizer: Tokenizer) -> None:
    assert tokenizer.eos_id is not None
    request = Request(
        tokenizer.encode("말"), Policy(), 20, 10, (tokenizer.eos_id,),
        constraint=Grammar.regex(tokenizer, "[0-9]"),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"nothing may come next: .*min-new-tokens.*constraint"):
        complete(model(tokenizer), [request])


def test_rows_with_and_without_a_constraint_share_a_batch(tokenizer: Tokenizer) -> None:
    assert tokenizer.eos_id is not None
    made, stops = model(tokenizer), (tokenizer.eos_id,)
    prompt = tokenizer.encode("말이")

    def requests() -> list[Request]:
        return [
            Request(prompt, Policy(), 40, 0, stops, seed=1),
            Request(prompt, Policy(), 40, 0, stops, 2, constraint=RULES["choices"][0](tokenizer)),
            Request(prompt, Policy(), 40, 0, stops, seed=3),
        ]

    together = complete(made, requests())
    alone = [complete(made, [request])[0] for request in requests()]
    assert together == alone
    assert text_of(tokenizer, together[1].ids) in CHOICES
