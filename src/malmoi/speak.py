"""Text in, text out: the strings around `malmoi.decode`, for the command line and the server.

`decode` knows ids and nothing else, and a `Tokenizer` knows no model. Here a prompt becomes ids
that fit the model, and the ids that come back become text as soon as it is certain: no torn
characters, nothing that a stop string would take away again.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from malmoi.decode import Completion, Engine, Policy, Request, generate
from malmoi.model import GPT
from malmoi.tokenizer import StopText, StreamDecoder, Tokenizer

SAMPLE_TOKENS = 160
AHEAD = 64
"""texts that are taken from the caller before there is room for them in the batch"""


@dataclass(frozen=True)
class Prompt:
    """A prompt as the model reads it.

    Attributes:
        text: the whole of it.
        ids: what is read: `<bos>` and the text, or the end of that where it is too long.
        total: how many ids the whole has.

    """

    text: str
    ids: list[int]
    total: int

    @classmethod
    def all(cls, tokenizer: Tokenizer, texts: Sequence[str], most: int) -> "list[Prompt]":
        """The prompts of `texts`, of which the last `most` ids are kept; an empty one is `<bos>`.

        Raises:
            ValueError: a text with a lone surrogate.

        """
        encoded = tokenizer.encode_batch(texts, bos=True)
        return [cls(t, ids[-most:], len(ids)) for t, ids in zip(texts, encoded, strict=True)]


@dataclass(frozen=True)
class TokenScore:
    """A token in a readable form and its log-probability (nats); None where it has none."""

    id: int
    token: str
    logprob: float | None

    @classmethod
    def all(
        cls, tokenizer: Tokenizer, pairs: Iterable[tuple[int, float | None]]
    ) -> "list[TokenScore]":
        """Readable forms of (id, log-probability) pairs."""
        return [cls(id, tokenizer.token_text(id), logprob) for id, logprob in pairs]


@dataclass(frozen=True)
class Ask:
    """One text to be continued: a `Request`, and what of it concerns strings.

    Raises:
        ValueError: an empty stop string.

    """

    prompt: str
    request: Request
    """its `on_token` is replaced"""
    stop: tuple[str, ...] = ()
    """strings at which the text ends, without them"""
    on_text: Callable[[str], object] | None = None
    """hears of text as soon as it may be shown"""

    def __post_init__(self) -> None:
        StopText(self.stop)


@dataclass(frozen=True)
class Output:
    """One continuation.

    Attributes:
        prompt: the text before it.
        text: what may be shown: it ends before a stop string.
        ids: everything that was generated, the ids of a stop string as well, no stop id.
        finish_reason: `stop` at a stop id or string, `length` at the limit, `interrupted` by the
            user.
        logprobs: log-probability (nats) of each of `ids` under the model itself.
        top_logprobs: for each the most probable tokens, if they were asked for.
        stop: the stop string that ended it, if one did.
        score: of a beam search: by which continuations were ranked.

    """

    prompt: str
    text: str
    ids: list[int]
    finish_reason: Literal["stop", "length", "interrupted"]
    logprobs: list[float]
    top_logprobs: list[list[TokenScore]] = field(default_factory=list)
    stop: str | None = None
    score: float | None = None


class TextStream:
    """What may be shown of one text while its ids come in.

    Args:
        tokenizer: of the ids.
        before: ids of the prompt: a first space behind it is a space, not a beginning.
        stop: strings that end the text.
        least: no stop string is looked for before so many ids, nor one that begins there.
        on_text: hears of each piece of text.

    Raises:
        ValueError: an empty stop string.

    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        before: Sequence[int] = (),
        stop: Iterable[str] = (),
        *,
        least: int = 0,
        on_text: Callable[[str], object] | None = None,
    ) -> None:
        self.stop: str | None = None
        """the stop string that has come"""
        self._stops = tuple(stop)
        self._search = StopText(self._stops)
        self._decoder = after(tokenizer, before)
        self._least, self._on_text = least, on_text
        self._count, self._held = 0, ""
        self._shown: list[str] = []

    @property
    def text(self) -> str:
        """All that may be shown so far."""
        return "".join(self._shown)

    def push(self, id: int) -> bool:
        """Add an id; whether a stop string has come. It is what a `Request` calls `on_token`."""
        self._count += 1
        text = self._decoder.push(id)
        if self._count < self._least:
            self._show(text)
        else:
            self._look(text)
        return self.stop is not None

    def finish(self) -> str:
        """End the text: what was held back comes out. The whole text."""
        if self.stop is None:
            self._look(self._decoder.finish())
        self._show(self._search.finish())
        return self.text

    def _look(self, text: str) -> None:
        shown, stopped = self._search.push(text)
        held = self._held + text
        self._held = held[len(shown) :]
        if stopped:
            # What is held back begins with the stop string. Of several with which it begins the
            # shortest came first.
            self.stop = min((s for s in self._stops if self._held.startswith(s)), key=len)
        self._show(shown)

    def _show(self, text: str) -> None:
        if text:
            self._shown.append(text)
            if self._on_text is not None:
                self._on_text(text)


