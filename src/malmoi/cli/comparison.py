"""What the runs of `malmoi compare` tell: differences, what of them is noise, and plain sentences.

Records in, words out; nothing is trained or read here.
"""

import math
import unicodedata
from collections.abc import Sequence
from typing import Any

from malmoi.cli.language import Language

Record = dict[str, Any]

# Two-sided 90 % quantiles of Student's t, by degrees of freedom from 1.
T90 = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833)
RISE = 0.01  # nats per token above its lowest by which a validation loss has risen again

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "columns": "run|best|bits/byte|at step|last|train|gap|params|seconds|vs base",
        "base": "None of the remedies; only what your own flags set.",
        "repeat": "The base run with another seed, to see how much is chance.",
        "best": "best: validation loss of the best weights, nats/token; * the lowest of all",
        "last": "last, train: validation and training loss of the last weights, both without "
        "dropout; gap: the difference",
        "no_last": "-: the last weights are gone",
        "one": "vs base: difference to the base run. Whether it is chance is not known with one "
        "base run: add --repeats 3",
        "noise": "vs base: difference to the mean of {runs} base runs with different seeds, "
        "{mean:.4f}.\n  Another such run would be within {band:.4f} of it nine times in ten: less "
        "is noise. (Two base runs tell it badly; more --repeats, better.)",
        "overfits": "Without a remedy the model overfits: its validation loss was lowest at step "
        "{best_step} and rose by {rise:.3f} until step {steps}.",
        "gap": " In the end it was {gap:.3f} above the loss on the training text.",
        "no_overfit": "Without a remedy the model does not overfit yet: its validation loss ended "
        "at its lowest, or near it. So there is little to mend here; longer runs may show more.",
        "helped": "Better by more than noise: {names}.",
        "harmed": "Worse by more than noise: {names}.",
        "unclear": "Not told apart from noise: {names}.",
        "unknown": "What is noise is not known, so these may be chance: {names}.",
        "text_most": "Half the text makes the loss {cost:.3f} higher, which is more than any "
        "remedy took off: more text would likely do the most.",
        "text_some": "Half the text makes the loss {cost:.3f} higher: more text would likely help, "
        "too.",
        "text_little": "Half the text did as well, as far as the noise lets see: more of it would "
        "hardly help a run of this length.",
        "stopped": "Early stopping ended the run at step {steps}; the base run took {of}.",
    },
    "ko": {
        "columns": "실행|최저|비트/바이트|그 스텝|마지막|학습|벌어짐|매개변수|초|기준과 차이",
        "base": "아래 방법을 하나도 쓰지 않습니다. 옵션으로 직접 정한 것만 씁니다.",
        "repeat": "기준 실행을 시드만 바꾸어 되풀이합니다. 우연이 얼마나 되는지 보려는 것입니다.",
        "best": "최저: 가장 좋은 가중치의 검증 손실(nats/token), *는 그중 가장 낮은 것",
        "last": "마지막, 학습: 마지막 가중치의 검증 손실과 학습 손실(둘 다 드롭아웃 없이), "
        "벌어짐: 둘의 차이",
        "no_last": "-: 마지막 가중치가 남아 있지 않음",
        "one": "기준과 차이: 기준 실행과의 차이. 기준 실행이 하나뿐이라 우연인지 알 수 없습니다. "
        "--repeats 3을 붙여 보세요",
        "noise": "기준과 차이: 시드만 다른 기준 실행 {runs}개의 평균 {mean:.4f}과의 차이.\n"
        "  이런 실행을 또 하면 열에 아홉은 그 평균에서 {band:.4f} 안에 듭니다. 그보다 작은 차이는 "
        "우연으로 봅니다. (기준 실행 두 번으로는 어림일 뿐입니다. --repeats를 늘리면 나아집니다.)",
        "overfits": "아무 방법도 쓰지 않으면 과적합합니다. 검증 손실은 스텝 {best_step}에서 가장 "
        "낮았고 스텝 {steps}까지 {rise:.3f} 올랐습니다.",
        "gap": " 끝에는 학습한 글의 손실보다 {gap:.3f} 높았습니다.",
        "no_overfit": "아무 방법을 쓰지 않아도 아직 과적합하지 않습니다. 검증 손실이 끝까지 "
        "가장 낮거나 그 가까이에 있었습니다. 그래서 고칠 것이 적습니다. 더 오래 배우면 다를 수 "
        "있습니다.",
        "helped": "우연보다 크게 나아진 것: {names}.",
        "harmed": "우연보다 크게 나빠진 것: {names}.",
        "unclear": "우연과 가릴 수 없는 것: {names}.",
        "unknown": "우연이 얼마나 되는지 몰라, 우연일 수도 있는 것: {names}.",
        "text_most": "글을 절반만 쓰면 손실이 {cost:.3f} 높아집니다. 어느 방법이 낮춘 것보다 "
        "큽니다. 글을 더 모으는 것이 가장 나을 것입니다.",
        "text_some": "글을 절반만 쓰면 손실이 {cost:.3f} 높아집니다. 글을 더 모아도 나아질 "
        "것입니다.",
        "text_little": "글을 절반만 써도 우연을 넘는 차이가 없습니다. 이만큼 배울 때는 글이 더 "
        "있어도 별로 나아지지 않을 것입니다.",
        "stopped": "조기 종료는 스텝 {steps}에서 끝냈습니다. 기준 실행은 {of}까지 갔습니다.",
    },
}  # fmt: skip


