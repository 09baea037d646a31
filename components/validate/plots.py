"""Plots of what the probes measured: people look at them before they look at numbers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from data.manifest import Manifest

COLOURS = {"image": "#2a6fdb", "audio": "#f08c00", "video": "#2b8a3e", "document": "#9c36b5", "text": "#868e96"}
BINS = 40
Series = tuple[str, NDArray[np.float64]]


def probe_figure(manifest: "Manifest") -> "Figure":
    """Histograms of sizes, sides, durations, lengths and guessed languages."""
    from matplotlib.figure import Figure

    media, texts = manifest.media, manifest.texts
    panels: list[tuple[str, list[Series], bool]] = [
        ("encoded bytes", [(kind, _values(rows["media_bytes"])) for kind, rows in _kinds(media)], True),
        ("pixels of pictures and frames", _of(media, image="image_pixels", video="video_pixels"), True),
        ("seconds of sounds and clips", _of(media, audio="audio_seconds", video="video_seconds"), False),
        ("share of silence in sounds", _of(media, audio="audio_silence"), False),
        ("characters of texts", [("text", _values(texts["text_chars"]))], True),
    ]
    shown = [panel for panel in panels if any(len(values) for _, values in panel[1])]
    columns = 3
    rows = -(-(len(shown) + 1) // columns)
    figure = Figure(figsize=(11, 2.7 * rows))
    grid = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axes, (title, series, logarithmic) in zip(grid, shown, strict=False):
        _histogram(axes, title, series, logarithmic)
    _guesses(grid[len(shown)], texts)
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[len(shown) + 1 :]:
        axes.set_axis_off()
    figure.tight_layout()
    return figure


def _kinds(media: Any) -> list[tuple[str, Any]]:
    return [(kind, media[media["media_modality"] == kind]) for kind in COLOURS if kind != "text"]


def _of(media: Any, **columns: str) -> list[Series]:
    if "video_pixels" in columns.values():
        media = media.assign(video_pixels=media["video_width"] * media["video_height"])
    return [(kind, _values(media[name])) for kind, name in columns.items()]


def _values(column: Any) -> NDArray[np.float64]:
    values: NDArray[np.float64] = column.dropna().to_numpy(np.float64)
    return values


def _histogram(axes: "Axes", title: str, series: Sequence[Series], logarithmic: bool) -> None:
    series = [(kind, np.maximum(values, 1.0) if logarithmic else values) for kind, values in series if len(values)]
    low, high = (pick(pick(values) for _, values in series) for pick in (min, max))
    if low == high:
        low, high = low * 0.9, high * 1.1 + 1e-9
    edges = np.geomspace(low, high, BINS + 1) if logarithmic else np.linspace(low, high, BINS + 1)
    for kind, values in series:
        axes.hist(values, edges.tolist(), color=COLOURS[kind], alpha=0.6, label=f"{kind} ({len(values):,})")
    if logarithmic:
        axes.set_xscale("log")
    axes.legend(fontsize=7)
    axes.set_title(title, fontsize=10)


def _guesses(axes: "Axes", texts: Any) -> None:
    guesses = texts["text_language"].value_counts()
    guesses = guesses[guesses > 0].head(20)
    axes.bar(list(guesses.index), list(guesses), color=COLOURS["text"])
    axes.tick_params(axis="x", rotation=90, labelsize=7)
    axes.set_title(f"guessed languages of {int(texts['text_language'].notna().sum()):,} long texts", fontsize=10)
