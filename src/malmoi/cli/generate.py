"""`malmoi generate RUN --prompt TEXT`: continue prompts."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from malmoi.config import Precision


@dataclass(frozen=True)
class Args:
    """Continue one or more prompts. Temperature 0 is greedy."""

    run: Annotated[Path, tyro.conf.Positional]
    """the run folder"""
    prompt: tuple[str, ...] = ("",)
    """text to continue; several make a batch"""
    max_new_tokens: int = 200
    """limit of new tokens; a text ends before that where the model ends it"""
    temperature: float = 0.8
    """0: always the most probable token; 1: as the model has it"""
    top_k: int | None = None
    """choose among the k most probable tokens"""
    top_p: float | None = None
    """choose among the most probable tokens that together have probability p"""
    seed: int = 0
    """the same seed gives the same text"""
    device: str = "auto"
    precision: Precision = "fp32"
    json: bool = False
    """print the result as one JSON object"""


def run(args: Args) -> dict[str, Any]:
    """Generate; a single prompt's text appears as it is made."""
    from malmoi.decode import Policy

    policy = Policy(args.temperature, args.top_k, args.top_p)

    from malmoi.cli.speak import after, banned, open_run
    from malmoi.decode import generate

    _, model, tokenizer = open_run(args.run, args.device, args.precision)
    prompts = [tokenizer.encode(prompt, bos=True) for prompt in args.prompt]
    streams = [after(tokenizer, ids) for ids in prompts]
    texts = ["" for _ in prompts]
    live = len(args.prompt) == 1 and not args.json

    def on_token(row: int, token: int) -> None:
        new = streams[row].push(token)
        texts[row] += new
        if live:
            print(new, end="", flush=True)

    if live:
        print(args.prompt[0], end="", flush=True)
    begin = time.monotonic()
    completions = generate(
        model, prompts, replace(policy, banned_ids=banned(tokenizer)),
        max_new_tokens=args.max_new_tokens, stop_ids=[tokenizer.eos_id],
        seed=args.seed, on_token=on_token,
    )  # fmt: skip
    seconds = time.monotonic() - begin
    ends = [stream.finish() for stream in streams]
    texts = [text + end for text, end in zip(texts, ends, strict=True)]
    if live:
        print(ends[0])
    elif not args.json:
        for prompt, text in zip(args.prompt, texts, strict=True):
            print(f"{prompt}{text}\n")
    return {
        "outputs": [
            {
                "prompt": prompt,
                "text": text,
                "ids": completion.ids,
                "finish_reason": completion.finish_reason,
                "logprobs": completion.logprobs,
            }
            for prompt, text, completion in zip(args.prompt, texts, completions, strict=True)
        ],
        "tokens_per_second": sum(len(c.ids) for c in completions) / max(seconds, 1e-9),
    }