def compare(records: Sequence[Record]) -> dict[str, Any]:
    """The records with their differences to the base run, the noise, and the best one's name.

    Args:
        records: of one run each, as trained: `name`, `remedy` (None: a base run), `loss` and more.

    """
    noise = noise_of([record["loss"] for record in records if record["remedy"] is None])
    runs = []
    for record in records:
        difference = record["loss"] - noise["mean"]
        beyond = None if noise["band"] is None else abs(difference) > noise["band"]
        runs.append(record | {"difference": difference, "beyond_noise": beyond})
    best = min(records, key=lambda record: record["loss"])["name"]
    return {"runs": runs, "noise": noise, "best": best}


def noise_of(losses: Sequence[float]) -> dict[str, Any]:
    """Mean of base runs, and the `band` around it that holds another one nine times in ten.

    That is the prediction interval of normally distributed losses: t s sqrt(1 + 1/n), with s the
    standard deviation of the n losses and t the quantile of Student's t with n - 1 degrees of
    freedom. For two runs it is 5.5 times the distance between them: two tell little.

    Args:
        losses: of one run each; the band of a single one is None. 10 at most.

    """
    count, mean = len(losses), sum(losses) / len(losses)
    band = None
    if count > 1:
        variance = sum((loss - mean) ** 2 for loss in losses) / (count - 1)
        band = T90[count - 2] * math.sqrt(variance * (1 + 1 / count))
    return {"mean": mean, "band": band, "runs": count}


def table(result: dict[str, Any], language: Language) -> str:
    """The result of `compare` as lines of text, with what its columns mean below."""
    words = WORDS[language]
    rows = [words["columns"].split("|")]
    for run in result["runs"]:
        mark = " *" if run["name"] == result["best"] else ""
        rows.append([
            run["name"] + mark, f"{run['loss']:.4f}", f"{run['bits_per_byte']:.4f}",
            str(run["best_step"]), _number(run["last_validation"]), _number(run["last_train"]),
            _number(run["gap"]), f"{run['parameters'] / 1e6:.2f}M", f"{run['seconds']:.1f}",
            f"{run['difference']:+.4f}",
        ])  # fmt: skip
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [_pad(cell, width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append(row[0] + " " * (widths[0] - _width(row[0])) + "  " + "  ".join(cells))
    lines += ["", words["best"], words["last"]]
    if any(run["gap"] is None for run in result["runs"]):
        lines.append(words["no_last"])
    noise = result["noise"]
    lines.append(words["one"] if noise["band"] is None else words["noise"].format(**noise))
    return "\n".join(lines)


def conclusion(result: dict[str, Any], language: Language) -> list[str]:
    """A few sentences on what the numbers say, and no more than they do."""
    words, runs = WORDS[language], result["runs"]
    base = runs[0]
    said = [_overfitting(base, words)]
    tried = [run for run in runs if run["remedy"] not in (None, "half-data")]
    groups: dict[str, list[Record]] = {"helped": [], "harmed": [], "unclear": [], "unknown": []}
    for run in sorted(tried, key=lambda run: run["difference"]):
        if run["beyond_noise"] is None:
            groups["unknown"].append(run)
        elif run["beyond_noise"]:
            groups["helped" if run["difference"] < 0 else "harmed"].append(run)
        else:
            groups["unclear"].append(run)
    parts = [
        words[group].format(names=", ".join(f"{r['name']} ({r['difference']:+.4f})" for r in of))
        for group, of in groups.items() if of
    ]  # fmt: skip
    if parts:
        said.append(" ".join(parts))
    for run in runs:
        if run["remedy"] == "half-data" and run["beyond_noise"] is not None:
            said.append(_less_text(run, groups["helped"], words))
        if run["remedy"] == "early-stopping" and run["stopped_early"]:
            said.append(words["stopped"].format(steps=run["steps"], of=base["steps"]))
    return said


def _overfitting(base: Record, words: dict[str, str]) -> str:
    """By the losses on the way, which are all of the same text."""
    seen = [point for point in base["curve"] if "validation" in point]
    lowest = min(seen, key=lambda point: point["validation"])
    rise = seen[-1]["validation"] - lowest["validation"]
    if rise <= RISE:
        return words["no_overfit"]
    said = words["overfits"].format(
        best_step=lowest["step"], rise=rise, steps=seen[-1]["step"]
    )  # fmt: skip
    return said + ("" if base["gap"] is None else words["gap"].format(gap=base["gap"]))


def _less_text(run: Record, helped: Sequence[Record], words: dict[str, str]) -> str:
    cost = run["difference"]
    if not run["beyond_noise"] or cost < 0:
        return words["text_little"]
    most = max((-other["difference"] for other in helped), default=0.0)
    return words["text_most" if cost > most else "text_some"].format(cost=cost)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _width(text: str) -> int:
    """Columns on a terminal, where a Hangul syllable takes two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _pad(text: str, width: int) -> str:
    return " " * (width - _width(text)) + text
