"""Random weights of ours inside models of `transformers`, for tests that compare the two.

`from peers import gpt2, llama, random_model` works in every test of this folder: pytest puts the
folder of a test file without `__init__.py` on the path.
"""

from typing import Any

import torch
from torch import Tensor

from malmoi.config import Preset
from malmoi.model import GPT, build

SIZES = {"context_length": 64, "d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 64}

GPT2_NAMES = {
    "token_embedding": "wte", "position_embedding": "wpe", "blocks": "h",
    "attention_norm": "ln_1", "feed_forward_norm": "ln_2", "final_norm": "ln_f",
    "attention.qkv": "attn.c_attn", "attention.out": "attn.c_proj",
    "feed_forward.up": "mlp.c_fc", "feed_forward.down": "mlp.c_proj",
}  # fmt: skip

LLAMA_NAMES = {
    "token_embedding": "model.embed_tokens", "blocks": "model.layers",
    "attention_norm": "input_layernorm", "feed_forward_norm": "post_attention_layernorm",
    "final_norm": "model.norm", "attention.out": "self_attn.o_proj",
    "feed_forward.": "mlp.", ".gate.": ".gate_proj.", ".up.": ".up_proj.", ".down.": ".down_proj.",
    "head.": "lm_head.",
}  # fmt: skip


def random_model(
    preset: Preset, vocab_size: int = 30, noise: float = 0.3, seed: int = 0, **sizes: Any
) -> GPT:
    """A small model of a preset, in evaluation mode, whose weights are far from zero.

    As initialised, a model says nearly the same after every prompt; normal noise of size `noise`
    on all matrices, and a quarter of it on biases and norms, gives it opinions. `sizes` replace
    those of `SIZES`; LLaMA and malmoi have 2 key/value heads for 4 query heads unless they say
    otherwise.
    """
    defaults: dict[str, Any] = dict(SIZES)
    if preset in ("llama", "malmoi"):
        defaults["num_kv_heads"] = 2
    if preset == "malmoi":
        defaults["ngram_rows"] = 64
    model = GPT(build(preset, vocab_size, **(defaults | sizes)), seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            # A large bias before the head would have a few tokens said whatever came before.
            size = noise if parameter.ndim > 1 else noise / 4
            parameter.add_(torch.randn(parameter.shape, generator=generator) * size)
    return model


def gpt2(model: GPT) -> Any:
    """A `GPT2LMHeadModel` with the weights of `model`, which is of the `gpt2` preset."""
    from transformers import GPT2Config, GPT2LMHeadModel

    c = model.config
    theirs = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=c.vocab_size, n_positions=c.context_length, n_embd=c.d_model,
            n_layer=c.num_layers, n_head=c.num_heads, n_inner=c.d_ff, bos_token_id=None,
            eos_token_id=None,
        )
    ).eval()  # fmt: skip
    weights = {}
    for key, value in model.state_dict().items():
        key = _renamed(key, GPT2_NAMES)
        # Their linear layers are stored the other way round ("Conv1D").
        weights[f"transformer.{key}"] = value.T if value.ndim == 2 and key[:2] == "h." else value
    weights["lm_head.weight"] = model.token_embedding.weight
    theirs.load_state_dict(weights)
    return theirs


def llama(model: GPT) -> Any:
    """A `LlamaForCausalLM` with the weights of `model`, which is of the `llama` preset."""
    from transformers import LlamaConfig, LlamaForCausalLM

    c = model.config
    theirs = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=c.vocab_size, max_position_embeddings=c.context_length,
            hidden_size=c.d_model, intermediate_size=c.d_ff, num_hidden_layers=c.num_layers,
            num_attention_heads=c.num_heads, num_key_value_heads=c.num_kv_heads,
            rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": c.rope_base},
            tie_word_embeddings=c.tie_embeddings, bos_token_id=None, eos_token_id=None,
        )
    ).eval()  # fmt: skip
    weights: dict[str, Tensor] = {}
    for key, value in model.state_dict().items():
        key = _renamed(key, LLAMA_NAMES)
        if "attention.qkv" in key:
            heads = [c.num_heads, c.num_kv_heads, c.num_kv_heads]
            parts = value.split([count * c.head_size for count in heads])
            for name, part in zip("qkv", parts, strict=True):
                weights[key.replace("attention.qkv", f"self_attn.{name}_proj")] = part
        else:
            weights[key] = value
    theirs.load_state_dict(weights)
    return theirs


def _renamed(key: str, names: dict[str, str]) -> str:
    for ours, theirs in names.items():
        key = key.replace(ours, theirs)
    return key
