"""The report of the validate step: what is in the corpus, how its parts measure, what was refused and why."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from components.pages import embedded, page, paragraph, section, svg, table
from components.validate.plots import probe_figure
from data.expectations import data_docs
from data.records import SPLITS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from components.validate.run import Checked
    from data.expectations import Outcome

SPLIT_COLOURS = {"train": "#2a6fdb", "validation": "#f08c00", "test": "#2b8a3e"}
EXAMPLES = 3
FILLERS = ("unknown", "unknown", "decoded")


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
        section("How the parts measure", svg(probe_figure(checked.manifest))),
        section("Quarantine", _quarantine(checked)),
        section("Reported, not refused", _reasons(checked, checked.findings.reported)),
        section("Rules of the recipe", _own(checked)),
        section("Decoded media", _media(checked)),
        section("Great Expectations", *_docs(checked)),
    )


def _plot(checked: "Checked") -> "Figure":
    from matplotlib.figure import Figure

    accepted = checked.accepted
    sources = accepted.groupby(["source", "split"], observed=True).size().unstack(fill_value=0)
    languages = accepted["languages"].astype(object).str.split(" ").explode().value_counts().head(30)
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
    counts = {name: accepted[name].value_counts() for name in names}
    return [table((name, "records"), found[found > 0].items()) for name, found in counts.items()]


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
    identities, sources = checked.manifest.records["id"], checked.manifest.records["source"]
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
    media = checked.manifest.media
    names = ("media_modality", "media_container", "media_code")
    keys = [
        media[name].astype(object).where(media[name].notna(), filler)
        for name, filler in zip(names, FILLERS, strict=True)
    ]
    groups = media.groupby(keys).agg({"media_bytes": ["size", "sum"], "audio_seconds": "sum", "video_seconds": "sum"})
    rows = [
        (*key, int(items), int(size), float(sound + clips) or None)
        for key, items, size, sound, clips in groups.itertuples(name=None)
    ]
    return table(("modality", "format", "outcome", "items", "bytes", "seconds"), rows)


def _own(checked: "Checked") -> str:
    changed = [o for o in checked.findings.outcomes if o.rule.own or o.rule.mostly is not None]
    if not changed:
        return paragraph("None: the recipe adds no expectations and sets no shares (data.expectations, data.rules).")
    rows = [(o.rule.reason, o.rule.kind, _arguments(o), o.rule.severity, *_numbers(o)) for o in changed]
    return table(("reason", "expectation", "arguments", "severity", "checked", "unexpected", "holds"), rows)


def _numbers(outcome: "Outcome") -> tuple[object, object, bool]:
    if outcome.unexpected is None:
        return "whole table", f"found {outcome.observed}", outcome.success
    return outcome.checked, outcome.unexpected, outcome.success


def _arguments(outcome: "Outcome") -> str:
    extra = {} if outcome.rule.mostly is None else {"mostly": outcome.rule.mostly}
    return ", ".join(f"{name}={value}" for name, value in {**outcome.rule.arguments, **extra}.items())


def _docs(checked: "Checked") -> list[str]:
    results = checked.findings.results.items()
    return [embedded(f"Data Docs: every expectation on {name}", data_docs(result)) for name, result in results]