class Speaker:
    """Continues texts in one engine, as many at a time as it has slots.

    Args:
        engine: entered already; nobody else uses it meanwhile.
        tokenizer: the model's.

    """

    def __init__(self, engine: Engine, tokenizer: Tokenizer) -> None:
        self.progress = 0
        """tokens generated so far"""
        self._engine, self._tokenizer = engine, tokenizer
        self._ended: list[tuple[int, Output]] = []
        self._live: dict[int, tuple[int, Ask, TextStream, Completion]] = {}

    def run(self, asks: Iterable[Ask]) -> Iterator[tuple[int, Output]]:
        """Each text's number and continuation, in the order in which they are done.

        Raises:
            ValueError: as `Engine.add` and `Engine.step`.

        """
        source = enumerate(asks)
        while True:
            while self._engine.waiting < AHEAD and (one := next(source, None)) is not None:
                self._add(*one)
            if not self._live:
                return
            ended = [self._done(ticket) for ticket in self._engine.step()]
            while ended:
                self._ended = ended[1:]  # those are done, even if the caller stops here
                yield ended.pop(0)

    def unfinished(self) -> Iterator[tuple[int, Output]]:
        """What there is, after an interrupt, of the texts that are not done."""
        yield from self._ended
        for ticket in sorted(self._live):
            number, output = self._done(ticket)
            yield number, replace(output, finish_reason="interrupted")

    def _add(self, number: int, ask: Ask) -> None:
        request = ask.request
        stream = TextStream(
            self._tokenizer, request.prompt, ask.stop,
            least=request.min_new_tokens, on_text=ask.on_text,
        )  # fmt: skip

        def on_token(id: int) -> bool:
            self.progress += 1
            return stream.push(id)

        ticket, completion = self._engine.add(replace(request, on_token=on_token))
        self._live[ticket] = number, ask, stream, completion

    def _done(self, ticket: int) -> tuple[int, Output]:
        number, ask, stream, completion = self._live.pop(ticket)
        return number, Output(
            prompt=ask.prompt,
            text=stream.finish(),
            ids=completion.ids,
            finish_reason=completion.finish_reason,
            logprobs=completion.logprobs,
            top_logprobs=[
                TokenScore.all(self._tokenizer, pairs) for pairs in completion.top_logprobs
            ],
            stop=stream.stop,
        )


def speak(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str,
    policy: Policy,
    *,
    seed: int = 0,
    most: int = SAMPLE_TOKENS,
    until: float = float("inf"),
    compiled: bool | None = False,
) -> str:
    """One continuation of `prompt` as text, without the prompt; ends at `until` at the latest.

    Nothing is compiled for it unless asked: who has a time budget cannot wait for that.
    """
    [read] = Prompt.all(tokenizer, [prompt], model.config.context_length)
    stream = TextStream(tokenizer, read.ids)

    def on_token(row: int, token: int) -> bool:
        return stream.push(token) or time.monotonic() > until

    generate(
        model, [read.ids], replace(policy, banned_ids=banned(tokenizer)), max_new_tokens=most,
        stop_ids=[tokenizer.eos_id], seed=seed, on_token=on_token, compiled=compiled,
    )  # fmt: skip
    return stream.finish()


def after(tokenizer: Tokenizer, prompt: Sequence[int]) -> StreamDecoder:
    """A decoder for what follows `prompt`: a first space after it is a space, not a beginning."""
    stream = StreamDecoder(tokenizer)
    # A character has four bytes at most, so a prompt's last few ids leave the decoder as all would.
    for id in prompt[-64:]:
        stream.push(id)
    return stream


def banned(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids that no text contains: marks that generation should never choose."""
    return tuple(
        sorted({tokenizer.bos_id, tokenizer.pad_id, tokenizer.unk_id} - {tokenizer.eos_id})
    )
