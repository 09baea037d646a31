"""The figures of a serving run as one picture: what comes out a second, what the slowest wait, and media."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from benchmarks.serving import Cell

NAMES = {"ours": "Omnivec", "fastapi": "sentence-transformers + FastAPI", "infinity": "infinity-emb"}
CEILING = "onnx"
COLOURS = {"ours": "#1f5fbf", "fastapi": "#d1701f", "infinity": "#5b8c3a", CEILING: "#777777"}


def draw(cells: "Sequence[Cell]", hardware: str, path: Path) -> None:
    """Write the picture; its form is that of the suffix."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    texts, media = ([cell for cell in cells if (cell.kind == "texts") == wanted] for wanted in (True, False))
    figure = Figure(figsize=(13 if media else 9, 4.6), layout="constrained")
    rates, tails, *more = figure.subplots(1, 3 if media else 2)
    _lines(rates, texts, "rate", "texts a second")
    _lines(tails, [cell for cell in texts if cell.side != CEILING], "p99", "p99 in milliseconds")
    tails.set_yscale("log")
    tails.yaxis.set_major_formatter("{x:.0f}")
    tails.yaxis.set_minor_formatter("")
    tails.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axes in more:
        _bars(axes, media)
    if texts:
        figure.legend(
            *rates.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=8
        )
    figure.suptitle(f"One content a request, the same weights in fp32 on {hardware}", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _lines(axes: "Axes", cells: "Sequence[Cell]", field: str, title: str) -> None:
    loads = sorted({cell.clients for cell in cells})
    for side in dict.fromkeys(cell.side for cell in cells):
        own = {cell.clients: getattr(cell, field) for cell in cells if cell.side == side}
        values = [own[load] for load in loads if load in own]
        style = "--" if side == CEILING else "o-"
        label = NAMES.get(side, "the graphs without HTTP, all texts known")
        places = [loads.index(load) for load in loads if load in own]
        axes.plot(places, values, style, color=COLOURS.get(side, "black"), label=label)
        if side != CEILING:
            for place, value in zip(places, values, strict=True):
                axes.annotate(f"{value:.0f}", (place, value), xytext=(0, 5), textcoords="offset points", fontsize=7)
    axes.set_xticks(range(len(loads)), [str(load) for load in loads])
    axes.set_xlabel("clients")
    axes.set_title(title, fontsize=10)
    if field != "p99":
        axes.set_ylim(bottom=0)
    axes.grid(alpha=0.2)


def _bars(axes: "Axes", cells: "Sequence[Cell]") -> None:
    groups = list(dict.fromkeys((cell.kind, cell.clients) for cell in cells))
    sides = list(dict.fromkeys(cell.side for cell in cells))
    for number, side in enumerate(sides):
        own = {(cell.kind, cell.clients): cell.rate for cell in cells if cell.side == side}
        places = [groups.index(group) + number * 0.4 for group in own]
        bars = axes.bar(places, list(own.values()), 0.38, color=COLOURS.get(side, "black"))
        axes.bar_label(bars, fmt="%.0f", fontsize=7)
    axes.set_xticks([i + 0.2 for i in range(len(groups))], [f"{kind}\n{n} clients" for kind, n in groups], fontsize=8)
    axes.set_title("images and sounds a second", fontsize=10)
