"""Streaming decode: token ids in one by one, text out as soon as it is certain."""

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from malmoi.tokenizer.tokenizer import Tokenizer


class StreamDecoder:
    """Turns ids into text as they come.

    What `push` gave, joined, with `finish` behind it is `tokenizer.decode(ids)`, for any ids. Held
    back is at most the beginning of one character in UTF-8 (three bytes), never a whole one. Bytes
    that cannot become a character come out as U+FFFD as soon as that is certain.
    """

    def __init__(self, tokenizer: "Tokenizer", skip_special: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._drop_space = tokenizer.drops_first_space

    def push(self, id: int) -> str:
        """Add one token; return the text that became certain, often "" within a character.

        Raises ValueError for an id outside the vocabulary.
        """
        data = self._tokenizer.token_bytes(id)
        if not self._skip_special and id in self._tokenizer.special_ids:
            data = self._tokenizer.token_text(id).encode()
        if self._drop_space and data:
            self._drop_space = False
            data = data.removeprefix(b" ")
        return self._utf8.decode(data)

    def finish(self) -> str:
        """End the text: bytes still held back come out as U+FFFD. The decoder starts afresh."""
        rest = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        self._drop_space = self._tokenizer.drops_first_space
        return rest
