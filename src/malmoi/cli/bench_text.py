"""`malmoi bench text DATA...`: how fast text is cleaned, searched for near ones, and encoded.

The text is made from DATA: its lines, shuffled into documents, with words exchanged, so that there
is as much of it as is wanted and yet nothing stands there twice.
"""

import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from malmoi.text.sources import read

EXCHANGED = 0.15
"""share of the words that become another word of the text, so that lines do not repeat"""
DOCUMENT = 1200
"""characters of a document, about"""


def make(sources: tuple[str, ...], megabytes: float, path: Path, seed: int = 0) -> int:
    """Write JSON lines of so many megabytes; how many documents they are.

    Args:
        sources: real texts, Korean for the figures in docs/LOG.md.
        megabytes: of UTF-8 text, the JSON around it not counted.
        path: the file to write.
        seed: of the shuffling.

    """
    lines = [
        line for piece in read(sources) for line in piece.text.split("\n") if len(line) > 20
    ]  # fmt: skip
    words = [word for line in lines for word in line.split(" ") if re.search("[가-힣]", word)]
    chance = random.Random(seed)
    wanted, written, documents = megabytes * 1e6, 0, 0
    with open(path, "w", encoding="utf-8") as file:
        while written < wanted:
            parts: list[str] = []
            size = 0
            while size < DOCUMENT:
                line = chance.choice(lines).split(" ")
                for _ in range(1 + int(EXCHANGED * len(line))):
                    line[chance.randrange(len(line))] = chance.choice(words)
                parts.append(" ".join(line))
                size += len(parts[-1])
            text = "\n".join(parts)
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            written += len(text.encode("utf-8"))
            documents += 1
    return documents


def run(sources: tuple[str, ...], megabytes: float, repeats: int) -> dict[str, Any]:
    """Make the text, and measure each in processes of its own; medians.

    Args:
        sources: real texts.
        megabytes: of text to make of them.
        repeats: of each measure.

    """
    result: dict[str, Any] = {"megabytes": megabytes, "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text.jsonl")
        result["documents"] = make(sources, megabytes, path)
        size = path.stat().st_size / 1e6
        for name, flags in (("clean", ["--near", "0"]), ("clean and near", [])):
            speeds, peaks = [], []
            for _ in range(repeats):
                command = ["clean", str(path), "--out", f"{folder}/out", "--overwrite", *flags]
                seconds, peak = _timed([sys.executable, "-m", "malmoi", *command, "--json"])
                speeds.append(size / seconds)
                peaks.append(peak)
            result[f"{name}: MB/s"] = statistics.median(speeds)
            result[f"{name}: peak memory, MiB"] = max(peaks)
        alone, both = result["clean: MB/s"], result["clean and near: MB/s"]
        result["near alone: MB/s"] = 1 / max(1e-9, 1 / both - 1 / alone)
        result |= _encoding(path, repeats)
    return result


def _timed(command: list[str]) -> tuple[float, float]:
    """Seconds, and the most memory that the process and all it started had at once, in MiB."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            peak[0] = max(peak[0], _memory(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, said = process.communicate()
    over.set()
    watcher.join()
    if process.returncode:
        raise ValueError(f"{' '.join(command)}: {said.decode('utf-8', 'replace').strip()}")
    return time.perf_counter() - begin, peak[0]


def _memory(process: int) -> float:
    """MiB that a process and its children have to themselves (their proportional share)."""
    total, waiting = 0.0, [process]
    while waiting:
        number = waiting.pop()
        try:
            rollup = Path(f"/proc/{number}/smaps_rollup").read_text()
            total += int(re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)[1]) / 1024  # type: ignore[index]
            for task in Path(f"/proc/{number}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except (OSError, TypeError):  # it has ended, or there is no /proc here
            continue
    return total


def _encoding(path: Path, repeats: int) -> dict[str, Any]:
    """Ours, into a token store, beside the library's own batches on the same documents."""
    import tokenizers

    from malmoi.data import write_stores
    from malmoi.tokenizer import train_tokenizer

    texts = []
    size = 0
    with open(path, encoding="utf-8") as file:
        for line in file:
            texts.append(json.loads(line)["text"])
            size += len(texts[-1].encode("utf-8"))
            if size > 50e6:
                break
    tokenizer = train_tokenizer(texts[: len(texts) // 10], "bpe", None)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder, "tokenizer.json"))
        library = tokenizers.Tokenizer.from_file(str(Path(folder, "tokenizer.json")))
    ours, theirs = [], []
    for _ in range(repeats):
        begin = time.perf_counter()
        for first in range(0, len(texts), 1000):
            library.encode_batch(texts[first : first + 1000], add_special_tokens=False)
        theirs.append(size / 1e6 / (time.perf_counter() - begin))
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            write_stores((("train", text, True) for text in texts), tokenizer, Path(folder))
            ours.append(size / 1e6 / (time.perf_counter() - begin))
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "encoding: MB/s": statistics.median(ours),
        "encoding by the library: MB/s": statistics.median(theirs),
        "encoding / the library's": statistics.median(ratios),
    }
