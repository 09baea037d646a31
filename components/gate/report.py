"""The gate's page: the decision, a plot of the differences, every rule."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components import pages

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GOOD, BAD, INK = "#2b8a3e", "#b3261e", "#1d2733"
COMPARED = ("champion", "against untrained")


def report_page(decision: Mapping[str, Any]) -> str:
    """Render a decision document."""
    verdicts = decision["verdicts"]
    shown = [v for v in verdicts if v["rule"] in COMPARED and v["low"] is not None]
    outcome = "promoted to champion" if decision["promoted"] else "refused"
    rival = f"champion was version {decision['champion']}" if decision["champion"] else "there was no champion"
    plot = [pages.section("Differences with intervals", pages.svg(_differences(shown)))] if shown else []
    columns = ("rule", "what", "value", "low", "high", "must reach", "holds", "why")
    rows = [
        (v["rule"], v["subject"], v["value"], v["low"], v["high"], v["bound"], v["passed"], v["reason"])
        for v in verdicts
    ]
    return pages.page(
        f"Gate: version {decision['version']} {outcome}",
        pages.paragraph(f"{len(verdicts)} rules, {len(decision['reasons'])} broken; {rival}."),
        *[pages.paragraph(reason, bad=True) for reason in decision["reasons"]],
        *plot,
        pages.section("Rules", pages.table(columns, rows)),
    )


def _differences(verdicts: Sequence[Mapping[str, Any]]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.2 + 0.34 * len(verdicts)))
    axes = figure.subplots()
    for row, verdict in enumerate(verdicts):
        colour = GOOD if verdict["passed"] else BAD
        axes.plot([verdict["low"], verdict["high"]], [row, row], color=colour, linewidth=2)
        axes.plot(verdict["value"], row, "o", color=colour)
        axes.plot([verdict["bound"]] * 2, [row - 0.35, row + 0.35], color=INK, linewidth=1.5)
    axes.set_yticks(range(len(verdicts)), [f"{v['subject']} ({v['rule']})" for v in verdicts])
    axes.set_ylim(len(verdicts) - 0.5, -0.5)
    axes.axvline(0, color="#adb5bd", linestyle=":")
    axes.set_xlabel("candidate minus rival (dot, interval); the bar is what must be reached")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
