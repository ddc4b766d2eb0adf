"""The compiled loops against the model's own forward, and against themselves by other ways."""

import copy
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from malmoi.model import GPT, KVCache, build, kernels, team
from malmoi.model.stepper import Stepper

SIZES: dict[str, Any] = {
    "context_length": 16, "d_model": 32, "num_layers": 3, "num_heads": 4, "d_ff": 48,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "gpt2": {"preset": "gpt2"},
    "gpt2-untied": {"preset": "gpt2", "tie_embeddings": False},
    "gpt2-no-bias": {"preset": "gpt2", "bias": False},
    "llama": {"preset": "llama"},
    "llama-tied": {"preset": "llama", "tie_embeddings": True},
    "llama-grouped": {"preset": "llama", "num_kv_heads": 2},
    "llama-one-head": {"preset": "llama", "num_heads": 1, "num_kv_heads": 1},
    "llama-one-key": {"preset": "llama", "num_kv_heads": 1},
    "malmoi": {"preset": "malmoi", "num_kv_heads": 2, "ngram_rows": 64},
    "malmoi-no-values": {"preset": "malmoi", "ngram_rows": 64, "value_residual": False},
    "malmoi-no-ngrams": {"preset": "malmoi", "ngram_orders": 0, "tie_embeddings": True},
    "malmoi-odd-sizes": {
        "preset": "malmoi", "ngram_rows": 64, "d_model": 42, "num_heads": 3, "d_ff": 37,
    },
    "malmoi-odd-rows": {"preset": "malmoi", "ngram_rows": 7},
    "bigram": {"preset": "bigram", "num_layers": 0},
}  # fmt: skip


def threads_end_at(count: int) -> bool:
    """Whether there are so many threads soon: those of a team end by themselves."""
    end = time.monotonic() + 5
    while threading.active_count() != count and time.monotonic() < end:
        time.sleep(0.001)
    return threading.active_count() == count


@pytest.fixture(autouse=True)
def _no_thread_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Long enough for the others to come on a busy machine: else one thread would be tested alone.
    monkeypatch.setattr("malmoi.model.stepper.WAIT", 30.0)
    before = threading.active_count()
    yield
    assert threads_end_at(before)


def model(name: str = "malmoi", dtype: torch.dtype = torch.float32, noise: float = 0.1) -> GPT:
    """A model none of whose weights is zero, so that every part of it matters."""
    made = GPT(build(vocab_size=50, **(SIZES | MODELS[name]))).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * noise)
    return made.to(dtype)


def cache_for(made: GPT, rows: int) -> KVCache:
    return KVCache(made.config, rows, dtype=made.output_weight.dtype)


def ids_of(rows: int, time: int = 16) -> Tensor:
    return torch.randint(50, (rows, time), generator=torch.Generator().manual_seed(1))


def read_all(stepper: Stepper, ids: Tensor, rows: list[int] | None = None) -> Tensor:
    """Logits `[B, T, V]`, a token of every row at a time; row `i` stands in slot `rows[i]`."""
    count, time = ids.shape
    slots = rows or list(range(count))
    steps = [stepper.read(ids[:, t].tolist(), slots, [t] * count).clone() for t in range(time)]
    return torch.stack(steps, 1)


