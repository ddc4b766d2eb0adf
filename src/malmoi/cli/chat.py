"""`malmoi chat RUN`: talk with a model, a line at a time."""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from malmoi.cli.flags import Limits, Sampling
from malmoi.config import Precision

if TYPE_CHECKING:
    from malmoi.model import GPT
    from malmoi.tokenizer import Tokenizer

NO_TEMPLATE = """\
this model has no chat template and was perhaps never taught to answer: a plain one is used"""


@dataclass(frozen=True)
class Args:
    """Talk with a model. /reset begins anew, /quit or Ctrl-D ends."""

    run: Annotated[Path, tyro.conf.Positional]
    """the run folder"""
    system: str | None = None
    """a message that stands before the conversation and is never left out"""
    json: bool = False
    """print the conversation as one JSON object, at the end"""
    device: str = "auto"
    """auto, cpu, cuda or mps"""
    precision: Precision = "fp32"
    """auto, fp32 or bf16"""
    limits: Limits = field(default_factory=lambda: Limits(max_new_tokens=400))
    sampling: Sampling = Sampling()


def run(args: Args) -> dict[str, Any]:
    """Read lines until there are no more; answer each."""
    args.limits.check()
    args.sampling.policy()
    try:
        (args.system or "").encode()
    except UnicodeEncodeError:
        raise ValueError("--system: holds a lone surrogate, which is no valid Unicode") from None

    from malmoi.cli.speak import note, open_run

    _, model, tokenizer = open_run(args.run, args.device, args.precision)
    talk = Talk(args, model, tokenizer)
    terminal = sys.stdin.isatty()
    if tokenizer.chat_template is None:
        note(NO_TEMPLATE)
    if terminal:
        note("/reset begins anew, /quit or Ctrl-D ends")
    try:
        while (line := _line(terminal)) is not None:
            said = line.strip()
            if said == "/quit":
                break
            if said == "/reset":
                talk.reset()
            elif said:
                talk.answer(said)
    except KeyboardInterrupt:
        print(file=sys.stderr)
    return {
        "messages": talk.messages,
        "tokens_per_second": talk.tokens / max(talk.seconds, 1e-9),
    }


def _line(terminal: bool) -> str | None:
    """The next line of stdin; None at its end."""
    if not terminal:
        # Bytes, since what does not decode must not end the talk.
        data = sys.stdin.buffer.readline()
        return data.decode("utf-8", "replace") if data else None
    try:
        if sys.stdout.isatty():
            import readline  # noqa: F401  (lines can be edited then)

            # What the terminal sends may hold half characters, which come as lone surrogates.
            return input("> ").encode("utf-8", "replace").decode("utf-8")
        print("> ", end="", file=sys.stderr, flush=True)
        return input().encode("utf-8", "replace").decode("utf-8")
    except EOFError:
        print(file=sys.stderr)
        return None


class Talk:
    """A conversation: the messages so far, and how the next answer is made."""

    def __init__(self, args: Args, model: "GPT", tokenizer: "Tokenizer") -> None:
        from malmoi.tokenizer import encode_chat

        self.tokens, self.seconds = 0, 0.0
        self._args, self._model, self._tokenizer = args, model, tokenizer
        size = model.config.vocab_size
        args.limits.check_ids(size)
        self._policy = args.sampling.policy(tokenizer)
        self._policy.check(size)
        self._stop = args.limits.stop
        if tokenizer.chat_template is None:
            self._stop += ("\nQ:\n",)  # a model that was never taught to end goes on asking itself
        self.reset()
        # What the template or the tokenizer refuses is told before the first line is read.
        encode_chat(tokenizer, [*self.messages, {"role": "user", "content": "?"}])

    def reset(self) -> None:
        """Forget everything but the system message."""
        system = self._args.system
        self.messages = [] if system is None else [{"role": "system", "content": system}]
        self._left_out = 0

    def answer(self, said: str) -> None:
        """Say something; the answer appears as it is made, and is remembered.

        Raises:
            ValueError: the template refuses the conversation, or nothing may come next.

        """
        from malmoi.cli.speak import open_engine
        from malmoi.decode import Request
        from malmoi.speak import Ask, Speaker

        self.messages.append({"role": "user", "content": said})
        limits, context = self._args.limits, self._model.config.context_length
        ids = self._prompt()
        request = Request(
            ids, self._policy, limits.max_new_tokens, limits.min_new_tokens,
            stop_ids=(self._tokenizer.eos_id, *limits.stop_ids), seed=self._args.sampling.seed,
            sample=len(self.messages) // 2,  # each answer draws differently
        )  # fmt: skip
        capacity = min(len(ids) + limits.max_new_tokens, context)
        with open_engine(self._model, 1, 1, capacity) as engine:
            speaker = Speaker(engine, self._tokenizer)
            begin = time.monotonic()
            try:
                [(_, output)] = speaker.run([Ask("", request, self._stop, self._show)])
            except KeyboardInterrupt:
                for _, output in speaker.unfinished():
                    self._add(output.text)
                raise
            finally:
                self.seconds += time.monotonic() - begin
                self.tokens += speaker.progress
                self._show("\n")
        self._add(output.text)

    def _add(self, text: str) -> None:
        self.messages.append({"role": "assistant", "content": text.strip()})

    def _show(self, text: str) -> None:
        if not self._args.json:
            print(text, end="", flush=True)

    def _prompt(self) -> list[int]:
        """The conversation, without as many of the oldest turns as it takes to fit the context."""
        from malmoi.cli.speak import note
        from malmoi.tokenizer import encode_chat

        context = self._model.config.context_length
        # Half of the context at most is kept free: an answer that needs more slides on.
        room = context - min(self._args.limits.max_new_tokens, context // 2)
        first = int(self._args.system is not None)
        head, turns = self.messages[:first], self.messages[first:]
        out = min(self._left_out, len(turns) - 1)
        ids = encode_chat(self._tokenizer, [*head, *turns[out:]])
        while len(ids) > room and out + 1 < len(turns):
            out += 2  # a question and its answer
            ids = encode_chat(self._tokenizer, [*head, *turns[out:]])
        if out > self._left_out:
            note(
                f"the conversation is too long for the context of {context} tokens: "
                f"the oldest {out} messages are left out"
            )
        self._left_out = out
        if len(ids) > context:
            note(f"this message: {len(ids):,} tokens, only the last {context:,} are read")
        return ids[-context:]
