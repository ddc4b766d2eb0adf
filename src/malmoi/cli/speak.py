"""A run's model opened, and made ready to speak."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from malmoi.config import Precision
from malmoi.decode import Engine, Policy, Speculator
from malmoi.model import GPT
from malmoi.run import Run
from malmoi.speak import speak
from malmoi.tokenizer import Tokenizer
from malmoi.train import choose_device, choose_dtype

COMPILING = """\
compiling the decoder for this processor, once: about 10 s; from the next time on it is there"""


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


@contextlib.contextmanager
def open_engine(
    model: GPT, texts: int, slots: int, capacity: int, speculator: Speculator | None = None
) -> Iterator[Engine]:
    """An engine for so many texts, entered; the first one on a machine is compiled, which is said.

    Raises:
        ValueError: its cache does not fit into memory.

    """
    notice = threading.Timer(1.0, note, [COMPILING])
    notice.daemon = True
    notice.start()
    with contextlib.ExitStack() as stack:
        try:
            slots = min(slots, texts)
            spare = min(slots // 3, texts - slots)
            engine = Engine(
                model, slots=slots, spare=spare, capacity=capacity, speculator=speculator
            )
            stack.enter_context(engine)
        finally:
            notice.cancel()
        yield engine


def note(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)


def size(count: int) -> str:
    """Bytes for people."""
    for unit, bytes_ in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= bytes_:
            number = count / bytes_
            return f"{number:.1f} {unit}" if number < 10 else f"{number:.0f} {unit}"
    return f"{count} bytes"


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
