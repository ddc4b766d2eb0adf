"""`malmoi chat` over a pipe, as a program or a test would use it, in processes of its own."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from malmoi.tokenizer import Tokenizer

Call = Callable[..., Any]
TEMPLATE = (
    "{% for m in messages %}{{ bos_token }}{{ m['role'][0] }}{{ m['content'] }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}{{ bos_token }}a{% endif %}"
)


def chat(run: Path, said: bytes, *flags: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "malmoi", "chat", str(run), "--max-new-tokens", "12",
         *map(str, flags)],
        input=said, capture_output=True, check=False, timeout=100,
    )  # fmt: skip


@pytest.fixture(scope="session")
def templated(speaker: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run with a chat template of its own."""
    run = tmp_path_factory.mktemp("chat") / "run"
    shutil.copytree(speaker, run)
    tokenizer = Tokenizer.load(run)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save(run)
    return run


def test_a_talk_over_a_pipe(templated: Path) -> None:
    """Two turns, one forgotten before them, broken bytes, a blank line, and an end."""
    said = "잊어\n/reset\n밤에 뭐 해?\n\n".encode() + b"\xff\xfe \xed\xa0\x80?\n/quit\nnever\n"
    done = chat(templated, said, "--system", "짧게.", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [message["role"] for message in result["messages"]] == [
        "system", "user", "assistant", "user", "assistant",
    ]  # fmt: skip
    assert result["messages"][0]["content"] == "짧게."
    assert result["messages"][1]["content"] == "밤에 뭐 해?"
    assert "\ufffd" in result["messages"][3]["content"]
    assert result["tokens_per_second"] > 0
    assert b"Traceback" not in done.stderr
    assert b"template" not in done.stderr


def test_answers_stream_and_old_turns_are_left_out(speaker: Path) -> None:
    """Without a template: the plain one, with a word about it."""
    said = "밤에 다람쥐 3마리가\n" * 4
    done = chat(speaker, said.encode(), "--temperature", 0)
    assert done.returncode == 0, done.stderr
    err = done.stderr.decode()
    assert "no chat template" in err
    assert "the oldest 2 messages are left out" in err
    assert "> " not in err  # the marker is for terminals
    assert done.stdout.decode().count("\n") >= 4
    # What was said before matters, so the same question need not be answered the same.
    again = chat(speaker, said.encode(), "--temperature", 0, "--json")
    answers = [m["content"] for m in json.loads(again.stdout)["messages"] if m["role"] != "user"]
    assert len(answers) == 4
    assert all(answer in done.stdout.decode() for answer in answers)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--temperature", "-1"], "temperature -1.0 (--temperature): has to be"),
        (["--max-new-tokens", "-1"], "--max-new-tokens -1: has to be 0 or more"),
        (["--stop", ""], "--stop: a stop string is empty"),
        (["--seed", "-1"], "--seed -1: has to be from 0"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    call: Call, tmp_path: Path, flags: list[str], says: str
) -> None:
    answer = call("chat", tmp_path / "no-run", *flags)
    assert answer.code == 2
    [line] = answer.err.splitlines()
    assert says in line


def test_what_the_model_or_its_template_refuse(call: Call, speaker: Path, templated: Path) -> None:
    for run, flags, says in (
        (speaker, ["--top-k", 999], "--top-k 300 or less"),
        (speaker, ["--stop-ids", 999], "--stop-ids 999: has to be from 0 to 299"),
        (speaker, ["--system", "\udcff"], "surrogate"),
        (templated.parent / "none", [], "no such run folder"),
    ):
        answer = call("chat", run, *flags)
        assert answer.code == 2
        assert says in answer.err.splitlines()[-1]
        assert answer.out == ""


@pytest.mark.parametrize("verb", ["generate", "chat", "score"])
def test_help_tells_the_flags(call: Call, verb: str) -> None:
    answer = call(verb, "--help")
    assert answer.code == 0
    assert "--json" in answer.out
    assert "--precision" in answer.out
