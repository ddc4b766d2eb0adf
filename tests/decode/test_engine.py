"""Generation against the slow and obvious way, against `transformers`, and among neighbours.

`obvious` generates as the definition says: for every token the whole window through the model
without a cache. What the engine does beyond that (caches, batches, chunks, compiled loops, rows
that come and go) may change nothing of what it gives.
"""

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import gpt2, llama, random_model

import malmoi.model.stepper as stepper
from malmoi.decode import Completion, Engine, Policy, Request, complete, generate
from malmoi.decode.history import History
from malmoi.decode.policy import choose, uniform
from malmoi.decode.speculate import PromptLookup
from malmoi.model import GPT, build

PRESETS: list[Any] = ["gpt2", "llama", "malmoi", "bigram"]
PROMPTS = [[3, 4, 5], [9], [7, 7, 1, 2, 8, 20, 11], [1, 2]]
CONTEXT = 24


def model(preset: Any = "malmoi", **sizes: Any) -> GPT:
    layers = {"num_layers": 0} if preset == "bigram" else {}
    return random_model(preset, **({"context_length": CONTEXT} | layers | sizes))


def threads_end_at(count: int) -> bool:
    """Whether there are so many threads soon: those of a team end by themselves."""
    end = time.monotonic() + 5
    while threading.active_count() != count and time.monotonic() < end:
        time.sleep(0.001)
    return threading.active_count() == count


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A team of two threads for the smallest model; none of them is left afterwards."""
    monkeypatch.setattr(stepper, "SHARE", 1)
    monkeypatch.setattr(stepper, "PATIENCE", 0)
    monkeypatch.setattr(stepper, "WAIT", 30.0)
    before, threads = threading.active_count(), torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)
    assert threads_end_at(before)


def obvious(made: GPT, request: Request) -> tuple[list[int], list[torch.Tensor]]:
    """New ids, and the log-probabilities `[V]` that each was chosen from."""
    context = made.config.context_length
    window = list(request.prompt[-context:])
    history = History(request.prompt)
    ids: list[int] = []
    given: list[torch.Tensor] = []
    while len(ids) < request.max_new_tokens:
        with torch.no_grad():
            logits = made(torch.tensor([window]))[:, -1]
        history.forbidden = request.stop_ids if len(ids) < request.min_new_tokens else ()
        draw = uniform(request.seed, request.sample, len(ids))
        token = int(choose(logits, request.policy, [history], draw))
        if token in request.stop_ids:
            break
        ids.append(token)
        given.append(logits[0].log_softmax(-1))
        history.append(token)
        if len(window) == context:
            window = window[len(window) - context // 2 :]
        window.append(token)
    return ids, given


def bits(completion: Completion) -> tuple[Any, ...]:
    return completion.ids, completion.logprobs, completion.finish_reason


# -------------------------------------------------------------------------- against transformers

RULES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # name: (ours: of Policy or Request, theirs: of generate)
    "greedy": ({}, {}),
    "repetition": ({"repetition_penalty": 1.4}, {"repetition_penalty": 1.4}),
    "encouraged": ({"repetition_penalty": 0.8}, {"repetition_penalty": 0.8}),
    "bigrams": ({"no_repeat_ngram": 2}, {"no_repeat_ngram_size": 2}),
    "unigrams": ({"no_repeat_ngram": 1}, {"no_repeat_ngram_size": 1}),
    "banned": ({"banned_ids": (3, 9, 13)}, {"bad_words_ids": [[3], [9], [13]]}),
    "biased": ({"logit_bias": ((2, 9.5), (3, -3.0))}, {"sequence_bias": [[[2], 9.5], [[3], -3.0]]}),
    "stops": ({"stop_ids": True}, {"eos_token_id": True}),
    "least": ({"stop_ids": True, "min_new_tokens": 5},
              {"eos_token_id": True, "min_new_tokens": 5}),
    "forced": ({"forced_ids": (13, 17)}, {"forced": (13, 17)}),
}  # fmt: skip
TOGETHER = ["repetition", "bigrams", "banned", "biased", "least", "forced"]


def joined(side: int, names: list[str]) -> dict[str, Any]:
    return {key: value for name in names for key, value in RULES[name][side].items()}


def theirs_says(
    theirs: Any, prompts: list[list[int]], stops: list[int], options: dict[str, Any]
) -> list[Completion]:
    """Greedy, all prompts in one batch, padded on the left."""
    longest = max(map(len, prompts))
    forced = options.pop("forced", ())
    if forced:
        options["prefix_allowed_tokens_fn"] = lambda _, ids: (
            [forced[len(ids) - longest]] if len(ids) - longest < len(forced) else list(range(30))
        )
    out = theirs.generate(
        torch.tensor([[0] * (longest - len(p)) + p for p in prompts]),
        attention_mask=torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts]),
        max_new_tokens=12, do_sample=False, pad_token_id=0, return_dict_in_generate=True,
        output_logits=True, **options,
    )  # fmt: skip
    logprobs = torch.stack(out.logits, 1).log_softmax(-1)
    found = []
    for row, ids in enumerate(out.sequences[:, longest:].tolist()):
        end = next((i for i, token in enumerate(ids) if token in stops), len(ids))
        said = [float(logprobs[row, i, token]) for i, token in enumerate(ids[:end])]
        found.append(Completion(ids[:end], said, [], "stop" if end < len(ids) else "length"))
    return found


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def pair(request: pytest.FixtureRequest) -> tuple[GPT, Any]:
    made = model(request.param)
    return made, {"gpt2": gpt2, "llama": llama}[request.param](made)


@pytest.mark.parametrize("names", [*([name] for name in RULES), TOGETHER], ids="+".join)
@pytest.mark.parametrize("compiled", [None, False])
def test_equals_transformers(
    pair: tuple[GPT, Any], names: list[str], compiled: bool | None
) -> None:
    made, theirs = pair
    ours, options = joined(0, names), joined(1, names)
    stops: list[int] = []
    if ours.pop("stop_ids", None):
        # What some rows say without them, and others do not.
        rows = [set(row.ids) for row in generate(made, PROMPTS, Policy(0.0), max_new_tokens=12)]
        stops = [t for t in range(30) if 0 < sum(t in row for row in rows) < len(rows)][-2:]
        options["eos_token_id"] = stops
    if "repetition_penalty" in options or "no_repeat_ngram_size" in options:
        # Of a padded prompt they count the padding as said: one by one, then.
        expected = [theirs_says(theirs, [p], stops, dict(options))[0] for p in PROMPTS]
    else:
        expected = theirs_says(theirs, PROMPTS, stops, options)
    least = ours.pop("min_new_tokens", 0)
    policy = Policy(0.0, **ours)
    requests = [Request(prompt, policy, 12, least, stop_ids=tuple(stops)) for prompt in PROMPTS]
    for mine, said in zip(complete(made, requests, compiled=compiled), expected, strict=True):
        assert mine.ids == said.ids
        assert mine.finish_reason == said.finish_reason
        assert mine.logprobs == pytest.approx(said.logprobs, abs=1e-4)
    if stops and not least:
        assert {row.finish_reason for row in expected} == {"stop", "length"}
    if names != ["greedy"]:  # otherwise the rule was not tried
        plain = generate(made, PROMPTS, Policy(0.0), max_new_tokens=12)
        assert [row.ids for row in plain] != [row.ids for row in expected]


def test_the_numbers_of_a_step_equal_transformers(pair: tuple[GPT, Any]) -> None:
    """All log-probabilities of a step, by `top_logprobs`, and their own way to the chosen one's."""
    made, theirs = pair
    for prompt in PROMPTS:
        (mine,) = complete(made, [Request(prompt, Policy(0.0), 10, top_logprobs=30)])
        out = theirs.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), do_sample=False,
            max_new_tokens=10, pad_token_id=0, return_dict_in_generate=True, output_logits=True,
        )  # fmt: skip
        said = theirs.compute_transition_scores(out.sequences, out.logits, normalize_logits=True)
        assert mine.logprobs == pytest.approx(said[0].tolist(), abs=1e-4)
        for place, logits in zip(mine.top_logprobs, out.logits, strict=True):
            expected = logits[0].log_softmax(-1)
            values = [value for _, value in place]
            assert values == sorted(values, reverse=True)
            for token, value in place:
                assert value == pytest.approx(float(expected[token]), abs=1e-4)


