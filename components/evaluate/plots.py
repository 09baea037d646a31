"""Plots of the evaluation report."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODEL, BASELINE, CHANCE, INK = "#2a6fdb", "#adb5bd", "#d9480f", "#1d2733"


def bars(rows: Sequence[tuple[str, Mapping[str, Any]]], xlabel: str) -> "Figure":
    """Horizontal bars with intervals: the model above its starting point, chance as a mark."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    figure = Figure(figsize=(9, 1.3 + 0.42 * len(rows)))
    axes = figure.subplots()
    for row, (_, summary) in enumerate(rows):
        _bar(axes, row - 0.19, summary, "", MODEL)
        if summary["baseline"] is not None:
            _bar(axes, row + 0.19, summary, "baseline", BASELINE)
        axes.plot([summary["chance"]] * 2, [row - 0.4, row + 0.4], color=CHANCE, linewidth=2)
        axes.text(1.015, row, f"{summary['value']:.2f}", va="center", color=INK, fontsize=9)
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel(xlabel)
    keys = [Patch(color=MODEL), Patch(color=BASELINE), Line2D([], [], color=CHANCE, linewidth=2)]
    axes.legend(
        keys, ["this model", "untrained", "chance"], ncols=3, loc="lower left", bbox_to_anchor=(0, 1), frameon=False
    )
    _plain(axes)
    return figure


def _bar(axes: "Axes", place: float, summary: Mapping[str, Any], prefix: str, colour: str) -> None:
    value = summary[prefix or "value"]
    low, high = (summary[f"{prefix}_{end}" if prefix else end] for end in ("low", "high"))
    errors = [[max(value - low, 0)], [max(high - value, 0)]]
    axes.barh(
        place, value, height=0.36, color=colour, xerr=errors, error_kw={"ecolor": INK, "elinewidth": 1, "capsize": 2}
    )


def languages(rows: Sequence[tuple[str, Mapping[str, Any]]], ylabel: str) -> "Figure":
    """One column per language, best first: the model's value and interval, the starting point and chance."""
    from matplotlib.figure import Figure

    ordered = sorted(rows, key=lambda row: -row[1]["value"])
    places = range(len(ordered))
    values = [summary["value"] for _, summary in ordered]
    ends = [[max(s["value"] - s["low"], 0) for _, s in ordered], [max(s["high"] - s["value"], 0) for _, s in ordered]]
    figure = Figure(figsize=(max(4.0, 1.2 + 0.36 * len(ordered)), 3.2))
    axes = figure.subplots()
    axes.errorbar(places, values, yerr=ends, fmt="o", color=MODEL, ecolor=INK, elinewidth=1, label="this model")
    untrained = [(i, s["baseline"]) for i, (_, s) in enumerate(ordered) if s["baseline"] is not None]
    if untrained:
        axes.plot(*zip(*untrained, strict=True), "o", color=BASELINE, label="untrained")
    axes.plot(places, [s["chance"] for _, s in ordered], "_", color=CHANCE, markersize=12, label="chance")
    axes.set_xticks(places, [label for label, _ in ordered])
    axes.set_ylim(0, 1)
    axes.set_ylabel(ylabel)
    axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    _plain(axes)
    return figure


def matryoshka(ladder: Mapping[str, Mapping[str, float]], titles: Mapping[str, str]) -> "Figure":
    """nDCG@10 of every task relative to the full vector, over the kept dimensions."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 4))
    axes = figure.subplots()
    colours = colormaps["tab20"].colors  # type: ignore[attr-defined]
    for i, (task, rungs) in enumerate(ladder.items()):
        dimensions = sorted(int(d) for d in rungs)
        full = max(rungs[str(dimensions[-1])], 1e-9)
        share = [rungs[str(d)] / full for d in dimensions]
        axes.plot(dimensions, share, "o-", color=colours[i % len(colours)], markersize=4, label=titles.get(task, task))
    axes.set_xscale("log", base=2)
    every = sorted({int(d) for rungs in ladder.values() for d in rungs})
    axes.set_xticks(every, [str(d) for d in every])
    axes.axhline(1, color=BASELINE, linewidth=1)
    axes.set_xlabel("kept dimensions")
    axes.set_ylabel("share of the full vector's nDCG@10")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    _plain(axes)
    return figure


def heat_map(panels: Sequence[tuple[str, Mapping[str, Any]]]) -> "Figure":
    """Mean cosine between kinds of content, one panel per model on one colour scale."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4 * len(panels), 3.8))
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, similarity) in zip(grid, panels, strict=True):
        kinds, matrix = similarity["kinds"], similarity["mean_cosine"]
        axes.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
        axes.set_xticks(range(len(kinds)), kinds, rotation=30, ha="right")
        axes.set_yticks(range(len(kinds)), kinds)
        axes.set_title(title, fontsize=11)
        for i, line in enumerate(matrix):
            for j, value in enumerate(line):
                axes.text(
                    j,
                    i,
                    f"{value:.2f}",
                    ha="center",
                    va="center",
                    color="white" if abs(value) > 0.6 else INK,
                    fontsize=9,
                )
    figure.tight_layout()
    return figure


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
