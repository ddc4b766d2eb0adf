"""Constrained decoding: which tokens may come next, so that the text keeps to a grammar.

A `Grammar` is what `malmoi.decode.constraint.Constraint` asks for. `stream.py` looks at the text
that has come; this module at the text that may still come.

The masks are `llguidance`'s: it takes the tokens as bytes, walks them lazily (some 0.01 ms a token
at 50,000 tokens), knows recursive schemas, depends on nothing and has one wheel a platform for
every Python. `outlines-core` goes through the whole vocabulary for each state of an automaton
beforehand (0.3 s for `[^"]{1,40}`) and cuts recursion off; `xgrammar` brings `transformers` and
`triton`. It is an extra, not a dependency, for want of wheels for a glibc before 2.31 and for musl.
"""

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import llguidance

    from malmoi.tokenizer.tokenizer import Tokenizer

# Any token that spells the text is as good as the tokenizer's own: without this the library asks
# the tokenizer for the one way to spell what is certain, and bans all others.
_HEAD = '%llguidance {"no_forcing": true}\n'

# Between the parts of a JSON text: a space as `json.dumps` sets it, or none. A small model that may
# write any white space sometimes writes nothing else.
_SPACE = "[ ]?"


class Grammar:
    """What the text generated so far allows to come next.

    The grammar covers all text that is generated, up to the end id. `at_start` tells that nothing
    but special tokens stands before it: the tokenizers that drop a text's first space
    (`Tokenizer.drops_first_space`) then get to write one for it, as they do in training. In the
    middle of a text, a space is a space.
    """

    def __init__(self, vocabulary: "_Vocabulary", matcher: "llguidance.LLMatcher") -> None:
        """Use the class methods instead."""
        self._vocabulary, self._matcher, self._ended = vocabulary, matcher, False

    @classmethod
    def regex(cls, tokenizer: "Tokenizer", pattern: str, *, at_start: bool = False) -> "Grammar":
        r"""Texts that match `pattern` as a whole.

        The syntax is that of Rust's `regex` (https://docs.rs/regex/latest/regex/#syntax), which
        reads what is common to all dialects, in Unicode, but for `\d`, which is `[0-9]`: of a wish
        for digits it would else make Khmer ones too. There is no looking around (`(?=...)`, `\b`)
        and no referring back. Raises ValueError.
        """
        rule = _library().regex_to_lark(_utf8(pattern), "d")
        return cls._compile(tokenizer, f"/{rule}/", "pattern", at_start)

    @classmethod
    def json_schema(
        cls, tokenizer: "Tokenizer", schema: dict[str, Any] | str, *, at_start: bool = False
    ) -> "Grammar":
        """JSON texts that are valid by `schema`, a JSON Schema parsed or as text.

        Properties come in the schema's order, those it does not name behind them; a keyword the
        library does not know is an error, none is passed over. Raises ValueError.
        """
        try:
            parsed = json.loads(schema) if isinstance(schema, str) else schema
            if isinstance(parsed, dict):
                parsed = {"x-guidance": {"whitespace_pattern": _SPACE}, **parsed}
            text = json.dumps(parsed)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"the JSON schema is not valid JSON: {_first_line(error)}") from None
        return cls._compile(tokenizer, f"%json {text}", "JSON schema", at_start)

    @classmethod
    def json_object(cls, tokenizer: "Tokenizer", *, at_start: bool = False) -> "Grammar":
        """Any JSON object."""
        return cls.json_schema(tokenizer, {"type": "object"}, at_start=at_start)

    @classmethod
    def choices(
        cls, tokenizer: "Tokenizer", choices: Sequence[str], *, at_start: bool = False
    ) -> "Grammar":
        """One of `choices`, exactly. Raises ValueError for none, or one that no tokens spell."""
        if not choices or isinstance(choices, str):
            raise ValueError("give one or more choices to choose from")
        vocabulary = _vocabulary(tokenizer)
        drops = at_start and tokenizer.drops_first_space
        for choice in choices:
            if not vocabulary.spells((" " * drops + _utf8(choice)).encode()):
                raise ValueError(f"no tokens of the vocabulary spell the choice {choice!r}")
        pattern = "|".join("".join(map(_escape, choice)) for choice in choices)
        return cls.regex(tokenizer, pattern, at_start=at_start)

    @classmethod
    def _compile(cls, tokenizer: "Tokenizer", rule: str, what: str, at_start: bool) -> "Grammar":
        vocabulary = _vocabulary(tokenizer)
        space = '" " ' if at_start and tokenizer.drops_first_space else ""
        grammar = f"{_HEAD}start: {space}body\nbody: {rule}"
        matcher = _library().LLMatcher(vocabulary.table, grammar, log_level=0)
        if matcher.is_error():
            raise ValueError(f"the {what} cannot be used: {_reason(matcher.get_error())}")
        return cls(vocabulary, matcher)

    def allowed(self) -> Tensor:
        """`[V]` bool, true where the id may come next; see `Constraint`. Raises ValueError."""
        size = self._vocabulary.size
        if self._ended:
            mask = torch.zeros(size, dtype=torch.bool)
            mask[self._vocabulary.end] = True
            return mask
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        mask = torch.from_numpy(np.unpackbits(bits, bitorder="little", count=size)).view(torch.bool)
        error = self._matcher.get_error() if self._matcher.is_error() else ""
        if error and not error.startswith("NoExtension"):
            raise ValueError(f"the grammar is too complex at this place: {_reason(error)}")
        if error or not mask.any():
            raise ValueError(
                "no token of the vocabulary spells what the grammar wants next; train the "
                "tokenizer on such text, or with its fallback to bytes"
            )
        return mask

    def accept(self, id: int) -> None:
        """Go on by one id. Raises ValueError for one that is not allowed; the state then stays."""
        if self._ended and id == self._vocabulary.end:
            return
        if self._ended or not self._allows(id):
            raise ValueError(f"the grammar does not allow the token id {id} here")
        if id == self._vocabulary.end:
            self._ended = True
        else:
            self._matcher.consume_token(id)

    def _allows(self, id: int) -> bool:
        if id == self._vocabulary.end:
            return self._matcher.is_accepting()
        return 0 <= id < self._vocabulary.size and self._matcher.validate_tokens([id]) == 1

    def copy(self) -> "Grammar":
        """An independent one in the same state."""
        other = Grammar(self._vocabulary, self._matcher.deep_copy())
        other._ended = self._ended
        return other


