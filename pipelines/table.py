"""The summary of a run as people read it in a terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from components.report.outcome import Outcome

STYLES = {"ok": "green", "cached": "cyan", "failed": "bold red", "interrupted": "yellow", "not run": "dim"}


def show(outcome: Outcome, console: Console | None = None) -> None:
    """Print steps, headline metrics, the model and where the reports are."""
    console = console or Console()
    console.print(_steps(outcome))
    if outcome.metrics:
        console.print(_metrics(outcome))
    if outcome.model:
        described = "  ".join(f"{key}={value}" for key, value in outcome.model.items())
        console.print(f"model    {described}", soft_wrap=True)
    for step, path in outcome.reports.items():
        console.print(f"report   {step}: {path}", soft_wrap=True)
    if outcome.failure:
        console.print(f"\n[bold red]{outcome.status}[/] {outcome.failure['step']}", soft_wrap=True)
        console.print(outcome.failure["error"], markup=False, soft_wrap=True)
        console.print(outcome.failure["next"], markup=False, soft_wrap=True)


def _steps(outcome: Outcome) -> Table:
    table = Table("step", "status", "seconds", "peak MB", title=f"{outcome.run_id}: {outcome.status}")
    for column in table.columns[2:]:
        column.justify = "right"
    for row in outcome.steps:
        style = STYLES.get(row["status"], "")
        memory = f"{row['peak_mb']:.0f}" if row.get("peak_mb") else ""
        table.add_row(row["name"], f"[{style}]{row['status']}[/]", f"{row['seconds']:.1f}", memory)
    table.add_section()
    table.add_row("all", outcome.status, f"{outcome.seconds:.1f}")
    return table


def _metrics(outcome: Outcome) -> Table:
    """One row per headline: narrow enough for 80 columns, by folding the interval into one of them."""
    table = Table("metric", "value", "95 % interval", "untrained", "chance", "n", title="held-out quality")
    for name, given in outcome.metrics.items():
        row: dict[str, Any] = given if isinstance(given, dict) else {"value": given}
        interval = f"{_number(row['low'])}-{_number(row['high'])}" if "low" in row else ""
        cells = [_number(row.get(column)) for column in ("value", "baseline", "chance", "n")]
        table.add_row(row.get("title", name), cells[0], interval, *cells[1:])
    for column in table.columns[1:]:
        column.justify = "right"
        column.no_wrap = True
    return table


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
