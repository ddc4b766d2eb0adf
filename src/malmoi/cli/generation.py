"""`malmoi evaluate RUN --generation`: what comes out by each way of decoding, side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from malmoi.cli.flags import changed, need

if TYPE_CHECKING:
    from malmoi.cli.progress import Progress
    from malmoi.data import TokenStore
    from malmoi.decode import Policy
    from malmoi.evaluate.generation import Continuation
    from malmoi.evaluate.prompts import HeldOut
    from malmoi.model import GPT
    from malmoi.tokenizer import Tokenizer

PROMPT_TOKENS = 32
NEW_TOKENS = 64
BEAMS = 4
SIDE = 8
"""prompts that are searched side by side"""


@dataclass(frozen=True)
class Generation:
    """Measures of generated texts, instead of the loss."""

    generation: bool = False
    """continue held-out texts by each way of decoding, and measure what comes out"""
    prompts: int = 64
    """how many texts to continue"""
    new_tokens: int | None = None
    """limit of new tokens; 64 when not given, or half the context where that is less"""
    seed: int = 0
    """the same seed gives the same table"""

    def check(self) -> None:
        """Raise ValueError for a value outside its range, or one that nothing asks for."""
        if not self.generation:
            for name, value in changed(self):
                raise ValueError(f"--{name} {value}: belongs to --generation; add that")
        need("prompts", self.prompts, self.prompts >= 1, "1 or more")
        need("seed", self.seed, 0 <= self.seed < 1 << 64, "from 0 to 2**64 - 1")

    def lengths(self, context: int) -> tuple[int, int]:
        """Tokens of prompts and most new ones. Together they fit the context: beams cannot slide.

        Raises:
            ValueError: `new_tokens` leaves no room for a prompt.

        """
        new = min(NEW_TOKENS, context // 2) if self.new_tokens is None else self.new_tokens
        need("new-tokens", new, 1 <= new <= context - 2,
             f"from 1 to {context - 2}, two less than the context")  # fmt: skip
        return min(PROMPT_TOKENS, context - new), new


def policies(vocab_size: int) -> "dict[str, Policy]":
    """What is compared beside beam search, by the names of the table's rows."""
    from malmoi.decode import Policy

    k = min(50, vocab_size)
    return {
        "greedy": Policy(temperature=0),
        "temperature 1.0": Policy(),
        "temperature 0.8": Policy(temperature=0.8),
        f"top-k {k}": Policy(top_k=k),
        "top-p 0.95": Policy(top_p=0.95),
        "min-p 0.05": Policy(min_p=0.05),
        "repetition 1.1": Policy(temperature=0.8, repetition_penalty=1.1),
    }


def generation(
    flags: Generation, model: "GPT", tokenizer: "Tokenizer", store: "TokenStore",
    train: "TokenStore", progress: "Progress",
) -> dict[str, Any]:  # fmt: skip
    """Continue prompts of `store` in every way and measure what came out.

    Args:
        flags: how many, how long, which seed.
        model: in evaluation mode.
        tokenizer: the model's.
        store: held-out text.
        train: the text that may have been copied.
        progress: where to show how far it is.

    Raises:
        ValueError: no sacrebleu, a text too short, a limit outside its range.

    """
    from malmoi.cli.speak import note
    from malmoi.evaluate.generation import SPAN, Bleu, library, measure
    from malmoi.evaluate.overlap import SpanIndex
    from malmoi.evaluate.prompts import held_out

    library()  # said before any work is done
    size, new = flags.lengths(model.config.context_length)
    asked = held_out(store, flags.prompts, size, new)
    if len(asked) < flags.prompts:
        note(f"the held-out text has {len(asked)} prompts of the {flags.prompts} asked for")
    progress.label = "scoring the references"
    references = [_reference(model, tokenizer, one) for one in asked]
    progress.label = "looking through the training text"
    index = SpanIndex(train.ids, SPAN)
    bleu = Bleu([one.text for one in references])
    ways = policies(model.config.vocab_size)
    found = _sample(flags, model, tokenizer, asked, ways, new, progress)
    settings: dict[str, dict[str, Any]] = {
        name: {flag.replace("-", "_"): value for flag, value in changed(policy)}
        for name, policy in ways.items()
    }
    beams = f"beam search {BEAMS}"
    found[beams] = _beam(model, tokenizer, asked, new, progress)
    settings[beams] = {"beams": BEAMS}
    progress.label, progress.total = "measuring", 0
    return {
        "prompts": len(asked),
        "prompt_tokens": size,
        "new_tokens": new,
        "seed": flags.seed,
        "copied_span": SPAN,
        "signatures": bleu.signatures,
        "methods": {
            name: {"settings": settings[name], **measure(texts, bleu, index).dict()}
            for name, texts in found.items()
        },
        "reference": measure(references, bleu, index, reference=True).dict(),
    }


def _reference(model: "GPT", tokenizer: "Tokenizer", one: "HeldOut") -> "Continuation":
    from malmoi.decode.score import score
    from malmoi.evaluate.generation import Continuation

    logprobs = score(model, [*one.prompt, *one.reference]).logprobs[len(one.prompt) :]
    known = [logprob for logprob in logprobs if logprob is not None]
    return Continuation(
        one.prompt, one.reference, known, _text(tokenizer, one.prompt, one.reference)
    )


