"""GPT: its layers, presets and KV cache."""

from malmoi.model.cache import KVCache, Span, cache_bytes
from malmoi.model.gpt import GPT
from malmoi.model.presets import PRESETS, build

__all__ = ["GPT", "PRESETS", "KVCache", "Span", "build", "cache_bytes"]
