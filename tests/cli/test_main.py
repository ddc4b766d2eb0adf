"""The command line in processes of its own: what a user sees, and what is left behind."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

TEXT = "\n".join(f"{n}번째 밤에 다람쥐 {n % 7}마리가 도토리를 주웠어요." for n in range(400))
TINY = ["--d-model", "32", "--num-layers", "1", "--context-length", "32", "--ngram-rows", "64",
        "--batch-size", "4", "--evals", "2", "--device", "cpu"]  # fmt: skip


def malmoi(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "malmoi", *args],
        capture_output=True, text=True, cwd=cwd, check=False, timeout=120,
    )  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "밤.txt"
    path.write_text(TEXT, "utf-8")
    return path


@pytest.fixture(scope="module")
def trained(text: Path) -> Path:
    out = text.parent / "run"
    done = malmoi(
        "train",
        str(text),
        "--out",
        str(out),
        "--tokenizer",
        "char",
        "--steps",
        "30",
        "--json",
        *TINY,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["run"] == str(out)
    assert report["steps"] == 30
    assert report["validation"]["loss"] < 5
    assert {"seconds", "best_step", "tokens_per_second"} <= set(report)
    return out


def test_help_comes_without_torch() -> None:
    code = (
        "import sys\nfrom malmoi.cli.main import main\ntry: main(['--help'])\n"
        "except SystemExit: pass\nprint('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "malmoi VERB" in done.stdout
    assert done.stdout.strip().endswith("False False")


@pytest.mark.parametrize("verb", ["demo", "train", "evaluate", "generate", "bench"])
def test_every_verb_tells_its_flags(verb: str) -> None:
    done = malmoi(verb, "--help")
    assert done.returncode == 0
    assert "--json" in done.stdout


def test_the_run_folder_is_complete(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    assert names == {
        "run.toml",
        "tokenizer.json",
        "model.safetensors",
        "metrics.jsonl",
        "samples.md",
        "data",
        "checkpoints",
    }
    assert not [path for path in trained.parent.iterdir() if path.name.startswith(".")]


def test_evaluate_prints_one_object(trained: Path, text: Path) -> None:
    done = malmoi("evaluate", str(trained), "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    for part in ("train", "validation", "test"):
        assert set(result[part]) == {
            "loss",
            "perplexity",
            "bits_per_byte",
            "bits_per_char",
            "tokens",
        }
    floors = result["floors"]
    assert floors["trigram"]["loss"] < floors["unigram"]["loss"] < floors["uniform"]["loss"]
    assert floors["uniform"]["tokens"] == result["test"]["tokens"]
    other = json.loads(malmoi("evaluate", str(trained), str(text), "--json").stdout)
    assert other["data"]["tokens"] == len(TEXT) + 1


def test_evaluate_prints_a_table(trained: Path) -> None:
    out = malmoi("evaluate", str(trained)).stdout
    assert "bits/byte" in out
    assert "floor: trigram" in out


def test_generate_is_seeded_and_takes_prompts_as_text(trained: Path) -> None:
    def outputs(*more: str) -> list[dict[str, object]]:
        done = malmoi("generate", str(trained), "--json", "--max-new-tokens", "40", *more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["outputs"]

    prompts = ("--prompt", "3번째 밤에", "낯선 글자 漢 😀", TEXT[:500])
    first = outputs(*prompts, "--seed", "1")
    assert [o["prompt"] for o in first] == list(prompts[1:])
    assert first == outputs(*prompts, "--seed", "1")
    assert first != outputs(*prompts, "--seed", "2")
    for output in first:
        assert set(output) == {"prompt", "text", "ids", "finish_reason", "logprobs"}
        assert output["finish_reason"] in ("stop", "length")
        assert len(output["ids"]) == len(output["logprobs"]) <= 40  # type: ignore[arg-type]
    greedy = outputs("--prompt", "밤", "--temperature", "0")
    assert greedy == outputs("--prompt", "밤", "--top-k", "1", "--seed", "5")


def test_generate_streams_the_prompt_and_what_follows(trained: Path) -> None:
    done = malmoi("generate", str(trained), "--prompt", "다람쥐", "--max-new-tokens", "10")
    assert done.returncode == 0
    assert done.stdout.startswith("다람쥐")


@pytest.fixture
def bad(tmp_path: Path, trained: Path) -> Callable[[str], str]:
    """Makes one bad thing and gives its path."""

    def make(what: str) -> str:
        path = tmp_path / what.replace("/", "-")
        if what == "empty.txt":
            path.write_bytes(b"")
        elif what == "binary.txt":
            path.write_bytes(bytes(range(256)) * 20)
        elif what == "short.txt":
            path.write_text("짧다")
        elif what == "records.jsonl":
            path.write_text('{"a": "x", "b": "y"}\n', "utf-8")
        elif what == "cut.gz":
            path.write_bytes(gzip.compress(TEXT.encode())[:-20])
        elif what.startswith("run-"):
            import shutil

            shutil.copytree(trained, path)
            name = what.removeprefix("run-")
            (path / name).write_bytes((path / name).read_bytes()[:37])
        return str(path)

    return make


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "{absent.txt}"], "absent.txt"),
        (["train", "{empty.txt}"], "empty"),
        (["train", "{binary.txt}"], "binary"),
        (["train", "{cut.gz}"], "cut.gz"),
        (["train", "{short.txt}", "--tokenizer", "char"], "less than one window"),
        (["train", "{records.jsonl}", "--field", "body"], "body"),
        (["train", "builtin:poems"], "builtin:stories"),
        (["train", "TEXT", "--preset", "bert"], "bert"),
        (["train", "TEXT", "--vocab-size", "60000"], "too large"),
        (["train", "TEXT", "--tokenizer", "emoji"], "emoji"),
        (["train", "TEXT", "--split", "50/20"], "sum"),
        (["train", "TEXT", "--minutes", "0"], "more than 0"),
        (["train", "TEXT", "--steps", "5", "--minutes", "5"], "not both"),
        (["train", "TEXT", "--d-model", "30", "--num-heads", "4"], "multiple"),
        (["train", "TEXT", "--device", "tpu"], "not available"),
        (["train", "TEXT", "--encoding", "klingon"], "klingon"),
        (["train"], "no data"),
        (["train", "TEXT", "--seed", "-1"], "--seed"),
        (["train", "TEXT", "--minutes", "nan"], "--minutes"),
        (["train", "TEXT", "--minutes", "inf"], "--minutes"),
        (["train", "TEXT", "--ngram-rows", "0"], "ngram_rows"),
        (["train", "TEXT", "--beta1", "1.5"], "--beta1"),
        (["train", "TEXT", "--device", "cpu:x"], "not available"),
        (["train", "TEXT", "--tokenizer", "RUN", "--vocab-size", "9"], "leave it out"),
        (["evaluate", "{run-data/test.bin}"], "test.bin"),
        (["evaluate", "{absent}"], "no such run folder"),
        (["evaluate", "{run-model.safetensors}"], "model.safetensors"),
        (["evaluate", "{run-run.toml}"], "run.toml"),
        (["evaluate", "{run-tokenizer.json}"], "tokenizer.json"),
        (["generate", "{run-model.safetensors}"], "model.safetensors"),
        (["generate", "RUN", "--top-k", "100000"], "top-k"),
        (["generate", "RUN", "--temperature", "-1"], "temperature"),
        (["generate", "RUN", "--wings"], "--wings"),
        (["fly"], "unknown verb"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str],
    says: str,
    bad: Callable[[str], str],
    text: Path,
    trained: Path,
    tmp_path: Path,
) -> None:
    filled = [
        bad(a[1:-1])
        if a.startswith("{")
        else str(text)
        if a == "TEXT"
        else str(trained)
        if a == "RUN"
        else a
        for a in arguments
    ]
    before = set(tmp_path.iterdir())
    if arguments[0] == "train":
        filled += ["--out", str(tmp_path / "new" / "run")]
        if "--steps" not in filled and "--minutes" not in filled:
            filled += ["--steps", "2"]
    done = malmoi(*filled)
    assert done.returncode == 2, (done.stdout, done.stderr)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("malmoi")
    assert says in last
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert set(tmp_path.iterdir()) == before  # nothing is left behind


def test_a_run_is_not_overwritten(trained: Path, text: Path) -> None:
    before = (trained / "model.safetensors").read_bytes()
    done = malmoi("train", str(text), "--out", str(trained), "--steps", "2")
    assert done.returncode == 2
    assert "--overwrite" in done.stderr
    assert (trained / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("wrong", [["absent.txt"], ["TEXT", "--context-length", "100000"]])
def test_a_failed_overwrite_leaves_the_old_run(trained: Path, text: Path, wrong: list[str]) -> None:
    before = (trained / "model.safetensors").read_bytes()
    filled = [str(text) if word == "TEXT" else word for word in wrong]
    done = malmoi("train", *filled, "--out", str(trained), "--overwrite", "--steps", "1")
    assert done.returncode == 2
    assert (trained / "model.safetensors").read_bytes() == before
    assert not [path for path in trained.parent.iterdir() if path.name.startswith(".")]


def test_a_foreign_tokenizer_learns_where_texts_end(text: Path, tmp_path: Path) -> None:
    """GPT-2's files have one token for begin and end; the end has to be scored all the same."""
    from tokenizers import ByteLevelBPETokenizer

    made = ByteLevelBPETokenizer()
    made.train([str(text)], vocab_size=300, special_tokens=["<|endoftext|>"], show_progress=False)
    made.save_model(str(tmp_path))
    documents = tmp_path / "texts.jsonl"
    documents.write_text("\n".join(['{"text": "다람쥐와 도토리"}'] * 300), "utf-8")
    out = tmp_path / "run"
    done = malmoi("train", str(documents), "--tokenizer", str(tmp_path), "--out", str(out),
                  "--steps", "40", "--split", "100", *TINY)  # fmt: skip
    assert done.returncode == 0, done.stderr
    spoken = malmoi("generate", str(out), "--prompt", "다람쥐와", "--temperature", "0", "--json")
    output = json.loads(spoken.stdout)["outputs"][0]
    assert (output["text"], output["finish_reason"]) == (" 도토리", "stop")


def test_ctrl_c_keeps_the_best_weights_and_says_where(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "malmoi", "train", str(text), "--out", str(out),
         "--tokenizer", "char",
         "--steps", "100000", *TINY[:-4], "--evals", "1000", "--device", "cpu"],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    metrics = out / "metrics.jsonl"
    for _ in range(600):
        if metrics.exists() and metrics.read_text().count("\n") >= 2:
            break
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    last = stderr.strip().splitlines()[-1]
    assert last.startswith("malmoi train: stopped.")
    assert str(out) in last
    assert "Traceback" not in stderr
    assert malmoi("evaluate", str(out), "--json").returncode == 0


def test_the_reader_may_go_away(trained: Path) -> None:
    command = f"{sys.executable} -m malmoi generate {trained} --max-new-tokens 3000 | head -c 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
