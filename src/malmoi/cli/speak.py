"""A run's model opened, and made to speak: strings in, strings out."""

import time
from dataclasses import replace
from pathlib import Path

from malmoi.config import Precision
from malmoi.decode import Policy, generate
from malmoi.model import GPT
from malmoi.run import Run
from malmoi.tokenizer import StreamDecoder, Tokenizer
from malmoi.train import choose_device, choose_dtype

SAMPLE_TOKENS = 160


def speak(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str,
    policy: Policy,
    *,
    seed: int = 0,
    most: int = SAMPLE_TOKENS,
    until: float = float("inf"),
) -> str:
    """One continuation of `prompt` as text, without the prompt; ends at `until` at the latest."""
    ids = tokenizer.encode(prompt, bos=True)
    stream = after(tokenizer, ids)
    parts: list[str] = []

    def on_token(row: int, token: int) -> bool:
        parts.append(stream.push(token))
        return time.monotonic() > until

    generate(
        model, [ids], replace(policy, banned_ids=banned(tokenizer)), max_new_tokens=most,
        stop_ids=[tokenizer.eos_id], seed=seed, on_token=on_token, compiled=False,
    )  # fmt: skip
    return "".join(parts) + stream.finish()


def after(tokenizer: Tokenizer, prompt: list[int]) -> StreamDecoder:
    """A decoder for what follows `prompt`: a first space after it is a space, not a beginning."""
    stream = StreamDecoder(tokenizer)
    for id in prompt:
        stream.push(id)
    return stream


def banned(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids that no text contains: marks that generation should never choose."""
    return tuple(
        sorted({tokenizer.bos_id, tokenizer.pad_id, tokenizer.unk_id} - {tokenizer.eos_id})
    )


def open_run(
    folder: Path, device: str = "auto", precision: Precision = "auto"
) -> tuple[Run, GPT, Tokenizer]:
    """A run's model and tokenizer, ready to be used.

    Raises:
        ValueError: no run folder, or something in it is missing or damaged.

    """
    run = Run.open(folder)
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    model = run.load_model()
    if tokenizer.vocab_size != model.config.vocab_size:
        raise ValueError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens and the model "
            f"{model.config.vocab_size}; one of the two files is not of this run"
        )
    place = choose_device(device)
    dtype = choose_dtype(precision, place, model.config)
    return run, model.to(device=place, dtype=dtype), tokenizer


def write_samples(run: Run, model: GPT, tokenizer: Tokenizer, seconds: float) -> None:
    """Put a few samples into `samples.md`, as far as `seconds` last."""
    end = time.monotonic() + seconds
    lines = ["# Samples", ""]
    for seed in range(3):
        text = speak(model, tokenizer, "", Policy(0.8), seed=seed, until=end)
        lines += [f"Temperature 0.8, seed {seed}:", "", *("> " + x for x in text.split("\n")), ""]
        if time.monotonic() > end:
            break
    run.write_text("samples.md", "\n".join(lines))
