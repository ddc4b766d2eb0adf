"""Generation against the slow and obvious way, and against `transformers`."""

import pytest
import torch

from malmoi.decode import Policy, generate
from malmoi.model import GPT, build

SIZES = {"context_length": 24, "d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 64}


def model(preset: str = "malmoi") -> GPT:
    sizes = (
        SIZES
        | ({"num_kv_heads": 2} if preset != "gpt2" else {})
        | ({"ngram_rows": 64} if preset == "malmoi" else {})
    )
    made = GPT(build(preset, 30, **sizes)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return made


PROMPTS = [[3, 4, 5], [9], [7, 7, 1, 2, 8, 20, 11], [1, 2]]


@pytest.mark.parametrize("preset", ["gpt2", "llama", "malmoi"])
def test_greedy_equals_argmax_without_a_cache(preset: str) -> None:
    made = model(preset)
    outputs = generate(made, PROMPTS, Policy(0.0), max_new_tokens=12)
    for prompt, output in zip(PROMPTS, outputs, strict=True):
        ids = list(prompt)
        for token, logprob in zip(output.ids, output.logprobs, strict=True):
            with torch.no_grad():
                logits = made(torch.tensor([ids]))[0, -1]
            assert token == int(logits.argmax())
            assert logprob == pytest.approx(float(logits.log_softmax(-1)[token]), abs=1e-4)
            ids.append(token)
        assert len(output.ids) == 12
        assert output.finish_reason == "length"


def test_greedy_equals_transformers() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    made = model("gpt2")
    theirs = GPT2LMHeadModel(
        GPT2Config(vocab_size=30, n_positions=24, n_embd=32, n_layer=2, n_head=4, n_inner=64)
    ).eval()
    own = made.state_dict()
    renamed = {}
    for key, value in own.items():
        key = key.replace("token_embedding", "wte").replace("position_embedding", "wpe")
        key = key.replace("blocks", "h").replace("attention_norm", "ln_1")
        key = key.replace("feed_forward_norm", "ln_2").replace("final_norm", "ln_f")
        key = key.replace("attention.qkv", "attn.c_attn").replace("attention.out", "attn.c_proj")
        key = key.replace("feed_forward.up", "mlp.c_fc").replace("feed_forward.down", "mlp.c_proj")
        turned = value.ndim == 2 and key.startswith("h.")
        renamed[f"transformer.{key}"] = value.T if turned else value
    theirs.load_state_dict(renamed | {"lm_head.weight": own["token_embedding.weight"]})
    for prompt in PROMPTS:
        out = theirs.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), do_sample=False,
            max_new_tokens=10, pad_token_id=0, eos_token_id=None,
        )  # fmt: skip
        mine = generate(made, [prompt], Policy(0.0), max_new_tokens=10)[0]
        assert prompt + mine.ids == out[0].tolist()


@pytest.mark.parametrize("preset", ["gpt2", "malmoi"])
def test_a_row_is_the_same_alone_and_in_a_batch(preset: str) -> None:
    made = model(preset)
    policy = Policy(1.0, top_k=20)
    together = generate(made, PROMPTS, policy, max_new_tokens=40, seed=4, stop_ids=[0])
    # the row's number decides its draws, so it keeps its place; its neighbours are others
    for row in range(len(PROMPTS)):
        others = [[5]] * row + [PROMPTS[row]]
        alone = generate(made, others, policy, max_new_tokens=40, seed=4, stop_ids=[0])[row]
        assert alone.ids == together[row].ids
        assert alone.finish_reason == together[row].finish_reason


def test_the_same_seed_gives_the_same_text() -> None:
    made = model()
    a, b, c = (
        generate(made, [[3]], Policy(1.0), max_new_tokens=20, seed=seed)[0].ids
        for seed in (1, 1, 2)
    )
    assert a == b != c


def test_a_row_stops_at_a_stop_id_and_the_others_go_on() -> None:
    made = model()
    free = generate(made, PROMPTS, Policy(0.0), max_new_tokens=12)
    stop = free[0].ids[4]
    stopped = generate(made, PROMPTS, Policy(0.0), max_new_tokens=12, stop_ids=[stop])
    for before, after in zip(free, stopped, strict=True):
        end = before.ids.index(stop) if stop in before.ids else 12
        assert after.ids == before.ids[:end]
        assert after.finish_reason == ("stop" if stop in before.ids else "length")


@pytest.mark.parametrize("preset", ["gpt2", "llama", "malmoi"])
def test_generation_goes_on_past_the_context(preset: str) -> None:
    """When the context is full, its later half is read anew: so says the obvious way too."""
    made = model(preset)
    prompt = [int(x) for x in torch.randint(30, (40,))]  # longer than the context of 24
    output = generate(made, [prompt, [3]], Policy(0.0), max_new_tokens=50)
    for start, result in zip((prompt, [3]), output, strict=True):
        window = start[-24:]
        for token in result.ids:
            if len(window) > 24:
                window = [*window[-13:-1], window[-1]]
            with torch.no_grad():
                assert token == int(made(torch.tensor([window]))[0, -1].argmax())
            window.append(token)


def test_a_context_of_one_token_is_enough_for_a_bigram() -> None:
    made = GPT(build("bigram", 30, context_length=1)).eval()
    output = generate(made, [[3], [4]], Policy(1.0), max_new_tokens=5)
    assert [len(row.ids) for row in output] == [5, 5]


def test_banned_ids_are_never_chosen() -> None:
    made = model()
    output = generate(made, [[3]], Policy(1.5, banned_ids=tuple(range(10))), max_new_tokens=200)
    assert output[0].ids
    assert min(output[0].ids) >= 10


def test_nothing_asked_nothing_done() -> None:
    made = model()
    assert generate(made, [[3]], Policy(), max_new_tokens=0)[0].ids == []
    assert generate(made, [], Policy(), max_new_tokens=5) == []


def test_wrong_requests_are_errors() -> None:
    made = model()
    with pytest.raises(ValueError, match="empty prompt"):
        generate(made, [[]], Policy(), max_new_tokens=5)
    with pytest.raises(ValueError, match="outside the model's vocabulary"):
        generate(made, [[30]], Policy(), max_new_tokens=5)
    with pytest.raises(ValueError, match="top-k 31 is more than the vocabulary of 30"):
        generate(made, [[3]], Policy(1.0, top_k=31), max_new_tokens=5)


def test_the_caller_can_end_it() -> None:
    heard: list[int] = []

    def listen(row: int, token: int) -> bool:
        heard.append(token)
        return len(heard) == 3

    output = generate(model(), [[3]], Policy(), max_new_tokens=50, on_token=listen)
    assert output[0].ids == heard
    assert len(heard) == 3
