"""The decoding benchmark at a size that says nothing about speed: every part runs and adds up."""

import json
import sys
from typing import Any

import pytest
import torch

from malmoi.cli import bench, bench_decode
from malmoi.cli.bench import Args

FIGURE = {"unit", "ours", "other", "against", "ratio", "lowest", "highest", "target", "reached"}
TARGETS = {
    "single": [2.5], "batch": [3.0], "continuous": [0.85], "policy": [0.1, None],
    "small": [8.0, None], "speculate": [None],
}  # fmt: skip


def measure(part: Any, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    result = bench.run(Args("decode", part=(part,), repeats=2, scale="small"))
    said = capsys.readouterr().out
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    for name, figure in result["figures"].items():
        assert f"\n{name}" in said
        assert set(figure) >= FIGURE
        assert min(figure["ours"], figure["other"]) > 0
        # The ratio of medians of two runs lies between those of the pairs, or close by.
        assert figure["lowest"] <= figure["highest"]
        assert isinstance(figure["reached"], bool | None)
        if figure["unit"] == "tokens/s":
            assert figure["ratio"] == pytest.approx(figure["ours"] / figure["other"])
            assert figure["first_run_seconds"] > 0
    assert result["repeats"] == 2
    assert result["threads"] == torch.get_num_threads()
    return result


@pytest.mark.parametrize("part", TARGETS)
def test_every_part_gives_its_figures(part: Any, capsys: pytest.CaptureFixture[str]) -> None:
    figures = measure(part, capsys)["figures"]
    assert [figure["target"] for figure in figures.values()] == TARGETS[part]
    for name, figure in figures.items():
        if figure["target"] is not None:
            good = figure["ratio"] - figure["target"]
            assert figure["reached"] == (good <= 0 if part == "policy" else good >= 0)
        if "fp32" in name and part in ("single", "batch", "small", "speculate"):
            assert figure["same_ids"] == 1


def test_the_peer_computes_the_same_function() -> None:
    # Ids alone could be equal by chance where a model has few opinions: the logits tell.
    model = bench_decode._random(40, "fp32", d_model=32, num_layers=2, num_heads=4, d_ff=48)
    ids = torch.randint(40, (2, 20), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        for parameter in model.parameters():
            parameter.mul_(8.0 if parameter.ndim > 1 else 1.0)
        ours, theirs = model(ids), bench_decode._peer(model)(ids).logits
    assert ours.std() > 0.5
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_peer_is_of_our_type_and_rotates_in_float32() -> None:
    peer = bench_decode._peer(bench_decode._random(40, "bf16", d_model=32, num_layers=1))
    assert {p.dtype for p in peer.parameters()} == {torch.bfloat16}
    assert {b.dtype for b in peer.buffers()} == {torch.float32}


def test_requests_have_a_whole_mean() -> None:
    maker = bench_decode._Bench(bench.SCALES["full"], 1, bench_decode.Progress("", quiet=True))
    for least, most in ((4, 200), (16, 112)):
        values = maker._whole_mean(least, most)
        assert len(values) == 64
        assert sum(values) % 64 == 0
        assert least <= min(values) < max(values) <= most


def test_the_models_have_the_sizes_that_are_told() -> None:
    scale = bench.Scale()
    sizes = [sizes | {"precision": "bf16"} for sizes in scale.small]
    millions = [sum(p.numel() for p in bench_decode._random(**s).parameters()) / 1e6 for s in sizes]
    assert millions == pytest.approx([1.3, 3.9, 10.5], abs=0.05)


def test_without_transformers_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"pip install 'malmoi\[test\]'"):
        bench.run(Args("decode", part=("single",), scale="small"))
    result = bench.run(Args("decode", part=("continuous",), repeats=1, scale="small"))
    assert "transformers" not in result


def test_no_repeats_are_refused() -> None:
    with pytest.raises(ValueError, match="repeats 0"):
        bench.run(Args("decode", repeats=0, scale="small"))
