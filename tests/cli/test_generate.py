"""`malmoi generate` as it is called: flags, files, JSON, and what is told when they are wrong."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from malmoi.decode import Tree
from malmoi.tokenizer import Tokenizer

Call = Callable[..., Any]
PROMPT = "3번째 밤에"


def outputs(call: Call, run: Path, *args: object) -> list[dict[str, Any]]:
    return call("generate", run, "--json", *args).json["outputs"]


def texts(call: Call, run: Path, *args: object) -> list[str]:
    return [output["text"] for output in outputs(call, run, *args)]


def process(*args: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "malmoi", *map(str, args)],
        input=stdin, capture_output=True, check=False, timeout=100,
    )  # fmt: skip


def test_the_contract_of_the_json(call: Call, speaker: Path) -> None:
    result = call("generate", speaker, "--prompt", PROMPT, "--json").json
    assert set(result) == {"outputs", "tokens_per_second", "cache_bytes"}
    [output] = result["outputs"]
    assert list(output) == ["prompt", "text", "ids", "finish_reason", "logprobs"]
    assert output["prompt"] == PROMPT
    assert len(output["ids"]) == len(output["logprobs"]) <= 200
    # The run's own ids say the text.
    tokenizer = Tokenizer.load(speaker)
    whole = tokenizer.decode([*tokenizer.encode(PROMPT), *output["ids"]])
    assert whole == PROMPT + output["text"]


def test_a_single_text_follows_its_prompt(call: Call, speaker: Path) -> None:
    answer = call("generate", speaker, "--prompt", PROMPT, "--max-new-tokens", 20)
    [text] = texts(call, speaker, "--prompt", PROMPT, "--max-new-tokens", 20)
    assert answer.out == PROMPT + text + "\n"
    assert re.search(r"cache: \S+ \S+ for 1 x \d+ tokens", answer.err)


def test_several_continuations_differ_and_come_again(call: Call, speaker: Path) -> None:
    flags = ["--prompt", PROMPT, "--num", 5, "--max-new-tokens", 40, "--temperature", 2]
    first = texts(call, speaker, *flags)
    assert len(set(first)) == 5
    assert texts(call, speaker, *flags) == first
    assert texts(call, speaker, *flags, "--batch-size", 2) == first
    assert texts(call, speaker, *flags, "--seed", 1) != first


def test_alone_is_as_in_a_batch(call: Call, speaker: Path) -> None:
    prompts = [PROMPT, "", "낯선 글자 漢 😀", "마리가 " * 40]
    together = outputs(call, speaker, "--max-new-tokens", 70, "--prompt", *prompts)
    assert [output["prompt"] for output in together] == prompts
    for prompt, output in zip(prompts, together, strict=True):
        [alone] = outputs(call, speaker, "--max-new-tokens", 70, "--prompt", prompt)
        assert (alone["text"], alone["ids"]) == (output["text"], output["ids"])
        assert alone["logprobs"] == pytest.approx(output["logprobs"], abs=1e-3)
    shown = call("generate", speaker, "--max-new-tokens", 70, "--prompt", *prompts).out
    parts = re.split(r"^== \d of 4: prompt \d, \w+ ==\n", shown, flags=re.MULTILINE)
    assert parts == ["", *(f"{o['prompt']}{o['text']}\n\n" for o in together)]


def test_prompts_come_from_files(call: Call, speaker: Path, tmp_path: Path) -> None:
    flags = ["--max-new-tokens", 3, "--prompts"]
    lines = tmp_path / "lines.txt"
    lines.write_bytes("다람쥐\r\n\n3번째".encode("cp949"))
    found = [o["prompt"] for o in outputs(call, speaker, *flags, lines)]
    assert found == ["다람쥐", "", "3번째"]
    records = tmp_path / "prompts.jsonl"
    records.write_text('{"prompt": "두\\n줄"}\n\n{"text": "가"}\n"나"\n', "utf-8")
    found = [o["prompt"] for o in outputs(call, speaker, "--prompt", "첫째", *flags, records)]
    assert found == ["첫째", "두\n줄", "가", "나"]


def test_prompts_come_over_a_pipe(speaker: Path) -> None:
    flags = ["--max-new-tokens", 2, "--json", "--prompts", "-"]
    done = process("generate", speaker, *flags, stdin="하나\n둘\n".encode())
    assert [o["prompt"] for o in json.loads(done.stdout)["outputs"]] == ["하나", "둘"]


def test_a_stop_string_may_lie_across_tokens(call: Call, speaker: Path) -> None:
    flags = ["--prompt", PROMPT, "--temperature", 0, "--max-new-tokens", 40]
    [full] = outputs(call, speaker, *flags)
    tokenizer = Tokenizer.load(speaker)
    pieces = [tokenizer.decode([id]) for id in full["ids"]]
    stop = next(a[-1] + b[0] for a, b in pairwise(pieces[2:]) if a and b)
    [output] = outputs(call, speaker, *flags, "--stop", stop, "never said")
    assert output["text"] == full["text"][: full["text"].index(stop)]
    assert output["finish_reason"] == "stop"
    assert output["stop"] == stop
    assert output["ids"] == full["ids"][: len(output["ids"])]
    shown = call("generate", speaker, *flags, "--stop", stop)
    assert shown.out == f"{PROMPT}{output['text']}\n"
    # What only begins a stop string is shown in the end.
    [output] = outputs(call, speaker, *flags, "--stop", full["text"] + "and more")
    assert output["text"] == full["text"]
    assert (output["finish_reason"], output["stop"]) == ("length", None)


def test_stop_ids_and_the_least_length(call: Call, speaker: Path) -> None:
    flags = ["--prompt", PROMPT, "--temperature", 0]
    [full] = outputs(call, speaker, *flags, "--max-new-tokens", 30)
    id = full["ids"][3]
    first = full["ids"].index(id)
    [output] = outputs(call, speaker, *flags, "--stop-ids", id)
    assert output["ids"] == full["ids"][:first]
    assert output["finish_reason"] == "stop"
    [output] = outputs(call, speaker, *flags, "--stop-ids", id, "--min-new-tokens", first + 3)
    assert len(output["ids"]) >= first + 3
    # Strings as well.
    [output] = outputs(call, speaker, *flags, "--stop", full["text"][0], "--min-new-tokens", 6)
    assert len(output["ids"]) >= 6


def test_forms_are_kept_to(call: Call, speaker: Path, tmp_path: Path) -> None:
    many = ["--prompt", PROMPT, "", "--num", 3, "--temperature", 1.5]
    for text in texts(call, speaker, *many, "--regex", "[가-하]{2}-[0-9]{2,4}!"):
        assert re.fullmatch("[가-하]{2}-[0-9]{2,4}!", text)
    chosen = texts(call, speaker, *many, "--choices", "하나", "둘 셋", "")
    assert set(chosen) <= {"하나", "둘 셋", ""}
    schema = {
        "type": "object", "required": ["밤"], "additionalProperties": False,
        "properties": {"밤": {"type": "integer", "maximum": 99, "minimum": 0}},
    }  # fmt: skip
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(schema), "utf-8")
    for given in (file, json.dumps(schema)):
        for text in texts(call, speaker, *many, "--json-schema", given):
            assert 0 <= json.loads(text)["밤"] <= 99


def test_forced_and_banned(call: Call, speaker: Path) -> None:
    many = ["--prompt", PROMPT, "", "--num", 3, "--max-new-tokens", 30]
    assert all(t.startswith(" 漢字 3") for t in texts(call, speaker, *many, "--forced", " 漢字 3"))
    plain = "".join(texts(call, speaker, *many))
    assert "마리가" in plain
    assert "다람쥐" in plain
    without = "".join(texts(call, speaker, *many, "--banned", "마리가", "다람쥐"))
    assert "마리가" not in without
    assert "다람쥐" not in without
    five = Tokenizer.load(speaker).encode("5")[0]

    def said(*flags: str) -> set[int]:
        return {id for output in outputs(call, speaker, *many, *flags) for id in output["ids"]}

    assert five in said("--logit-bias", f"{five}=20")
    assert five not in said("--banned-ids", str(five))
    assert five not in said("--logit-bias", f"{five}=-99.5")
    assert texts(call, speaker, *many, "--presence-penalty", "-1.5")


def test_speculating_changes_nothing(call: Call, speaker: Path) -> None:
    flags = ["--prompt", PROMPT, "", "--num", 2, "--max-new-tokens", 90]
    plain = texts(call, speaker, *flags)
    assert texts(call, speaker, *flags, "--speculate", 4) == plain
    assert texts(call, speaker, *flags, "--draft", speaker) == plain


def test_beams_give_the_best_first_and_their_tree(
    call: Call, speaker: Path, tmp_path: Path
) -> None:
    flags = ["--prompt", PROMPT, "", "다람쥐", "--beams", 4, "--num", 3, "--max-new-tokens", 12]
    tree = tmp_path / "tree.jsonl"
    found = outputs(call, speaker, *flags, "--tree", tree)
    assert [output["prompt"] for output in found] == [
        p for p in (PROMPT, "", "다람쥐") for _ in "123"
    ]
    for begin in (0, 3, 6):
        three = found[begin : begin + 3]
        assert len({output["text"] for output in three}) == 3
        scores = [output["score"] for output in three]
        assert scores == sorted(scores, reverse=True)
    best = found[0]
    if best["finish_reason"] == "length":
        mean = sum(best["logprobs"]) / len(best["ids"])
        assert best["score"] == pytest.approx(mean, abs=1e-4)
    trees = [Tree.from_dict(json.loads(line)) for line in tree.read_text("utf-8").splitlines()]
    assert [one.prompt for one in trees] == [
        Tokenizer.load(speaker).encode(text, bos=True) for text in (PROMPT, "", "다람쥐")
    ]
    path = trees[0].path(trees[0].returned[0])
    assert [node.token for node in path][: len(best["ids"])] == best["ids"]
    # A greedy search is a beam of one.
    greedy = texts(call, speaker, "--prompt", PROMPT, "--temperature", 0, "--max-new-tokens", 12)
    assert texts(call, speaker, "--prompt", PROMPT, "--beams", 1, "--max-new-tokens", 12) == greedy
    shown = call("generate", speaker, *flags).out
    assert "== 2 of 9: prompt 1, continuation 2, score -" in shown


def test_logprobs_are_probabilities(call: Call, speaker: Path) -> None:
    tokenizer = Tokenizer.load(speaker)
    size = tokenizer.vocab_size
    flags = ["--prompt", PROMPT, "--max-new-tokens", 4, "--prompt-logprobs"]
    [output] = outputs(call, speaker, *flags, "--top-logprobs", size)
    for id, own, top in zip(output["ids"], output["logprobs"], output["top_logprobs"], strict=True):
        assert math.fsum(math.exp(one["logprob"]) for one in top) == pytest.approx(1, abs=1e-4)
        assert next(one["logprob"] for one in top if one["id"] == id) == pytest.approx(own)
        assert top == sorted(top, key=lambda one: -one["logprob"])
        assert all(one["token"] == tokenizer.token_text(one["id"]) for one in top)
    said = output["prompt_logprobs"]
    assert [one["id"] for one in said] == tokenizer.encode(PROMPT, bos=True)
    assert said[0]["logprob"] is None
    # Continuing the prompt's beginning by force tells the same.
    forced = ["--prompt", "", "--forced", PROMPT, "--max-new-tokens", 3]
    [other] = outputs(call, speaker, *forced)
    assert other["logprobs"] == pytest.approx([one["logprob"] for one in said[1:]], abs=1e-4)
    shown = call("generate", speaker, *flags, "--top-logprobs", 2).out
    assert "the prompt's tokens:" in shown
    assert "the new tokens:" in shown


def test_nothing_new_and_empty_prompts(call: Call, speaker: Path) -> None:
    found = outputs(call, speaker, "--prompt", PROMPT, "", "--max-new-tokens", 0)
    assert [(o["text"], o["ids"], o["finish_reason"]) for o in found] == [("", [], "length")] * 2
    assert call("generate", speaker, "--prompt", PROMPT, "--max-new-tokens", 0).out == PROMPT + "\n"
    assert call("generate", speaker, "--max-new-tokens", 5).code == 0


def test_a_million_characters(call: Call, speaker: Path, tmp_path: Path) -> None:
    file = tmp_path / "long.txt"
    file.write_text("다람쥐 한 마리 " * 111_112 + "\n짧다", "utf-8")
    begin = time.monotonic()
    answer = call("generate", speaker, "--prompts", file, "--max-new-tokens", 5, "--json")
    assert time.monotonic() - begin < 10
    assert len(answer.json["outputs"]) == 2
    assert re.search(r"prompt 1: [\d,]{7,} tokens, only the last 64 are read", answer.err)
    assert "prompt 2" not in answer.err
    answer = call("generate", speaker, "--prompts", file, "--max-new-tokens", 5, "--beams", 2)
    assert "only the last 59 are read" in answer.err
    assert answer.code == 0


WRONG = [
    (["--num", "0"], "--num 0: has to be 1 or more"),
    (["--max-new-tokens", "-1"], "--max-new-tokens -1: has to be 0 or more"),
    (["--min-new-tokens", "300"], "--min-new-tokens 300: has to be from 0 to"),
    (["--min-new-tokens", "-3"], "--min-new-tokens -3: has to be from 0 to"),
    (["--temperature", "-1"], "temperature -1.0 (--temperature): has to be 0"),
    (["--temperature", "nan"], "temperature nan (--temperature): has to be 0"),
    (["--top-k", "0"], "top-k 0 (--top-k): has to be a whole number, 1 or more"),
    (["--top-k", "many"], "--top-k"),
    (["--top-p", "1.5"], "top-p 1.5 (--top-p): has to be from 0 to 1"),
    (["--min-p", "-0.1"], "min-p -0.1 (--min-p): has to be from 0 to 1"),
    (["--typical-p", "0"], "typical-p 0.0 (--typical-p): has to be above 0, at most 1"),
    (["--repetition-penalty", "0"], "repetition-penalty 0.0 (--repetition-penalty): has to be"),
    (["--presence-penalty", "inf"], "presence-penalty inf (--presence-penalty): has to be"),
    (["--frequency-penalty", "nan"], "frequency-penalty nan (--frequency-penalty): has to be"),
    (["--no-repeat-ngram", "-2"], "no-repeat-ngram -2 (--no-repeat-ngram): has to be"),
    (["--banned-ids", "-4"], "banned-ids (-4,) (--banned-ids): has to be ids, 0 or more"),
    (["--logit-bias", "x"], "--logit-bias 'x': has to be ID=VALUE"),
    (["--logit-bias", "3=nan"], "(--logit-bias): has to be"),
    (["--seed", "-1"], "--seed -1: has to be from 0 to"),
    (["--stop", ""], "--stop: a stop string is empty"),
    (["--stop-ids", "-1"], "--stop-ids -1: has to be"),
    (["--beams", "0"], "--beams 0: has to be from 1"),
    (["--beams", "2", "--num", "3"], "--num 3: has to be from 1 to --beams 2"),
    (["--beams", "2", "--length-penalty", "99"], "--length-penalty 99.0: has to be from -10 to 10"),
    (["--beams", "2", "--early-stopping", "maybe"], "--early-stopping"),
    (["--beams", "3", "--beam-groups", "2"], "--beam-groups 2: has to be 1 or more and divide"),
    (["--beams", "2", "--diversity-penalty", "1"], "--diversity-penalty 1: needs --beam-groups"),
    (["--beams", "2", "--beam-groups", "2", "--diversity-penalty", "-1"],
     "--diversity-penalty -1.0: has to be 0 or more"),
    (["--beams", "2", "--top-k", "5"], "--top-k 5: is for sampling"),
    (["--beams", "2", "--temperature", "0.5"], "--temperature 0.5: is for sampling"),
    (["--beams", "2", "--regex", "a"], "--regex: does not go with --beams"),
    (["--beams", "2", "--speculate", "3"], "--speculate: does not go with --beams"),
    (["--beams", "2", "--stop", "a"], "--stop: does not go with --beams; --stop-ids does"),
    (["--beams", "2", "--top-logprobs", "3"], "--top-logprobs: does not go with --beams"),
    (["--beams", "2", "--tree", "absent/tree"], "--tree absent/tree: there is no such folder"),
    (["--length-penalty", "2"], "--length-penalty 2.0: belongs to a beam search"),
    (["--regex", "a", "--choices", "b"], "--regex and --choices do not go together"),
    (["--speculate", "65"], "--speculate 65: has to be from 1 to 64"),
    (["--top-logprobs", "-1"], "--top-logprobs -1: has to be 0 or more"),
    (["--batch-size", "0"], "--batch-size 0: has to be 1 or more"),
    (["--prompts", "absent.txt"], "absent.txt"),
    (["--json-schema", "absent.json"], "--json-schema absent.json: cannot be read"),
    (["--precision", "fp7"], "--precision"),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "says"), WRONG, ids=lambda value: " ".join(value)[:40])
def test_what_is_wrong_is_told_before_the_model_is_loaded(
    call: Call, tmp_path: Path, flags: list[str], says: str
) -> None:
    answer = call("generate", tmp_path / "no-run", *flags)
    assert answer.code == 2
    [line] = answer.err.splitlines()
    assert line.startswith("malmoi generate: ")
    assert says in line
    assert answer.out == ""


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--top-k", "1000"], "--top-k 300 or less"),
        (["--top-logprobs", "301"], "--top-logprobs"),
        (["--banned-ids", "300"], "(--banned-ids): the vocabulary has 300 tokens"),
        (["--logit-bias", "300=1"], "(--logit-bias): the vocabulary has 300 tokens"),
        (["--stop-ids", "300"], "--stop-ids 300: has to be from 0 to 299"),
        (["--banned", "다람쥐 두 마리"], "--banned '다람쥐 두 마리': no single token"),
        (["--regex", "("], "--regex '(': the pattern cannot be used"),
        (["--json-schema", "{"], "--json-schema: the JSON schema is not valid JSON"),
        (["--forced", "다람쥐 한 마리", "--max-new-tokens", "1"], "--max-new-tokens 1: has to be"),
        (["--beams", "2", "--max-new-tokens", "64"], "--max-new-tokens 64: has to be less than"),
        (["--beams", "2", "--regex", "a"], "--regex"),
        (["--device", "tpu"], "not available"),
        (["--prompt", "\udcff"], "lone surrogate"),
        (["--draft", "absent"], "absent: no such run folder"),
    ],
)
def test_what_only_the_model_tells(call: Call, speaker: Path, flags: list[str], says: str) -> None:
    answer = call("generate", speaker, *flags)
    assert answer.code == 2, answer
    assert says in answer.err.splitlines()[-1]
    assert "Traceback" not in answer.err
    assert answer.out == ""


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.txt", b"", "holds no texts"),
        ("binary.txt", bytes(range(256)), "binary"),
        ("bad.jsonl", b'{"prompt": "a"}\n{"prompt"\n', "bad.jsonl:2: malformed JSON"),
        ("other.jsonl", b'{"question": "a"}\n', "other.jsonl:1: wants a JSON string"),
        ("number.jsonl", b"7\n", "number.jsonl:1: wants a JSON string"),
    ],
)
def test_bad_prompts_files(
    call: Call, speaker: Path, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    answer = call("generate", speaker, "--prompts", tmp_path / name)
    assert answer.code == 2
    [line] = answer.err.splitlines()
    assert says in line


def test_a_draft_of_another_tokenizer(call: Call, speaker: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(speaker, other)
    spec = json.loads((other / "tokenizer.json").read_text("utf-8"))
    vocabulary = spec["model"]["vocab"]
    vocabulary["다"], vocabulary["람"] = vocabulary["람"], vocabulary["다"]
    (other / "tokenizer.json").write_text(json.dumps(spec), "utf-8")
    answer = call("generate", speaker, "--draft", other)
    assert answer.code == 2
    assert "its tokenizer is another" in answer.err


def test_a_text_that_ends_before_it_has_its_form_is_told(call: Call, speaker: Path) -> None:
    answer = call("generate", speaker, "--regex", "[가-하]{9}", "--max-new-tokens", 2)
    assert answer.code == 0
    assert "1 of 1 ended at --max-new-tokens 2" in answer.err.splitlines()[-1]
    answer = call("generate", speaker, "--regex", "[가-하]{2}", "--max-new-tokens", 30)
    assert "ended at" not in answer.err


def test_what_was_made_before_an_error_is_not_lost(call: Call, speaker: Path) -> None:
    flags = ["--regex", "밤x", "--banned", "x", "--prompt", PROMPT]
    answer = call("generate", speaker, *flags)
    assert answer.code == 2
    assert answer.err.splitlines()[-1].startswith("malmoi generate: nothing may come next")
    assert answer.out == PROMPT + "밤\n"
    answer = call("generate", speaker, *flags, "--json")
    assert answer.code == 2
    [output] = json.loads(answer.out)["outputs"]
    assert (output["text"], output["finish_reason"]) == ("밤", "interrupted")


def test_ctrl_c_prints_what_was_made(speaker: Path) -> None:
    command = [sys.executable, "-m", "malmoi", "generate", str(speaker), "--num", "1000000",
               "--json", "--max-new-tokens", "50"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stderr is not None
        while b"cache:" not in running.stderr.readline():
            pass
        time.sleep(1)
        os.kill(running.pid, signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 2
    assert err.decode().strip().splitlines()[-1] == "malmoi generate: stopped"
    made = json.loads(out)["outputs"]
    assert len(made) > 1
    assert {output["finish_reason"] for output in made} <= {"stop", "length", "interrupted"}
