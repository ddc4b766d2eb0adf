"""`malmoi generate RUN --prompt TEXT`: continue prompts, by sampling or by beam search."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from malmoi.cli.flags import Beams, Form, Limits, Sampling, changed, need
from malmoi.config import Precision

if TYPE_CHECKING:
    from malmoi.cli.output import Result
    from malmoi.cli.progress import Progress
    from malmoi.decode import Policy, Speculator
    from malmoi.model import GPT
    from malmoi.speak import Ask, Prompt
    from malmoi.tokenizer import Tokenizer


@dataclass(frozen=True)
class Machine:
    """What it runs on, and how fast. The text does not depend on it (in fp32)."""

    batch_size: int = 16
    """most texts made side by side"""
    speculate: int | None = None
    """guess so many tokens ahead from what the text said before: faster where it repeats itself"""
    draft: Path | None = None
    """run folder of a smaller model of the same tokenizer that does the guessing"""
    device: str = "auto"
    """auto, cpu, cuda or mps"""
    precision: Precision = "fp32"
    """auto, fp32 or bf16 (twice as fast with large models)"""


@dataclass(frozen=True)
class Args:
    """Continue one or more prompts. A single text appears as it is made."""

    run: Annotated[Path, tyro.conf.Positional]
    """the run folder"""
    prompt: tuple[str, ...] = ()
    """text to continue, or several; without any the model begins by itself"""
    prompts: str | None = None
    """file of prompts, one a line; .jsonl: keys prompt or text; - is stdin"""
    num: int = 1
    """continuations of each prompt"""
    top_logprobs: int = 0
    """tell the N most probable tokens at each place"""
    prompt_logprobs: bool = False
    """tell how probable each token of the prompt is"""
    json: bool = False
    """print the result as one JSON object"""
    limits: Limits = Limits()
    sampling: Sampling = Sampling()
    form: Form = Form()
    beam: Beams = Beams()
    machine: Machine = Machine()

    def check(self) -> None:
        """Raise ValueError for what can be seen to be wrong without the model."""
        need("num", self.num, self.num >= 1, "1 or more")
        need("top-logprobs", self.top_logprobs, self.top_logprobs >= 0, "0 or more")
        need("batch-size", self.machine.batch_size, self.machine.batch_size >= 1, "1 or more")
        ahead = self.machine.speculate
        need("speculate", ahead, ahead is None or 1 <= ahead <= 64, "from 1 to 64")
        self.limits.check()
        self.form.check()
        self.sampling.policy()
        self.beam.check(self.sampling, self.num)
        if self.beam.beams is None:
            return
        wrong = [name for name, _ in changed(self.form) if name != "forced"]
        wrong += [name for name, _ in changed(self.machine) if name in ("speculate", "draft")]
        wrong += ["top-logprobs"] * bool(self.top_logprobs) + ["stop"] * bool(self.limits.stop)
        if wrong:
            advice = "; --stop-ids does" if wrong[0] == "stop" else ""
            raise ValueError(f"--{wrong[0]}: does not go with --beams{advice}")
        if self.beam.tree is not None and not Path(self.beam.tree).absolute().parent.is_dir():
            raise ValueError(f"--tree {self.beam.tree}: there is no such folder")


def run(args: Args) -> dict[str, Any]:
    """Generate; a single prompt's text appears as it is made."""
    args.check()

    from malmoi.cli.constraint import Constraints
    from malmoi.cli.main import print_json
    from malmoi.cli.output import Result
    from malmoi.cli.progress import Progress
    from malmoi.cli.prompts import read_texts
    from malmoi.cli.speak import open_run

    texts = [*args.prompt, *(read_texts(args.prompts) if args.prompts else [])] or [""]
    constraints = Constraints(args.form)
    _, model, tokenizer = open_run(args.run, args.machine.device, args.machine.precision)
    size, top = model.config.vocab_size, args.top_logprobs
    need("top-logprobs", top, top <= size, f"from 0 to {size}, the size of the vocabulary")
    args.limits.check_ids(size)
    policy = args.sampling.policy(tokenizer)
    policy.check(size)
    for at_start in {not text for text in texts}:
        constraints.of(tokenizer, at_start=at_start)  # what is wrong with them is told before work
    prompts = _read(args, model, tokenizer, texts)
    policies = [_forced(args, tokenizer, policy, prompt) for prompt in prompts]
    result = Result(args, model, tokenizer, prompts)
    begin = time.monotonic()
    try:
        with Progress("generating", result.total, quiet=result.live) as progress:
            if args.beam.beams is None:
                _sample(args, model, tokenizer, prompts, policies, constraints, result, progress)
            else:
                from malmoi.cli.beams import search

                search(args, model, tokenizer, prompts, policies, result, progress)
    except (KeyboardInterrupt, ValueError):  # a constraint may find no way on, in one of many texts
        result.flush()
        if args.json and result.outputs:
            print_json(result.to_dict(time.monotonic() - begin))
        raise
    return result.to_dict(time.monotonic() - begin)


