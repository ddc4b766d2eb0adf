"""How the next token is chosen: a `Policy` says which transforms apply, `choose` applies them.

`transform` is the definition, readable and slow: it sorts the whole vocabulary. `choose` gives the
very same tokens from a few candidates. Randomness comes in as draws, each a function of (seed,
sample, position) alone, so a row's text depends neither on the rows beside it nor on its place.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from malmoi.decode.history import History
from malmoi.decode.sampler import draw_token
from malmoi.decode.transforms import (
    allow,
    apply_bias,
    apply_min_p,
    apply_temperature,
    apply_top_k,
    apply_top_p,
    apply_typical,
    force,
    penalize_counted,
    penalize_seen,
)
from malmoi.mixing import mix

_SMALL, _LARGE = 1e-30, 1e30  # between these nothing has to be seen to before dividing
_MASK = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True)
class Policy:
    """What is done to the logits before a token is drawn; by default nothing.

    Raises:
        ValueError: a value outside its range.

    """

    temperature: float = 1.0
    """below 1 sharper, above 1 flatter; 0: always the most probable token (greedy)"""
    top_k: int | None = None
    """keep the k most probable tokens"""
    top_p: float | None = None
    """keep the fewest most probable tokens whose probabilities sum to at least p"""
    min_p: float | None = None
    """keep tokens at least p times as probable as the most probable one"""
    typical_p: float | None = None
    """keep the tokens of most typical surprise whose probabilities sum to at least p"""
    repetition_penalty: float = 1.0
    """divide positive logits of ids in the prompt or the new text by this, multiply negative"""
    presence_penalty: float = 0.0
    """taken from the logit of each id that was generated"""
    frequency_penalty: float = 0.0
    """taken from the logit of each id as many times as it was generated"""
    no_repeat_ngram: int = 0
    """never repeat so many ids in a row; 0: no such rule"""
    banned_ids: tuple[int, ...] = ()
    """ids that never come"""
    forced_ids: tuple[int, ...] = ()
    """the first new ids, in order, whatever else is ruled out"""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """pairs of an id and what is added to its logit"""

    def __post_init__(self) -> None:
        def need(field: str, right: bool, wanted: str) -> None:
            if not right:  # NaN is never right: each range is told as what holds inside it
                name = field.replace("_", "-")
                raise ValueError(f"{name} {getattr(self, field)} (--{name}): has to be {wanted}")

        finite = math.isfinite
        need("temperature", 0 <= self.temperature < math.inf, "0 (greedy) or more, and finite")
        k, n = self.top_k, self.no_repeat_ngram
        need("top_k", k is None or (isinstance(k, int) and k >= 1), "a whole number, 1 or more")
        need("top_p", self.top_p is None or 0 <= self.top_p <= 1, "from 0 to 1")
        need("min_p", self.min_p is None or 0 <= self.min_p <= 1, "from 0 to 1")
        need("typical_p", self.typical_p is None or 0 < self.typical_p <= 1, "above 0, at most 1")
        penalty = self.repetition_penalty
        need("repetition_penalty", 0 < penalty < math.inf, "more than 0, and finite")
        need("presence_penalty", finite(self.presence_penalty), "a finite number")
        need("frequency_penalty", finite(self.frequency_penalty), "a finite number")
        need("no_repeat_ngram", isinstance(n, int) and n >= 0, "a whole number, 0 (off) or more")
        need("banned_ids", all(token >= 0 for token in self.banned_ids), "ids, 0 or more")
        need("forced_ids", all(token >= 0 for token in self.forced_ids), "ids, 0 or more")
        pairs = all(token >= 0 and finite(bias) for token, bias in self.logit_bias)
        need("logit_bias", pairs, "pairs of an id, 0 or more, and a finite number")

    def check(self, vocab_size: int) -> None:
        """See that the policy fits a vocabulary.

        Raises:
            ValueError: `top_k` is more than there are tokens, ids that are none of the
                vocabulary's, or nothing that is not banned.

        """
        if self.top_k is not None and self.top_k > vocab_size:
            raise ValueError(
                f"top-k {self.top_k} is more than the vocabulary of {vocab_size} tokens; "
                f"give --top-k {vocab_size} or less, or leave it out"
            )
        biased = tuple(token for token, _ in self.logit_bias)
        for name, ids in (
            ("banned-ids", self.banned_ids),
            ("forced-ids", self.forced_ids),
            ("logit-bias", biased),
        ):
            if ids and max(ids) >= vocab_size:
                raise ValueError(
                    f"id {max(ids)} (--{name}): the vocabulary has {vocab_size} tokens, "
                    f"ids 0 to {vocab_size - 1}"
                )
        if len(set(self.banned_ids)) == vocab_size:
            raise ValueError(
                f"all {vocab_size} tokens of the vocabulary are banned (--banned-ids): "
                "leave at least one"
            )

    @cached_property  # as with the next: asked for at every token
    def penalizes(self) -> bool:
        """Whether anything but the shape of the distribution is changed."""
        return (
            self.repetition_penalty != 1
            or any((self.presence_penalty, self.frequency_penalty, self.no_repeat_ngram))
            or any((self.banned_ids, self.forced_ids, self.logit_bias))
        )

    @cached_property
    def only_bans(self) -> bool:
        """Whether nothing but banned ids is ruled out, and nothing is changed."""
        return not replace(self, banned_ids=()).penalizes

    @cached_property
    def tensors(self) -> tuple[np.ndarray, Tensor, Tensor]:
        """Banned ids, biased ids and their biases (float32)."""
        ids = torch.tensor([token for token, _ in self.logit_bias], dtype=torch.long)
        biases = torch.tensor([bias for _, bias in self.logit_bias], dtype=torch.float32)
        return np.array(self.banned_ids, np.int64), ids, biases


def penalize(logits: Tensor, policy: Policy, histories: Sequence[History] = ()) -> Tensor:
    """Everything that comes before the temperature, in the ecosystem's order.

    Args:
        logits: `[B, V]`, on the CPU.
        policy: what to apply.
        histories: one a row; none at all stands for rows without a text so far.

    Returns:
        Logits `[B, V]`; the same tensor where there is nothing to do.

    """
    ruled = any(history.forbidden or history.allowed is not None for history in histories)
    if not len(logits) or not (policy.penalizes or ruled):
        return logits
    histories = histories or [History(()) for _ in logits]
    # Row by row: a row of logits stays in the cache of the processor, a batch does not.
    rows = [
        _penalize_row(row, policy, history)
        for row, history in zip(logits.split(1), histories, strict=True)
    ]
    return rows[0] if len(rows) == 1 else torch.cat(rows)


def _penalize_row(row: Tensor, policy: Policy, history: History) -> Tensor:
    if len(history.new) < len(policy.forced_ids):  # last in the order: nothing else would be left
        return force(row, policy.forced_ids[len(history.new)])
    banned, biased, biases = policy.tensors
    # One copy for all of them, however many are on.
    row = apply_bias(row, biased, biases) if policy.logit_bias else row.clone()
    values = row[0].numpy()
    if policy.repetition_penalty != 1:
        penalize_seen(values, history.seen.numpy(), policy.repetition_penalty)
    if policy.presence_penalty or policy.frequency_penalty:
        ids, times = (tensor.numpy() for tensor in history.counts())
        penalize_counted(values, ids, times, policy.presence_penalty, policy.frequency_penalty)
    if policy.no_repeat_ngram:
        values[history.ngram_banned(policy.no_repeat_ngram)] = -np.inf
    if policy.banned_ids:
        values[banned] = -np.inf
    if history.forbidden:
        values[list(history.forbidden)] = -np.inf
    return row if history.allowed is None else allow(row, history.allowed)


def transform(logits: Tensor, policy: Policy, histories: Sequence[History] = ()) -> Tensor:
    """Logits `[B, V]` of the distribution that a policy draws from, all transforms in order.

    With temperature 0, where nothing is drawn, only the penalties.
    """
    logits = penalize(logits, policy, histories)
    if policy.temperature == 0:
        return logits
    if policy.temperature != 1:
        logits = apply_temperature(logits, policy.temperature)
    if policy.top_k is not None:
        logits = apply_top_k(logits, policy.top_k)
    if policy.top_p is not None and policy.top_p < 1:
        logits = apply_top_p(logits, policy.top_p)
    if policy.min_p:
        logits = apply_min_p(logits, policy.min_p)
    if policy.typical_p is not None and policy.typical_p < 1:
        logits = apply_typical(logits, policy.typical_p)
    return logits


def choose(logits: Tensor, policy: Policy, histories: Sequence[History], draws: Tensor) -> Tensor:
    """The next id `[B]` of each row from its logits `[B, V]`.

    Args:
        logits: of the model, untouched, on the CPU.
        policy: how to choose.
        histories: one a row, or none at all.
        draws: float64 `[B]` in [0, 1), of `uniform`; not looked at where the policy is greedy.

    Raises:
        ValueError: logits that are NaN or infinite, or a row in which nothing may come next.

    """
    assert len(draws) == len(logits)
    assert len(histories) in (0, len(logits))
    rows = logits.detach().float()
    chosen = []
    for index, draw in enumerate(draws.tolist()):
        row = rows[index : index + 1]
        values: np.ndarray = row[0].numpy()
        best = _most_probable(values)  # looked for before a penalty hides that the model is damaged
        scores = penalize(row, policy, histories[index : index + 1])
        if scores is not row:
            values = scores[0].numpy()
            best = _most_probable(values)
        if values[best] == -np.inf:
            raise ValueError(
                "nothing may come next: banned ids, no-repeat-ngram, min-new-tokens and the "
                "constraint together rule out every token; loosen one of them"
            )
        if policy.temperature == 0:
            chosen.append(best)
            continue
        shape = (policy.top_k, policy.top_p, policy.min_p, policy.typical_p)
        chosen.append(draw_token(_heat(values, best, policy.temperature), draw, *shape))
    return torch.tensor(chosen, dtype=torch.long)


def _heat(values: np.ndarray, best: int, temperature: float) -> np.ndarray:
    """`apply_temperature` to one row `[V]`, whose most probable id is known."""
    if temperature == 1:
        return values
    if _SMALL < temperature < _LARGE and abs(float(values[best])) < _LARGE * temperature:
        with np.errstate(over="ignore"):  # of the least probable, to minus infinity
            return values / np.float32(temperature)
    return apply_temperature(torch.from_numpy(values)[None], temperature)[0].numpy()


def _most_probable(values: np.ndarray) -> int:
    """The first id of the largest logit of `[V]`.

    Raises:
        ValueError: a logit that is NaN or positive infinity.

    """
    best = int(values.argmax())  # NaN counts as the largest, so one look finds all there is
    if math.isnan(values[best]):
        raise ValueError("the model's logits are not numbers (NaN): its weights are damaged")
    if values[best] == math.inf:
        raise ValueError(
            "a logit is infinite: the model's weights are damaged, "
            "or a penalty or a bias is too large"
        )
    return best


def uniform(
    seeds: int | Sequence[int], samples: int | Sequence[int], positions: int | Sequence[int]
) -> Tensor:
    """Draws in [0, 1) as float64 `[B]`, each a hash of its (seed, sample, position) alone.

    Args:
        seeds: of each row; one number stands for all rows, as with the others.
        samples: which continuation of its prompt a row is.
        positions: how many tokens each row has generated so far.

    """
    columns = [
        [int(value) & _MASK for value in ([one] if isinstance(one, int) else one)]
        for one in (seeds, samples, positions)
    ]
    lengths = {len(column) for column in columns} - {1}
    assert len(lengths) <= 1, "seeds, samples and positions of different lengths"
    rows = lengths.pop() if lengths else 1
    if rows > 8:
        hashed = mix(*(np.array(column, np.uint64) for column in columns))
        return torch.from_numpy((hashed >> np.uint64(11)).astype(np.float64) * 2.0**-53)
    whole = (column * rows if len(column) == 1 else column for column in columns)
    return torch.tensor(
        [(_mix_one(row) >> 11) * 2.0**-53 for row in zip(*whole, strict=True)], dtype=torch.float64
    )


def _mix_one(values: Sequence[int]) -> int:
    """`mix` of a few numbers, without the price of starting numpy thirty times."""
    state = 0
    for value in values:
        state = ((state ^ value) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state
