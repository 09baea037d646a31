"""The report of the validate step: what is in the corpus, what was refused and why, and the Data Docs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from components.pages import embedded, page, paragraph, section, svg, table
from data.expectations import data_docs
from data.records import SPLITS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from components.validate.run import Checked
    from data.probes import Probe

SPLIT_COLOURS = {"train": "#2a6fdb", "validation": "#f08c00", "test": "#2b8a3e"}
EXAMPLES = 3


def report_page(checked: "Checked", stop: Sequence[str]) -> str:
    """The whole page: plots, counts, refused rows, decode results, Great Expectations' page."""
    refused = len(checked.findings.refused)
    verdict = (
        paragraph(f"The run was stopped: {'; '.join(stop)}.", bad=True)
        if stop
        else paragraph(f"{checked.rows - refused:,} of {checked.rows:,} records accepted, {refused:,} quarantined.")
    )
    return page(
        "Validation of the corpus",
        verdict,
        paragraph(checked.version.sentence(), bad=checked.version.matches is False),
        section("Accepted records", svg(_plot(checked)), *_counts(checked)),
        section("Quarantine", _quarantine(checked)),
        section("Reported, not refused", _reasons(checked, checked.findings.reported)),
        section("Decoded media", _media(checked)),
        section(
            "Great Expectations",
            embedded("Data Docs: every expectation on the manifest", data_docs(checked.findings.result)),
        ),
    )


def _plot(checked: "Checked") -> "Figure":
    from matplotlib.figure import Figure

    accepted = checked.accepted
    sources = accepted.groupby(["source", "split"]).size().unstack(fill_value=0)
    languages = accepted["languages"].explode().value_counts().head(30)
    figure = Figure(figsize=(11, 1 + 0.32 * max(len(sources), 8)))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.4))
    start = [0] * len(sources)
    for split in SPLITS:
        widths = list(sources[split]) if split in sources else [0] * len(sources)
        left.barh(list(sources.index), widths, left=start, color=SPLIT_COLOURS[split], label=split)
        start = [a + b for a, b in zip(start, widths, strict=True)]
    left.invert_yaxis()
    left.legend(fontsize=8)
    left.set_title("records by source and split")
    right.bar(list(languages.index), list(languages), color="#868e96")
    right.set_title("records by language")
    right.tick_params(axis="x", rotation=90)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure


def _counts(checked: "Checked") -> list[str]:
    accepted = checked.accepted
    names = ("source", "task", "license")
    return [table((name, "records"), accepted[name].value_counts().items()) for name in names]


def _quarantine(checked: "Checked") -> str:
    if not checked.findings.refused and not checked.broken:
        return paragraph("Nothing was refused.")
    broken = table(("unreadable shard", "reason"), checked.broken.items()) if checked.broken else ""
    return broken + _reasons(checked, checked.findings.refused)


def _reasons(checked: "Checked", found: dict[int, list[str]]) -> str:
    if not found:
        return paragraph("Nothing.")
    rows: dict[str, list[int]] = {}
    for row, reasons in found.items():
        for reason in reasons:
            rows.setdefault(reason, []).append(row)
    identities, sources = checked.manifest["id"], checked.manifest["source"]
    lines = [
        (
            reason,
            len(members),
            ", ".join(sorted({str(sources[row]) for row in members})),
            ", ".join(str(identities[row]) for row in members[:EXAMPLES]),
        )
        for reason, members in sorted(rows.items(), key=lambda item: -len(item[1]))
    ]
    return table(("reason", "records", "sources", "for example"), lines)


def _media(checked: "Checked") -> str:
    groups: dict[tuple[str, str, str], list[Probe]] = {}
    for probe in checked.probes:
        key = (probe.modality, probe.container or "unknown", probe.code or "decoded")
        groups.setdefault(key, []).append(probe)
    rows = [
        (*key, len(members), sum(p.size for p in members), sum(p.seconds or 0.0 for p in members) or None)
        for key, members in sorted(groups.items())
    ]
    return table(("modality", "format", "outcome", "items", "bytes", "seconds of sound"), rows)
