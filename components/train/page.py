"""The page of a training stage: curves first, then the last values of everything."""

import json
from collections.abc import Sequence
from pathlib import Path

from components import pages
from model.training.config import StageConfig
from model.training.history import Row

SPACE = {
    "in_batch_accuracy": ("In-batch accuracy", "share of queries nearest to their own positive"),
    "temperature": ("Temperature", "temperature"),
    "alignment": ("Alignment (lower is better)", "mean squared distance of positives"),
    "uniformity_query": ("Uniformity of queries (lower is better)", "log mean exp(-2 d²)"),
    "uniformity_document": ("Uniformity of documents (lower is better)", "log mean exp(-2 d²)"),
}
# Scalars that are no task's, by the start of their names: (title, axis, logarithmic).
OTHERS = {
    "gradient_norm/": ("Gradient norm before clipping, by group", "L2 norm", True),
    "learning_rate/": ("Learning rate, by group", "rate", False),
    "memory/": ("Memory", "GB", False),
}
SPEED = {
    "pairs_per_second": ("Pairs per second", "pairs/s"),
    "tokens_per_second": ("Tokens per second through the network, padding left out", "tokens/s"),
    "mfu": ("Share of the hardware's peak arithmetic (MFU), trunk only", "share"),
    "data_wait_share": ("Share of time waiting for data", "share"),
    "observation_share": ("Share of time spent on these figures", "share"),
}
SPACE_NOTE = (
    "Alignment and uniformity as in Wang and Isola 2020 (arXiv 2005.10242), over at most 256 queries of a batch. "
    "Figures by task are means over the steps since the last point; a task that had no step has no point."
)


def report_page(stage: StageConfig, rows: Sequence[Row], bad_steps: Path) -> str:
    """Render the page.

    Args:
        stage: what was trained.
        rows: scalars by step, as ``History.rows`` gives them.
        bad_steps: the guard's record of steps that were left out; need not exist.
    """
    tasks = [task.name for task in stage.tasks]
    last: dict[str, float] = {}
    for row in rows:
        last |= row
    return pages.page(
        f"Training stage {stage.kind}",
        pages.paragraph(f"{int(last.get('step', 0)):,} of {stage.steps:,} steps, seed {stage.seed}."),
        *_bad(bad_steps),
        pages.section("Loss", _plot(rows, ["loss"], "Loss, all tasks", "loss"), *_parts(rows, tasks)),
        pages.section("Space", *(_by_task(rows, tasks, name) for name in SPACE), pages.paragraph(SPACE_NOTE)),
        pages.section("Optimisation and memory", *(_others(rows, start) for start in OTHERS)),
        pages.section("Speed", *(_plot(rows, [name], *labels) for name, labels in SPEED.items() if name in last)),
        pages.section(
            "Last values",
            pages.table(("scalar", "value"), [(name, f"{value:.4g}") for name, value in sorted(last.items())]),
        ),
    )


def _parts(rows: Sequence[Row], tasks: Sequence[str]) -> list[str]:
    """Per task one plot with the loss and its parts."""
    found = []
    for task in tasks:
        names = sorted({key for row in rows for key in row if key.startswith(f"{task}/")})
        found.append(_plot(rows, [n for n in names if n.removeprefix(f"{task}/") not in SPACE], task, "loss"))
    return found


def _by_task(rows: Sequence[Row], tasks: Sequence[str], name: str) -> str:
    return _plot(rows, [f"{task}/{name}" for task in tasks], *SPACE[name])


def _others(rows: Sequence[Row], start: str) -> str:
    title, axis, logarithmic = OTHERS[start]
    names = sorted({key for row in rows for key in row if key.startswith(start)})
    return _plot(rows, names, title, axis, logarithmic=logarithmic)


def _plot(rows: Sequence[Row], names: Sequence[str], title: str, axis: str, *, logarithmic: bool = False) -> str:
    """Curves of the named scalars over the steps, as SVG; nothing where none of them was ever seen."""
    from matplotlib.figure import Figure

    curves = {name: [(row["step"], row[name]) for row in rows if name in row] for name in names}
    curves = {name: points for name, points in curves.items() if points}
    if not curves:
        return ""
    figure = Figure(figsize=(8.5, 2.8))
    axes = figure.subplots()
    for name, points in curves.items():
        axes.plot(*zip(*points, strict=True), "-" if len(points) > 1 else "o", linewidth=1.3, label=name)
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel("step")
    axes.set_ylabel(axis, fontsize=8)
    if logarithmic and all(value > 0 for points in curves.values() for _, value in points):
        axes.set_yscale("log")
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    return pages.svg(figure)


def _bad(path: Path) -> list[str]:
    if not path.is_file():
        return []
    steps = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    columns = ("step", "task", "loss parts", "gradients", "of them", "records")
    rows = [
        (
            fact["step"],
            fact["task"],
            ", ".join(fact["loss_parts"]),
            ", ".join(fact["gradients"]),
            fact["gradients_in_all"],
            ", ".join(fact["ids"]),
        )
        for fact in steps
    ]
    note = f"{len(steps)} step(s) were left out because a loss or gradient was not finite."
    return [pages.section("Left out", pages.paragraph(note, bad=True), pages.table(columns, rows))]
