"""The words for findings in Korean and English: what is the matter, how one knows, what helps.

A finding knows kinds and numbers only (`malmoi.evaluate.facts`); here it gets its sentences.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from malmoi.evaluate.facts import Finding, Kind, Missing
from malmoi.evaluate.sentences import EN, KO

Language = Literal["ko", "en"]


@dataclass(frozen=True)
class Said:
    """A finding in words.

    Attributes:
        what: is the matter, in one sentence.
        why: one can say so: the numbers.
        advice: what helps.
        quotes: pieces of text that belong to it.

    """

    what: str
    why: str
    advice: str
    quotes: tuple[str, ...] = ()


def say(finding: Finding, language: Language) -> Said:
    """Put a finding into words."""
    evidence = dict(finding.evidence)
    if "part" in evidence:
        evidence["part"] = _PARTS[language].get(str(evidence["part"]), evidence["part"])
    values = evidence | {"step": finding.step}
    sentences = _WORDS[language][_way(finding)]
    what, why, advice = (sentence.format(**values) for sentence in sentences)
    names = ["example", "span_1", "span_2", "span_3"]
    return Said(what, why, advice, tuple(str(evidence[n]) for n in names if evidence.get(n)))


def say_missing(missing: Missing, kinds: Sequence[Kind], language: Language) -> str:
    """Say in a sentence what could not be looked for, and why not."""
    names = ", ".join(_NAMES[language][kind] for kind in kinds)
    return _MISSING[language][missing].format(names=names)


def _way(finding: Finding) -> str:
    """Which way a finding shows."""
    evidence = finding.evidence
    way: object = None
    if finding.kind == "diverged":
        lost = evidence["skipped"] or evidence["infinite"]
        way = "recovered" if finding.severity < 3 else "lost" if lost else "risen"
    elif finding.kind == "healthy":
        way = "floors" if "trigram" in evidence else None
    elif finding.kind == "memorising":
        way = None if "expected" in evidence else "alone"
    else:
        way = evidence.get("sign", evidence.get("lack"))
    return f"{finding.kind}.{way}" if way else finding.kind


_PARTS = {"ko": {"validation": "검증", "test": "시험"}, "en": {}}

_NAMES: dict[Language, dict[Kind, str]] = {
    "ko": {
        "diverged": "발산", "lr_too_high": "너무 높은 학습률", "lr_too_low": "너무 낮은 학습률",
        "leaking": "새어 들어간 글", "overfitting": "과적합", "memorising": "외우기",
        "worse_than_trigram": "트라이그램과의 비교", "underfitting": "과소적합",
        "batch_too_small": "너무 작은 배치",
    },
    "en": {
        "diverged": "divergence", "lr_too_high": "a learning rate that is too high",
        "lr_too_low": "a learning rate that is too low", "leaking": "leaked text",
        "overfitting": "overfitting", "memorising": "memorising",
        "worse_than_trigram": "the comparison with a trigram", "underfitting": "underfitting",
        "batch_too_small": "a batch that is too small",
    },
}  # fmt: skip

_MISSING: dict[Language, dict[Missing, str]] = {
    "ko": {
        "curve": "평가가 네 번이 안 되어 손실 곡선을 보지 못했어요 ({names}).",
        "held_out": "검증용으로 떼어 둔 글이 없어서 알 수 없어요 ({names}).",
        "steps": "스텝마다의 기록이 없어서 기울기가 튀었는지는 보지 못했어요 ({names}).",
        "noise": "학습률이 높을 때의 기울기 잡음 기록이 없어요 ({names}).",
        "floors": "바닥값을 세지 않았어요 ({names}).",
        "spans": "겹치는 글을 찾아보지 못했어요. 떼어 둔 글이 없거나 글들이 너무 짧아요 ({names}).",
        "speech": "모델의 말에서 학습 글을 찾아보지 못했어요. 글들이 너무 짧아요 ({names}).",
    },
    "en": {
        "curve": "There are fewer than four evaluations, so the curve says nothing ({names}).",
        "held_out": "No text was held out for validation, so nobody can know ({names}).",
        "steps": "Single steps were not recorded, so leaps of the gradient are unknown ({names}).",
        "noise": "No gradient noise was recorded while the learning rate was high ({names}).",
        "floors": "The floors were not counted ({names}).",
        "spans": "Copies were not looked for: nothing is held out, or the documents are too short "
        "({names}).",
        "speech": "What the model says was not looked up: the documents are too short ({names}).",
    },
}

_WORDS: dict[Language, dict[str, tuple[str, str, str]]] = {"ko": KO, "en": EN}
