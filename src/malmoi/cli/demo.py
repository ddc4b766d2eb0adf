"""`malmoi demo`: a model of one's own in three minutes, and what it has learnt."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from malmoi.cli.language import Asked, choose_language
from malmoi.cli.main import BEGAN, command

PROMPT = "옛날 옛적에"

WORDS = {
    "en": {
        "begin": "Training on {count:,} built-in stories for {minutes:g} minutes.",
        "losses": "How good is it? Loss over every token, and the floors beside it:",
        "floor": "No model can need fewer bits than the source itself: it knows the exact "
        "probability of each of its stories.",
        "speak": "The same prompt, continued:",
        "untrained": "untrained",
        "greedy": "greedy",
        "next": "The run is in {out}. Try next:",
    },
    "ko": {
        "begin": "내장 이야기 {count:,}편을 {minutes:g}분 동안 배웁니다.",
        "losses": "얼마나 잘 배웠을까요? 모든 토큰에 대한 손실과, 견주어 볼 바닥값입니다.",
        "floor": "어떤 모델도 이야기의 근원보다 적은 비트로는 할 수 없습니다. 근원은 제가 하는 "
        "이야기마다 그 확률을 정확히 압니다.",
        "speak": "같은 첫머리를 이어 쓰면:",
        "untrained": "배우기 전",
        "greedy": "탐욕(greedy)",
        "next": "결과는 {out}에 있습니다. 이어서 해 볼 것:",
    },
}


@dataclass(frozen=True)
class Args:
    """Train on the built-in Korean stories and hear the model before and after."""

    minutes: float = 3.0
    """how long to train"""
    stories: int = 20_000
    """how many stories there are to learn from and to be measured on"""
    out: Path | None = None
    """the run folder to make; runs/demo, or the next free name after it, when not given"""
    overwrite: bool = False
    """replace a run that is there already"""
    lang: Asked = "auto"
    """language of the words around the figures"""
    seed: int = 0
    json: bool = False
    """print the result as one JSON object"""


def run(args: Args) -> dict[str, Any]:
    """Train, measure, speak."""
    if args.minutes <= 0:
        raise ValueError("--minutes has to be more than 0")
    if args.stories < 100:
        raise ValueError(f"--stories {args.stories}: too few to learn from, give 100 or more")
    words = WORDS[choose_language(args.lang)]
    out = args.out or _free(Path("runs/demo"))
    quiet = args.json
    if not quiet:
        print(words["begin"].format(count=args.stories, minutes=args.minutes), flush=True)

    from malmoi.cli.measure import measure, print_table
    from malmoi.cli.pipeline import train_run
    from malmoi.cli.progress import Progress
    from malmoi.cli.speak import speak
    from malmoi.config import DataConfig, RunConfig, TrainConfig
    from malmoi.decode import Policy

    config = RunConfig(
        data=DataConfig((f"builtin:stories:{args.stories}@{args.seed}",)),
        train=TrainConfig(minutes=args.minutes, seed=args.seed),
    )
    # A known size on a known text: what a choice by the time costs is better spent on training.
    sizes = {"d_model": config.model.d_model, "num_layers": config.model.num_layers}
    done = train_run(config, sizes, out, BEGAN, overwrite=args.overwrite, quiet=quiet, again=None)
    with Progress("evaluating", quiet=quiet) as progress:
        stores = done.corpus.stores
        result = measure(done.model, stores, stores["train"], done.run.config, progress)
    policies = {
        words["greedy"]: Policy(0.0),
        "temperature 0.8": Policy(0.8),
        "top-k 20": Policy(1.0, top_k=20),
        "top-p 0.9": Policy(1.0, top_p=0.9),
    }
    words_of = done.corpus.tokenizer
    untrained = speak(done.untrained, words_of, PROMPT, Policy(1.0), most=40)
    samples = {words["untrained"]: untrained}
    for name, policy in policies.items():
        samples[name] = speak(done.model, words_of, PROMPT, policy, seed=args.seed, most=500)
    result |= {"train_report": done.report, "samples": samples}
    done.run.write_text("samples.md", _markdown(samples))
    if quiet:
        return result
    print(f"\n{words['losses']}\n")
    print_table({k: v for k, v in result.items() if k not in ("samples", "train_report")})
    print(f"{words['floor']}\n\n{words['speak']}")
    for name, text in samples.items():
        print(f"\n[{name}]\n{PROMPT}{text}")
    print(f"\n{words['next'].format(out=out)}")
    malmoi = command()
    print(f'  {malmoi} generate {out} --prompt "{PROMPT}" --temperature 0.8 --seed 7')
    print(f"  {malmoi} evaluate {out}")
    print(f"  {malmoi} train my-text.txt --out runs/mine --minutes 3")
    return result


def _markdown(samples: dict[str, str]) -> str:
    lines = ["# Samples", ""]
    for name, text in samples.items():
        quoted = "\n".join(f"> {line}" for line in (PROMPT + text).split("\n"))
        lines += [f"## {name}", "", quoted, ""]
    return "\n".join(lines)


def _free(out: Path) -> Path:
    """`out`, or the first of out-2, out-3, ... that is not there."""
    number, free = 1, out
    while free.exists():
        number += 1
        free = out.with_name(f"{out.name}-{number}")
    return free
