"""`malmoi bench decode`: how fast tokens are generated, beside `transformers` in the same process.

Weights are random and the same on both sides. A figure is a ratio of medians of runs that take
turns, so that a machine which slows down slows both; the lowest and highest ratio of a pair of runs
tell how far to trust it. The first run of each is not counted: ours compiles once on a machine.
`bench.py` has the flags, and the speed of training.
"""

import contextlib
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any, get_args

import torch
from torch import Tensor

from malmoi.cli.bench import Part, Scale
from malmoi.cli.progress import Progress
from malmoi.decode import Request, complete, generate
from malmoi.decode.policy import Policy
from malmoi.decode.speculate import PromptLookup, Speculator
from malmoi.model import GPT, build

GREEDY = Policy(temperature=0.0)
EVERYTHING = Policy(
    temperature=0.8, top_k=50, top_p=0.95, min_p=0.02, typical_p=0.95, repetition_penalty=1.1,
    presence_penalty=0.2, frequency_penalty=0.2, no_repeat_ngram=3, banned_ids=(1, 2, 3),
)  # fmt: skip
TYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
PEER_NAMES = {
    "token_embedding": "model.embed_tokens", "blocks": "model.layers",
    "attention_norm": "input_layernorm", "feed_forward_norm": "post_attention_layernorm",
    "final_norm": "model.norm", "attention.out": "self_attn.o_proj",
    "feed_forward.": "mlp.", ".gate.": ".gate_proj.", ".up.": ".up_proj.", ".down.": ".down_proj.",
    "head.": "lm_head.",
}  # fmt: skip

PAUSE = 0.1
"""seconds before each run: the idle threads of the one before look for work for a while"""

Work = Callable[[], tuple[float, list[list[int]]]]
"""Generates once: seconds, and the new ids of each row."""


@dataclass
class Timed:
    """The runs of one `Work`; the first does not count."""

    seconds: list[float] = field(default_factory=list)
    ids: list[list[int]] = field(default_factory=list)

    def rates(self) -> list[float]:
        """New tokens a second of each run that counts."""
        return [sum(map(len, self.ids)) / seconds for seconds in self.seconds[1:]]


