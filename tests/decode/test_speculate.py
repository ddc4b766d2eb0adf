"""Speculation: the same text with fewer passes, whatever is proposed."""

import copy
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import random_model

from malmoi.decode import Completion, Request, complete
from malmoi.decode.history import History
from malmoi.decode.policy import Policy, transform
from malmoi.decode.rows import Rows
from malmoi.decode.speculate import Drafter, DraftModel, PromptLookup, Speculator
from malmoi.model import GPT

PRESETS: list[Any] = ["gpt2", "llama", "malmoi", "bigram"]
PROMPTS = [[3, 4, 5, 3, 4, 5, 3], [9], [7, 7, 1, 2, 8, 1, 2], [1, 2] * 14]
CONTEXT = 24
KINDS = ["lookup", "self", "other", "short"]


def model(preset: Any = "malmoi", **sizes: Any) -> GPT:
    layers = {"num_layers": 0} if preset == "bigram" else {}
    return random_model(preset, **({"context_length": CONTEXT, "vocab_size": 12} | layers | sizes))


def speculator(kind: str, made: GPT, ahead: int = 4) -> Speculator:
    """By looking up, by the model itself, by another model, by one of a shorter context."""
    if kind == "lookup":
        return PromptLookup(ahead)
    vocab = made.config.vocab_size
    drafts: dict[str, Callable[[], GPT]] = {
        "self": lambda: copy.deepcopy(made),
        "other": lambda: model("bigram", vocab_size=vocab, seed=1),
        "short": lambda: model("llama", vocab_size=vocab, context_length=5),
    }
    return DraftModel(drafts[kind](), vocab, ahead)


class Wild:
    """Proposes made-up ids, as many as it may or fewer."""

    def __init__(self, vocab_size: int, ahead: int) -> None:
        self.ahead, self._vocab_size = ahead, vocab_size

    def start(self, prompt: Sequence[int]) -> Drafter:
        return self

    def propose(self, request: Request, history: History, count: int) -> list[int]:
        mixed = hash((len(history), request.seed))
        return [(mixed >> i) % self._vocab_size for i in range(mixed % (count + 1))]


def same(mine: list[Completion], plain: list[Completion], exact: bool) -> None:
    """Compiled loops sum alike for one token and for several; torch's products do not."""
    for one, other in zip(mine, plain, strict=True):
        assert one.ids == other.ids
        assert one.finish_reason == other.finish_reason
        if exact:
            assert one.logprobs == other.logprobs
            assert one.top_logprobs == other.top_logprobs
        else:
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


POLICIES = [
    Policy(0.0),
    Policy(),
    Policy(0.0, repetition_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.2),
    Policy(0.8, top_k=9, top_p=0.95, repetition_penalty=0.9),
    Policy(1.2, min_p=0.02, frequency_penalty=0.3, banned_ids=(5,), logit_bias=((2, 2.0),)),
    Policy(0.9, typical_p=0.9, forced_ids=(4, 8, 4)),
    Policy(0.7, no_repeat_ngram=3),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("compiled", [None, False])
@pytest.mark.parametrize("preset", PRESETS)
def test_the_text_is_the_same_bit_for_bit(preset: Any, kind: str, compiled: bool | None) -> None:
    """Several rows of every policy, past the context, with and without stop ids."""
    made = model(preset)
    requests = [
        Request(prompt, policy, 35 + number, stop_ids=(11,) * (number % 2), seed=number,
                min_new_tokens=number % 3 * 4, top_logprobs=3)
        for number, (prompt, policy) in enumerate(itertools.product(PROMPTS, POLICIES))
    ]  # fmt: skip
    plain = complete(made, requests, compiled=compiled)
    mine = complete(made, requests, compiled=compiled, speculator=speculator(kind, made))
    same(mine, plain, compiled is None)
    assert {row.finish_reason for row in plain} == {"stop", "length"}


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=12), min_size=1, max_size=4),
    st.sampled_from([Policy(), Policy(0.0), Policy(0.6, repetition_penalty=1.2)]),
    st.integers(1, 20),
    st.integers(0, 5),
    st.sampled_from([1, 2, 3, 10, 24]),
    st.sampled_from([*KINDS, "wild"]),
    st.integers(1, 12),
    st.integers(1, 4),
)
def test_any_requests(
    prompts: list[list[int]], policy: Policy, most: int, least: int, context: int, kind: str,
    ahead: int, slots: int,
) -> None:  # fmt: skip
    """Stop ids and limits in the middle of proposals, tiny contexts, proposals without sense."""
    made = model("llama", vocab_size=4, context_length=context)
    requests = [
        Request(prompt, policy, most, least, stop_ids=(2,), seed=number)
        for number, prompt in enumerate(prompts)
    ]
    proposer = Wild(4, ahead) if kind == "wild" else speculator(kind, made, ahead)
    mine = complete(made, requests, slots=slots, speculator=proposer)
    same(mine, complete(made, requests, slots=slots), True)