class _Vocabulary:
    """The library's table of a tokenizer's tokens: built once, shared by all its grammars.

    It keeps no reference to the tokenizer, so that it goes when the tokenizer goes.
    """

    def __init__(self, tokenizer: "Tokenizer") -> None:
        self.size, self.end = tokenizer.vocab_size, tokenizer.eos_id
        tokens = [tokenizer.token_bytes(id) for id in range(self.size)]
        self.table = _library().LLTokenizer(_Tokens(tokens, tokenizer), eos_token=self.end)
        self._pieces = frozenset(tokens) - {b""}
        self._longest = max(map(len, self._pieces), default=0)

    def spells(self, text: bytes) -> bool:
        """Whether tokens, joined, are `text`."""
        reached = [True] + [False] * len(text)
        for end in range(1, len(text) + 1):
            begins = range(max(0, end - self._longest), end)
            reached[end] = any(reached[b] and text[b:end] in self._pieces for b in begins)
        return reached[-1]


class _Tokens:
    """What `llguidance.LLTokenizer` asks of a tokenizer."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokens: list[bytes], tokenizer: "Tokenizer") -> None:
        self.tokens = tokens
        self.eos_token_id = tokenizer.eos_id
        self.special_token_ids = sorted(tokenizer.special_ids)

    def __call__(self, text: bytes) -> list[int]:
        raise AssertionError("never asked for: no_forcing")


_vocabularies: "WeakKeyDictionary[Tokenizer, _Vocabulary]" = WeakKeyDictionary()


def _vocabulary(tokenizer: "Tokenizer") -> _Vocabulary:
    if tokenizer not in _vocabularies:
        _vocabularies[tokenizer] = _Vocabulary(tokenizer)
    return _vocabularies[tokenizer]


def _library() -> Any:
    try:
        import llguidance
    except ImportError:
        raise ValueError(
            "constrained decoding needs llguidance: pip install 'malmoi[grammar]'"
        ) from None
    return llguidance


def _escape(char: str) -> str:
    return char if char.isalnum() else f"\\x{{{ord(char):x}}}"


def _utf8(text: str) -> str:
    """Refuse what Rust cannot hold, a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"a lone surrogate is no valid Unicode: {text[:80]!a}") from None
    return text


def _first_line(error: object) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _reason(message: str) -> str:
    """The line of the library's message that tells what is wrong."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return re.sub(r"^at \d+\(\d+\): ", "", (told or lines or ["unknown"])[0])[:200]