# ------------------------------------------------------------------------- against the obvious way


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("compiled", [None, False])
@pytest.mark.parametrize("context", [7, 24])
def test_a_cache_changes_nothing(preset: Any, compiled: bool | None, context: int) -> None:
    """Every logit of every token, through the context and past it three times.

    When the context is full, its later half is read anew: so says the obvious way too.
    """
    made = model(preset, context_length=context)
    prompts = [[3], [7, 1, 2], torch.randint(30, (context,)).tolist(),
               torch.randint(30, (context + 1,)).tolist(),
               torch.randint(30, (3 * context,)).tolist()]  # fmt: skip
    requests = [
        Request(prompt, Policy(0.9, top_k=12), 3 * context, seed=5, top_logprobs=30)
        for prompt in prompts
    ]
    results = complete(made, requests, compiled=compiled)
    for request, result in zip(requests, results, strict=True):
        ids, given = obvious(made, request)
        assert result.ids == ids
        for place, expected in zip(result.top_logprobs, given, strict=True):
            tokens, values = zip(*place, strict=True)
            torch.testing.assert_close(
                torch.tensor(values), expected[list(tokens)], atol=1e-4, rtol=1e-5
            )
        chosen = [dict(place)[token] for place, token in zip(result.top_logprobs, ids, strict=True)]
        assert result.logprobs == chosen


