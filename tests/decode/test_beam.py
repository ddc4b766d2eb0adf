"""Beam search against `transformers`, exhaustive search and the naive algorithm of the paper."""

import itertools
import json
import math
from collections import Counter
from typing import Any

import pytest
import torch
from peers import gpt2, llama, random_model

from malmoi.decode.beam import BeamResult, beam_search
from malmoi.decode.policy import Policy
from malmoi.decode.tree import Tree
from malmoi.model import GPT, build

PROMPTS = [[3, 4, 5], [9], [7, 7, 1, 2, 8, 20, 11], [1, 2]]
PENALTIES = (-0.5, -0.1, 0.0, 0.6, 1.0, 2.0)
NEW = 10

Found = list[tuple[list[int], float]]  # (ids, score), best first


def likely(made: GPT) -> list[int]:
    """Four ids that a model says often, though not the one it says most: as stop ids they end
    some beams early and leave others.
    """  # fmt: skip
    found = beam_search(made, PROMPTS, width=4, max_new_tokens=NEW, num_return=4)
    said = Counter(token for result in found for h in result.hypotheses for token in h.ids)
    return [token for token, _ in said.most_common(5)[1:]]


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def pair(request: pytest.FixtureRequest) -> tuple[GPT, Any, list[int]]:
    """The same random weights in our model and in that of `transformers`, and stop ids."""
    made = random_model(request.param, 40, noise=0.2)
    return made, {"gpt2": gpt2, "llama": llama}[request.param](made), likely(made)


Pair = tuple[GPT, Any, list[int]]


