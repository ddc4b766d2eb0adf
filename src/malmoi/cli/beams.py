"""`malmoi generate --beams N`: the best continuations of each prompt as a whole."""

import json
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from malmoi.cli.speak import note, size
from malmoi.decode import Hypothesis, Policy, Tree, beam_search
from malmoi.decode.memory import check_room
from malmoi.model import GPT, cache_bytes
from malmoi.run import replacing
from malmoi.speak import Output, Prompt, TextStream
from malmoi.tokenizer import Tokenizer

if TYPE_CHECKING:
    from malmoi.cli.generate import Args
    from malmoi.cli.output import Result
    from malmoi.cli.progress import Progress

EARLY: dict[str, bool | Literal["never"]] = {"false": False, "true": True, "never": "never"}


def search(
    args: "Args", model: GPT, tokenizer: Tokenizer, prompts: list[Prompt],
    policies: list[Policy], result: "Result", progress: "Progress",
) -> None:  # fmt: skip
    """Search for each prompt, as many side by side as the batch has room for.

    Raises:
        ValueError: a cache that does not fit into memory, a tree's file that cannot be written.

    """
    width = args.beam.beams
    assert width is not None
    side = min(max(1, args.machine.batch_size // width), len(prompts))
    longest = max(len(prompt.ids) for prompt in prompts) + args.limits.max_new_tokens
    rows, weight = side * width, model.output_weight
    bytes_ = cache_bytes(model.config, rows, longest, weight.dtype)
    check_room(bytes_, weight.device, f"a cache of {rows} x {longest} tokens")
    note(f"cache: {size(bytes_)} for {rows} x {longest} tokens")
    result.begin(bytes_)
    trees: list[Tree] = []
    numbered = enumerate(zip(prompts, policies, strict=True))
    # Only prompts of one policy are searched together; nearly always that is all of them.
    for _, same in groupby(numbered, key=lambda item: item[1][1].forced_ids):
        while batch := list(islice(same, side)):
            found = beam_search(
                model, [prompt.ids for _, (prompt, _) in batch],
                width=width, max_new_tokens=args.limits.max_new_tokens,
                stop_ids=(tokenizer.eos_id, *args.limits.stop_ids),
                length_penalty=args.beam.length_penalty,
                early_stopping=EARLY[args.beam.early_stopping], groups=args.beam.beam_groups,
                diversity_penalty=args.beam.diversity_penalty, policy=batch[0][1][1],
                min_new_tokens=args.limits.min_new_tokens, num_return=args.num,
                record=args.beam.tree is not None,
            )  # fmt: skip
            for (number, (prompt, _)), one in zip(batch, found, strict=True):
                trees += [one.tree] if one.tree is not None else []
                result.expect(number, len(one.hypotheses))
                for place, hypothesis in enumerate(one.hypotheses):
                    output = _output(tokenizer, prompt, hypothesis)
                    result.add(number * args.num + place, output, progress)
            progress.update(len(result.outputs), f"of {result.total} texts")
    if args.beam.tree is not None:
        lines = [json.dumps(tree.to_dict()) + "\n" for tree in trees]
        with replacing(Path(args.beam.tree).absolute()) as beside:
            beside.write_text("".join(lines), "utf-8")


def _output(tokenizer: Tokenizer, prompt: Prompt, found: Hypothesis) -> Output:
    stream = TextStream(tokenizer, prompt.ids)
    for id in found.ids:
        stream.push(id)
    return Output(
        prompt.text, stream.finish(), found.ids, found.finish_reason, found.logprobs,
        score=found.score,
    )  # fmt: skip
