"""Chat templates: a list of messages to one text, and where the template is stored.

The template is Hugging Face's: Jinja, in `tokenizer_config.json` beside `tokenizer.json`, rendered
as `transformers` does it (https://huggingface.co/docs/transformers/chat_templating). A run without
one uses `DEFAULT_TEMPLATE`. From the text to ids goes `chat_ids.py`.

A template comes with a model from anywhere. It runs in Jinja's sandbox, which keeps it from files
and from Python's insides; its size, its text and its counting loops have limits.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2

CONFIG_FILE = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"  # where `transformers` writes it since version 4.52
MAX_TEMPLATE = 1 << 18  # characters; the longest published ones have some 20,000
MAX_OUTPUT = 1 << 24  # characters
_MAX_FILE = 1 << 26  # bytes; published ones with all their added tokens have some 1 MB
_MAX_ROUNDS = 100_000  # of all loops over `range` together

# Plain text that any tokenizer can spell. The prompt ends at a newline and not at a space, which
# most tokenizers would join with the answer's first word.
DEFAULT_TEMPLATE = r"""{{ bos_token }}
{%- for message in messages %}
{%- if message['content'] is not string %}
{{- raise_exception("a message's content is not text") }}
{%- elif message['role'] == 'system' %}
{{- message['content'] + '\n\n' }}
{%- elif message['role'] == 'user' %}
{{- 'Q:\n' + message['content'] + '\n' }}
{%- elif message['role'] == 'assistant' %}
{{- 'A:\n' + message['content'] + eos_token + '\n' }}
{%- else %}
{{- raise_exception("a message's role is none of system, user, assistant: " + message['role']) }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- 'A:\n' }}
{%- endif %}"""


def render_chat(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    bos_token: str,
    eos_token: str,
    add_generation_prompt: bool = True,
) -> str:
    """The conversation as one text, special tokens by name.

    A message has a `role` and mostly a `content`, and holds nothing but what JSON can; keys that
    are None count as missing. Raises ValueError, in one line: no messages or malformed ones, a
    template that is too long, that fails, refuses the messages, or whose text grows too long.
    """
    plain = plain_messages(messages)
    rounds = _MAX_ROUNDS

    def bounded_range(*args: int) -> range:
        nonlocal rounds
        result = range(*args)
        rounds -= len(result)
        if rounds < 0:
            raise OverflowError("it counts too far")
        return result

    parts, size = [], 0
    try:
        for part in _compile(template).generate(
            messages=plain,
            tools=None,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            bos_token=bos_token,
            eos_token=eos_token,
            range=bounded_range,
        ):
            parts.append(part)
            size += len(part)
            if size > MAX_OUTPUT:
                raise OverflowError(f"its text is longer than {MAX_OUTPUT:,} characters")
    except Exception as error:  # a template is a program: it can raise what Python can
        raise ValueError(f"the chat template fails: {_first_line(error)}") from None
    return "".join(parts)


def read_template(folder: Path) -> str | None:
    """The chat template in the files of `folder`, None where it has none.

    Of several named ones it is the one called "default"; one alone is it under any name. Raises
    ValueError for files that are malformed or too large.
    """
    file = folder / TEMPLATE_FILE
    if file.is_file():
        return _checked(file, _read(file))
    file = folder / CONFIG_FILE
    if not file.is_file():
        return None
    try:
        found = json.loads(_read(file)).get("chat_template")
        if isinstance(found, list):
            found = {item["name"]: item["template"] for item in found}
        if isinstance(found, dict):
            found = next(iter(found.values())) if len(found) == 1 else found["default"]
    except (json.JSONDecodeError, RecursionError):
        raise ValueError(f"{file}: not valid JSON; damaged") from None
    except (AttributeError, TypeError, KeyError):
        raise ValueError(
            f"{file}: chat_template is neither a template nor named ones, one named default"
        ) from None
    return None if found is None else _checked(file, found)


def config_text(names: Mapping[str, str], template: str | None) -> str:
    """The content of `tokenizer_config.json`; `names` has `bos_token` and so on."""
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    config["clean_up_tokenization_spaces"] = False
    if template is not None:
        config["chat_template"] = template
    return json.dumps(config, ensure_ascii=False, indent=2) + "\n"


def _read(file: Path) -> str:
    try:
        if file.stat().st_size > _MAX_FILE:
            raise ValueError(f"{file}: larger than {_MAX_FILE >> 20} MiB; damaged")
        return file.read_text("utf-8")
    except OSError as error:
        raise ValueError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{file}: not UTF-8 text; damaged") from None


def _checked(file: Path, template: object) -> str:
    if not isinstance(template, str):
        raise ValueError(f"{file}: chat_template is not text")
    if len(template) > MAX_TEMPLATE:
        raise ValueError(f"{file}: the chat template is longer than {MAX_TEMPLATE:,} characters")
    return template


# --- rendering


@lru_cache(maxsize=8)
def _compile(template: str) -> "jinja2.Template":
    """Set Jinja up as `transformers` does."""
    import jinja2
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what the assistant says; here it only has to be no error."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body).set_lineno(line)

    class Namespace(jinja2.utils.Namespace):
        """No names with an underscore, by which Python's insides are reached."""

        def __setitem__(self, name: str, value: Any) -> None:
            if name.startswith("_"):
                raise jinja2.TemplateError(f"a namespace cannot have the name {name!r}")
            super().__setitem__(name, value)

    def namespace(*args: Any, **kwargs: Any) -> Namespace:
        result = Namespace()
        for name, value in dict(*args, **kwargs).items():
            result[name] = value
        return result

    if len(template) > MAX_TEMPLATE:
        raise ValueError(f"it is longer than {MAX_TEMPLATE:,} characters")
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {
        "raise_exception": _raise_exception,
        "strftime_now": lambda form: datetime.now().strftime(form),
        "namespace": namespace,
        "dict": lambda *args, **kwargs: dict(*args, **kwargs),  # the class itself can do more
    }
    return environment.from_string(template)


def _raise_exception(message: object) -> None:
    raise ValueError(str(message))


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own escapes what HTML would misread."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def plain_messages(messages: object) -> list[dict[str, Any]]:
    """A copy of the messages that holds JSON's types alone, no object with methods.

    Raises ValueError as `render_chat` does.
    """
    try:
        plain = json.loads(json.dumps(messages))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the messages are not plain JSON: {_first_line(error)}") from None
    if not isinstance(plain, list) or not plain:
        raise ValueError("a chat needs a list of one message or more")
    for message in plain:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise ValueError('a message is not of the form {"role": ..., "content": ...}')
    return [{k: v for k, v in message.items() if v is not None} for message in plain]


def _first_line(error: Exception) -> str:
    line = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
    number = getattr(error, "lineno", None)
    return f"{line} (line {number})" if number else line
