"""Streaming: token ids in one by one, text out as soon as it is certain; an end at a stop string.

`StreamDecoder` goes from ids to text, `StopText` from text to the text that may be shown. Each
holds back as little as can be: the one a character's first bytes, the other a stop string's
beginning.
"""

import codecs
from collections import deque
from collections.abc import Iterable
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
        text = self._utf8.decode(data)
        held = self._utf8.getstate()[0]
        if held[:1] == b"\xed" and held[1:2] >= b"\xa0":
            # Half a surrogate pair: never a character, though Python waits for its third byte.
            text += self._utf8.decode(b"", final=True)
        return text

    def finish(self) -> str:
        """End the text: bytes still held back come out as U+FFFD. The decoder starts afresh."""
        rest = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        self._drop_space = self._tokenizer.drops_first_space
        return rest


class StopText:
    """Ends a text where a stop string is whole, wherever the borders of what comes lie.

    The stop string whose last character comes first wins; of several that end with it, the longest
    one. The text before its first character comes out; it and all behind it do not. Held back is
    the longest end of the text that may be the beginning of a stop string, and nothing more.

    It is the automaton of Aho and Corasick (1975): one step a character, whatever the strings.
    Characters are compared as they are: NFD Hangul does not stop at an NFC string.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        """Raise ValueError for an empty string, which would stop everywhere."""
        # Node 0 is the empty beginning. `_stops` has the length of the longest stop string that
        # ends at a node, `_back` the node of the longest end of its text that is a node too.
        self._next: list[dict[str, int]] = [{}]
        self._depth, self._stops, self._back, self._string = [0], [0], [0], [""]
        for string in strings:
            if not string:
                raise ValueError("--stop: a stop string is empty; leave it out or give it text")
            self._add(string)
        self._link()
        self._node, self._stopped = 0, False

    def push(self, text: str) -> tuple[str, bool]:
        """Add text; return what may be shown now, and whether a stop string has come."""
        if self._stopped:
            return "", True
        before = self._node
        for count, char in enumerate(text, start=1):
            self._node = self._step(self._node, char)
            if length := self._stops[self._node]:
                self._stopped = True
                return self._first(before, text, self._depth[before] + count - length), True
        held = self._depth[self._node]
        return self._first(before, text, self._depth[before] + len(text) - held), False

    def finish(self) -> str:
        """End the text: what was held back, as no stop string came of it. It starts afresh."""
        rest = "" if self._stopped else self._first(self._node, "", self._depth[self._node])
        self._node, self._stopped = 0, False
        return rest

    def _first(self, node: int, text: str, count: int) -> str:
        """`count` characters of the text held back at `node`, with `text` behind it.

        What is held back begins a stop string, so that it is stored there already.
        """
        depth = self._depth[node]
        return self._string[node][: min(count, depth)] + text[: max(0, count - depth)]

    def _add(self, string: str) -> None:
        node = 0
        for depth, char in enumerate(string, start=1):
            if char not in self._next[node]:
                self._next[node][char] = len(self._next)
                self._next.append({})
                self._depth.append(depth)
                self._stops.append(0)
                self._back.append(0)
                self._string.append(string)
            node = self._next[node][char]
        self._stops[node] = len(string)

    def _link(self) -> None:
        """Fill `_back`, shorter texts first, as each builds on those."""
        queue = deque(self._next[0].values())
        while queue:
            node = queue.popleft()
            for char, child in self._next[node].items():
                self._back[child] = self._step(self._back[node], char)
                # Its own string is longer than any that ends with it.
                self._stops[child] = self._stops[child] or self._stops[self._back[child]]
                queue.append(child)

    def _step(self, node: int, char: str) -> int:
        while node and char not in self._next[node]:
            node = self._back[node]
        return self._next[node].get(char, 0)
