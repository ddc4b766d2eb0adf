"""GPT: its layers, presets and KV cache."""

from malmoi.model.cache import KVCache, cache_bytes
from malmoi.model.gpt import GPT
from malmoi.model.presets import PRESETS, build

__all__ = ["GPT", "PRESETS", "KVCache", "build", "cache_bytes"]
