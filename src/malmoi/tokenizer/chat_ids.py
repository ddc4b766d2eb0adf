r"""From a conversation to ids: the template's special tokens become ids, a message's never do.

A user who writes `<|eos|>` must not end the assistant's turn. Before rendering, wherever the name
of a special token stands in a message (or at the end of a string the beginning of one, as what is
put behind it might complete it), its first character is replaced by one that occurs nowhere. In
what is rendered the template's names alone are whole then; they become tokens, and the characters
come back. For messages without such names that changes nothing.

It has its price: a template that looks for a special token's name in a message does not find it.
And one thing remains with the template: it can begin a name itself that a message, or a role in
`'<|' + role + '|>'`, then completes. Who takes roles from outside should know them.
"""

import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import tokenizers

from malmoi.tokenizer.chat import DEFAULT_TEMPLATE, plain_messages, render_chat
from malmoi.tokenizer.load import one_line_errors

if TYPE_CHECKING:
    from malmoi.tokenizer.tokenizer import Tokenizer


def encode_chat(
    tokenizer: "Tokenizer",
    messages: Sequence[Mapping[str, Any]],
    *,
    template: str | None = None,
    add_generation_prompt: bool = True,
) -> list[int]:
    """Ids of a conversation, by `template`, else the tokenizer's, else `DEFAULT_TEMPLATE`.

    The same as `transformers`' `apply_chat_template` gives, but that names of special tokens in the
    messages stay text. Raises ValueError as `render_chat` does.
    """
    template = template or tokenizer.chat_template or DEFAULT_TEMPLATE
    special = tokenizer.info()["specials"]
    plain = plain_messages(messages)
    hidden = _Hidden(special, "".join([template, *special, *_strings(plain)]))
    text = render_chat(
        template,
        hidden.hide(plain),
        bos_token=tokenizer.token_text(tokenizer.bos_id),
        eos_token=tokenizer.token_text(tokenizer.eos_id),
        add_generation_prompt=add_generation_prompt,
    )
    backend, marks = _marked(tokenizer)
    text = hidden.show(hidden.names.sub(lambda found: marks[found[0]], text))
    with one_line_errors("the chat cannot be encoded"):
        return backend.encode(text, add_special_tokens=False).ids


class _Hidden:
    """Hides the names of special tokens in strings, and shows them again."""

    def __init__(self, names: Iterable[str], taken: str) -> None:
        """`taken` is all text there is: what stands for a character must occur in none of it."""
        longest_first = sorted(names, key=len, reverse=True)
        self.names = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        firsts = "".join(sorted({re.escape(name[0]) for name in names}))
        # One look at the first character spares the many names of some tokenizers.
        self._begins = re.compile(rf"(?=[{firsts}])(?={self.names.pattern}).", re.DOTALL)
        self._beginnings = {name[:n] for name in names for n in range(1, len(name))}
        self._longest = max(map(len, self._beginnings), default=0)
        private = (chr(code) for code in range(0xF0000, 0x110000))
        used = set(taken)
        free = (char for char in private if char not in used)
        self._stand_in = {first: next(free) for first in sorted({name[0] for name in names})}
        self._shown = str.maketrans({stand: first for first, stand in self._stand_in.items()})

    def hide(self, value: Any) -> Any:
        """A copy of the messages, or of a part of them, with names hidden in all strings."""
        if isinstance(value, str):
            return self._hide(value)
        if isinstance(value, list):
            return [self.hide(item) for item in value]
        if isinstance(value, dict):
            return {
                self._label(key): self._label(item) if key == "role" else self.hide(item)
                for key, item in value.items()
            }
        return value

    def _hide(self, text: str) -> str:
        hidden = list(self._begins.sub(lambda found: self._stand_in[found[0]], text))
        for size in range(1, min(self._longest, len(text)) + 1):
            if text[-size:] in self._beginnings:
                hidden[-size] = self._stand_in[text[-size]]
        return "".join(hidden)

    def _label(self, value: Any) -> Any:
        """Keys and roles: a plain word stays as it is, for the template looks it up."""
        plain = isinstance(value, str) and re.fullmatch(r"[\w-]+", value)
        return value if plain else self.hide(value)

    def show(self, text: str) -> str:
        """The text as it was."""
        return text.translate(self._shown)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)


_marked_backends: "WeakKeyDictionary[Tokenizer, tuple[tokenizers.Tokenizer, dict[str, str]]]"
_marked_backends = WeakKeyDictionary()


def _marked(tokenizer: "Tokenizer") -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    """A copy of the tokenizer whose special tokens have names nobody can know, and these names.

    The library either finds special tokens by name or does not. In this copy it finds them where
    we put them, cuts the text there as in the original, and takes their former names as text.
    """
    if tokenizer not in _marked_backends:
        spec = json.loads(tokenizer.to_json())
        secret = secrets.token_hex(16)
        marks = {
            name: f"\ue000{secret}{id}\ue001" for name, id in tokenizer.info()["specials"].items()
        }
        for added in spec["added_tokens"]:
            if added["special"]:
                added["content"] = marks[added["content"]]
                added["normalized"] = added["single_word"] = False
        model = spec["model"]
        if isinstance(model["vocab"], dict):
            model["vocab"] = {marks.get(name, name): id for name, id in model["vocab"].items()}
        else:
            model["vocab"] = [[marks.get(name, name), score] for name, score in model["vocab"]]
        if "merges" in model:  # none of them may make a special token out of text
            model["merges"] = [pair for pair in model["merges"] if "".join(pair) not in marks]
        if model.get("unk_token") is not None:
            model["unk_token"] = marks.get(model["unk_token"], model["unk_token"])
        spec["post_processor"] = None  # it puts special tokens around, by name; not asked for here
        backend = tokenizers.Tokenizer.from_str(json.dumps(spec))
        _marked_backends[tokenizer] = backend, marks
    return _marked_backends[tokenizer]