request_options = st.fixed_dictionaries(
    {
        "prompt": st.lists(st.integers(0, 6), min_size=1, max_size=20),
        "max_new_tokens": st.integers(0, 25),
        "min_new_tokens": st.integers(0, 30),
        "stop_ids": st.lists(st.integers(-1, 8), max_size=2).map(tuple),
        "seed": st.integers(0, 3),
        "sample": st.integers(0, 3),
        "policy": st.sampled_from(
            [Policy(), Policy(0.0), Policy(1.3, top_p=0.9, repetition_penalty=1.2),
             Policy(0.7, presence_penalty=0.4, frequency_penalty=0.3, forced_ids=(2, 2)),
             Policy(1.0, min_p=0.05, banned_ids=(0,), logit_bias=((1, 2.0),))]
        ),
    }
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(
    st.lists(request_options, min_size=1, max_size=6),
    st.sampled_from(PRESETS),
    st.sampled_from([1, 2, 3, 8, 24]),
    st.integers(1, 4),
    st.sampled_from([None, False]),
    st.booleans(),
)
def test_any_requests_get_what_the_obvious_way_gives(
    options: list[dict[str, Any]], preset: Any, context: int, slots: int, compiled: bool | None,
    speculate: bool,
) -> None:  # fmt: skip
    made = model(preset, vocab_size=7, context_length=context)
    requests = [Request(**one) for one in options]
    speculator = PromptLookup(3) if speculate else None
    results = complete(made, requests, slots=slots, compiled=compiled, speculator=speculator)
    for request, result in zip(requests, results, strict=True):
        # Ids that no token has: they stop nothing and may be ruled out at no harm.
        stops = tuple(token for token in request.stop_ids if 0 <= token < 7)
        ids, _ = obvious(made, replace(request, stop_ids=stops))
        assert result.ids == ids
        assert (result.finish_reason == "length") == (len(ids) == request.max_new_tokens)
        if not request.policy.forced_ids:  # which come whatever is ruled out, stop ids too
            assert len(ids) >= min(request.min_new_tokens, request.max_new_tokens)


# ------------------------------------------------------------------------------- reproducibility


@pytest.mark.parametrize("preset", PRESETS)
def test_a_row_is_the_same_to_the_last_bit_in_any_company(preset: Any) -> None:
    made = model(preset)
    policy = Policy(1.0, top_k=20, repetition_penalty=1.1)

    def request(number: int) -> Request:
        length = 1 + number * 7 % 31
        prompt = [(number * 11 + i * i) % 30 for i in range(length)]
        return Request(prompt, policy, 10 + number * 3 % 41, stop_ids=(0,), seed=number)

    alone = [bits(complete(made, [request(number)])[0]) for number in range(16)]
    assert len({row[2] for row in alone}) == 2
    order = list(range(16))
    for slots in (16, 16, 5, 2):
        random.Random(slots + order[0]).shuffle(order)
        together = complete(made, [request(number) for number in order], slots=slots)
        assert [bits(row) for row in together] == [alone[number] for number in order]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("speculate", [False, True])
def test_a_row_is_the_same_whoever_comes_and_goes(seed: int, speculate: bool) -> None:
    """Requests are added, stepped and cancelled at random moments."""
    made, rng = model(PRESETS[seed % 3]), random.Random(seed)
    speculator = PromptLookup(4) if speculate else None
    requests = [
        Request(
            [rng.randrange(30) for _ in range(rng.randint(1, 30))],
            Policy(0.8, top_p=0.95), rng.randint(0, 40), stop_ids=(1,), seed=number,
        )
        for number in range(25)
    ]  # fmt: skip
    alone = [bits(complete(made, [request])[0]) for request in requests]
    waiting = list(range(25))
    going: dict[int, tuple[int, Completion]] = {}
    done: list[int] = []
    cancelled = 0
    with Engine(made, slots=4, speculator=speculator) as engine:
        while waiting or engine.busy:
            chance = rng.random()
            if waiting and chance < 0.3:
                number = waiting.pop()
                ticket, completion = engine.add(requests[number])
                going[ticket] = number, completion
            elif going and chance < 0.34:
                ticket = rng.choice(list(going))
                engine.cancel(ticket)
                number, completion = going.pop(ticket)
                # What it got until then is the beginning of what it would have got.
                assert completion.ids == alone[number][0][: len(completion.ids)]
                cancelled += 1
            else:
                for ticket in engine.step():
                    number, completion = going.pop(ticket)
                    assert bits(completion) == alone[number]
                    done.append(number)
            assert len(engine._batch) <= engine.rows
    assert not going
    assert len(done) == len(set(done)) == 25 - cancelled


def test_company_changes_no_text_where_torch_reads() -> None:
    """Models that the compiled loops do not know: here bits may differ, as products round."""
    made = model()
    requests = [Request(prompt, Policy(), 60, seed=3) for prompt in PROMPTS]
    for request, row in zip(requests, complete(made, requests, compiled=False), strict=True):
        (alone,) = complete(made, [request], compiled=False)
        assert alone.ids == row.ids
        assert alone.logprobs == pytest.approx(row.logprobs, abs=1e-4)


def test_samples_and_seeds_differ() -> None:
    made = model()
    requests = [
        Request([3], Policy(), 20, seed=seed, sample=n) for seed in (1, 2) for n in range(5)
    ]
    texts = [tuple(row.ids) for row in complete(made, requests)]
    assert len(set(texts)) == 10
    assert texts == [tuple(row.ids) for row in complete(made, requests)]


@pytest.mark.parametrize("preset", PRESETS)
def test_bfloat16(preset: Any) -> None:
    """What holds: numbers are finite, near float32's, and the same request alone gives the same.

    A batch's matrix products round otherwise than a single row's, so company may change a text.
    """
    exact = model(preset, noise=0.1)
    made = model(preset, noise=0.1).bfloat16()
    requests = [Request(prompt, Policy(0.0), 40) for prompt in PROMPTS]
    for request in requests:
        first, second = (complete(made, [request])[0] for _ in range(2))
        assert bits(first) == bits(second)
        (plain,) = complete(made, [request], compiled=False)
        for row in (first, plain):
            assert torch.tensor(row.logprobs).isfinite().all()
        prompt = list(request.prompt)
        with torch.no_grad():
            logprobs = exact(torch.tensor([prompt])).log_softmax(-1)[0, -1]
        assert first.logprobs[0] == pytest.approx(float(logprobs[first.ids[0]]), abs=0.15)
    for row in complete(made, requests):
        assert len(row.ids) == 40
        assert torch.tensor(row.logprobs).isfinite().all()


# --------------------------------------------------------------------------- requests come and go


def test_a_row_stops_at_a_stop_id_and_the_others_go_on() -> None:
    made = model()
    free = generate(made, PROMPTS, Policy(0.0), max_new_tokens=12)
    stop = free[0].ids[4]
    stopped = generate(made, PROMPTS, Policy(0.0), max_new_tokens=12, stop_ids=[stop])
    for before, after in zip(free, stopped, strict=True):
        end = before.ids.index(stop) if stop in before.ids else 12
        assert after.ids == before.ids[:end]
        assert after.finish_reason == ("stop" if stop in before.ids else "length")


def test_a_stop_id_first() -> None:
    made = model()
    (free,) = generate(made, [[3]], Policy(0.0), max_new_tokens=1)
    (stopped,) = generate(made, [[3]], Policy(0.0), max_new_tokens=9, stop_ids=free.ids)
    assert bits(stopped) == ([], [], "stop")


def test_every_request_ends_once_also_one_for_nothing() -> None:
    with Engine(model(), slots=2) as engine:
        tickets = [engine.add(Request([3], Policy(), n))[0] for n in (0, 3, 0, 1, 5)]
        ended = []
        while engine.busy:
            ended += engine.step()
        assert sorted(ended) == tickets
        assert engine.step() == []
        ticket, completion = engine.add(Request([3], Policy(), 0))
        engine.cancel(ticket)
        assert not engine.busy
        assert bits(completion) == ([], [], "length")


def test_cancelling_the_waiting_and_the_running() -> None:
    made = model()
    requests = [Request([number + 1], Policy(0.0), 20) for number in range(4)]
    alone = [complete(made, [request])[0].ids for request in requests]
    with Engine(made, slots=2) as engine:
        rows = [engine.add(request) for request in requests]
        for _ in range(3):
            engine.step()
        assert [len(row.ids) for _, row in rows] == [3, 3, 0, 0]
        engine.cancel(rows[0][0])  # running
        engine.cancel(rows[2][0])  # waiting
        engine.cancel(rows[2][0])  # gone already
        engine.cancel(12345)  # never came
        ended = []
        while engine.busy:
            ended += engine.step()
        assert sorted(ended) == [rows[1][0], rows[3][0]]
        assert [len(row.ids) for _, row in rows] == [3, 20, 0, 20]
        assert all(
            row.ids == ids[: len(row.ids)] for (_, row), ids in zip(rows, alone, strict=True)
        )


@pytest.mark.parametrize("speculate", [False, True])
@pytest.mark.parametrize("who", range(4))
def test_a_listener_may_cancel_itself_or_another_and_add(who: int, speculate: bool) -> None:
    """Row 1 cancels row `who`: one before it or after it in the batch, itself, or a waiting one."""
    made = model()
    requests = [Request([number + 1] * 3, Policy(0.0), 20) for number in range(5)]
    alone = [complete(made, [request])[0].ids for request in requests]
    speculator = PromptLookup(3) if speculate else None
    with Engine(made, slots=3, speculator=speculator) as engine:
        rows: list[tuple[int, Completion]] = []
        heard: list[int] = []

        def listen(token: int) -> None:
            heard.append(token)
            if len(heard) == 4:
                engine.cancel(rows[who][0])
                rows.append(engine.add(requests[4]))

        for number in range(4):
            request = requests[number]
            rows.append(engine.add(replace(request, on_token=listen) if number == 1 else request))
        ended = []
        while engine.busy:
            ended += engine.step()
    assert sorted(ended) == sorted(ticket for ticket, _ in rows if ticket != rows[who][0])
    for number, (_, row) in enumerate(rows):
        assert row.ids == alone[number][: len(row.ids)]
        assert len(row.ids) == 20 or number == who
    assert heard == rows[1][1].ids
    if who == 1:
        assert len(heard) == 4


def test_the_caller_can_end_it() -> None:
    heard: list[int] = []

    def listen(row: int, token: int) -> bool:
        heard.append(token)
        return len(heard) == 3

    output = generate(model(), [[3]], Policy(), max_new_tokens=50, on_token=listen)
    assert output[0].ids == heard
    assert len(heard) == 3
    assert output[0].finish_reason == "stop"


def test_a_larger_least_than_most_only_keeps_it_from_stopping() -> None:
    made = model()
    (free,) = generate(made, [[3]], Policy(0.0, banned_ids=(4,)), max_new_tokens=8)
    request = Request([3], Policy(0.0), 8, min_new_tokens=50, stop_ids=(4,))
    assert complete(made, [request])[0].ids == free.ids


def test_limits_of_size() -> None:
    one = GPT(build("bigram", 1, d_model=4, context_length=1)).eval()
    for compiled in (None, False):
        output = generate(one, [[0], [0, 0]], Policy(), max_new_tokens=5, compiled=compiled)
        assert [bits(row) for row in output] == [([0] * 5, [0.0] * 5, "length")] * 2
    bigram = GPT(build("bigram", 30, context_length=1)).eval()
    output = generate(bigram, [[3], [4]], Policy(1.0), max_new_tokens=5)
    assert [len(row.ids) for row in output] == [5, 5]
    made = model()
    assert generate(made, [[3]], Policy(), max_new_tokens=0)[0].ids == []
    assert generate(made, [], Policy(), max_new_tokens=5) == []


# ------------------------------------------------------------------------------------- errors


def test_wrong_requests_are_errors() -> None:
    made = model()
    with pytest.raises(ValueError, match="empty prompt"):
        generate(made, [[]], Policy(), max_new_tokens=5)
    with pytest.raises(ValueError, match="outside the model's vocabulary"):
        generate(made, [[30]], Policy(), max_new_tokens=5)
    with pytest.raises(ValueError, match="top-k 31 is more than the vocabulary of 30"):
        generate(made, [[3]], Policy(1.0, top_k=31), max_new_tokens=5)
    for name in ("max_new_tokens", "min_new_tokens", "top_logprobs"):
        wrong: dict[str, Any] = {name: -1}
        with pytest.raises(ValueError, match=f"--{name.replace('_', '-')}.*0 or more"):
            Request([3], **wrong)
    with pytest.raises(ValueError, match=r"top logprobs 31 .* vocabulary has 30"):
        complete(made, [Request([3], top_logprobs=31)])
    with pytest.raises(ValueError, match="--batch-size"):
        generate(made, [[3]], Policy(), max_new_tokens=5, slots=0)
    with pytest.raises(ValueError, match="has to be 1 or more"):
        Engine(made, capacity=0)


def test_what_does_not_fit_is_refused_before_anything_starts() -> None:
    heard: list[int] = []
    with Engine(model(), slots=2, capacity=10) as engine:
        engine.add(Request([3], Policy(), 9, on_token=heard.append))
        with pytest.raises(ValueError, match=r"4 tokens of prompt and 7 new ones .* 10 tokens"):
            engine.add(Request([3] * 4, Policy(), 7))
        assert not heard
        engine.run()
    assert len(heard) == 9
    heard.clear()
    good = Request([3], Policy(), 9, on_token=heard.append)
    with pytest.raises(ValueError, match="outside"):
        complete(model(), [good, Request([99])])
    assert not heard


def test_a_cache_larger_than_memory_is_refused_before_it_is_made() -> None:
    made = model("gpt2")
    with pytest.raises(ValueError, match=r"GiB are free .* smaller --batch-size or --max-new-tok"):
        Engine(made, slots=10**9)


def test_an_engine_that_was_not_entered_does_not_wait_forever() -> None:
    engine = Engine(model())
    engine.add(Request([3]))
    with pytest.raises(AssertionError, match="as a context"):
        engine.step()


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("compiled", [None, False])
def test_damaged_weights_are_a_clear_error(compiled: bool | None) -> None:
    made = model()
    with torch.no_grad():
        made.token_embedding.weight[5] = torch.nan
    with pytest.raises(ValueError, match=r"not numbers \(NaN\): its weights are damaged"):
        generate(made, [[5]], Policy(), max_new_tokens=5, compiled=compiled)
    # In a token that is read later, by the compiled loops.
    policy = Policy(forced_ids=(1, 2, 5))
    with pytest.raises(ValueError, match=r"not numbers \(NaN\): its weights are damaged"):
        generate(made, [[3], [4]], policy, max_new_tokens=9, compiled=compiled)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("error", [RuntimeError("mine"), KeyboardInterrupt()])
@pytest.mark.parametrize("speculate", [False, True])
def test_what_a_listener_raises_comes_through(error: BaseException, speculate: bool) -> None:
    threads, alive = torch.get_num_threads(), threading.active_count()
    heard: list[int] = []

    def listen(row: int, token: int) -> None:
        heard.append(token)
        assert threading.active_count() == alive + 1  # the other of the team
        if len(heard) == 7:
            raise error

    speculator = PromptLookup() if speculate else None
    with pytest.raises(type(error)):
        generate(
            model(), PROMPTS, Policy(), max_new_tokens=20, on_token=listen, speculator=speculator
        )
    assert len(heard) == 7
    assert torch.get_num_threads() == threads


def test_nothing_that_may_come_is_a_clear_error() -> None:
    made = model(vocab_size=3)
    policy = Policy(no_repeat_ngram=1)
    with pytest.raises(ValueError, match="nothing may come next"):
        generate(made, [[0]], policy, max_new_tokens=9)


@pytest.mark.usefixtures("two_threads")
def test_teams_of_threads_change_nothing() -> None:
    """The fixture has two threads; `SHARE` as it is, a model so small is read by one."""
    made = model()
    requests = [Request(prompt, Policy(), 30, seed=3) for prompt in PROMPTS]
    two = [bits(row) for row in complete(made, requests)]
    torch.set_num_threads(1)
    assert two == [bits(row) for row in complete(made, requests)]
