"""Choosing the next token, and generating with a KV cache: token ids only."""

from malmoi.decode.engine import Completion, generate
from malmoi.decode.history import History
from malmoi.decode.policy import Policy

__all__ = ["Completion", "History", "Policy", "generate"]
