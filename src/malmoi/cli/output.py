"""What generating verbs print: continuations as JSON or for people, and tables of tokens."""

import unicodedata
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from malmoi.cli.progress import Progress
from malmoi.decode.score import score
from malmoi.model import GPT
from malmoi.speak import Output, Prompt, TokenScore
from malmoi.tokenizer import Tokenizer

if TYPE_CHECKING:
    from malmoi.cli.generate import Args


class Result:
    """What was generated so far: printed in order for people, one object for programs."""

    def __init__(
        self, args: "Args", model: GPT, tokenizer: Tokenizer, prompts: list[Prompt]
    ) -> None:
        self.args, self.prompts = args, prompts
        self.total = len(prompts) * args.num
        self.live = self.total == 1 and not args.json and args.beam.beams is None
        self.outputs: dict[int, Output] = {}
        self.cache_bytes = 0
        self._printed, self._shown_prompt = 0, False
        self._missing: set[int] = set()
        self._model, self._tokenizer = model, tokenizer
        self._scores: dict[int, list[TokenScore]] = {}

    def begin(self, cache_bytes: int) -> None:
        """Generating begins: a single text stands behind its prompt."""
        self.cache_bytes = cache_bytes
        if self.live:
            self._shown_prompt = True
            print(self.prompts[0].text, end="", flush=True)

    def add(self, number: int, output: Output, progress: Progress) -> None:
        """Keep a continuation that is done, and print what is next in order."""
        self.outputs[number] = output
        while not self.args.json and (
            self._printed in self.outputs or self._printed in self._missing
        ):
            progress.clear()
            if self._printed in self.outputs:
                self._print(self._printed)
            self._printed += 1

    def expect(self, prompt: int, count: int) -> None:
        """A beam search may find fewer continuations than were asked for."""
        num = self.args.num
        self._missing.update(range(prompt * num + count, (prompt + 1) * num))

    def flush(self) -> None:
        """Print what was made before an interrupt or an error."""
        left = [number for number in sorted(self.outputs) if number >= self._printed]
        for number in [] if self.args.json else left:
            self._print(number)
        if self.live and self._shown_prompt and not left:
            print()

    def to_dict(self, seconds: float) -> dict[str, Any]:
        """The contract's object."""
        tokens = sum(len(output.ids) for output in self.outputs.values())
        return {
            "outputs": [
                to_dict(
                    output,
                    stop=bool(self.args.limits.stop),
                    prompt=self.scores(number) if self.args.prompt_logprobs else None,
                )
                for number, output in sorted(self.outputs.items())
            ],
            "tokens_per_second": tokens / max(seconds, 1e-9),
            "cache_bytes": self.cache_bytes,
        }

    def scores(self, number: int) -> list[TokenScore]:
        """How probable each token is of the prompt of a continuation."""
        prompt = number // self.args.num
        if prompt not in self._scores:
            ids = self.prompts[prompt].ids
            pairs = zip(ids, score(self._model, ids).logprobs, strict=True)
            self._scores[prompt] = TokenScore.all(self._tokenizer, pairs)
        return self._scores[prompt]

    def _print(self, number: int) -> None:
        args, output = self.args, self.outputs[number]
        prompt, sample = divmod(number, args.num)
        if self.live:
            print()
        else:
            many = len(self.prompts) > 1
            head = (prompt + 1 if many else None, sample + 1 if args.num > 1 else None)
            if self.total > 1:
                print(heading(number + 1, self.total, output, *head))
            print(f"{output.prompt}{output.text}")
        if args.prompt_logprobs and sample == 0:
            print("\n".join(["", "the prompt's tokens:", *token_table(self.scores(number))]))
        if args.top_logprobs:
            pairs = zip(output.ids, output.logprobs, strict=True)
            own = TokenScore.all(self._tokenizer, pairs)
            print("\n".join(["", "the new tokens:", *token_table(own, output.top_logprobs)]))
        if self.total > 1:
            print(flush=True)


def to_dict(output: Output, *, stop: bool, prompt: Sequence[TokenScore] | None) -> dict[str, Any]:
    """The contract's keys, and those that something was asked for.

    Args:
        output: what was generated.
        stop: whether there were stop strings, of which the one that ended it is told.
        prompt: scores of the prompt's tokens, if asked for.

    """
    result: dict[str, Any] = {
        "prompt": output.prompt,
        "text": output.text,
        "ids": output.ids,
        "finish_reason": output.finish_reason,
        "logprobs": output.logprobs,
    }
    if output.score is not None:
        result["score"] = output.score
    if output.top_logprobs:
        result["top_logprobs"] = [[asdict(one) for one in top] for top in output.top_logprobs]
    if prompt is not None:
        result["prompt_logprobs"] = [asdict(one) for one in prompt]
    if stop:
        result["stop"] = output.stop
    return result


def heading(number: int, total: int, output: Output, prompt: int | None, sample: int | None) -> str:
    """The line above one of several continuations; None: there is only one prompt or sample."""
    parts = [f"prompt {prompt}"] if prompt is not None else []
    parts += [f"continuation {sample}"] if sample is not None else []
    parts += [f"score {output.score:.4f}"] if output.score is not None else []
    parts += [output.finish_reason]
    return f"== {number} of {total}: {', '.join(parts)} =="


def token_table(
    scores: Sequence[TokenScore], top: Sequence[Sequence[TokenScore]] = ()
) -> list[str]:
    """A line a token: its log-probability, its rank, itself, and the most probable ones there."""
    width = max((columns(one.token) for one in scores), default=0)
    lines = [f"{'logprob':>9}  {'rank':>4}  token" if top else f"{'logprob':>9}  token"]
    for place, one in enumerate(scores):
        known = "-" if one.logprob is None else f"{one.logprob:.4f}"
        best = top[place] if top else []
        row = f"{known:>9}  "
        if top:
            row += f"{rank(one, best):>4}  "
        row += one.token + " " * (width - columns(one.token))
        row += "".join(f"  {other.token} {other.logprob:.2f}" for other in best)
        lines.append(row.rstrip())
    return lines


def rank(one: TokenScore, top: Sequence[TokenScore]) -> str:
    """Which of the most probable tokens it is, from 1; `>N` where it is none of N.

    Tokens that are equally probable share a rank.
    """
    if one.logprob is None or not top:
        return "-"
    better = sum(other.logprob > one.logprob for other in top if other.logprob is not None)
    return str(better + 1) if better < len(top) else f">{len(top)}"


def columns(text: str) -> int:
    """How many columns a text takes on a terminal: a Hangul syllable takes two."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