def _read(args: Args, model: "GPT", tokenizer: "Tokenizer", texts: list[str]) -> "list[Prompt]":
    from malmoi.cli.speak import note
    from malmoi.speak import Prompt

    context, new = model.config.context_length, args.limits.max_new_tokens
    if args.beam.beams is not None:  # they cannot slide on, so what is new has to fit as well
        need("max-new-tokens", new, new < context,
             f"less than the context of {context} with --beams")  # fmt: skip
        context -= new
    prompts = Prompt.all(tokenizer, texts, context)
    cut = [(n, prompt) for n, prompt in enumerate(prompts, 1) if prompt.total > len(prompt.ids)]
    for number, prompt in cut[:3]:
        note(f"prompt {number}: {prompt.total:,} tokens, only the last {context:,} are read")
    if len(cut) > 3:
        note(f"and {len(cut) - 3} more prompts of which the last {context:,} tokens are read")
    return prompts


def _forced(args: Args, tokenizer: "Tokenizer", policy: "Policy", prompt: "Prompt") -> "Policy":
    from malmoi.cli.constraint import continuation_ids

    if not args.form.forced:
        return policy
    try:
        ids = continuation_ids(tokenizer, prompt, args.form.forced)
    except ValueError as error:
        raise ValueError(f"--forced {error}; put it at the end of --prompt") from None
    need("max-new-tokens", args.limits.max_new_tokens, args.limits.max_new_tokens >= len(ids),
         f"{len(ids)} or more, the tokens of --forced")  # fmt: skip
    return replace(policy, forced_ids=ids)


def _sample(
    args: Args, model: "GPT", tokenizer: "Tokenizer", prompts: "list[Prompt]",
    policies: "list[Policy]", constraints: Any, result: "Result", progress: "Progress",
) -> None:  # fmt: skip
    from malmoi.cli.speak import note, open_engine, size
    from malmoi.decode import Request
    from malmoi.speak import Ask, Speaker

    limits, one = args.limits, policies[0]

    def asks() -> "Iterator[Ask]":
        for prompt, policy in zip(prompts, policies, strict=True):
            for sample in range(args.num):
                request = Request(
                    prompt.ids, one if policy == one else policy,  # one object is chosen by faster
                    limits.max_new_tokens, limits.min_new_tokens,
                    stop_ids=(tokenizer.eos_id, *limits.stop_ids), seed=args.sampling.seed,
                    sample=sample, top_logprobs=args.top_logprobs,
                    constraint=constraints.of(tokenizer, at_start=not prompt.text),
                )  # fmt: skip
                yield Ask(prompt.text, request, limits.stop, show)

    def show(text: str) -> None:
        if result.live:
            print(text, end="", flush=True)
        else:
            progress.update(len(result.outputs), f"{speaker.progress:,} tokens")

    longest = max(len(prompt.ids) for prompt in prompts) + limits.max_new_tokens
    capacity = min(longest, model.config.context_length)
    speculator = _speculator(args, model, tokenizer)
    slots = args.machine.batch_size
    with open_engine(model, result.total, slots, capacity, speculator) as engine:
        note(f"cache: {size(engine.cache_bytes)} for {engine.rows} x {engine.capacity} tokens")
        result.begin(engine.cache_bytes)
        speaker = Speaker(engine, tokenizer)
        try:
            for number, output in speaker.run(asks()):
                result.add(number, output, progress)
        except (KeyboardInterrupt, ValueError):
            for number, output in speaker.unfinished():
                result.outputs[number] = output
            raise
    cut = sum(output.finish_reason == "length" for output in result.outputs.values())
    if cut and (args.form.regex or args.form.json_schema or args.form.choices):
        note(
            f"{cut} of {result.total} ended at --max-new-tokens {limits.max_new_tokens}, where a "
            "text need not have the form that was asked for yet"
        )


def _speculator(args: Args, model: "GPT", tokenizer: "Tokenizer") -> "Speculator | None":
    from malmoi.cli.speak import open_run
    from malmoi.decode import DraftModel, PromptLookup

    machine, ahead = args.machine, args.machine.speculate
    if machine.draft is not None:
        _, draft, words = open_run(machine.draft, machine.device, machine.precision)
        if words.to_json() != tokenizer.to_json():
            raise ValueError(
                f"--draft {machine.draft}: its tokenizer is another than that of {args.run}; "
                "the two models have to share one"
            )
        return DraftModel(draft, model.config.vocab_size, ahead or 4)
    return PromptLookup(ahead) if ahead is not None else None
