"""`malmoi compare DATA... --out DIR`: the same run with and without each remedy for overfitting.

The text is read and encoded once. Every run then begins from the same tokens, as a run folder that
was laid out but not yet trained, so that `train_run` goes on with it as with any other.
"""

import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from malmoi.cli.comparison import WORDS, compare, conclusion, table
from malmoi.cli.language import Asked, Language, choose_language
from malmoi.cli.remedies import REMEDIES, Name, Trial, bare
from malmoi.cli.train import Args as TrainArgs
from malmoi.cli.train import ModelSizes, to_config
from malmoi.config import OptimConfig, TokenizerConfig, TrainConfig

MOST_REPEATS = 10


@dataclass(frozen=True)
class Args:
    """Train the same model with and without each remedy for overfitting, and compare.

    The base run has none of them. One is on by default in other verbs and off here: the n-gram
    dropout of the malmoi preset. The falling learning rate stays, and every run's result is its
    best weights. What you set by flag is in every run. All runs share text, split, tokenizer and
    seed. Each makes the same number of --steps, or as many as the base run makes in --minutes (2
    when neither is given).
    """

    data: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DATA...")]
    """what to learn from"""
    out: Path
    """the folder to make: a run folder for each run, compare.json, compare.png; finished runs that
    are there already are kept, so the same command goes on after an interruption"""
    remedies: tuple[Name, ...] = ()
    """which to try; all that apply when none is given"""
    repeats: int = 2
    """train the base run with so many seeds, to see which differences are noise"""
    lang: Asked = "auto"
    """language of table, sentences and figure; auto: the locale's"""
    json: bool = False
    """print the result as one JSON object"""
    field: str | None = None
    """column or key that holds the text (document, text, content are found by themselves)"""
    encoding: str | None = None
    """character encoding of the files; detected when not given"""
    split: str = "80/10/10"
    """train/validation/test in per cent; 90/10 leaves no test part"""
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelSizes = ModelSizes()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig(keep=1)


def run(args: Args) -> dict[str, Any]:
    """Train what is not there yet, and say what made a difference."""
    language = choose_language(args.lang)
    trials = plan(args)

    from malmoi.cli.branch import lay_out
    from malmoi.cli.progress import Progress
    from malmoi.cli.watch import check_packages
    from malmoi.storage import replacing

    check_packages(args.train)
    with Progress("reading") as progress:
        trials = lay_out(args.out, trials, progress)
    records = []
    for number, trial in enumerate(trials, 1):
        try:
            records.append(_record(args.out, trial, f"[{number}/{len(trials)}]", language))
        except (KeyboardInterrupt, SystemExit) as stop:
            left = f"{number - 1} of {len(trials)} runs are finished in {args.out}"
            left += "; the same malmoi compare goes on"
            if isinstance(stop, KeyboardInterrupt):
                raise KeyboardInterrupt(left) from None
            print(left, file=sys.stderr)
            raise
    result = compare(records)
    result["conclusion"] = conclusion(result, language)
    result["figure"] = _draw(result, args.out / "compare.png", language)
    with replacing(args.out / "compare.json") as path:
        path.write_text(json.dumps(result, ensure_ascii=False, indent=1), "utf-8")
    if not args.json:
        _print(result, trials, language)
    return result


def plan(args: Args) -> list[Trial]:
    """All runs, the base run first.

    Raises:
        ValueError: a value out of its range, or a remedy that was asked for changes nothing.

    """
    if not 1 <= args.repeats <= MOST_REPEATS:
        raise ValueError(f"--repeats {args.repeats}: has to be from 1 to {MOST_REPEATS}")
    setting = args.train
    if setting.minutes is None and setting.steps is None:
        setting = replace(setting, minutes=2.0)
    # The last checkpoint holds the last weights, whose losses are compared.
    setting = replace(setting, checkpoints=max(1, setting.checkpoints))
    config, sizes = to_config(
        TrainArgs(
            data=args.data,
            out=args.out,
            field=args.field,
            encoding=args.encoding,
            split=args.split,
            tokenizer=args.tokenizer,
            model=args.model,
            optim=args.optim,
            train=setting,
        )
    )
    trials = []
    for repeat in range(args.repeats):
        name = f"base-{repeat + 1}" if repeat else "base"
        seeded = replace(config, train=replace(setting, seed=setting.seed + repeat))
        trials.append(Trial(name, None, *bare(seeded, sizes)))
    for remedy in dict.fromkeys(args.remedies) or REMEDIES:
        try:
            trials.append(Trial(remedy, remedy, *REMEDIES[remedy].change(*bare(config, sizes))))
        except ValueError as error:
            if args.remedies:
                raise ValueError(f"--remedies {remedy}: {error}; leave one of them out") from None
            print(f"without {remedy}: {error}", file=sys.stderr)
    return trials


