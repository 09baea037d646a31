"""The evaluation report: one page, plots first, then examples to look at, then every number."""

from collections.abc import Mapping
from typing import Any

from components import pages
from components.evaluate import plots
from data.benchmarks import TASKS

HEAT_NOTE = (
    "Mean cosine between random items of two kinds. An even map near zero means that kinds share the space; "
    "a diagonal far above the rest is a modality gap, everything near one a collapsed space."
)
STORED_NOTE = (
    "nDCG@10 when queries and documents are both stored as codes: int8 is one byte a dimension, with ranges from "
    "validation contents, a quarter of the size; binary is one bit, a thirty-second."
)
EXAMPLE_NOTE = (
    "Queries are chosen by a hash of their id, not by how well they went. A green frame marks a right answer."
)


def report_page(metrics: Mapping[str, Any], examples: str) -> str:
    """Render the page from ``metrics.json`` and the examples' HTML."""
    headline = metrics["headline"]
    main = [(entry["title"], entry) for name, entry in headline.items() if "/" not in name]
    return pages.page(
        "Evaluation on the test split",
        pages.paragraph(_lead(metrics)),
        pages.section("Against the untrained starting point and chance", pages.svg(plots.bars(main, _axis(metrics)))),
        *_languages(headline),
        pages.section(
            "Shorter vectors",
            pages.svg(plots.matryoshka(metrics["matryoshka"], {name: task.title for name, task in TASKS.items()})),
        ),
        pages.section("Stored in less space", pages.paragraph(STORED_NOTE), _stored(metrics["stored"])),
        pages.section(
            "The space", pages.svg(plots.heat_map(_panels(metrics))), pages.paragraph(HEAT_NOTE), _health(metrics)
        ),
        pages.section("Examples", pages.paragraph(EXAMPLE_NOTE), examples),
        pages.section("Headline numbers", _headline_table(headline)),
        pages.section("Every task and subset", *_tables(metrics["tasks"])),
    )


def _lead(metrics: Mapping[str, Any]) -> str:
    lacking, small = metrics["left_out"], metrics["too_small"]
    dropped = f" Left out, because the model lacks a modality: {', '.join(lacking)}." if lacking else ""
    dropped += f" Left out, because they have too few queries: {', '.join(small)}." if small else ""
    return (
        f"Model {metrics['model']['digest']} on data {metrics['data']['digest']}: {metrics['queries']:,} queries in "
        f"{metrics['sets']} subsets, groups of concepts never seen in training. mteb {metrics['mteb']['version']} "
        f"scored the same sets; its numbers differ from ours by at most {metrics['mteb']['largest_difference']:.1e}."
        f"{dropped}"
    )


def _axis(metrics: Mapping[str, Any]) -> str:
    return (
        "hit@10 (motion and translation: hit@1), mean over subsets, "
        f"{metrics['level']:.0%} bootstrap interval over concepts"
    )


def _languages(headline: Mapping[str, Any]) -> list[str]:
    sections = []
    for name, entry in headline.items():
        own = [(key.rsplit("/", 1)[1], value) for key, value in headline.items() if key.startswith(f"{name}/")]
        if len(own) > 1:
            sections.append(pages.section(f"{entry['title']}, by language", pages.svg(plots.languages(own, "hit@10"))))
    return sections


def _panels(metrics: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    panels = [("this model", metrics["space"]["similarity"])]
    if metrics["baseline_space"]:
        panels.append(("untrained", metrics["baseline_space"]["similarity"]))
    return panels


def _health(metrics: Mapping[str, Any]) -> str:
    before = (metrics["baseline_space"] or {}).get("health", {})
    rows = [
        (
            kind,
            facts["n"],
            facts["mean_cosine"],
            before.get(kind, {}).get("mean_cosine"),
            round(facts["effective_rank"], 1),
            round(before[kind]["effective_rank"], 1) if kind in before else None,
            f"{facts['norm_error']:.0e}",
        )
        for kind, facts in metrics["space"]["health"].items()
    ]
    columns = ("kind", "items", "mean cosine", "untrained", "effective rank", "untrained", "largest norm error")
    return pages.table(columns, rows)


def _stored(tasks: Mapping[str, Mapping[str, float]]) -> str:
    def kept(found: Mapping[str, float], dtype: str) -> tuple[float | None, str | None]:
        value, full = found.get(dtype), found["float"]
        return value, f"{value / full:.1%}" if value is not None and full else None

    rows = [
        (TASKS[name].title if name in TASKS else name, found["float"], *kept(found, "int8"), *kept(found, "binary"))
        for name, found in tasks.items()
    ]
    return pages.table(("what", "float", "int8", "kept", "binary", "kept"), rows)


def _headline_table(headline: Mapping[str, Any]) -> str:
    rows = [
        (
            e["title"],
            name,
            e["value"],
            f"{e['low']:.3f} – {e['high']:.3f}",
            e["chance"],
            e["baseline"],
            e["n"],
            e["subsets"],
        )
        for name, e in headline.items()
    ]
    return pages.table(("what", "name", "value", "interval", "chance", "untrained", "queries", "subsets"), rows)


def _tables(tasks: Mapping[str, Any]) -> list[str]:
    columns = ["subset", "queries", "pool"]
    for metric in ("hit@1", "hit@10", "nDCG@10"):
        columns += [metric, "interval", "chance", "untrained"]
    blocks = []
    for task, subsets in tasks.items():
        rows = []
        for subset, entry in subsets.items():
            row = [subset, entry["n"], round(entry["pool"])]
            for metric in ("hit_at_1", "hit_at_10", "ndcg_at_10"):
                e = entry[metric]
                row += [e["value"], f"{e['low']:.2f}–{e['high']:.2f}", e["chance"], e["baseline"]]
            rows.append(row)
        title = TASKS[task].title if task in TASKS else task
        blocks.append(f"<details><summary>{title} ({len(rows)})</summary>{pages.table(columns, rows)}</details>")
    return blocks