def _text(tokenizer: "Tokenizer", prompt: Sequence[int], ids: Sequence[int]) -> str:
    from malmoi.speak import TextStream

    stream = TextStream(tokenizer, prompt)
    for id in ids:
        stream.push(id)
    return stream.finish()


def _sample(
    flags: Generation, model: "GPT", tokenizer: "Tokenizer", asked: "list[HeldOut]",
    ways: "dict[str, Policy]", new: int, progress: "Progress",
) -> "dict[str, list[Continuation]]":  # fmt: skip
    from malmoi.cli.speak import open_engine
    from malmoi.decode import SLOTS, Request
    from malmoi.evaluate.generation import Continuation
    from malmoi.speak import Ask, Speaker, banned

    no = banned(tokenizer)

    def asks() -> "Iterator[Ask]":
        for policy in ways.values():
            policy = replace(policy, banned_ids=no)
            for number, one in enumerate(asked):
                # Each prompt has draws of its own, and the same ones by every way of decoding.
                yield Ask("", Request(
                    one.prompt, policy, new, stop_ids=(tokenizer.eos_id,), seed=flags.seed,
                    sample=number,
                ))  # fmt: skip

    total = len(ways) * len(asked)
    found: list[Continuation | None] = [None] * total
    capacity = max(len(one.prompt) for one in asked) + new
    with open_engine(model, total, SLOTS, capacity) as engine:
        speaker = Speaker(engine, tokenizer)
        progress.label, progress.total = "generating", total
        for done, (number, output) in enumerate(speaker.run(asks()), 1):
            prompt = asked[number % len(asked)].prompt
            found[number] = Continuation(prompt, output.ids, output.logprobs, output.text)
            progress.update(done, f"{speaker.progress:,} tokens")
    whole = [one for one in found if one is not None]
    assert len(whole) == total
    return {name: whole[at * len(asked) : (at + 1) * len(asked)] for at, name in enumerate(ways)}


def _beam(
    model: "GPT", tokenizer: "Tokenizer", asked: "list[HeldOut]", new: int, progress: "Progress"
) -> "list[Continuation]":
    from malmoi.decode import Policy, beam_search
    from malmoi.evaluate.generation import Continuation
    from malmoi.speak import banned

    progress.label, progress.total = "searching with beams", len(asked)
    found = []
    for first in range(0, len(asked), SIDE):
        prompts = [one.prompt for one in asked[first : first + SIDE]]
        results = beam_search(
            model, prompts, width=BEAMS, max_new_tokens=new, stop_ids=(tokenizer.eos_id,),
            policy=Policy(banned_ids=banned(tokenizer)),
        )  # fmt: skip
        for prompt, result in zip(prompts, results, strict=True):
            best = result.hypotheses[0]
            text = _text(tokenizer, prompt, best.ids)
            found.append(Continuation(prompt, best.ids, best.logprobs, text))
        progress.update(len(found))
    return found


def print_generation(result: dict[str, Any]) -> None:
    """The result of `generation` for people: a line for each way of decoding."""
    # How a value is written, and of how many.
    columns = {
        "perplexity": ("perplexity", "{:.2f}"),
        "distinct_1": ("dist-1", "{:.3f}"),
        "distinct_2": ("dist-2", "{:.3f}"),
        "distinct_3": ("dist-3", "{:.3f}"),
        "repetition": ("repeated", "{:.1%}"),
        "self_bleu": ("self-BLEU", "{:.1f}"),
        "bleu": ("BLEU", "{:.2f}"),
        "chrf": ("chrF", "{:.2f}"),
        "copied": ("copied", "{:.1%}"),
        "particles": ("particles", "{:.1%}"),
        "tokens": ("tokens", "{:,}"),
    }
    rows = {**result["methods"], "reference": result["reference"]}
    if all(row["particles"] is None for row in rows.values()):
        del columns["particles"]  # no Korean
    print(f"{'':<16}" + "".join(f"{head:>{_width(head)}}" for head, _ in columns.values()))
    for name, row in rows.items():
        cells = [
            f"{'-' if row[key] is None else form.format(row[key]):>{_width(head)}}"
            for key, (head, form) in columns.items()
        ]
        print(f"{name:<16}" + "".join(cells))
    size, new, span = (result[key] for key in ("prompt_tokens", "new_tokens", "copied_span"))
    lines = [
        f"{result['prompts']} prompts of up to {size} tokens from {result['on']}, up to {new} new "
        f"tokens, seed {result['seed']}.",
        "Temperature 1 where none is told, 0.8 with the repetition penalty of 1.1.",
        "The reference is what people wrote there. Near to it is good, but for copied (less is)",
        "and for BLEU and chrF (more is).",
        "dist-n: different n-grams of words. repeated: 4 tokens that the same text had before.",
        f"copied: tokens in {span} or more in a row that the training text has, word for word.",
        f"BLEU: {result['signatures']['bleu']}",
        f"chrF: {result['signatures']['chrf']}",
    ]
    print("\n".join(["", *lines]))


def _width(head: str) -> int:
    return max(8, len(head) + 2)
