"""The figure of `malmoi compare`: learning curves, and beside them the best validation losses.

It reads the object that `compare --json` prints, so `compare.json` is enough to draw it anew.
"""

from typing import TYPE_CHECKING, Any

from malmoi.inspect.fonts import quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WORDS = {
    "en": {
        "curves": "Learning curves",
        "best": "Best validation loss",
        "loss": "loss (nats per token)",
        "step": "step",
        "validation": "validation",
        "train": "training (with dropout and smoothing on)",
        "lowest": "lowest validation loss",
        "noise": "noise: ±{band:.4f}",
        "sides": "← better    nats per token    worse →",
        "value": "loss",
        "change": "vs base",
    },
    "ko": {
        "curves": "학습 곡선",
        "best": "가장 낮은 검증 손실",
        "loss": "손실 (nats/token)",
        "step": "스텝",
        "validation": "검증",
        "train": "학습(드롭아웃, 스무딩을 켠 채)",
        "lowest": "가장 낮은 검증 손실",
        "noise": "우연: ±{band:.4f}",
        "sides": "← 나아짐    nats/token    나빠짐 →",
        "value": "손실",
        "change": "기준과 차이",
    },
}

COLORS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e6a000", "#56b4e9", "#7a3db8", "#8c564b",
)  # fmt: skip
"""the first six told apart by colour-blind eyes, too (after Okabe & Ito 2008)"""
SHADE = "#e2e2e2"
BASE = ("#404040", "#9a9a9a")  # the base run, the same with other seeds


