"""The named starting points: what each preset is, and every size given by flags.

`bigram` is the floor that the notes begin with (the next token from the last one alone), `gpt2` and
`llama` are the architectures under these names, and `malmoi` is whatever `docs/LOG.md` shows to
learn fastest per second.
"""

from dataclasses import replace
from typing import Any

from malmoi.config import ModelConfig, Preset

PRESETS: dict[str, ModelConfig] = {
    # A low-rank table of the next token's logits given the last one: no layers, no positions.
    "bigram": ModelConfig(
        preset="bigram", d_model=256, num_layers=0, num_heads=1, num_kv_heads=1, d_ff=1,
        norm="none", position="none", qk_norm=False, value_residual=False, ngram_orders=0,
    ),
    # Radford et al. 2019; the default size is the 124M one.
    "gpt2": ModelConfig(
        preset="gpt2", context_length=1024, d_model=768, num_layers=12, num_heads=12,
        num_kv_heads=12, d_ff=3072, norm="layernorm", position="learned", activation="gelu",
        bias=True, tie_embeddings=True, qk_norm=False, value_residual=False, ngram_orders=0,
    ),
    # Touvron et al. 2023, at the size that the decoding benchmarks use.
    "llama": ModelConfig(
        preset="llama", context_length=1024, d_model=768, num_layers=12, num_heads=12,
        num_kv_heads=12, d_ff=2048, norm="rmsnorm", activation="swiglu", qk_norm=False,
        value_residual=False, ngram_orders=0,
    ),
    "malmoi": ModelConfig(preset="malmoi"),
}  # fmt: skip

LONG_TOKENS = 1000  # a vocabulary larger than this holds more than characters


def build(preset: Preset, vocab_size: int, **sizes: Any) -> ModelConfig:
    """The configuration of a preset with some of its sizes set otherwise.

    The `malmoi` preset looks back over three tokens where tokens are little more than characters,
    and over one where they are longer, as four of those together are rare enough to be learnt by
    heart (docs/LOG.md).

    A `d_model` given alone takes `d_ff`, the heads and, with `num_heads` alone, `num_kv_heads`
    along in the preset's own proportions; sizes that are None keep the preset's value.

    Raises:
        ValueError: an unknown preset, or sizes that do not go together.

    """
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r} is not known; there are {', '.join(PRESETS)}")
    base = PRESETS[preset]
    sizes = {name: value for name, value in sizes.items() if value is not None}
    if preset == "malmoi" and "ngram_orders" not in sizes and vocab_size > LONG_TOKENS:
        sizes["ngram_orders"] = 1
    if "d_model" in sizes and sizes["d_model"] > 0:
        width = sizes["d_model"]
        if "d_ff" not in sizes:
            sizes["d_ff"] = max(1, round(base.d_ff * width / base.d_model))
        if "num_heads" not in sizes:
            sizes["num_heads"] = next(
                heads
                for heads in range(max(1, round(width / base.head_size)), 0, -1)
                if (width % heads == 0 and (width // heads) % 2 == 0) or heads == 1
            )
    if "num_heads" in sizes and "num_kv_heads" not in sizes:
        sizes["num_kv_heads"] = sizes["num_heads"]
    return replace(base, vocab_size=vocab_size, **sizes)
