"""The rules of a verdict: each looks for one thing in curves and facts, and gives its evidence.

A rule gives None where it sees nothing. It may count on what `malmoi.evaluate.verdict` says that it
needs. The thresholds were set on real runs, healthy ones and ones made ill on purpose, so that no
healthy one is called ill (`benchmarks/verdict.py`).
"""

from typing import Any

import numpy as np

from malmoi.config import ModelConfig
from malmoi.evaluate.curves import Curves
from malmoi.evaluate.facts import Facts, Finding

RISE = 0.01  # overfitting: share of the best loss that a lasting rise has to exceed
JITTERS = 3.0  # and how many times the loss's own jitter
LOST = 0.25  # diverged: share of what was won that is lost again
BLOWN_UP = 1.2  # times the untrained model's loss
STRAIGHT = 0.7  # share of the fall in the first half of the way: below, it has hardly begun
PROMISE = 0.1  # of the loss, what twice the steps would bring: above, stopping was too early
TOGETHER = 0.08  # of the loss, between training and validation
FLAT = 0.02  # of the loss: where neither of the last doublings brought as much, more bring nothing
LOW_RATE = 0.2  # of the usual learning rate: below, slowness is its fault
STILL = 0.02  # of the whole fall, from one evaluation to the next
SPIKE, SPIKES = 5.0, 0.01  # times the median gradient; share of the steps
NOISY = 10.0  # times the batch: the noise scale while the learning rate is high
LEAKING = 0.03  # of the held-out tokens
RECITING = 0.10  # of the generated tokens

Evidence = dict[str, float | int | str]


def diverged(curves: Curves, facts: Facts) -> Finding | None:
    """Much of what was won is lost again on the training text too, or numbers were not finite."""
    values, train = curves.validation, curves.train
    infinite = [e.step for e in curves.evaluations if e.validation is None]
    evidence: Evidence = {
        "skipped": len(curves.skipped), "rollbacks": curves.rollbacks, "infinite": len(infinite),
    }  # fmt: skip
    step = min([*curves.skipped, *infinite], default=None)
    # The run ended on numbers that were lost: no evaluation came after them, or no finite one.
    evaluated = curves.finite[-1].step if curves.finite else -1
    broken = curves.evaluations[-1:] != curves.finite[-1:]
    broken |= bool(curves.skipped) and curves.skipped[-1] > evaluated
    if len(values) > 1:
        at = int(values.argmin())
        best, last = float(values[at]), float(values[-1])
        evidence |= {"best": best, "last": last, "best_step": curves.finite[at].step}
        far = best + LOST * max(float(values[0]) - best, 0.05 * best)
        if last > far and bool(train[-1] > far):
            broken, step = True, curves.finite[at].step
    if not broken and not curves.skipped and not curves.rollbacks and not infinite:
        return None
    changes: dict[str, Any] = {"lr": _lower(facts)}
    if not facts.config.optim.clip:
        changes["clip"] = 1.0
    return Finding("diverged", 3 if broken else 1, step, evidence, facts.again(**changes))


def lr_too_high(curves: Curves, facts: Facts) -> Finding | None:
    """The loss blew up, stood still while the rate was high, or the gradient leapt repeatedly."""
    values, train = curves.validation, curves.train
    worst = float(np.max(train[np.isfinite(train)], initial=0.0))
    spikes, stuck = curves.spikes(SPIKE), _stuck(curves, facts)
    evidence: Evidence = {
        "lr": facts.lr, "usual": facts.usual_lr, "spikes": spikes, "steps": len(curves.step),
        "untrained": float(values[0]), "worst": worst, "last": float(values[-1]),
    }  # fmt: skip
    if worst > BLOWN_UP * values[0]:
        evidence["sign"] = "blown"
    elif stuck is not None:
        evidence |= {"sign": "stuck", "stuck_at": stuck}
    elif spikes >= max(4, SPIKES * len(curves.step)):
        evidence["sign"] = "leaping"
    else:
        return None
    return Finding("lr_too_high", 2, None, evidence, facts.again(lr=_lower(facts)))