def draw(result: dict[str, Any], font: str | None = None) -> "Figure":
    """Draw the curves and, as bars from the base runs' mean, what each remedy changed.

    Bars that began at zero would look alike: what matters is a few hundredths of a loss of two.

    Args:
        result: `runs`, as trained, each with `name`, `titles`, `remedy`, `loss`, `difference`,
            and `curve` (points with `step`, `train`, `validation`); `noise`; `best`.
        font: a family that has Hangul: the words are Korean then, and English without.

    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    language = "en" if font is None else "ko"
    # What the first has not, the second has: arrows and signs are often odd in Hangul fonts.
    families = ["DejaVu Sans", *([] if font is None else [font])]
    runs = result["runs"]
    usual: dict[Any, Any] = {"font.family": families, "font.size": 11}
    with matplotlib.rc_context(usual), quiet():
        size = (13, max(5.0, 2.6 + 0.38 * len(runs)))
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
        figure = Figure(figsize=size, dpi=130, layout=layout)
        left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
        colors = _colors(runs)
        _curves(left, runs, colors, WORDS[language])
        _bars(right, result, colors, language)
        handles = _keys(result["noise"], WORDS[language])
        figure.legend(
            handles=handles, loc="outside lower center", ncols=len(handles), frameon=False,
            fontsize=10, columnspacing=1.8,
        )  # fmt: skip
        # Ticks come into being, with the font of the time, when they are drawn.
        figure.draw_without_rendering()
    return figure


def _colors(runs: list[dict[str, Any]]) -> dict[str, str]:
    colors: dict[str, str] = {}
    rest = iter(COLORS * len(runs))
    for run in runs:
        own = run["remedy"] is not None
        colors[run["name"]] = next(rest) if own else BASE[min(len(colors), 1)]
    return colors


def _curves(
    axes: "Axes", runs: list[dict[str, Any]], colors: dict[str, str], words: dict[str, str]
) -> None:
    for run in runs:
        color = colors[run["name"]]
        # A run that coincides with the base run, as early stopping does, shows on top of it.
        width = 1.8 if run["remedy"] else 4.0
        for kind, style in (("train", "--"), ("validation", "-")):
            points = [point for point in run["curve"] if kind in point]
            axes.plot(
                [point["step"] for point in points], [point[kind] for point in points], style,
                color=color, linewidth=width if kind == "validation" else 1.1,
                alpha=1.0 if kind == "validation" else 0.75, solid_capstyle="round",
            )  # fmt: skip
        lowest = min(_validated(run), key=lambda point: point["validation"])
        axes.plot(
            lowest["step"], lowest["validation"], "o", color=color, markersize=8,
            markeredgecolor="white", markeredgewidth=1.2, zorder=5,
        )  # fmt: skip
    axes.set_ylim(*_limits(runs))
    axes.set_xlim(left=0)
    axes.set_xlabel(words["step"])
    axes.set_ylabel(words["loss"])
    axes.set_title(words["curves"], loc="left", fontweight="bold", pad=12)
    _plain(axes)


def _bars(axes: "Axes", result: dict[str, Any], colors: dict[str, str], language: str) -> None:
    words, runs, noise = WORDS[language], result["runs"], result["noise"]
    mean, band = noise["mean"], noise["band"]
    rows = range(len(runs))
    if band is not None:
        axes.axvspan(mean - band, mean + band, color=SHADE, linewidth=0, zorder=0)
    axes.axvline(mean, color=BASE[0], linewidth=1)
    axes.barh(
        rows, [run["difference"] for run in runs], left=mean, height=0.5,
        color=[colors[run["name"]] for run in runs],
    )  # fmt: skip
    across = axes.get_yaxis_transform()
    for x, head in ((1.16, words["value"]), (1.36, words["change"])):
        axes.text(x, 1.012, head, transform=axes.transAxes, ha="right", color=BASE[0], fontsize=10)
    for row, run in zip(rows, runs, strict=True):
        weight = "bold" if run["name"] == result["best"] else "normal"
        for x, value in ((1.16, f"{run['loss']:.4f}"), (1.36, f"{run['difference']:+.4f}")):
            axes.text(x, row, value, transform=across, ha="right", va="center", fontweight=weight)
    axes.set_yticks(rows, [run["titles"][language] for run in runs])
    for name, run in zip(axes.get_yticklabels(), runs, strict=True):
        name.set_color(colors[run["name"]])
        name.set_fontweight("bold")
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    reach = max([abs(run["difference"]) for run in runs] + [band or 0.0, 1e-3])
    low = min([run["difference"] for run in runs] + [-(band or 0.0)])
    high = max([run["difference"] for run in runs] + [band or 0.0])
    axes.set_xlim(mean + low - 0.08 * reach, mean + high + 0.08 * reach)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(words["sides"])
    axes.set_title(words["best"], loc="left", fontweight="bold", pad=12)
    _plain(axes)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)


def _limits(runs: list[dict[str, Any]]) -> tuple[float, float]:
    """Of the loss axis: the steep beginning, which is much the same for all, is left out."""
    longest = max(run["curve"][-1]["step"] for run in runs)
    late = [
        point[kind]
        for run in runs
        for point in run["curve"]
        for kind in ("train", "validation")
        if kind in point and point["step"] >= 0.2 * longest
    ]
    low, high = min(late), max(late)
    pad = 0.05 * (high - low) + 1e-3
    return low - pad, high + pad


def _validated(run: dict[str, Any]) -> list[dict[str, Any]]:
    return [point for point in run["curve"] if "validation" in point]


def _keys(noise: dict[str, Any], words: dict[str, str]) -> list[Any]:
    """What lines, dots and shades mean; the colours are told by the bars' names."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    gray: dict[str, Any] = {"color": BASE[0]}
    keys: list[Any] = [
        Line2D([], [], linestyle="-", linewidth=1.8, label=words["validation"], **gray),
        Line2D([], [], linestyle="--", linewidth=1.1, label=words["train"], **gray),
        Line2D([], [], linestyle="", marker="o", markersize=8, label=words["lowest"], **gray),
    ]
    if noise["band"] is not None:
        keys.append(Patch(color=SHADE, label=words["noise"].format(**noise)))
    return keys


def _plain(axes: "Axes") -> None:
    axes.grid(True, color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
