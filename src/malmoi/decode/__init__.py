"""Choosing the next token, and generating with a KV cache: token ids only."""

from malmoi.decode.batch import complete, generate
from malmoi.decode.beam import BeamResult, Hypothesis, beam_search
from malmoi.decode.constraint import Constraint
from malmoi.decode.engine import SLOTS, Engine
from malmoi.decode.history import History
from malmoi.decode.policy import Policy
from malmoi.decode.request import Completion, Request
from malmoi.decode.speculate import DraftModel, PromptLookup, Speculator
from malmoi.decode.tree import Tree

__all__ = [
    "SLOTS",
    "BeamResult",
    "Completion",
    "Constraint",
    "DraftModel",
    "Engine",
    "History",
    "Hypothesis",
    "Policy",
    "PromptLookup",
    "Request",
    "Speculator",
    "Tree",
    "beam_search",
    "complete",
    "generate",
]
