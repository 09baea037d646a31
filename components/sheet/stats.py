"""The page of ``omnivec data stats``: plots first, then every count."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from components.pages import page, paragraph, section, svg, table
from data.records import SPLITS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from data.stats import Stats

SPLIT_COLOURS = {"train": "#2a6fdb", "validation": "#f08c00", "test": "#2b8a3e"}
GREY = "#868e96"
MODALITIES = {"text": "#495057", "image": "#2a6fdb", "audio": "#f08c00", "video": "#2b8a3e", "document": "#9c36b5"}
MOST_LANGUAGES = 40
MOST_SOURCES = 40
MOST_CHARACTERS = 28


def stats_page(stats: "Stats", name: str, version: str, largest: float) -> str:
    """The whole page.

    Args:
        stats: counts.
        name: the corpus, for the title.
        version: its state in words.
        largest: share of a source that one group may hold before it is warned of.
    """
    warnings = [paragraph(text, bad=True) for text in stats.warnings(largest)]
    return page(
        f"Corpus {name}",
        paragraph(f"{stats.total:,} records. {version}"),
        *warnings,
        section("Records", svg(_records(stats)), _record_table(stats)),
        section("Splits by group hash", *_splits(stats)),
        section("Languages", svg(_languages(stats))),
        section(
            "Licences", table(("license", "source", "records"), _rows(stats.licenses, "license", "source", "records"))
        ),
        section("Parts and media", svg(_parts(stats)), *_media(stats)),
        section("Lengths", svg(_lengths(stats))),
    )


def _figure(height: float, *widths: float) -> "tuple[Figure, list[Axes]]":
    """A figure with a plot for each relative width."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, height))
    axes = figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


def _records(stats: "Stats") -> "Figure":
    sources = list(stats.by("source"))[:MOST_SOURCES]
    figure, (left, right) = _figure(1 + 0.32 * max(len(sources), 6), 2, 1)
    start = dict.fromkeys(sources, 0)
    for split in SPLITS:
        counts = {
            s: sum(r["records"] for r in stats.records if (r["source"], r["split"]) == (s, split)) for s in sources
        }
        left.barh(
            _labels(sources), list(counts.values()), left=list(start.values()), color=SPLIT_COLOURS[split], label=split
        )
        start = {source: start[source] + counts[source] for source in sources}
    left.invert_yaxis()
    left.legend(fontsize=8)
    left.set_title("records by source and split")
    tasks = stats.by("task")
    right.barh(_labels(tasks), list(tasks.values()), color=GREY)
    right.invert_yaxis()
    right.set_title("records by task")
    figure.tight_layout()
    return figure


def _record_table(stats: "Stats") -> str:
    rows: dict[tuple[str, str], dict[str, int]] = {}
    for row in stats.records:
        rows.setdefault((row["source"], row["task"]), {})[row["split"]] = row["records"]
    spoken = {key: {r["language"] for r in stats.languages if (r["source"], r["task"]) == key} for key in rows}
    lines = ((*key, *(counts.get(split, 0) for split in SPLITS), len(spoken[key])) for key, counts in rows.items())
    return table(("source", "task", *SPLITS, "languages"), lines)


def _splits(stats: "Stats") -> list[str]:
    shares = [(source, *(f"{stats.shares(source)[split]:.1%}" for split in SPLITS)) for source in stats.by("source")]
    groups = [(r["source"], r["group"], r["records"], f"{r['share']:.1%}", r["groups"]) for r in stats.groups]
    return [
        paragraph(
            "A whole group falls in one split: of five values of its hash one is test, one validation, three train."
        ),
        table(("source", *SPLITS), shares),
        "<details><summary>the largest groups of each source</summary>",
        table(("source", "group", "records", "share of the source", "groups of the source"), groups),
        "</details>",
    ]


def _languages(stats: "Stats") -> "Figure":
    names = list(stats.by("language"))[:MOST_LANGUAGES]
    figure, (axes,) = _figure(3.2, 1)
    start = dict.fromkeys(names, 0)
    for split in SPLITS:
        counts = {
            n: sum(r["records"] for r in stats.languages if (r["language"], r["split"]) == (n, split)) for n in names
        }
        axes.bar(
            _labels(names), list(counts.values()), bottom=list(start.values()), color=SPLIT_COLOURS[split], label=split
        )
        start = {name: start[name] + counts[name] for name in names}
    axes.set_title(f"records by first language ({len(stats.by('language'))} in all)")
    axes.tick_params(axis="x", rotation=90)
    axes.legend(fontsize=8)
    figure.tight_layout()
    return figure


