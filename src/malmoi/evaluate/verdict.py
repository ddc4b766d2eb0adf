"""What is the matter with a run: all rules asked, the worst finding first. No text here.

A rule that lacks what it needs is not asked, and `not_looked_at` tells so. The words for findings
are in `malmoi.evaluate.words`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from malmoi.evaluate import rules
from malmoi.evaluate.curves import Curves
from malmoi.evaluate.facts import Facts, Finding, Kind, Missing


def judge(records: Sequence[Mapping[str, Any]], facts: Facts) -> list[Finding]:
    """Say what is the matter: one finding at least, the worst first.

    Args:
        records: the lines of `metrics.jsonl`, in order.
        facts: what is known besides.

    Raises:
        ValueError: a record that is none.

    """
    curves = Curves.of(records)
    there = _there(curves, facts)
    found: dict[Kind, Finding] = {}
    for kind, rule in RULES.items():
        finding = rule.look(curves, facts) if rule.needs <= there else None
        if finding is not None:
            found[kind] = finding
    if "diverged" in found and found["diverged"].severity == 3:
        # What a broken model does besides tells nothing about its text, size or time.
        found = {k: f for k, f in found.items() if k in ("diverged", "lr_too_high", "leaking")}
    if "lr_too_high" in found:
        found.pop("underfitting", None)  # its consequence
    if found:
        return sorted(found.values(), key=lambda finding: -finding.severity)
    return [rules.nothing(curves, facts, sound="curve" in there)]


def not_looked_at(records: Sequence[Mapping[str, Any]], facts: Facts) -> dict[Missing, list[Kind]]:
    """What was missing, and which findings could not be looked for, or not in every way.

    The `curve` (four evaluations), `held_out` text, records of single `steps`, `noise` scales,
    `floors`, `spans` that parts have in common, or `speech` of the model.
    """
    there = _there(Curves.of(records), facts)
    missing: dict[Missing, list[Kind]] = {}
    for kind, rule in RULES.items():
        for name in sorted((rule.needs | rule.likes) - there):
            missing.setdefault(name, []).append(kind)
    return missing


def _there(curves: Curves, facts: Facts) -> set[Missing]:
    found: dict[Missing, bool] = {
        "curve": len(curves.finite) >= 4 and math.isfinite(curves.last_train),
        "held_out": facts.held_out,
        "steps": len(curves.step) > 0,
        "noise": any(e.noise_scale for e in curves.at_peak(0.5)),
        "floors": facts.floors is not None and len(curves.finite) > 0,
        "spans": facts.leak is not None,
        "speech": facts.recital is not None,
    }
    return {name for name, here in found.items() if here}


@dataclass(frozen=True)
class Rule:
    """What looks for one kind of finding, what it cannot do without, and what it is better with."""

    look: Callable[[Curves, Facts], Finding | None]
    needs: frozenset[Missing] = frozenset()
    likes: frozenset[Missing] = frozenset()


RULES: dict[Kind, Rule] = {
    "diverged": Rule(rules.diverged),
    "lr_too_high": Rule(rules.lr_too_high, frozenset({"curve"}), frozenset({"steps", "floors"})),
    "lr_too_low": Rule(rules.lr_too_low, frozenset({"curve"})),
    "leaking": Rule(rules.leaking, frozenset({"spans"})),
    "overfitting": Rule(rules.overfitting, frozenset({"curve", "held_out"})),
    "memorising": Rule(rules.memorising, frozenset({"speech"})),
    "worse_than_trigram": Rule(rules.worse_than_trigram, frozenset({"floors", "held_out"})),
    "underfitting": Rule(rules.underfitting, frozenset({"curve"}), frozenset({"floors"})),
    "batch_too_small": Rule(rules.batch_too_small, frozenset({"noise"})),
}
