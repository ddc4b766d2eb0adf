"""What a text has to look like or must not hold: strings that become rules over ids.

`--regex`, `--json-schema` and `--choices` become a `Grammar`, `--forced` and `--banned` ids.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from malmoi.cli.flags import Form

if TYPE_CHECKING:
    from malmoi.speak import Prompt
    from malmoi.tokenizer import Tokenizer
    from malmoi.tokenizer.grammar import Grammar


class Constraints:
    """Makes a constraint for each text, from what is built once.

    Raises:
        ValueError: a schema's file that cannot be read.

    """

    def __init__(self, form: Form) -> None:
        self._form = form
        self._schema = None if form.json_schema is None else _schema(form.json_schema)
        self._built: dict[bool, Grammar] = {}

    def of(self, tokenizer: "Tokenizer", *, at_start: bool) -> "Grammar | None":
        """The constraint of a new text; `at_start`: behind an empty prompt.

        Raises:
            ValueError: a pattern, schema or choice that cannot be used.

        """
        form = self._form
        if form.regex is None and self._schema is None and not form.choices:
            return None
        if at_start not in self._built:
            self._built[at_start] = self._build(tokenizer, at_start)
        return self._built[at_start].copy()

    def _build(self, tokenizer: "Tokenizer", at_start: bool) -> "Grammar":
        from malmoi.tokenizer.grammar import Grammar

        form = self._form
        flag = "--choices"
        try:
            if form.regex is not None:
                flag = f"--regex {form.regex!r}"
                return Grammar.regex(tokenizer, form.regex, at_start=at_start)
            if self._schema is not None:
                flag = "--json-schema"
                return Grammar.json_schema(tokenizer, self._schema, at_start=at_start)
            return Grammar.choices(tokenizer, form.choices, at_start=at_start)
        except ValueError as error:
            raise ValueError(f"{flag}: {error}") from None


def token_ids(tokenizer: "Tokenizer", text: str) -> tuple[int, ...]:
    """Ids of the tokens that are exactly `text`, or a space and `text`.

    Raises:
        ValueError: no single token is; the message begins with the text.

    """
    wanted = {text.encode("utf-8", "surrogatepass"), b" " + text.encode("utf-8", "surrogatepass")}
    found = tuple(
        id
        for id in range(tokenizer.vocab_size)
        if id not in tokenizer.special_ids and tokenizer.token_bytes(id) in wanted
    )
    if not text or not found:
        raise ValueError(f"{text!r}: no single token of the vocabulary is this text")
    return found


def continuation_ids(tokenizer: "Tokenizer", prompt: "Prompt", text: str) -> tuple[int, ...]:
    """Ids that put `text` exactly behind a prompt.

    Raises:
        ValueError: a lone surrogate, or no ids do: some foreign tokenizers change spaces.

    """
    # Tokenizers that drop a text's first space put one there as well: behind a prompt the text
    # alone would begin with it. What they make of it behind something else does not.
    for head in ("", prompt.text[-256:], "\n", "."):
        begin, ids = tokenizer.encode(head), tokenizer.encode(head + text)
        own = ids[len(begin) :]
        if ids[: len(begin)] == begin and _said(tokenizer, prompt.ids, own) == text:
            return tuple(own)
    raise ValueError(f"{text!r} cannot stand behind the prompt as it is")


def _said(tokenizer: "Tokenizer", before: Sequence[int], ids: Sequence[int]) -> str:
    from malmoi.speak import after

    stream = after(tokenizer, before)
    return "".join(map(stream.push, ids)) + stream.finish()


def _schema(value: str) -> str:
    """The schema itself, or the content of its file."""
    if value.lstrip().startswith("{"):
        return value
    try:
        return Path(value).read_text("utf-8-sig")
    except OSError as error:
        raise ValueError(f"--json-schema {value}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"--json-schema {value}: not UTF-8 text") from None
