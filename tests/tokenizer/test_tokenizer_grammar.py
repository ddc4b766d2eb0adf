"""Constrained decoding: whatever is chosen of what is allowed, the text keeps to the grammar."""

import gc
import json
import random
import re
import weakref
from datetime import date

import pytest

from malmoi.tokenizer import KINDS, Tokenizer, train_tokenizer
from malmoi.tokenizer.grammar import Grammar

ALL = [*KINDS, "sentencepiece"]
PROMPT = "말이"


def text_after_prompt(tokenizer: Tokenizer, ids: list[int]) -> str:
    text = tokenizer.decode([*tokenizer.encode(PROMPT), *ids])
    assert text.startswith(PROMPT)
    return text[len(PROMPT) :]


def allowed_ids(tokenizer: Tokenizer, grammar: Grammar) -> list[int]:
    mask = grammar.allowed()
    assert (mask.dtype.is_floating_point, mask.dtype.itemsize) == (False, 1)
    assert mask.shape == (tokenizer.vocab_size,)
    ids = mask.nonzero().flatten().tolist()
    assert not set(ids) & (tokenizer.special_ids - {tokenizer.eos_id})
    return ids


def walk(tokenizer: Tokenizer, grammar: Grammar, rng: random.Random) -> list[int]:
    """Random allowed ids until the end; more and more of those that close something."""
    ids: list[int] = []
    while True:
        found = allowed_ids(tokenizer, grammar)
        closing = [id for id in found if tokenizer.token_bytes(id)[:1] in (b'"', b"}", b"]", b"")]
        id = rng.choice(closing if closing and rng.random() < 0.1 + len(ids) / 50 else found)
        grammar.accept(id)
        if id == tokenizer.eos_id:
            assert allowed_ids(tokenizer, grammar) == [id]  # nothing comes after the end
            grammar.accept(id)
            return ids
        ids.append(id)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(
    "pattern",
    [
        "[가-힣]{2,5}",
        "(네|아니요|모르겠다)[.!]?",
        r"\d{1,3}(,\d{3}){0,3}",
        " ?.{0,6}",
        "^[^a]{1,3}$",
        "(?i)don't|x",
        '\U0001f600{1,2}|뷁/"\n#',
        "a*",
        "",
    ],
)
def test_regex(all_kinds, kind, pattern):
    tokenizer, rng = all_kinds[kind], random.Random(0)
    start = Grammar.regex(tokenizer, pattern)
    for _ in range(15):
        ids = walk(tokenizer, start.copy(), rng)
        assert re.fullmatch(pattern, text_after_prompt(tokenizer, ids))
    first = Grammar.regex(tokenizer, pattern, at_start=True)
    for _ in range(5):
        ids = walk(tokenizer, first.copy(), rng)
        assert re.fullmatch(pattern, tokenizer.decode(ids))


TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "값": {"type": "integer"},
                "아이": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2},
            },
            "required": ["값"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "kind": {"enum": ["말", "글", 3]},
        "on": {"type": "string", "format": "date"},
        "size": {"type": ["number", "null"], "minimum": 0},
    },
    "required": ["name", "kind", "on", "size"],
    "additionalProperties": False,
}


def is_tree(value: object) -> bool:
    assert isinstance(value, dict)
    assert set(value) <= {"값", "아이"}
    assert type(value["값"]) is int
    return len(value.get("아이", [])) <= 2 and all(map(is_tree, value.get("아이", [])))


def is_person(value: object) -> bool:
    assert isinstance(value, dict)
    assert set(value) == {"name", "kind", "on", "size"}
    date.fromisoformat(value["on"])
    return (
        len(value["name"]) <= 5
        and value["kind"] in ("말", "글", 3)
        and (value["size"] is None or value["size"] >= 0)
    )


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(
    ("schema", "is_valid"),
    [
        (TREE, is_tree),
        (json.dumps(PERSON), is_person),
        ({"type": "object"}, lambda value: isinstance(value, dict)),
        ({"const": {"a": '한\n"'}}, lambda value: value == {"a": '한\n"'}),
        (True, lambda value: True),
    ],
)
def test_json_schema(all_kinds, kind, schema, is_valid):
    tokenizer, rng = all_kinds[kind], random.Random(0)
    start = Grammar.json_schema(tokenizer, schema)
    for _ in range(8):
        text = text_after_prompt(tokenizer, walk(tokenizer, start.copy(), rng))
        assert "\ufffd" not in text
        assert is_valid(json.loads(text))
    first = Grammar.json_object(tokenizer, at_start=True)
    assert isinstance(json.loads(tokenizer.decode(walk(tokenizer, first, rng))), dict)


def all_texts(tokenizer: Tokenizer, grammar: Grammar, ids: list[int]) -> list[list[int]]:
    """Every list of ids that the grammar allows; needs a copy for each branch."""
    found = []
    for id in allowed_ids(tokenizer, grammar):
        if id == tokenizer.eos_id:
            found.append(ids)
            continue
        branch = grammar.copy()
        branch.accept(id)
        found += all_texts(tokenizer, branch, [*ids, id])
    return found