def run(parts: Sequence[Part], repeats: int, scale: Scale) -> dict[str, Any]:
    """Measure the parts; none given stands for all.

    Raises:
        ValueError: no repeats, or `transformers` is needed and missing.

    """
    if repeats < 1:
        raise ValueError(f"repeats {repeats} (--repeats): has to be 1 or more")
    parts = parts or get_args(Part)
    result: dict[str, Any] = {"threads": torch.get_num_threads(), "torch": torch.__version__}
    if {"single", "batch", "small"} & set(parts):
        result["transformers"] = _import_peer().__version__
    # Works, 2 for a part or more: all that a bar can know beforehand of how long it will take.
    works = sum({"policy": 4, "small": 4 * len(scale.small)}.get(part, 2) for part in parts)
    result["repeats"], result["figures"] = repeats, {}
    with Progress("bench decode", works * (repeats + 1)) as progress:
        bench = _Bench(scale, repeats, progress)
        for part in parts:
            result["figures"] |= getattr(bench, part)()
    with contextlib.suppress(ImportError):  # on Windows
        import resource

        # KiB on Linux; of the whole process, so the peer and its weights are in it.
        result["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


class _Bench:
    """A method for each part gives its figures by name."""

    def __init__(self, scale: Scale, repeats: int, progress: Progress) -> None:
        self.scale, self.repeats, self.progress = scale, repeats, progress
        self.done = 0
        self.generator = torch.Generator().manual_seed(0)

    @cached_property
    def model(self) -> GPT:
        return _random(self.scale.vocab, self.scale.precision, **self.scale.shape)

    def single(self) -> dict[str, Any]:
        return self._beside_peer("single", [self.scale.prompt], self.scale.new, 2.5)

    def batch(self) -> dict[str, Any]:
        lengths = torch.linspace(*self.scale.lengths, self.scale.batch).round().int().tolist()
        return self._beside_peer(f"batch of {len(lengths)}", lengths, self.scale.batch_new, 3.0)

    def _beside_peer(
        self, part: str, lengths: list[int], new: int, target: float
    ) -> dict[str, Any]:
        name, prompts = f"{part}, {_title(self.model)}", self._prompts(lengths, self.scale.vocab)
        works = [_ours(self.model, prompts, new), _theirs(_peer(self.model), prompts, new)]
        ours, theirs = self._alternate(name, works)
        return {name: _speed(ours, theirs, "transformers", target)}

    def continuous(self) -> dict[str, Any]:
        """Requests that come and go, against fixed batches of the same totals of tokens."""
        s = self.scale
        name = f"continuous, {s.requests} requests in {s.batch} slots, {_title(self.model)}"
        lengths, new = (self._whole_mean(*span) for span in (s.lengths, s.request_new))
        mean, mean_new = (sum(values) // s.requests for values in (lengths, new))
        pairs = zip(self._prompts(lengths, s.vocab), new, strict=True)
        mixed = [Request(prompt, GREEDY, most) for prompt, most in pairs]
        prompts = self._prompts([mean] * s.requests, s.vocab)
        level = [Request(prompt, GREEDY, mean_new) for prompt in prompts]

        def serve(requests: list[Request], together: int) -> Work:
            def work() -> tuple[float, list[list[int]]]:
                begin, done = time.perf_counter(), []
                for first in range(0, len(requests), together):
                    group = requests[first : first + together]
                    done += complete(self.model, group, slots=s.batch)
                return time.perf_counter() - begin, [completion.ids for completion in done]

            return work

        works = [serve(mixed, s.requests), serve(level, s.batch)]
        ours, fixed = self._alternate(name, works)
        return {name: _speed(ours, fixed, "fixed batches", 0.85, same=False)}

    def policy(self) -> dict[str, Any]:
        """What all transforms together add to a greedy step, as a share of it."""
        s, figures = self.scale, {}
        model = _random(s.policy_vocab, s.precision, **s.shape)
        for rows, target in ((1, 0.10), (s.batch, None)):
            name = f"policy, all transforms, batch of {rows}, {_title(model)}"
            prompts = self._prompts([s.prompt] * rows, s.policy_vocab)
            works = [_steps(model, prompts, s.new, policy) for policy in (EVERYTHING, GREEDY)]
            full, greedy = (timed.seconds[1:] for timed in self._alternate(name, works))
            costs = [a / b - 1 for a, b in zip(full, greedy, strict=True)]
            ours, other = (1e3 * statistics.median(seconds) for seconds in (full, greedy))
            cost = ours / other - 1
            figures[name] = {
                "unit": "ms/step", "ours": ours, "other": other, "against": "greedy",
                "ratio": cost, "lowest": min(costs), "highest": max(costs), "target": target,
                "reached": None if target is None else cost <= target,
            }  # fmt: skip
        return figures

    def small(self) -> dict[str, Any]:
        """Models for which calling a kernel takes longer than its arithmetic."""
        figures, new = {}, self.scale.new
        for sizes in self.scale.small:
            models = [_random(precision=name, context_length=512, **sizes) for name in TYPES]
            prompts = self._prompts([self.scale.prompt], sizes["vocab"])
            works = [_ours(model, prompts, new) for model in models]
            works += [_theirs(_peer(model), prompts, new) for model in models]
            timed = self._alternate(f"small, width {sizes['d_model']}", works)
            ours, theirs = timed[: len(models)], timed[len(models) :]
            better = max(statistics.median(one.rates()) for one in theirs)
            for model, one, other in zip(models, ours, theirs, strict=True):
                target = 8.0 if model.output_weight.dtype == torch.bfloat16 else None
                figure = _speed(one, other, "transformers", target)
                figure["ratio_to_their_better_type"] = figure["ours"] / better
                figures[f"small, {_title(model)}"] = figure
        return figures

    def speculate(self) -> dict[str, Any]:
        """Prompt look-up at its best: the text goes on just as its prompt repeats itself."""
        s = self.scale
        model = _random(s.vocab, s.precision, **s.shape)
        ids, cycle = torch.arange(s.vocab), s.repeated
        after = ids // cycle * cycle + (ids + 1) % cycle
        with torch.no_grad():  # layers that do little, so that the next id is `after[id]`
            for name, parameter in model.named_parameters():
                if name.endswith(("attention.out.weight", "down.weight")):
                    parameter.mul_(1e-3)
            model.head.weight[after] = model.token_embedding.weight
        name = f"speculate, prompt look-up, {_title(model)}"
        prompts = [list(range(cycle)) * 2]
        works = [_ours(model, prompts, s.new, speculator=one) for one in (PromptLookup(), None)]
        ours, plain = self._alternate(name, works)
        return {name: _speed(ours, plain, "no speculation", None)}

    def _alternate(self, label: str, works: list[Work]) -> list[Timed]:
        timed = [Timed() for _ in works]
        self.progress.label = label
        for _ in range(1 + self.repeats):
            for work, one in zip(works, timed, strict=True):
                time.sleep(PAUSE)
                seconds, one.ids = work()
                one.seconds.append(seconds)
                self.done += 1
                self.progress.update(self.done)
        return timed

    def _prompts(self, lengths: Sequence[int], vocab: int) -> list[list[int]]:
        return [torch.randint(vocab, (n,), generator=self.generator).tolist() for n in lengths]

    def _whole_mean(self, least: int, most: int) -> list[int]:
        """A random number for each request, the largest lowered until the mean is whole."""
        count = self.scale.requests
        values = torch.randint(least, most + 1, (count,), generator=self.generator).tolist()
        while sum(values) % count:
            values[values.index(max(values))] -= 1
        return values


def _speed(
    ours: Timed, other: Timed, against: str, target: float | None, *, same: bool = True
) -> dict[str, Any]:
    """A figure in tokens/s, where more is better; `same`: both were given the same prompts."""
    pairs = [a / b for a, b in zip(ours.rates(), other.rates(), strict=True)]
    rate, beside = statistics.median(ours.rates()), statistics.median(other.rates())
    figure = {
        "unit": "tokens/s", "ours": rate, "other": beside, "against": against,
        "ratio": rate / beside, "lowest": min(pairs), "highest": max(pairs), "target": target,
        "reached": None if target is None else rate / beside >= target,
        "first_run_seconds": ours.seconds[0],
        "median_run_seconds": statistics.median(ours.seconds[1:]),
    }  # fmt: skip
    if same:  # bfloat16 rounds differently on the two sides, and a text that parts stays apart
        rows = zip(ours.ids, other.ids, strict=True)
        equal = [a == b for row, beside in rows for a, b in zip(row, beside, strict=True)]
        figure["same_ids"] = sum(equal) / len(equal)
    return figure


def _ours(
    model: GPT, prompts: list[list[int]], new: int, *, speculator: Speculator | None = None
) -> Work:
    def work() -> tuple[float, list[list[int]]]:
        begin = time.perf_counter()
        done = generate(
            model, prompts, GREEDY, max_new_tokens=new, slots=len(prompts), speculator=speculator
        )
        return time.perf_counter() - begin, [completion.ids for completion in done]

    return work


def _steps(model: GPT, prompts: list[list[int]], new: int, policy: Policy) -> Work:
    """Seconds of a step, without reading the prompts; with penalties, one id is forbidden too."""
    rules: Any = {"min_new_tokens": new, "stop_ids": (0,)} if policy.penalizes else {}

    def work() -> tuple[float, list[list[int]]]:
        times: list[float] = []

        def hear(token: int) -> None:
            times.append(time.perf_counter())

        requests = [Request(ids, policy, new, on_token=hear, **rules) for ids in prompts]
        done = complete(model, requests, slots=len(prompts))
        seconds = times[-1] - times[len(prompts) - 1]  # from the last row's first token
        return seconds / (new - 1), [completion.ids for completion in done]

    return work


def _theirs(peer: Any, prompts: list[list[int]], new: int) -> Work:
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])

    def work() -> tuple[float, list[list[int]]]:
        begin = time.perf_counter()
        out = peer.generate(
            ids, attention_mask=mask, min_new_tokens=new, max_new_tokens=new, do_sample=False,
            pad_token_id=0,
        )  # fmt: skip
        return time.perf_counter() - begin, out[:, longest:].tolist()

    return work