def test_a_listener_hears_the_same() -> None:
    made = model()
    heard: dict[bool, list[int]] = {False: [], True: []}
    for speculating, list_ in heard.items():

        def listen(token: int, list_: list[int] = list_) -> bool:
            list_.append(token)
            return len(list_) == 9  # in the middle of what was proposed

        (row,) = complete(
            made, [Request([3, 4] * 5, Policy(0.0), 30, on_token=listen)],
            speculator=speculator("self", made) if speculating else None,
        )  # fmt: skip
        assert row.ids == list_
        assert row.finish_reason == "stop"
    assert heard[True] == heard[False]


def chi_square_p(observed: Counter[Any], expected: dict[Any, float], total: int) -> float:
    """P of the chi-square test; what is expected fewer than 5 times is taken together."""
    cells = [(observed[key], total * p) for key, p in expected.items() if total * p >= 5]
    rest = (total - sum(o for o, _ in cells), total - sum(e for _, e in cells))
    if rest[1] >= 5:
        cells.append(rest)
    statistic = sum((o - e) ** 2 / e for o, e in cells)
    freedom = torch.tensor((len(cells) - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, torch.tensor(statistic / 2).double()))


@pytest.mark.parametrize("kind", ["lookup", "other"])
def test_the_distribution_is_the_exact_one(kind: str) -> None:
    """Three new tokens over many seeds, against the products of their probabilities."""
    made = model("llama", vocab_size=5, noise=0.15, context_length=8)
    policy = Policy(1.3, top_k=4, repetition_penalty=1.2)
    prompt = [1, 2, 1, 2, 1, 2]
    expected: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(3):
        longer: dict[tuple[int, ...], float] = {}
        for said, p in expected.items():
            history = History(prompt)
            for token in said:
                history.append(token)
            with torch.no_grad():
                logits = made(torch.tensor([[*prompt, *said]]))[:, -1]
            probabilities = transform(logits, policy, [history]).double().softmax(-1)[0]
            for token in range(5):
                longer[(*said, token)] = p * float(probabilities[token])
        expected = longer
    total = 2000
    requests = [Request(prompt, policy, 3, seed=7, sample=n) for n in range(total)]
    rows = complete(made, requests, speculator=speculator(kind, made, 3))
    found = Counter(tuple(row.ids) for row in rows)
    assert set(found) <= {key for key, p in expected.items() if p}
    for place in range(1, 4):  # the first token alone, the first two, all three
        observed: Counter[Any] = Counter()
        exact: Counter[Any] = Counter()
        for key, p in expected.items():
            observed[key[:place]] += found[key]
            exact[key[:place]] += p  # type: ignore[assignment]
        assert chi_square_p(observed, dict(exact), total) > 1e-3
    for place in range(3):  # each place by itself
        observed, exact = Counter(), Counter()
        for key, p in expected.items():
            observed[key[place]] += found[key]
            exact[key[place]] += p  # type: ignore[assignment]
        assert chi_square_p(observed, dict(exact), total) > 1e-3
        # The test is sharp enough to see a wrong distribution.
        wrong = {key: 0.8 * p + 0.2 / len(exact) for key, p in exact.items()}
        if place == 1:
            assert chi_square_p(observed, wrong, total) < 1e-3