def _record(out: Path, trial: Trial, number: str, language: Language) -> dict[str, Any]:
    """What is to be known of a trial, which is trained unless it was before."""
    from malmoi.cli.pipeline import train_run
    from malmoi.run import Run, read_metrics

    folder = out / trial.name
    report = Run.open(folder).result or {}
    if "steps" not in report:
        print(f"\n{number} {trial.name}: {_about(trial, language)}", file=sys.stderr)
        report = train_run(
            trial.config, trial.sizes, folder, time.monotonic(), resume=True, again=None
        ).report
    else:
        print(f"{number} {trial.name}: is there already", file=sys.stderr)
    last = _last_losses(folder, report)
    best = report["validation"]
    curve = [
        {new: point[old] for old, new in _POINT.items() if old in point}
        for point in read_metrics(folder / "metrics.jsonl")
        if "validation_loss" in point
    ]
    return {
        "name": trial.name, "remedy": trial.remedy, "titles": trial.titles, "run": str(folder),
        "loss": best["loss"], "bits_per_byte": best["bits_per_byte"],
        "best_step": report["best_step"],
        "last_validation": last["validation"] if last else None,
        "last_train": last["train"] if last else None,
        "gap": last["validation"] - last["train"] if last else None,
        "parameters": report["parameters"], "steps": report["steps"],
        "seconds": report["seconds"], "stopped_early": report["stopped_early"], "curve": curve,
    }  # fmt: skip


_POINT = {
    "step": "step", "seconds": "seconds", "train_loss": "train", "validation_loss": "validation"
}  # fmt: skip


def _about(trial: Trial, language: Language) -> str:
    if trial.remedy is not None:
        return REMEDIES[trial.remedy].about[language]
    return WORDS[language]["base" if trial.name == "base" else "repeat"]


def _draw(result: dict[str, Any], path: Path, language: Language) -> str | None:
    """Draw the figure; its path, or None where there is nothing to draw with."""
    try:
        import matplotlib  # noqa: F401 - whether it is there
    except ImportError:
        print("no figure: it needs matplotlib: pip install 'malmoi[figures]'", file=sys.stderr)
        return None
    from malmoi.inspect.compare import WORDS as DRAWN
    from malmoi.inspect.compare import draw
    from malmoi.inspect.fonts import hangul_font, quiet
    from malmoi.storage import replacing

    titles = [run["titles"]["ko"] for run in result["runs"]]
    font = hangul_font("".join([*DRAWN["ko"].values(), *titles])) if language == "ko" else None
    if language == "ko" and font is None:
        print(
            "그림의 글은 영어로 씁니다: 한글 글꼴이 없습니다(예: apt install fonts-nanum)",
            file=sys.stderr,
        )
    with quiet(), replacing(path) as beside:
        draw(result, font=font).savefig(beside, format="png")
    return str(path)


def _last_losses(folder: Path, report: dict[str, Any]) -> dict[str, float] | None:
    """Losses of the last weights, on the validation text and on as much of the training text.

    The training loss in metrics.jsonl will not do: it is taken with dropout and label smoothing,
    which make it higher than the validation loss, and no sign of overfitting would be left.
    None: the last weights are not there.
    """
    from malmoi.checkpoint import Checkpoints
    from malmoi.data import TokenStore
    from malmoi.evaluate.loss import evaluate
    from malmoi.model import GPT
    from malmoi.optim import Optimizer
    from malmoi.run import Run
    from malmoi.train import choose_device, choose_dtype

    opened = Run.open(folder)
    if "last" in report:
        return report["last"]
    checkpoint, _ = Checkpoints(folder / "checkpoints").newest()
    if checkpoint is None or checkpoint.state["steps"] != report["steps"]:
        return None
    config = opened.config
    model = GPT(config.model)
    optimizer = Optimizer(model, config.optim)
    optimizer.load(checkpoint.optimizer())
    model.load_state_dict(optimizer.averages())  # the weights themselves, where there are none
    device = choose_device(config.train.device)
    model = model.to(
        device=device, dtype=choose_dtype(config.train.precision, device, config.model)
    )
    stores = {name: TokenStore(folder / "data", name) for name in ("validation", "train")}
    most = len(stores["validation"])
    last = {name: evaluate(model, store, most_tokens=most).loss for name, store in stores.items()}
    opened.write_config(config, report | {"last": last})
    return last


def _print(result: dict[str, Any], trials: list[Trial], language: Language) -> None:
    """The list of what was tried, the table, the sentences."""
    width = max(len(trial.name) for trial in trials)
    for trial in trials:
        print(f"{trial.name:<{width}}  {_about(trial, language)}")
    print(f"\n{table(result, language)}\n")
    for sentence in result["conclusion"]:
        print(sentence)
    if result["figure"]:
        print(f"\n{result['figure']}")
    sys.stdout.flush()
