"""GPT against `transformers` with the same weights, and against itself by other ways."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from malmoi.config import ModelConfig
from malmoi.model import GPT, PRESETS, KVCache, build
from malmoi.model.layers import Attention, Context

SIZES = {"context_length": 16, "d_model": 32, "num_layers": 3, "num_heads": 4, "d_ff": 48}


def small(preset: str, **more: object) -> ModelConfig:
    # half as many key/value heads as query heads, where a preset can have that
    ours: dict[str, object] = {"ngram_rows": 64, "num_kv_heads": 2} if preset == "malmoi" else {}
    sizes: dict[str, object] = SIZES | ours | more
    if preset == "bigram":
        sizes = {"d_model": 32} | more
    return build(preset, 50, **sizes)  # type: ignore[arg-type]


def shaken(config: ModelConfig) -> GPT:
    """A model none of whose weights is zero, so that every part of it matters."""
    model = GPT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def random_ids(*shape: int) -> Tensor:
    return torch.randint(50, shape)


def test_gpt2_equals_transformers() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    mine = shaken(small("gpt2"))
    theirs = GPT2LMHeadModel(
        GPT2Config(vocab_size=50, n_positions=16, n_embd=32, n_layer=3, n_head=4, n_inner=48)
    ).eval()
    own = mine.state_dict()
    names = {
        "token_embedding.weight": "transformer.wte.weight",
        "position_embedding.weight": "transformer.wpe.weight",
        "final_norm.weight": "transformer.ln_f.weight",
        "final_norm.bias": "transformer.ln_f.bias",
    }
    parts = {
        "attention_norm": "ln_1", "feed_forward_norm": "ln_2", "attention.qkv": "attn.c_attn",
        "attention.out": "attn.c_proj", "feed_forward.up": "mlp.c_fc",
        "feed_forward.down": "mlp.c_proj",
    }  # fmt: skip
    for layer in range(3):
        for a, b in parts.items():
            for kind in ("weight", "bias"):
                names[f"blocks.{layer}.{a}.{kind}"] = f"transformer.h.{layer}.{b}.{kind}"
    assert set(names) == set(own)
    # their Conv1D holds the transpose of a Linear
    values = {names[k]: v.T if v.ndim == 2 and "embedding" not in k else v for k, v in own.items()}
    theirs.load_state_dict(values | {"lm_head.weight": own["token_embedding.weight"]})
    ids = random_ids(2, 16)
    torch.testing.assert_close(mine(ids), theirs(ids).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_llama_equals_transformers(kv_heads: int) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    mine = shaken(small("llama", num_kv_heads=kv_heads))
    theirs = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=kv_heads,
            max_position_embeddings=16,
            rms_norm_eps=1e-6,
        )
    ).eval()
    own, values = mine.state_dict(), {}
    values["model.embed_tokens.weight"] = own.pop("token_embedding.weight")
    values["model.norm.weight"] = own.pop("final_norm.weight")
    values["lm_head.weight"] = own.pop("head.weight")
    parts = {
        "attention_norm": "input_layernorm", "feed_forward_norm": "post_attention_layernorm",
        "attention.out": "self_attn.o_proj", "feed_forward.gate": "mlp.gate_proj",
        "feed_forward.up": "mlp.up_proj", "feed_forward.down": "mlp.down_proj",
    }  # fmt: skip
    for layer in range(3):
        here, there = f"blocks.{layer}.", f"model.layers.{layer}."
        q, k, v = own.pop(f"{here}attention.qkv.weight").split([32, 8 * kv_heads, 8 * kv_heads])
        for name, value in zip("qkv", (q, k, v), strict=True):
            values[f"{there}self_attn.{name}_proj.weight"] = value
        for a, b in parts.items():
            values[f"{there}{b}.weight"] = own.pop(f"{here}{a}.weight")
    assert not own
    theirs.load_state_dict(values)
    ids = random_ids(2, 16)
    torch.testing.assert_close(mine(ids), theirs(ids).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("preset", PRESETS)
def test_cached_equals_full(preset: str) -> None:
    model = shaken(small(preset))
    ids = random_ids(2, 16)
    with torch.no_grad():
        full = model(ids)
        cache = KVCache(model.config, 2, 16)
        pieces = []
        for start, end in ((0, 5), (5, 6), (6, 7), (7, 12), (12, 16)):
            pieces.append(model(ids[:, start:end], cache))
            cache.advance(end - start)
    torch.testing.assert_close(torch.cat(pieces, 1), full, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_rows_of_different_lengths_do_not_touch_each_other(preset: str) -> None:
    model = shaken(small(preset))
    texts = [random_ids(1, 3), random_ids(1, 9), random_ids(1, 6)]
    padded = torch.zeros(3, 9, dtype=torch.long)
    for row, text in enumerate(texts):
        padded[row, : text.shape[1]] = text
    counts = torch.tensor([3, 9, 6])
    new = random_ids(3, 1)
    with torch.no_grad():
        cache = KVCache(model.config, 3, 16)
        model(padded, cache)
        cache.advance(counts)
        together = model(new, cache)[:, -1]
        alone = [
            model(torch.cat([text, new[row : row + 1]], 1))[0, -1] for row, text in enumerate(texts)
        ]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_no_token_sees_the_future(preset: str) -> None:
    model = shaken(small(preset))
    ids = random_ids(1, 12)
    other = ids.clone()
    other[0, 7:] = (other[0, 7:] + 1) % 50
    with torch.no_grad():
        a, b = model(ids), model(other)
    torch.testing.assert_close(a[:, :7], b[:, :7])
    assert not torch.allclose(a[:, 7:], b[:, 7:])


@pytest.mark.parametrize("preset", ["gpt2", "llama", "malmoi"])
def test_the_tap_sees_what_the_fast_way_computes(preset: str) -> None:
    model = shaken(small(preset))
    seen: dict[tuple[str, int], Tensor] = {}
    ids = random_ids(2, 10)
    with torch.no_grad():
        tapped = model(ids, tap=lambda what, layer, value: seen.update({(what, layer): value}))
        torch.testing.assert_close(tapped, model(ids), rtol=1e-4, atol=1e-5)
    weights = seen["attention", 2]
    assert weights.shape == (2, 4, 10, 10)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 10))
    assert not weights.triu(1).any()
    assert torch.equal(seen["logits", 3], tapped)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("preset", PRESETS)
def test_loss_equals_cross_entropy_of_the_logits(preset: str, smoothing: float) -> None:
    model = shaken(small(preset))
    ids, targets = random_ids(2, 16), random_ids(2, 16)
    targets[0, :3] = -1
    plain = torch.nn.functional.cross_entropy(
        model(ids).flatten(0, 1), targets.flatten(), ignore_index=-1, label_smoothing=smoothing
    )
    torch.testing.assert_close(model.loss(ids, targets, smoothing), plain)


def test_bigram_depends_on_the_last_token_alone() -> None:
    model = shaken(small("bigram"))
    with torch.no_grad():
        logits = model(torch.tensor([[3, 7, 3, 9, 3]]))
    torch.testing.assert_close(logits[0, 0], logits[0, 2])
    torch.testing.assert_close(logits[0, 0], logits[0, 4])


def test_residual_stream_is_kept() -> None:
    """With silent layers the model is its embedding: the block adds, it does not replace."""
    model = shaken(small("gpt2"))
    with torch.no_grad():
        for block in model.blocks:
            for module in (block.attention.out, block.feed_forward.down):
                module.weight.zero_()
                module.bias.zero_()
        ids = random_ids(1, 4)
        x = model.token_embedding(ids) + model.position_embedding(torch.arange(4))
        torch.testing.assert_close(model.hidden(ids), model.final_norm(x))


@pytest.mark.parametrize("preset", PRESETS)
def test_an_untrained_model_knows_nothing(preset: str) -> None:
    model = GPT(small(preset))
    ids = random_ids(4, 17) % 50
    with torch.no_grad():
        loss = model.loss(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
    assert float(loss) == pytest.approx(math.log(50), abs=0.1)


def test_gpt2_is_124_million() -> None:
    model = GPT(build("gpt2", 50257))
    assert sum(p.numel() for p in model.parameters()) == 124_439_808


@pytest.mark.parametrize("preset", ["gpt2", "llama", "malmoi"])
def test_dropout_is_for_training_only(preset: str) -> None:
    model = shaken(small(preset, dropout=0.3))
    ids = random_ids(2, 8)
    assert torch.equal(model(ids), model(ids))
    model.train()
    assert not torch.equal(model(ids), model(ids))


PLACES = ("attention_dropout", "residual_dropout", "embedding_dropout")
NOWHERE = dict.fromkeys(PLACES, 0.0)


@pytest.mark.parametrize("preset", ["gpt2", "llama", "malmoi"])
@pytest.mark.parametrize("place", PLACES)
def test_a_dropout_not_given_is_the_common_one(preset: str, place: str) -> None:
    model = shaken(small(preset))
    ids, logits = random_ids(2, 8), []
    for more in ({place: 0.3}, {"dropout": 0.3} | NOWHERE | {place: None}):
        other = GPT(small(preset, **more)).train()
        other.load_state_dict(model.state_dict())
        torch.manual_seed(1)
        logits.append(other(ids))
        assert torch.equal(other.eval()(ids), model(ids))
    assert torch.equal(*logits)
    assert not torch.allclose(logits[0], model(ids))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("more", [{}, {"dropout": 0.3} | NOWHERE])
def test_without_dropout_training_computes_the_same_bits(
    preset: str, more: dict[str, object]
) -> None:
    model = shaken(small(preset, **more))
    ids = random_ids(2, 16)
    assert torch.equal(model.train()(ids), model.eval()(ids))


def silent(model: GPT, attention: bool = True, feed_forward: bool = True) -> GPT:
    """Layers that add nothing to the residual stream."""
    with torch.no_grad():
        for block in model.blocks:
            modules = [block.attention.out] if attention else []  # type: ignore[union-attr]
            modules += [block.feed_forward.down] if feed_forward else []  # type: ignore[union-attr]
            for parameter in (p for module in modules for p in module.parameters()):
                parameter.zero_()
    return model


def stream(model: GPT, ids: Tensor) -> Tensor:
    """The residual stream after the last layer, before the final norm."""
    seen = [model.hidden(ids)] if model.config.norm == "none" else []
    if not seen:
        model.hidden(ids, tap=lambda what, _, x: seen.append(x) if what == "residual" else None)
    return seen[-1]


@pytest.mark.parametrize("preset", PRESETS)
@torch.no_grad()
def test_embedding_dropout_leaves_out_its_share(preset: str) -> None:
    model = silent(shaken(small(preset, embedding_dropout=0.3)))
    ids = random_ids(64, 16)
    whole, dropped = stream(model, ids), stream(model.train(), ids)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    torch.testing.assert_close(dropped, torch.where(dropped == 0, 0.0, whole / 0.7))


@pytest.mark.parametrize("preset", ["gpt2", "llama", "malmoi"])
@pytest.mark.parametrize("part", ["attention", "feed_forward"])
@torch.no_grad()
def test_residual_dropout_leaves_out_its_share(preset: str, part: str) -> None:
    model = shaken(small(preset, residual_dropout=0.3, num_layers=1))
    silent(model, **{"attention": part != "attention", "feed_forward": part != "feed_forward"})
    ids = random_ids(64, 16)
    whole, dropped = stream(model, ids), stream(model.train(), ids)
    start = stream(silent(model.eval()), ids)  # what the layer adds to
    out = dropped == start
    assert float(out.float().mean()) == pytest.approx(0.3, abs=0.01)
    torch.testing.assert_close(dropped, torch.where(out, start, start + (whole - start) / 0.7))


@pytest.mark.parametrize("tapped", [False, True])
@torch.no_grad()
def test_attention_dropout_leaves_out_its_share_of_weights(tapped: bool) -> None:
    attention = Attention(small("gpt2", attention_dropout=0.25), 0)
    attention.qkv.weight.zero_()
    attention.qkv.bias.zero_()
    attention.qkv.bias[64:] = 1.0  # all weights of a position alike, all values 1
    attention.out.weight.copy_(torch.eye(32))
    attention.out.bias.zero_()
    context = Context(
        positions=torch.arange(16)[None], causal=True, tap=(lambda *_: None) if tapped else None,
        mask=torch.full((1, 1, 16, 16), -torch.inf).triu(1),
    )  # fmt: skip
    x = torch.randn(64, 16, 32)
    torch.testing.assert_close(attention.eval()(x, context), torch.ones_like(x))
    y = attention.train()(x, context).view(64, 16, 4, 8)[..., 0]
    seen = torch.arange(1, 17)[:, None]
    left = y * seen * 0.75  # how many of `seen` weights are left, as each was scaled by 1 / 0.75
    torch.testing.assert_close(left, left.round(), rtol=0, atol=1e-4)
    assert float(left.sum() / seen.sum() / 256) == pytest.approx(0.75, abs=0.01)


def test_too_many_tokens_are_an_error() -> None:
    model = GPT(small("gpt2"))
    with pytest.raises(ValueError, match="17 tokens are more than the context of 16"):
        model(random_ids(1, 17))


@pytest.mark.parametrize(
    "wrong",
    [{"d_model": 33}, {"num_heads": 3}, {"num_kv_heads": 3}, {"dropout": 1.0}, {"num_layers": -1},
     {"context_length": 0}],
)  # fmt: skip
def test_sizes_that_do_not_fit_are_an_error(wrong: dict[str, float]) -> None:
    base = small("llama")
    with pytest.raises(ValueError, match="model: "):
        replace(base, **wrong)  # type: ignore[arg-type]


def test_a_width_alone_takes_the_other_sizes_along() -> None:
    config = build("gpt2", 100, d_model=384)
    assert (config.num_heads, config.num_kv_heads, config.d_ff) == (6, 6, 1536)
    odd = build("malmoi", 100, d_model=100)
    assert odd.d_model % odd.num_heads == 0