def _parts(stats: "Stats") -> "Figure":
    from matplotlib.ticker import EngFormatter

    figure, (left, right) = _figure(2.6, 1, 1)
    roles = ("query", "positives", "negatives")
    start = dict.fromkeys(roles, 0)
    for modality, colour in MODALITIES.items():
        counts = {
            role: sum(r["parts"] for r in stats.parts if (r["role"], r["modality"]) == (role, modality))
            for role in roles
        }
        if any(counts.values()):
            left.barh(roles, list(counts.values()), left=list(start.values()), color=colour, label=modality)
        start = {role: start[role] + counts[role] for role in roles}
    left.invert_yaxis()
    left.set_title("parts by role and modality")
    left.xaxis.set_major_formatter(EngFormatter(sep=""))
    # Below the axes: bars go all the way, and a legend would lie on one.
    left.legend(fontsize=8, ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.15), frameon=False)
    stored = [
        (row["source"], row["media_bytes"] / 1e6, (row["bytes"] - row["media_bytes"]) / 1e6) for row in stats.stored
    ]
    names = [name for name, _, _ in stored][:MOST_SOURCES]
    media, rest = [row[1] for row in stored][:MOST_SOURCES], [row[2] for row in stored][:MOST_SOURCES]
    right.barh(_labels(names), media, color="#2a6fdb", label="media")
    right.barh(_labels(names), rest, left=media, color=GREY, label="records")
    right.invert_yaxis()
    right.tick_params(axis="y", labelsize=7)
    right.legend(fontsize=8)
    right.set_title("MB on disk by source")
    figure.tight_layout()
    return figure


def _media(stats: "Stats") -> list[str]:
    rows = [
        (
            row["source"],
            row["modality"],
            row["items"],
            row["bytes"],
            None if row["seconds"] is None else round(row["seconds"] / 60, 1),
            row["broken"],
            ", ".join(f"{name} {count:,}" for name, count in row["containers"].items()),
        )
        for row in stats.media
    ]
    known = any(row["bytes"] is not None for row in stats.media)
    note = (
        ""
        if known
        else paragraph("Bytes, minutes and formats are known once the corpus is probed (`omnivec data validate`).")
    )
    return [note, table(("source", "modality", "items", "bytes", "minutes", "undecodable", "formats"), rows)]


def _lengths(stats: "Stats") -> "Figure":
    figure, (left, right) = _figure(2.8, 1, 1)
    for role, colour in (("query", "#2a6fdb"), ("positives", "#2b8a3e"), ("negatives", "#c92a2a")):
        rows = [(row["characters"], row["parts"]) for row in stats.texts if row["role"] == role]
        if rows:
            left.plot(*zip(*sorted(rows), strict=True), marker="o", markersize=3, color=colour, label=role)
    left.set_xscale("log", base=2)
    left.set_title("texts by length in characters")
    left.legend(fontsize=8)
    for modality in sorted({row["modality"] for row in stats.durations}):
        rows = sorted((row["seconds"], row["items"]) for row in stats.durations if row["modality"] == modality)
        right.plot(*zip(*rows, strict=True), marker="o", markersize=3, color=MODALITIES.get(modality), label=modality)
    if stats.durations:
        right.set_xscale("log", base=2)
        right.legend(fontsize=8)
        right.set_title("sounds and clips by length in seconds")
    else:
        right.set_axis_off()
        right.text(0, 0.5, "durations: none, or not probed yet", color=GREY)
    figure.tight_layout()
    return figure


def _labels(names: Iterable[str]) -> list[str]:
    """Names as matplotlib can draw them: short, without what it reads as mathematics or has no glyph for."""
    shown = ("".join(c if c.isprintable() else "?" for c in str(name)).replace("$", r"\$") for name in names)
    return [name if len(name) <= MOST_CHARACTERS else f"{name[:MOST_CHARACTERS]}…" for name in shown]


def _rows(rows: list[dict[str, object]], *names: str) -> list[tuple[object, ...]]:
    return [tuple(row[name] for name in names) for row in rows]
