"""Text to token ids and back: training, loading, streaming, chats.

One class, `Tokenizer`, for every kind; every kind is saved as the ecosystem's `tokenizer.json`.
Constrained decoding is `malmoi.tokenizer.grammar`, apart as it needs torch.
"""

from malmoi.tokenizer.chat import DEFAULT_TEMPLATE, render_chat
from malmoi.tokenizer.chat_ids import encode_chat
from malmoi.tokenizer.stream import StopText, StreamDecoder
from malmoi.tokenizer.tokenizer import Tokenizer
from malmoi.tokenizer.train import KINDS, train_tokenizer

__all__ = [
    "DEFAULT_TEMPLATE",
    "KINDS",
    "StopText",
    "StreamDecoder",
    "Tokenizer",
    "encode_chat",
    "render_chat",
    "train_tokenizer",
]