def _stuck(curves: Curves, facts: Facts) -> float | None:
    """The loss at which a run stood near the unigram floor while its rate was at the peak.

    At a rate that is low, or on text whose order tells nothing, that has other causes.
    """
    high = [e.validation or 0.0 for e in curves.at_peak(0.9)]
    if facts.floors is None or len(high) < 3 or facts.lr <= facts.usual_lr:
        return None
    unigram, trigram = facts.floors.unigram, facts.floors.trigram
    near = high[-1] > unigram - 0.25 * (unigram - trigram)
    still = high[-2] - high[-1] < STILL * float(curves.validation[0] - curves.validation.min())
    return high[-1] if near and still and trigram < 0.95 * unigram else None


def _lower(facts: Facts) -> float:
    return min(facts.lr / 4, facts.usual_lr)


def _slow(curves: Curves, facts: Facts) -> Evidence | None:
    """Signs that a run was left when it had hardly begun, or was still learning fast."""
    straightness, promise = curves.straightness(), curves.promise()
    values = curves.validation
    if straightness is None or values[-1] > values.min() + JITTERS * curves.jitter():
        return None
    if straightness >= STRAIGHT and (promise is None or promise < PROMISE):
        return None
    return {
        "untrained": float(values[0]), "last": float(values[-1]), "steps": curves.last_step,
        "straightness": straightness, "promise": promise or 0.0, "lr": facts.lr,
        "usual": facts.usual_lr,
    }  # fmt: skip


def lr_too_low(curves: Curves, facts: Facts) -> Finding | None:
    """The loss still falls as if it had just begun, at a rate far below the usual one."""
    evidence = _slow(curves, facts)
    if evidence is None or facts.lr >= LOW_RATE * facts.usual_lr:
        return None
    return Finding("lr_too_low", 2, None, evidence, facts.again(lr=facts.usual_lr))


def underfitting(curves: Curves, facts: Facts) -> Finding | None:
    """More time or, where time changes nothing any more, a bigger model would do clearly better.

    Where the loss still falls fast it is time. Where the loss is no better than a trigram's, on the
    training text neither, it is time or size, by whether it still falls at all.
    """
    low = facts.lr < LOW_RATE * facts.usual_lr
    evidence = _slow(curves, facts)
    if evidence is not None:
        if low:
            return None  # that is `lr_too_low`
        lack = "start" if float(evidence["straightness"]) < STRAIGHT else "time"
        return Finding(
            "underfitting", 2, None, {"lack": lack, **evidence}, facts.again(**_longer(facts))
        )
    falls, best, train = curves.falls(), _best(curves, facts), curves.last_train
    if facts.floors is None or falls is None:
        return None
    if best < facts.floors.trigram or not train > (1 - TOGETHER) * best:
        return None
    flat = max(falls[1:]) < FLAT
    evidence = {
        "lack": "size" if flat else "skill", "train": train, "best": best,
        "trigram": facts.floors.trigram, "last_doubling": falls[-1], "steps": curves.last_step,
    }  # fmt: skip
    changes = {"d_model": 2 * facts.config.model.d_model} if flat else _longer(facts)
    if facts.config.model.preset == "bigram":
        changes = {"preset": "malmoi"}
    return Finding("underfitting", 2, None, evidence, facts.again(**changes))


def _best(curves: Curves, facts: Facts) -> float:
    """The best validation loss: over the whole part where that is known."""
    return float(curves.validation.min()) if facts.validation is None else facts.validation


def _longer(facts: Facts) -> dict[str, Any]:
    """Four times as long."""
    setting = facts.config.train
    return (
        {"steps": 4 * setting.steps} if setting.steps else {"minutes": 4 * (setting.minutes or 3)}
    )


def overfitting(curves: Curves, facts: Facts) -> Finding | None:
    """Validation loss rises for good, well above its jitter, while training loss falls on."""
    values, train, jitter = curves.validation, curves.train, curves.jitter()
    at = int(values.argmin())
    best, after = float(values[at]), values[at + 1 :]
    margin = max(RISE * best, JITTERS * jitter)
    falls = bool(curves.last_train < (train[at] if at else train[1]))
    # Two evaluations at the end; or one, where there are no more, but far above.
    lasting = len(after) >= 2 and bool((after[-2:] > best + margin).all())
    leap = len(after) == 1 and bool(after[0] > best + 3 * margin)
    if not falls or not (lasting or leap):
        return None
    step, last = curves.finite[at].step, float(after[-1])
    epochs = facts.batch_tokens * step / facts.train_tokens if facts.train_tokens else 0.0
    evidence: Evidence = {
        "best": best, "last": last, "train": curves.last_train, "jitter": jitter, "epochs": epochs,
    }  # fmt: skip
    return Finding("overfitting", 2, step, evidence, facts.again(**_restraint(facts)))