def _random(vocab: int, precision: str, **sizes: int) -> GPT:
    return GPT(build("llama", vocab, **sizes)).eval().to(TYPES[precision])


def _import_peer() -> ModuleType:
    try:
        import transformers
    except ImportError:
        raise ValueError(
            "bench decode measures beside transformers, which is not installed: "
            "pip install 'malmoi[test]', or choose --part continuous policy speculate"
        ) from None
    transformers.logging.set_verbosity_error()  # errors stay
    return transformers


def _peer(model: GPT) -> Any:
    """Their LLaMA with copies of our weights, in the same type."""
    c, names = model.config, _import_peer()
    config = names.LlamaConfig(
        vocab_size=c.vocab_size, max_position_embeddings=c.context_length,
        hidden_size=c.d_model, intermediate_size=c.d_ff, num_hidden_layers=c.num_layers,
        num_attention_heads=c.num_heads, num_key_value_heads=c.num_kv_heads, rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": c.rope_base},
        tie_word_embeddings=c.tie_embeddings, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    weights: dict[str, Tensor] = {}
    for key, value in model.state_dict().items():
        for ours, theirs in PEER_NAMES.items():
            key = key.replace(ours, theirs)
        if "attention.qkv" in key:
            sizes = [n * c.head_size for n in (c.num_heads, c.num_kv_heads, c.num_kv_heads)]
            for name, part in zip("qkv", value.split(sizes), strict=True):
                weights[key.replace("attention.qkv", f"self_attn.{name}_proj")] = part.clone()
        else:
            weights[key] = value.clone()
    peer = names.LlamaForCausalLM(config).eval()
    # Assigned, so that only the weights take our type: the rotation's angles have to stay float32.
    peer.load_state_dict(weights, assign=True)
    return peer


def _title(model: GPT) -> str:
    size = sum(p.numel() for p in model.parameters()) / 1e6
    return f"{size:.3g}M {next(n for n, t in TYPES.items() if t == model.output_weight.dtype)}"