CHOICES = ["네", "네네", "아니", " 네", "뷁", "a.b|", "말모이", ""]


@pytest.mark.parametrize("kind", ALL)
def test_choices_are_all_reached_and_nothing_else(all_kinds, kind):
    tokenizer = all_kinds[kind]
    ways = all_texts(tokenizer, Grammar.choices(tokenizer, CHOICES), [])
    assert {text_after_prompt(tokenizer, ids) for ids in ways} == set(CHOICES)
    assert len({tuple(ids) for ids in ways}) == len(ways)
    ways = all_texts(tokenizer, Grammar.choices(tokenizer, CHOICES, at_start=True), [])
    assert {tokenizer.decode(ids) for ids in ways} == set(CHOICES)
    # The tokenizer's own ids are among them.
    assert all(tokenizer.encode(choice) in ways for choice in CHOICES if choice)


def test_tokens_of_the_same_bytes_are_all_allowed(all_kinds):
    tokenizer = all_kinds["sentencepiece"]
    ids = [id for id in range(tokenizer.vocab_size) if tokenizer.token_bytes(id) == b"a"]
    assert len(ids) == 2  # "a" and <0x61>
    assert allowed_ids(tokenizer, Grammar.regex(tokenizer, "a")) == ids


def test_gpt2_vocabulary(gpt2_vocab):
    tokenizer, rng = Tokenizer.load(gpt2_vocab), random.Random(0)
    start = Grammar.regex(tokenizer, "[가-힣]{2,5}")
    for _ in range(10):
        assert re.fullmatch("[가-힣]{2,5}", tokenizer.decode(walk(tokenizer, start.copy(), rng)))
    many = [f"답 {number}" for number in range(3000)]
    assert tokenizer.decode(walk(tokenizer, Grammar.choices(tokenizer, many), rng)) in many


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda t: Grammar.regex(t, "(a"), "pattern cannot be used: unclosed group"),
        (lambda t: Grammar.regex(t, "a(?=b)"), "look-around"),
        (lambda t: Grammar.regex(t, r"(a)\1"), "backreferences"),
        (lambda t: Grammar.regex(t, "\ud800"), "lone surrogate"),
        (lambda t: Grammar.choices(t, []), "one or more choices"),
        (lambda t: Grammar.choices(t, "ab"), "one or more choices"),
        (lambda t: Grammar.choices(t, ["\ud800"]), "lone surrogate"),
        (lambda t: Grammar.json_schema(t, "{"), "not valid JSON"),
        (lambda t: Grammar.json_schema(t, "[" * 100_000), "not valid JSON"),
        (lambda t: Grammar.json_schema(t, {"a": {1}}), "not valid JSON"),
        (lambda t: Grammar.json_schema(t, "5"), "JSON schema cannot be used"),
        (lambda t: Grammar.json_schema(t, {"type": "objekt"}), "objekt"),
        (lambda t: Grammar.json_schema(t, {"type": "string", "pattern": "("}), "unclosed group"),
        (lambda t: Grammar.json_schema(t, {"not": {}}), "not"),
        (lambda t: Grammar.json_schema(t, {"$ref": "#"}).allowed(), "grammar wants next"),
    ],
)
def test_what_is_bad_is_one_line(trained, make, reason):
    with pytest.raises(ValueError, match=reason) as error:
        make(trained["bpe"])
    assert "\n" not in str(error.value)


def test_a_vocabulary_that_cannot_spell_the_grammar_says_so():
    tokenizer = train_tokenizer(["말모이 한글"], "char", byte_fallback=False)
    with pytest.raises(ValueError, match="spell the choice '7'"):
        Grammar.choices(tokenizer, ["말", "7"])
    with pytest.raises(ValueError, match="what the grammar wants next"):
        Grammar.regex(tokenizer, r"\d").allowed()
    grammar = Grammar.regex(tokenizer, "말7")
    with pytest.raises(ValueError, match="what the grammar wants next"):
        walk(tokenizer, grammar, random.Random(0))


def test_an_id_that_is_not_allowed_is_refused_and_changes_nothing(trained):
    tokenizer = trained["bpe"]
    grammar = Grammar.regex(tokenizer, "한글?")
    (letter,), (other,) = tokenizer.encode("한"), tokenizer.encode("a")
    for id in (other, tokenizer.eos_id, tokenizer.pad_id, -1, tokenizer.vocab_size):
        with pytest.raises(ValueError, match=f"token id {id} "):
            grammar.accept(id)
    grammar.accept(letter)
    grammar.accept(tokenizer.eos_id)
    with pytest.raises(ValueError, match="token id"):
        grammar.accept(letter)


def test_the_table_is_built_once_and_goes_with_its_tokenizer():
    tokenizer = train_tokenizer(["말모이 한글"], "char")
    first, second = Grammar.regex(tokenizer, "한"), Grammar.choices(tokenizer, ["글"])
    assert first._vocabulary is second._vocabulary
    alive = weakref.ref(tokenizer)
    del tokenizer
    gc.collect()
    assert alive() is None
    assert first.allowed().any()