def whole(made: GPT, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return made(ids)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("threads", [1, 3])
def test_equals_the_forward(name: str, threads: int) -> None:
    made, ids = model(name), ids_of(3)
    with Stepper(made, cache_for(made, 4), 3, threads) as stepper:
        logits = read_all(stepper, ids, [2, 0, 3])
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, whole(made, ids), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_equals_the_cached_forward_and_goes_on_from_it(name: str) -> None:
    """What the model wrote into the cache is read, and the other way round."""
    made, ids = model(name), ids_of(2)
    cache = cache_for(made, 2)
    expected = whole(made, ids)
    with torch.no_grad(), Stepper(made, cache, 2, 1) as stepper:
        made(ids[:, :9], cache)
        cache.advance(9)
        for t in (9, 10, 11):
            logits = stepper.read(ids[:, t].tolist(), [0, 1], [t, t])
            torch.testing.assert_close(logits, expected[:, t], atol=1e-5, rtol=1e-5)
        assert cache.lengths.tolist() == [9, 9]  # they stay
        cache.advance(3)
        logits = made(ids[:, 12:], cache)
        torch.testing.assert_close(logits, expected[:, 12:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("alone", [8, 1])
def test_bfloat16_is_near_the_exact_numbers(name: str, alone: int) -> None:
    """The same bfloat16 weights with arithmetic in float32; `alone` 1 is with torch's products."""
    made, ids = model(name, torch.bfloat16), ids_of(3)
    expected = whole(copy.deepcopy(made).float(), ids)
    with Stepper(made, cache_for(made, 3), 3, 2) as stepper:
        stepper.alone = alone
        logits = read_all(stepper, ids)
    spread = float(expected.std())
    error = (logits - expected).abs().max() / spread
    assert error < 0.1
    plain = (whole(made, ids).float() - expected).abs().max() / spread
    assert alone == 1 or error <= plain * 1.2 or error < 1e-4


@pytest.mark.parametrize("name", ["gpt2", "llama-grouped", "malmoi"])
@pytest.mark.parametrize("dtype", [torch.float32])
def test_several_lanes_of_a_row_are_one_after_another(name: str, dtype: torch.dtype) -> None:
    made, ids = model(name, dtype), ids_of(2)
    with Stepper(made, cache_for(made, 2), 2, 1) as stepper:
        one_by_one = read_all(stepper, ids)
    for threads in (1, 3):
        with Stepper(made, cache_for(made, 2), 12, threads) as stepper:
            at = 0
            for count in (1, 6, 2, 5, 2):
                places = list(range(at, at + count))
                tokens = [int(ids[row, place]) for row in range(2) for place in places]
                slots = [0] * count + [1] * count
                logits = stepper.read(tokens, slots, places * 2).view(2, count, -1)
                assert torch.equal(logits, one_by_one[:, at : at + count])
                at += count


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_threads_and_company_change_no_bit(name: str, dtype: torch.dtype) -> None:
    """The largest teams are more threads than there are heads, lanes or processors."""
    made, ids = model(name, dtype), ids_of(3, 6)
    found = []
    for threads in (1, 2, 3, 5):
        with Stepper(made, cache_for(made, 3), 3, threads) as stepper:
            found.append(read_all(stepper, ids))
            assert stepper._state.counters[team.READY] == threads - 1
    if dtype == torch.float32:  # bfloat16 has another way for several lanes
        with Stepper(made, cache_for(made, 1), 1, 7) as stepper:
            alone = [read_all(stepper, ids[row : row + 1]) for row in range(3)]
        found.append(torch.cat(alone))
    for other in found[1:]:
        assert torch.equal(other, found[0])


def test_a_row_is_read_again_after_it_was_taken_back() -> None:
    made, ids = model(), ids_of(1)
    with Stepper(made, cache_for(made, 1), 1, 1) as stepper:
        first = read_all(stepper, ids)
        other = read_all(stepper, ids.flip(1))
        for t in (4, 5):  # the places before still hold the flipped text
            logits = stepper.read([int(ids.flip(1)[0, t])], [0], [t])
            assert torch.equal(logits[0], other[0, t])
        assert torch.equal(read_all(stepper, ids), first)


def test_weights_may_change_in_place() -> None:
    made, ids = model(), ids_of(2)
    with Stepper(made, cache_for(made, 2), 2, 2) as stepper:
        before = read_all(stepper, ids)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.mul_(1.1)
        after = read_all(stepper, ids)
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, whole(made, ids), atol=1e-5, rtol=1e-5)


def test_damaged_weights_show() -> None:
    made, ids = model(), ids_of(1, 4)
    with torch.no_grad():
        made.token_embedding.weight[int(ids[0, 2])] = torch.nan
    with Stepper(made, cache_for(made, 1), 1, 2) as stepper:
        logits = read_all(stepper, ids)
    assert logits[0, :2].isfinite().all()
    assert logits[0, 2:].isnan().all()


def test_coming_and_going_many_times() -> None:
    made, ids = model(), ids_of(1, 2)
    stepper = Stepper(made, cache_for(made, 1), 1, 3)
    before = threading.active_count()
    expected = None
    for number in range(100):
        with stepper:
            if number % 3:
                logits = read_all(stepper, ids)
                assert threading.active_count() == before + 2
                expected = logits if expected is None else expected
                assert torch.equal(logits, expected)
            if number % 5 == 0:
                stepper.rest()
        assert threads_end_at(before)


def test_reading_goes_on_after_a_rest() -> None:
    made, ids = model(), ids_of(1)
    with Stepper(made, cache_for(made, 1), 1, 3) as stepper:
        first = read_all(stepper, ids)
        for t in range(16):
            stepper.rest()
            stepper.rest()
            if t % 4 == 0:
                threading.Event().wait(0.01)  # long enough for the others to fall asleep
            assert torch.equal(stepper.read([int(ids[0, t])], [0], [t])[0], first[0, t])


def test_an_error_inside_ends_the_team() -> None:
    made = model()
    before = threading.active_count()

    def fail() -> None:
        with Stepper(made, cache_for(made, 1), 1, 3) as stepper:
            stepper.read([3], [0], [0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert threads_end_at(before)


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Wrapped(nn.Module):
    """As adapters are: the layer as it was, and something beside it."""

    def __init__(self, inside: nn.Linear) -> None:
        super().__init__()
        self.inside = inside
        self.more = nn.Parameter(torch.zeros(inside.out_features, inside.in_features))

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(x) + nn.functional.linear(x, self.more)


class Packed(nn.Module):
    """As quantized layers are: no parameters at all."""

    def __init__(self, inside: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("packed", inside.weight.detach().to(torch.int8))

    def forward(self, x: Tensor) -> Tensor:
        packed: Any = self.packed
        return nn.functional.linear(x, packed.float())


def swapped(kind: str, inside: nn.Linear) -> nn.Module:
    if kind == "subclass":
        return Doubled(inside.in_features, inside.out_features, inside.bias is not None)
    return Wrapped(inside) if kind == "wrapper" else Packed(inside)


@pytest.mark.parametrize("name", MODELS)
def test_supports_the_models_as_they_are(name: str) -> None:
    assert Stepper.supports(model(name))
    assert Stepper.supports(model(name, torch.bfloat16))
    assert not Stepper.supports(model(name, torch.float16))
    assert not Stepper.supports(model(name, torch.float64))
    assert not Stepper.supports(GPT(model(name).config).to("meta"))


@pytest.mark.parametrize("kind", ["subclass", "wrapper", "packed"])
@pytest.mark.parametrize(
    "place", ["attention.qkv", "attention.out", "feed_forward.gate", "feed_forward.down"]
)
def test_does_not_support_layers_of_another_kind(kind: str, place: str) -> None:
    made = model("llama")
    part, name = place.split(".")
    owner = getattr(made.blocks[1], part)
    setattr(owner, name, swapped(kind, getattr(owner, name)))
    assert not Stepper.supports(made)


def test_does_not_support_a_head_of_another_kind() -> None:
    made = model("llama")
    made.head = Doubled(32, 50, bias=False)
    assert not Stepper.supports(made)


def test_does_not_support_mixed_types() -> None:
    made = model("llama", torch.bfloat16)
    made.final_norm.float()
    assert not Stepper.supports(made)


def test_layers_of_other_sizes_are_left_to_torch() -> None:
    made = model("llama")
    block: Any = made.blocks[0]
    block.feed_forward.up = torch.nn.Linear(made.config.d_model, 16, bias=False)
    assert not Stepper.supports(made)
    made = model("llama")
    block = made.blocks[0]
    turned = block.feed_forward.up.weight.data.t().contiguous().t()
    block.feed_forward.up.weight = torch.nn.Parameter(turned)
    assert not Stepper.supports(made)
    assert Stepper.supports(model("llama"))


def test_logits_of_minus_infinity_do_not_count() -> None:
    logits = np.full(3000, -np.inf, np.float32)
    logits[2500], logits[2600] = 1.0, 1.0
    partial = np.zeros((2, 3))
    for block, start in enumerate((0, 2048)):
        kernels.summarise(partial[block], logits[start : start + 2048], start)
    best, total = kernels.merge(partial)
    assert best == 2500
    assert total == pytest.approx(1 + np.log(2), abs=1e-6)
    logits[3] = np.nan
    kernels.summarise(partial[0], logits[:2048], 0)
    assert np.isnan(kernels.merge(partial)[1])


def test_a_process_may_end_in_the_middle() -> None:
    """Nobody leaves the context, and the threads still wait for work: no abort, no hanging."""
    script = """
import torch
from malmoi.model import GPT, KVCache, build
from malmoi.model.stepper import Stepper

model = GPT(build("llama", 50, d_model=32, num_layers=1, num_heads=2, d_ff=64)).eval()
cache = KVCache(model.config, 1, 8, dtype=torch.float32, device=torch.device("cpu"))
stepper = Stepper(model, cache, 1, threads=2)
with torch.inference_mode():
    stepper.__enter__().read([1], [0], [0])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, b"")
