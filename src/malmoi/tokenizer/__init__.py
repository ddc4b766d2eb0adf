"""Text to token ids and back: training, loading, streaming.

One class, `Tokenizer`, for every kind; every kind is saved as the ecosystem's `tokenizer.json`.
"""

from malmoi.tokenizer.stream import StreamDecoder
from malmoi.tokenizer.tokenizer import Tokenizer
from malmoi.tokenizer.train import KINDS, train_tokenizer

__all__ = ["KINDS", "StreamDecoder", "Tokenizer", "train_tokenizer"]
