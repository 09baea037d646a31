"""Plots of the drift report.

Shape legend: N rows, D embedding dimensions.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from serving.drift.detector import WindowVerdict
from serving.drift.window import Window

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#2a6fdb", "#d9480f", "#2b8a3e", "#862e9c")
MAXIMUM_POINTS = 300


def auc_plot(verdicts: Mapping[str, WindowVerdict]) -> "Figure":
    """AUC of every tested kind and window, each beside its threshold."""
    from matplotlib.figure import Figure

    colours = dict(zip(verdicts, _colours(len(verdicts)), strict=True))
    tested = sorted(
        (f"{kind} · {name}", v.auc, v.threshold, colours[name])
        for name, verdict in verdicts.items()
        for kind, v in verdict.kinds.items()
        if v.auc is not None and v.threshold is not None
    )
    figure = Figure(figsize=(8, 1.2 + 0.35 * len(tested)))
    axes = figure.subplots()
    for row, (_, auc, threshold, colour) in enumerate(tested):
        axes.plot(auc, row, "o", color=colour, markersize=8)
        axes.plot([threshold] * 2, [row - 0.35, row + 0.35], color="#1d2733", linewidth=2)
    axes.set_yticks(range(len(tested)), [item[0] for item in tested])
    axes.set_ylim(len(tested) - 0.5, -0.5)
    axes.axvline(0.5, color="#adb5bd", linestyle=":")
    axes.set_xlim(0.3, 1.02)
    axes.set_xlabel(
        "domain-classifier AUC (dot) against its calibrated threshold (bar); drift is a dot right of its bar"
    )
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def projection_plot(reference: Window, windows: Mapping[str, Window]) -> "Figure":
    """Two principal directions of each kind of the reference, with the windows' rows in them."""
    from matplotlib.figure import Figure

    kinds = [kind for kind in reference.kinds if (reference.kinds_N == kind).sum() > 2]
    columns = min(3, len(kinds))
    lines = -(-len(kinds) // columns)
    figure = Figure(figsize=(4 * columns, 3.4 * lines))
    grid = np.atleast_1d(figure.subplots(lines, columns)).ravel()
    for axes, kind in zip(grid, kinds, strict=False):
        rows = reference.of_kind(kind)
        center_D = rows.vectors_ND.mean(axis=0)
        _, _, right_ND = np.linalg.svd(rows.vectors_ND - center_D, full_matrices=False)
        groups = {"reference": rows, **{name: window.of_kind(kind) for name, window in windows.items()}}
        for (name, group), colour in zip(groups.items(), ("#adb5bd", *_colours(len(windows))), strict=True):
            points_N2 = (group.vectors_ND[:MAXIMUM_POINTS] - center_D) @ right_ND[:2].T
            axes.scatter(points_N2[:, 0], points_N2[:, 1], s=9, color=colour, label=name, alpha=0.7, linewidths=0)
        axes.set_title(kind)
        axes.set_xticks([])
        axes.set_yticks([])
    for axes in grid[len(kinds) :]:
        axes.set_visible(False)
    grid[0].legend(fontsize=8)
    return figure


def _colours(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]