def transformers_search(
    theirs: Any, prompts: list[list[int]], width: int, num: int, stops: list[int], **options: Any
) -> list[Found]:
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    out = theirs.generate(
        ids, attention_mask=mask, num_beams=width, num_return_sequences=num, do_sample=False,
        eos_token_id=stops or None, pad_token_id=0, return_dict_in_generate=True,
        output_scores=True, **({"max_new_tokens": NEW} | options),
    )  # fmt: skip
    found: list[Found] = [[] for _ in prompts]
    for row, sequence in enumerate(out.sequences[:, longest:].tolist()):
        end = next((i for i, token in enumerate(sequence) if token in stops), len(sequence))
        score = float(out.sequences_scores[row]) if width > 1 else 0.0  # one beam has no score
        found[row // num].append((sequence[:end], score))
    return found


def same(results: list[BeamResult], expected: list[Found], scores: bool = True) -> None:
    for result, found in zip(results, expected, strict=True):
        assert [h.ids for h in result.hypotheses] == [ids for ids, _ in found]
        if scores:
            theirs = [score for _, score in found]
            assert [h.score for h in result.hypotheses] == pytest.approx(theirs, rel=1e-6, abs=1e-4)


@pytest.mark.parametrize("early", [False, True, "never"])
@pytest.mark.parametrize("width", [1, 2, 4, 7])
def test_equals_transformers(pair: Pair, width: int, early: Any) -> None:
    made, theirs, stop_ids = pair
    reasons: Counter[str] = Counter()
    counts = (width, width, 1, 1, max(1, width - 1), width)
    for (penalty, num), stops in itertools.product(
        zip(PENALTIES, counts, strict=True), (stop_ids, stop_ids[-1:], stop_ids[1:3])
    ):
        mine = beam_search(
            made, PROMPTS, width=width, max_new_tokens=NEW, stop_ids=stops, num_return=num,
            length_penalty=penalty, early_stopping=early, record=True,
        )  # fmt: skip
        options = {"length_penalty": penalty, "early_stopping": early} if width > 1 else {}
        same(mine, transformers_search(theirs, PROMPTS, width, num, stops, **options), width > 1)
        reasons.update(result.tree.ends[0].reason for result in mine if result.tree)
    # The comparison tells how searches end only where they end in more than one way.
    assert len(reasons) > 1, reasons


def test_equals_transformers_in_other_ways(pair: Pair) -> None:
    """Without a stop id, with one, with a least length, each prompt by itself."""
    made, theirs, stop_ids = pair
    for prompt, (stops, least) in itertools.product(
        PROMPTS, [([], 0), (stop_ids[:1], 0), (stop_ids, 4)]
    ):
        mine = beam_search(
            made, [prompt], width=4, max_new_tokens=NEW, stop_ids=stops, num_return=4,
            min_new_tokens=least,
        )  # fmt: skip
        options = {"min_new_tokens": least} if least else {}
        same(mine, transformers_search(theirs, [prompt], 4, 4, stops, **options))
        assert all(len(h.ids) >= least for h in mine[0].hypotheses)


@pytest.mark.parametrize("preset", ["gpt2", "llama", "malmoi"])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_prompt_is_the_same_alone_and_in_a_batch(preset: Any, groups: int) -> None:
    made = random_model(preset, 40, noise=0.2)
    options: dict[str, Any] = {
        "width": 4, "max_new_tokens": NEW, "stop_ids": likely(made), "num_return": 4,
        "groups": groups, "diversity_penalty": 0.5 if groups > 1 else 0.0,
    }  # fmt: skip
    together = beam_search(made, PROMPTS, **options)
    for prompt, result in zip(PROMPTS, together, strict=True):
        (alone,) = beam_search(made, [prompt], **options)
        assert [h.ids for h in alone.hypotheses] == [h.ids for h in result.hypotheses]
        for one, other in zip(alone.hypotheses, result.hypotheses, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-5)
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
            assert (one.finish_reason, one.stop_id) == (other.finish_reason, other.stop_id)


@pytest.mark.parametrize("early", [True, False, "never"])
def test_a_search_by_hand(early: Any) -> None:
    """Two beams over a table of p(next | last) and a length penalty of -0.1.

    Step 1 ends "3" (0.3) and step 2 ends "1 3" (0.5 * 0.4), so there are two hypotheses, but "1 2"
    (0.5 * 0.5) is still open, and better than the second of them if it ended now, though not if it
    ended at the limit. Step 3 ends it (0.25 * 0.97).
    """
    table = torch.tensor(
        [[0.05, 0.5, 0.15, 0.3], [0.04, 0.06, 0.5, 0.4], [0.01, 0.01, 0.01, 0.97], [0.25] * 4]
    )
    made = GPT(build("bigram", 4, d_model=4, num_heads=1, context_length=16)).eval()
    with torch.no_grad():
        made.token_embedding.weight.copy_(torch.eye(4))
        made.output_weight.copy_(table.log().T)
    (result,) = beam_search(
        made, [[0]], width=2, max_new_tokens=10, stop_ids=[3], length_penalty=-0.1, num_return=2,
        early_stopping=early, record=True,
    )  # fmt: skip
    second = ([1], math.log(0.2) * 2**0.1) if early is True else ([1, 2], math.log(0.2425) * 3**0.1)
    same([result], [[([], math.log(0.3)), second]])
    assert result.tree is not None
    (end,) = result.tree.ends
    assert (end.step, end.reason) == ((2, "full") if early is True else (3, "hopeless"))
    (ousted,) = [node for node in result.tree.nodes if node.ousted] or [None]
    assert (ousted is None) == (early is True)


def test_a_prompt_is_read_once_and_leaves_when_it_is_done() -> None:
    made = random_model("llama", 40, noise=0.2)
    stops = likely(made)
    shapes: list[tuple[int, int]] = []
    made.token_embedding.register_forward_hook(lambda _, ids, __: shapes.append(ids[0].shape))
    beam_search(made, PROMPTS, width=4, max_new_tokens=30, stop_ids=stops, early_stopping=True)
    assert shapes[0] == (4, 7)
    assert shapes[1] == (16, 1)
    assert shapes[-1] < (16, 1)
    assert len(shapes) < 30


@pytest.mark.parametrize("width", [2, 4])
def test_penalties_inside_beams_equal_transformers(pair: Pair, width: int) -> None:
    made, theirs, stop_ids = pair
    unlike = 0
    for prompt, (policy, options) in itertools.product(
        PROMPTS,
        [
            (Policy(repetition_penalty=1.4), {"repetition_penalty": 1.4}),
            (Policy(no_repeat_ngram=2), {"no_repeat_ngram_size": 2}),
            (
                # A temperature and the like are for sampling and change nothing.
                Policy(0.3, top_k=2, repetition_penalty=1.2, no_repeat_ngram=3),
                {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "min_new_tokens": 3},
            ),
        ],
    ):
        mine, plain = (
            beam_search(
                made, [prompt], width=width, max_new_tokens=NEW, stop_ids=stop_ids[2:], policy=p,
                num_return=width, min_new_tokens=options.get("min_new_tokens", 0),
            )
            for p in (policy, Policy())
        )  # fmt: skip
        same(mine, transformers_search(theirs, [prompt], width, width, stop_ids[2:], **options))
        unlike += mine[0].hypotheses[0].ids != plain[0].hypotheses[0].ids
        for h in mine[0].hypotheses:  # told by the model itself, whatever the penalties did
            assert h.logprobs == pytest.approx(logprobs(made, prompt, h.ids), abs=1e-4)
    assert unlike > 3


def all_continuations(made: GPT, prompt: list[int], new: int, stops: set[int]) -> list[list[int]]:
    if not new:
        return [[]]
    found = []
    for token in range(made.config.vocab_size):
        rest = all_continuations(made, prompt, new - 1, stops) if token not in stops else [[]]
        found += [[token, *more] for more in rest]
    return found


def logprobs(made: GPT, prompt: list[int], ids: list[int]) -> list[float]:
    """Of each of `ids`, by reading everything at once without a cache."""
    with torch.no_grad():
        after = made(torch.tensor([prompt + ids]))[0].log_softmax(-1)
    return [float(after[len(prompt) - 1 + i, token]) for i, token in enumerate(ids)]


@pytest.mark.parametrize("penalty", PENALTIES)
def test_enough_beams_find_the_best_of_all(penalty: float) -> None:
    made = random_model("malmoi", 4, ngram_rows=16)
    stops, prompt = {2}, [1, 3]
    everything = all_continuations(made, prompt, 4, stops)
    assert len(everything) == 121
    scored = [(sum(logprobs(made, prompt, ids)) / len(ids) ** penalty, ids) for ids in everything]
    scored.sort(reverse=True)
    (result,) = beam_search(
        made, [prompt], width=130, max_new_tokens=4, stop_ids=[2], length_penalty=penalty,
        num_return=130,
    )  # fmt: skip
    assert len(result.hypotheses) == 121
    for (score, ids), mine in zip(scored, result.hypotheses, strict=True):
        assert mine.ids + [2] * (mine.finish_reason == "stop") == ids
        assert mine.score == pytest.approx(score, abs=1e-4)
        assert mine.length == len(ids)
        assert mine.logprobs == pytest.approx(
            logprobs(made, prompt, ids)[: len(mine.ids)], abs=1e-4
        )


def naive_groups(
    made: GPT,
    prompt: list[int],
    width: int,
    groups: int,
    strength: float,
    new: int,
    stops: list[int],
    penalty: float,
) -> list[Found]:
    """Algorithm 1 of arXiv:1610.02424 with Hamming diversity, for each group: (ids, score).

    Written for clarity alone: every continuation is a list, nothing is cached, and a group is done
    when it has as many ended sequences as beams.
    """  # fmt: skip
    size = width // groups
    beams: list[list[tuple[float, list[int]]]] = [[(0.0, [])] for _ in range(groups)]
    ended: list[list[tuple[float, list[int]]]] = [[] for _ in range(groups)]
    for t in range(new):
        used: Counter[int] = Counter()
        for g in range(groups):
            augmented = []
            for theta, ids in beams[g]:
                with torch.no_grad():
                    log_p = made(torch.tensor([prompt + ids]))[0, -1].log_softmax(-1).tolist()
                for token, gain in enumerate(log_p):
                    augmented.append((theta + gain - strength * used[token], [*ids, token]))
            augmented.sort(key=lambda entry: -entry[0])
            on = [entry for entry in augmented if entry[1][-1] not in stops][:size]
            off = [e for e in augmented[:size] if e[1][-1] in stops or t == new - 1]
            ended[g] += [(theta / len(ids) ** penalty, ids) for theta, ids in off]
            ended[g] = sorted(ended[g], key=lambda entry: -entry[0])[:size]
            used.update(ids[-1] for _, ids in on)
            beams[g] = on if len(ended[g]) < size else []
    return [
        [(ids, sum(logprobs(made, prompt, ids)) / len(ids) ** penalty) for _, ids in group]
        for group in ended
    ]


@pytest.mark.parametrize(
    ("width", "groups", "strength", "vocab_size"),
    [(4, 2, 0.5, 40), (6, 3, 0.2, 40), (6, 3, 3.0, 40), (3, 3, 1.0, 40), (4, 1, 0.0, 40),
     (7, 1, 0.0, 3), (8, 2, 0.7, 3), (5, 5, 0.7, 3)],
)  # fmt: skip
def test_groups_equal_the_paper(width: int, groups: int, strength: float, vocab_size: int) -> None:
    made = random_model("llama", vocab_size, noise=0.2)
    stops = likely(made) if vocab_size > 20 else [2]
    for prompt in PROMPTS if vocab_size > 20 else [[0], [1, 0, 0]]:
        expected = naive_groups(made, prompt, width, groups, strength, 5, stops, 0.8)
        (result,) = beam_search(
            made, [prompt], width=width, max_new_tokens=5, stop_ids=stops, length_penalty=0.8,
            groups=groups, diversity_penalty=strength, num_return=width, early_stopping=True,
        )  # fmt: skip
        scores = [h.score for h in result.hypotheses]
        assert scores == sorted(scores, reverse=True)
        for group, found in enumerate(expected):
            mine = [h for h in result.hypotheses if h.group == group]
            # Within a group the search ranks with the diversity costs, the result without them.
            theirs = sorted(found, key=lambda entry: -entry[1])
            full = [h.ids + ([] if h.stop_id is None else [h.stop_id]) for h in mine]
            assert full == [ids for ids, _ in theirs]
            assert [h.score for h in mine] == pytest.approx([s for _, s in theirs], abs=1e-4)


def test_diversity_decides_how_far_groups_differ() -> None:
    made = random_model("gpt2", 40, noise=0.2)
    options: dict[str, Any] = {"width": 6, "groups": 3, "max_new_tokens": 6, "num_return": 6}
    alike = beam_search(made, PROMPTS, **options)
    plain = beam_search(made, PROMPTS, width=2, max_new_tokens=6, num_return=2)
    apart = beam_search(made, PROMPTS, diversity_penalty=50.0, **options)
    for same_beams, alone, different in zip(alike, plain, apart, strict=True):
        for group in range(3):
            mine = [h.ids for h in same_beams.hypotheses if h.group == group]
            assert mine == [h.ids for h in alone.hypotheses]
        first = [{h.ids[0] for h in different.hypotheses if h.group == g} for g in range(3)]
        assert len(first[0] | first[1] | first[2]) == sum(map(len, first))
    # Asked for as many as there are groups, each group gives its best.
    for result in beam_search(made, PROMPTS, diversity_penalty=50.0, **options | {"num_return": 3}):
        assert sorted(h.group for h in result.hypotheses) == [0, 1, 2]


TREES: list[dict[str, Any]] = [
    {"width": 4, "stops": 0}, {"width": 3, "stops": 4, "early_stopping": True},
    {"width": 1, "stops": 4}, {"width": 4, "stops": 1, "early_stopping": "never"},
    {"width": 6, "stops": 4, "groups": 2, "diversity_penalty": 0.6, "length_penalty": 2.0},
]  # fmt: skip


@pytest.mark.parametrize("options", TREES)
def test_the_record_tells_the_whole_search(options: dict[str, Any]) -> None:
    """Replayed by the rules and with the model's own numbers, the tree gives the same result."""
    made = random_model("llama", 40, noise=0.2)
    stops = likely(made)[: options["stops"]]
    results = beam_search(
        made, PROMPTS, max_new_tokens=NEW, num_return=options["width"], record=True,
        stop_ids=stops, **{name: value for name, value in options.items() if name != "stops"},
    )  # fmt: skip
    for prompt, result in zip(PROMPTS, results, strict=True):
        assert result.tree is not None
        tree = Tree.from_dict(json.loads(json.dumps(result.tree.to_dict(), allow_nan=False)))
        assert tree == result.tree
        assert tree.prompt == prompt
        replay(made, tree)
        assert len(tree.returned) == len(result.hypotheses)
        for number, hypothesis in zip(tree.returned, result.hypotheses, strict=True):
            path = tree.path(number)
            stop = [] if hypothesis.stop_id is None else [hypothesis.stop_id]
            assert [node.token for node in path] == hypothesis.ids + stop
            assert [n.logprob for n in path][: len(hypothesis.ids)] == hypothesis.logprobs
            assert path[-1].score == hypothesis.score
            assert [node.fate for node in path] == ["kept"] * (len(path) - 1) + ["finished"]


def replay(made: GPT, tree: Tree) -> None:
    """Follow the search with the model's own numbers and the rules of the docstring."""
    size = tree.width // tree.groups
    looked = {
        key: list(nodes)
        for key, nodes in itertools.groupby(
            range(1, len(tree.nodes)), lambda i: (tree.nodes[i].step, tree.nodes[i].group)
        )
    }
    standing: list[int] = []
    for group in range(tree.groups):
        (end,) = [end for end in tree.ends if end.group == group]
        beams, finished = [0], []
        for step in range(1, end.step + 1):
            taken = Counter(
                tree.nodes[i].token
                for earlier in range(group)
                for i in [
                    i
                    for i in looked.get((step, earlier), [])
                    if tree.nodes[i].token not in tree.stop_ids
                ][:size]
            )
            values = {}
            for beam in beams:
                ids = tree.prompt + [node.token for node in tree.path(beam)]
                with torch.no_grad():
                    gains = made(torch.tensor([ids]))[0, -1].log_softmax(-1).tolist()
                for token, gain in enumerate(gains):
                    cost = tree.diversity_penalty * taken[token]
                    values[beam, token] = tree.nodes[beam].value + gain - cost
            best = sorted(values, key=lambda key: -values[key])
            numbers = looked[step, group]
            recorded = [(tree.nodes[i].parent, tree.nodes[i].token) for i in numbers]
            assert recorded == best[: len(recorded)]
            assert 2 * size <= len(recorded) <= max(2, 1 + len(tree.stop_ids)) * size
            going = [i for i in numbers if tree.nodes[i].token not in tree.stop_ids][:size]
            for rank, number in enumerate(numbers):
                node = tree.nodes[number]
                total = sum(n.logprob for n in tree.path(number))
                assert node.value == pytest.approx(values[node.parent, node.token], abs=1e-4)
                assert node.total == pytest.approx(total, abs=1e-4)
                last = step == tree.max_new_tokens
                ends = rank < size and (last or node.token in tree.stop_ids)
                goes_on = number in going and not last
                assert node.fate == ("finished" if ends else "kept" if goes_on else "pruned")
                if ends:
                    finished.append(number)
                    assert node.score == pytest.approx(total / step**tree.length_penalty, abs=1e-4)
            finished.sort(
                key=lambda i: -tree.nodes[i].value / tree.nodes[i].step ** tree.length_penalty
            )
            for number in finished[size:]:
                assert tree.nodes[number].ousted == step
            finished = finished[:size]
            beams = going
        assert all(tree.nodes[i].ousted is None for i in finished)
        standing += finished
        assert end.reason == "length" or len(finished) == size
    scores = {number: tree.nodes[number].score or 0.0 for number in standing}
    assert sorted(standing, key=lambda i: -scores[i]) == tree.returned


def test_a_record_that_is_not_one_is_an_error() -> None:
    (result,) = beam_search(random_model("gpt2"), [[3]], width=2, max_new_tokens=2, record=True)
    assert result.tree is not None
    good = result.tree.to_dict()
    nodes = [good["nodes"][0] | {"parent": 3}, *good["nodes"][1:]]
    for wrong, message in (
        (good | {"version": 99}, "version 99 is not 1"),
        (good | {"surprise": 1}, "'surprise' is missing or unknown"),
        (good | {"nodes": nodes}, "node 0 stands before its parent"),
        (good | {"returned": [999]}, "not in the tree"),
    ):
        with pytest.raises(ValueError, match=message):
            Tree.from_dict(wrong)


def test_nothing_asked_nothing_done() -> None:
    made = random_model("gpt2")
    assert beam_search(made, [], width=2, max_new_tokens=5) == []
    (result,) = beam_search(made, [[3]], width=4, groups=2, max_new_tokens=0, num_return=4)
    assert [(h.ids, h.score, h.finish_reason) for h in result.hypotheses] == [([], 0.0, "length")]


def test_where_nothing_may_follow_the_search_ends() -> None:
    """All ids are stop ids, and none may be said yet: only the prompt itself is left."""
    made = random_model("gpt2", 3)
    (result,) = beam_search(
        made, [[1]], width=2, max_new_tokens=5, stop_ids=[0, 1, 2], min_new_tokens=1, record=True
    )
    assert [(h.ids, h.finish_reason) for h in result.hypotheses] == [([], "length")]
    assert result.tree is not None
    assert result.tree.ends[0].reason == "dead end"
    (result,) = beam_search(made, [[1]], width=2, max_new_tokens=5, stop_ids=[0, 1, 2])
    assert [(h.ids, h.length, h.finish_reason) for h in result.hypotheses] == [([], 1, "stop")]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 0}, "--beams 0: has to be 1 or more"),
        ({"num_return": 5}, "--num 5: has to be from 1 to --beams 4"),
        ({"num_return": 0}, "--num 0: has to be from 1 to --beams 4"),
        ({"groups": 3}, "--beam-groups 3: .* divide --beams 4"),
        ({"groups": 0}, "--beam-groups 0: has to be 1 or more"),
        ({"groups": 2, "diversity_penalty": -1.0}, "--diversity-penalty -1: has to be 0 or more"),
        ({"diversity_penalty": 0.5}, "--diversity-penalty 0.5: .* --beam-groups 2"),
        ({"length_penalty": float("nan")}, "--length-penalty nan: has to be from -10 to 10"),
        ({"length_penalty": 1e9}, "--length-penalty 1e\\+09: has to be from -10 to 10"),
        ({"early_stopping": "always"}, "--early-stopping 'always': has to be true, false or never"),
        ({"max_new_tokens": -1}, "--max-new-tokens -1: has to be 0 or more"),
        ({"min_new_tokens": 6}, "--min-new-tokens 6: has to be from 0 to --max-new-tokens 5"),
        ({"max_new_tokens": 62}, "3 tokens and 62 new .* context of 64.* --max-new-tokens 61"),
        ({"prompts": [[1] * 64]}, "64 tokens and 5 new .* context of 64.* shorten the prompt"),
        ({"policy": Policy(banned_ids=(30,))}, "banned-ids.* 30 tokens"),
        ({"prompts": [[]]}, "empty prompt"),
        ({"prompts": [[30]]}, "outside the model's vocabulary"),
    ],
)
def test_values_out_of_range_are_errors(wrong: dict[str, Any], message: str) -> None:
    options: dict[str, Any] = {"prompts": [[3, 4, 5]], "width": 4, "max_new_tokens": 5} | wrong
    with pytest.raises(ValueError, match=message):
        beam_search(random_model("gpt2"), **options)


def test_a_search_may_fill_the_context() -> None:
    made = random_model("gpt2", context_length=8)
    (result,) = beam_search(made, [[3, 4, 5]], width=3, max_new_tokens=5)
    assert len(result.hypotheses[0].ids) == 5