def counted(made: GPT, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every pass of `made` after the prompt, by how many tokens it reads."""
    passes: list[int] = []
    read = Rows.read

    def wrapper(self: Rows, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        if self.model is made:
            passes.append(sum(map(len, tokens)))
        return read(self, tokens)

    monkeypatch.setattr(Rows, "read", wrapper)
    return passes


@pytest.mark.parametrize("policy", [Policy(0.0), Policy(0.9), POLICIES[2], POLICIES[3]])
@pytest.mark.parametrize("ahead", [1, 3, 7])
@pytest.mark.parametrize("preset", ["gpt2", "llama", "malmoi"])
def test_a_draft_that_is_the_model_itself_is_always_right(
    preset: Any, ahead: int, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = model(preset, context_length=100)
    passes = counted(made, monkeypatch)
    complete(made, [Request([3], policy, 57)], speculator=speculator("self", made, ahead))
    # The first of the 57 tokens comes from the prompt; a pass gives what was proposed and one more.
    assert len(passes) == -(-56 // (ahead + 1))
    assert sum(passes) == 56


@pytest.mark.parametrize("prompt", [[3], [5] * 40])
def test_it_is_right_past_the_context_too(
    prompt: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The draft forgets the earlier half of what it read when the model does."""
    made = model("gpt2", context_length=16)
    passes = counted(made, monkeypatch)
    complete(made, [Request(prompt, Policy(0.9), 100)], speculator=speculator("self", made, 3))
    assert sum(passes) == 99  # nothing that was proposed was read in vain
    assert len(passes) < 35


def test_a_repetitive_text_needs_fewer_passes_than_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    made = model("bigram", noise=0.0)
    with torch.no_grad():  # what comes after i is i + 1, round and round
        made.token_embedding.weight.copy_(torch.eye(12, 32))
        made.output_weight.copy_(20 * torch.eye(12, 32).roll(1, 0))
    passes = counted(made, monkeypatch)
    for prompt in ([3], list(range(12)) * 2):
        request = Request(prompt, Policy(0.0), 100)
        (row,) = complete(made, [request], speculator=PromptLookup(8))
        assert row.ids == [(prompt[-1] + 1 + i) % 12 for i in range(100)]
        assert len(passes) < 35
        passes.clear()


def test_what_goes_round_is_proposed_round_and_round() -> None:
    request = Request([0])
    drafter = PromptLookup(9).start([0])
    history = History([7, 1, 2, 3])
    assert drafter.propose(request, history, 9) == []
    for token in (1, 2):
        history.append(token)
    assert drafter.propose(request, history, 9) == [3, 1, 2, 3, 1, 2, 3, 1, 2]
    assert drafter.propose(request, history, 2) == [3, 1]
    history.append(3)
    assert drafter.propose(request, history, 4) == [1, 2, 3, 1]
    for token in (9, 9, 1, 2):  # the last time counts, and the longest run
        history.append(token)
    assert drafter.propose(request, history, 2) == [3, 9]


def test_a_draft_that_comes_to_a_dead_end_is_no_error() -> None:
    """The model stops before; what its draft expects of the time after is nobody's business."""
    made = model("bigram", vocab_size=4, noise=1.0)
    policy = Policy(0.0, no_repeat_ngram=1)
    for seed in range(4):
        draft = model("bigram", vocab_size=4, noise=1.0, seed=seed + 1)
        for stop in range(4):
            request = Request([(stop + 1) % 4], policy, 30, stop_ids=(stop,))
            (plain,) = complete(made, [replace(request)])
            (mine,) = complete(made, [request], speculator=DraftModel(draft, 4, 6))
            assert mine == plain
            assert mine.finish_reason == "stop"


def test_what_cannot_be() -> None:
    made = model()
    for ahead in (0, 65):
        with pytest.raises(ValueError, match="--speculate"):
            PromptLookup(ahead)
        with pytest.raises(ValueError, match="--speculate"):
            DraftModel(made, 12, ahead)
    with pytest.raises(ValueError, match="2 or more"):
        PromptLookup(4, longest=1)
    with pytest.raises(ValueError, match="share one tokenizer"):
        DraftModel(made, 13)


def test_a_damaged_draft_is_a_clear_error() -> None:
    made, draft = model(), model()
    with torch.no_grad():
        draft.token_embedding.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"draft model's .* damaged"):
        complete(made, [Request([3])], speculator=DraftModel(draft, 12))


def test_bfloat16_is_the_same_alone_twice() -> None:
    """Several tokens at once may be read another way than one; what comes is finite."""
    made = model("llama", noise=0.1).bfloat16()
    request = Request([3, 4] * 4, Policy(0.0), 40)
    for kind in ("lookup", "self"):
        rows = [complete(made, [request], speculator=speculator(kind, made))[0] for _ in range(2)]
        assert rows[0] == rows[1]
        assert len(rows[0].ids) == 40
        assert torch.tensor(rows[0].logprobs).isfinite().all()
