"""The report of the audit step: how many pairs of which kind and scope, how near, and the pairs themselves."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from components.audit.config import AuditConfig
from components.audit.previews import Previews
from components.pages import page, paragraph, section, svg, table
from data.audit.audit import not_compared
from data.audit.rules import KINDS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from data.audit.audit import Audited
    from data.audit.pairs import Pair

SCOPES = {"across": "between splits: leaks", "within": "within a split: duplicates"}
UNITS = {
    "text": "1 - Jaccard index",
    "image": "grey levels at the worst place",
    "video": "grey levels at the worst place",
    "audio": "powers of ten of energy",
    "document": "share of pages",
    "embedding": "1 - cosine",
}
COLOURS = {"across": "#b3261e", "within": "#2a6fdb"}


def report_page(found: "Audited", config: AuditConfig, stop: Sequence[str]) -> str:
    """The whole page."""
    findings, verdicts = found.findings, found.verdicts
    total = len(findings.records.split)
    moved = int((verdicts.split != findings.records.split).sum())
    done = (
        paragraph(f"The run was stopped: {'; '.join(stop)}.", bad=True)
        if stop
        else paragraph(f"Of {total:,} records {len(verdicts.refused):,} were set aside and {moved:,} moved.")
    )
    previews = Previews(found, config.shown_bytes)
    return page(
        "Leaks and duplicates",
        done,
        *(paragraph(f"Leaks may have been missed: {line}.", bad=True) for line in not_compared(found).values()),
        section("Pairs by kind and scope", _counts(found, config), *_histogram(found)),
        *(_pairs(found, config, previews, kind, scope) for scope in SCOPES for kind in KINDS),
        section("Groups that moved", _moved(found)),
        section("Compared", _compared(found, config)),
    )


def _counts(found: "Audited", config: AuditConfig) -> str:
    if not found.findings.pairs:
        return paragraph("Nothing is in two places.")
    rows = [
        (kind, SCOPES[scope], match, count, config.policies.action(kind, scope))
        for (kind, scope, match), count in found.findings.counts.items()
    ]
    return table(("kind", "scope", "match", "pairs", "policy"), rows)


def _histogram(found: "Audited") -> list[str]:
    near: dict[str, dict[str, list[float]]] = {}
    for pair in found.findings.pairs:
        if pair.match == "near":
            near.setdefault(pair.kind, {}).setdefault(pair.scope, []).append(pair.distance)
    if not near:
        return []
    return [svg(_figure(near))]


def _figure(near: dict[str, dict[str, list[float]]]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(near), 2.6))
    panels = figure.subplots(1, len(near), squeeze=False)[0]
    for axes, (kind, scopes) in zip(panels, near.items(), strict=True):
        axes.hist(list(scopes.values()), bins=20, stacked=True, color=[COLOURS[s] for s in scopes], label=list(scopes))
        axes.set_title(f"{kind}: near pairs by distance", fontsize=9)
        axes.set_xlabel(UNITS.get(kind, "distance"), fontsize=8)
        axes.legend(fontsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure


def _pairs(found: "Audited", config: AuditConfig, previews: Previews, kind: str, scope: str) -> str:
    own = [pair for pair in found.findings.pairs if pair.kind == kind and pair.scope == scope]
    if not own:
        return ""
    shown = spread(sorted(own, key=lambda pair: pair.distance), config.shown_pairs)
    note = f"{len(shown)} of {len(own)} pairs, from the nearest to the farthest; all are in pairs.parquet."
    return section(f"{kind}, {SCOPES[scope]}", paragraph(note), *(previews.pair(pair) for pair in shown))


def spread(pairs: Sequence["Pair"], count: int) -> list["Pair"]:
    """So many of ordered pairs, evenly: the first and the last among them."""
    if len(pairs) <= count:
        return list(pairs)
    if count < 2:
        return list(pairs[:count])
    return [pairs[place * (len(pairs) - 1) // (count - 1)] for place in range(count)]


def _moved(found: "Audited") -> str:
    moved = found.verdicts.moved
    if not moved:
        return paragraph("None.")
    note = "Their split is no longer that of the hash of their name; dataset.json lists them under audit.moved_groups."
    return paragraph(note) + table(("group", "split now"), sorted(moved.items())[:200])


def _compared(found: "Audited", config: AuditConfig) -> str:
    items = found.findings.items
    rows = []
    for kind in KINDS[:-1]:
        own = items.of_kind(kind)
        rows.append((kind, len(own), int(items.comparable[own].sum())))
    labels = (
        f"Texts of fewer than {config.text.characters} characters, blank pictures and silent sounds are labels: they "
        "count only as parts of whole pairs and contents."
    )
    return paragraph(labels) + table(("kind", "distinct", "that count by themselves"), rows)
