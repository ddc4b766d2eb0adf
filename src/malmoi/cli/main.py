"""`malmoi VERB ...`: finds the verb, reads its flags, turns errors into one line.

Nothing heavy is imported before the verb is known, so that help comes at once.
"""

import time

BEGAN = time.monotonic()  # as early as can be: `--minutes` counts from the command's start

import contextlib  # noqa: E402
import importlib  # noqa: E402
import io  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from types import FrameType, ModuleType  # noqa: E402
from typing import Any  # noqa: E402

VERBS = {
    "demo": "train on the built-in stories for three minutes and hear the model speak",
    "clean": "make text right: encodings, damage, duplicates; and tell what was done",
    "tokenizer": "train a tokenizer, or compare several on your text",
    "plan": "what a run would take: parameters, memory, speed, time",
    "train": "text in, a trained model out",
    "evaluate": "loss, perplexity, bits per byte, beside their floors",
    "verdict": "what is the matter with a run, in plain sentences, and what to do next",
    "compare": "what each remedy for overfitting changes: the same run with and without it",
    "generate": "continue prompts",
    "chat": "talk with a model",
    "score": "how probable a model finds given texts",
    "bench": "measure the speed of training and generating on this machine",
}

HELP = """\
malmoi (말모이): raw text in, a small language model of your own out

usage: malmoi VERB ...        malmoi VERB --help tells a verb's flags

{verbs}

Begin with:  malmoi demo
Your text:   malmoi train my.txt --out my-model --minutes 3
             malmoi generate my-model --prompt "옛날 옛적에"
"""


def main(argv: list[str] | None = None) -> None:
    """Run a verb and exit: 0 when all went well, 2 for what the user can mend."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(HELP.format(verbs="\n".join(f"  {v:<10}{about}" for v, about in VERBS.items())))
        sys.exit(0 if argv else 2)
    if argv[0] in ("-V", "--version"):
        import malmoi

        print(f"malmoi {malmoi.__version__}")
        sys.exit(0)
    verb, rest = argv[0], argv[1:]
    if verb not in VERBS:
        _fail(f"malmoi: unknown verb {verb!r}; there are {', '.join(VERBS)}")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Hangul is no reason to stop
    logging.basicConfig(format="malmoi: %(message)s", level=logging.WARNING)
    signal.signal(signal.SIGTERM, _interrupt)  # a polite kill keeps the best weights like Ctrl-C
    _keep_freed_memory()
    try:
        module = importlib.import_module(f"malmoi.cli.{verb}")
        args = _parse(verb, module, rest)
        _import_uninterrupted()
        result = module.run(args)
        if getattr(args, "json", False) and result is not None:
            print_json(result)
        sys.stdout.flush()
    except KeyboardInterrupt as error:
        _fail(f"malmoi {verb}: stopped. {error}".rstrip(". "))
    except BrokenPipeError:
        # The reader has gone (`| head`): no message, and none from Python at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (ValueError, OSError, ImportError, MemoryError, RuntimeError) as error:
        if os.environ.get("MALMOI_DEBUG"):
            raise
        if isinstance(error, MemoryError) or "memory" in str(error):
            _fail(
                f"malmoi {verb}: not enough memory; a smaller --batch-size or model needs less, "
                f"--accumulate splits a batch ({_one_line(error)[:120]})"
            )
        if isinstance(error, RuntimeError) and not isinstance(error, RecursionError):
            raise  # a defect of ours, not of the user's
        _fail(f"malmoi {verb}: {_one_line(error)}")


def print_json(result: dict[str, Any]) -> None:
    """The result of a verb, on stdout."""
    print(json.dumps(result, ensure_ascii=False, indent=1, allow_nan=False))


def _keep_freed_memory() -> None:
    """Let glibc keep large freed blocks instead of giving them back to the system.

    Every step frees and takes the same activations; page faults for getting them back took almost
    half of an evaluation's time (docs/LOG.md).
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError, TypeError):  # another system, another libc
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD: blocks below come from the heap
        libc.mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD: the heap's end is kept


def command() -> str:
    """How the user can call this again: `malmoi`, or the way to it if it is not on the path."""
    import shutil

    if shutil.which("malmoi") or Path(sys.argv[0]).name != "malmoi":
        return "malmoi"
    return os.path.relpath(sys.argv[0])


def _parse(verb: str, module: ModuleType, rest: list[str]) -> Any:
    import tyro

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                tyro.conf.configure(
                    tyro.conf.OmitArgPrefixes,
                    tyro.conf.FlagCreatePairsOff,
                    tyro.conf.HelptextFromCommentsOff,
                )(module.Args),
                prog=f"malmoi {verb}",
                args=rest,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        # The library draws a box of many lines; ours is the sentence in it.
        rows = [row.strip("│╭╮╰╯ ") for row in said.getvalue().splitlines()[1:]]
        cut = next((i for i, row in enumerate(rows) if set(row) == {"─"}), len(rows))
        sentence = " ".join(" ".join(rows[:cut]).split()).replace("Error parsing ", "")
        sentence = sentence.removeprefix(f"{verb}: ")
        if wrong := re.match(r"(--\S+): no type matching .* instantiated from (\[.*?\])", sentence):
            sentence = f"{wrong[1]}: {wrong[2][1:-1]} is not what belongs there"
        sentence = sentence.replace(f"Missing from malmoi {verb}:", "missing:")
        if "Perhaps you meant:" in rows:
            near = rows[rows.index("Perhaps you meant:") + 1].split(" ")[0]
            sentence = f"{sentence}; did you mean {near}?"
        _fail(f"malmoi {verb}: {sentence.rstrip('.')} (malmoi {verb} --help tells all flags)")


def _import_uninterrupted() -> None:
    """Import the large packages; a Ctrl-C meanwhile counts once they are whole.

    Inside `import torch` an interrupt is swallowed and leaves numpy half imported.
    """
    asked = []
    usual = signal.getsignal(signal.SIGINT)
    if usual is not signal.SIG_IGN:  # a job in the background keeps ignoring it
        signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
    try:
        import numpy  # noqa: F401
        import torch  # noqa: F401
    finally:
        signal.signal(signal.SIGINT, usual)
    if asked:
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _fail(message: str) -> None:
    print(message, file=sys.stderr)
    sys.exit(2)