def _restraint(facts: Facts) -> dict[str, Any]:
    """What keeps a model from learning its text by heart."""
    model, usual = facts.config.model, ModelConfig().ngram_dropout
    changes: dict[str, Any] = {"dropout": round(min(0.5, model.dropout + 0.1), 3)}
    if model.ngram_orders and model.ngram_dropout < usual:
        changes["ngram_dropout"] = usual
    if not facts.config.train.patience:
        changes["patience"] = 3
    if not facts.held_out:  # otherwise nobody sees when to stop
        changes["split"] = "80/10/10"
    return changes


def memorising(curves: Curves, facts: Facts) -> Finding | None:
    """The model recites its training text, clearly more than texts of this kind share anyway."""
    recital = facts.recital
    if recital is None or recital.share < RECITING + 3 * (recital.expected or 0.0):
        return None
    evidence: Evidence = {
        "share": recital.share, "tokens": recital.tokens, "length": recital.length,
    }  # fmt: skip
    if recital.expected is not None:
        evidence["expected"] = recital.expected
    evidence |= {f"span_{n}": text for n, text in enumerate(recital.spans, 1)}
    severity = 3 if recital.share > 0.5 else 2
    return Finding("memorising", severity, None, evidence, facts.again(**_restraint(facts)))


def leaking(curves: Curves, facts: Facts) -> Finding | None:
    """Held-out text stands in the training text, so its loss looks better than it is."""
    leak = facts.leak
    if leak is None or leak.share < LEAKING:
        return None
    evidence: Evidence = {
        "share": leak.share, "part": leak.part, "length": leak.length, "example": leak.example,
    }  # fmt: skip
    return Finding("leaking", 3 if leak.share > 0.2 else 2, None, evidence, facts.elsewhere())


def worse_than_trigram(curves: Curves, facts: Facts) -> Finding | None:
    """Counting three tokens at a time does as well."""
    best = _best(curves, facts)
    if facts.floors is None or best < facts.floors.trigram:
        return None
    evidence: Evidence = {
        "best": best, "trigram": facts.floors.trigram, "unigram": facts.floors.unigram,
    }  # fmt: skip
    changes = _longer(facts)
    if facts.config.model.preset == "bigram":
        changes["preset"] = "malmoi"
    return Finding("worse_than_trigram", 2, None, evidence, facts.again(**changes))


def batch_too_small(curves: Curves, facts: Facts) -> Finding | None:
    """The gradient noise scale is far above the batch while the learning rate is high.

    As the rate falls to nothing the scale of any good run grows tenfold (`malmoi.evaluate.noise`).
    A single scale is off by half or more where it is far above the batch that it was measured on:
    what is uncertain is the gradient that it is divided by. Hence the harmonic mean.
    """
    scales = [e.noise_scale for e in curves.at_peak(0.5) if e.noise_scale]
    scale, batch = float(1 / np.mean(1 / np.array(scales))), facts.batch_tokens
    if scale < NOISY * batch:
        return None
    size, length = facts.config.train.batch_size, facts.config.model.context_length
    larger = min(max(2 * size, round(scale / 2 / length)), 64 * size)
    evidence: Evidence = {"noise_scale": scale, "batch": batch, "ratio": scale / batch}
    return Finding("batch_too_small", 1, None, evidence, facts.again(batch_size=larger))


def nothing(curves: Curves, facts: Facts, sound: bool) -> Finding:
    """Nothing was found, or nothing could be."""
    evidence: Evidence = {"evaluations": len(curves.finite), "steps": curves.last_step}
    if not sound:
        return Finding("unclear", 1, None, evidence, facts.again())
    at = int(curves.validation.argmin())
    evidence |= {"best": _best(curves, facts), "train": curves.last_train}
    if facts.floors is not None:
        evidence["trigram"] = facts.floors.trigram
    return Finding("healthy", 0, curves.finite[at].step, evidence, facts.generate())
