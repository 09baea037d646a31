"""The report of the mine step: what right documents would slip in, how hard the negatives are, and examples."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from components.mine.examples import examples_html
from components.mine.run import TaskResult, totals
from components.pages import page, paragraph, section, svg, table
from data.mining.plants import Outcome
from data.mining.select import uses_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from components.mine.config import MineConfig

COLOURS = {"positives": "#2b8a3e", "mined": "#d9480f", "random": "#adb5bd"}
PLANTS = {
    "hidden": "of a query with several positives one is forgotten, with all that the records say about it",
    "altered": "a positive is there again in other bytes, under another id and group",
    "copy": "a positive is there again byte for byte, under another id and group",
}
WHY = {
    "allowed": "might be taken",
    "positive": "a positive of the record",
    "equal_query": "a positive of an equal query elsewhere",
    "query_itself": "the query itself",
    "same_group": "of the query's group",
    "linked_group": "of a group that never_across puts beside the query's",
    "same_part": "shares a text or a medium with a positive",
    "sibling": "a positive of a query that shares a positive with this one",
    "above_window": "ranked above first_rank",
    "alike": "looks like a positive",
    "near_positive": "nearer to a positive than rules.near",
    "ratio": "scores above rules.ratio of the positive",
    "margin": "scores above the positive less rules.margin",
    "judge": "the judge holds it to be as good as the positive",
    "hub": "is a negative of max_uses records already",
    "has_it_already": "the record has it among its negatives",
}
COUNTED = (
    "Of each distinct query every candidate down to rules.last_rank, and what is related to the query among those "
    "above. The last lines of a task are counted when negatives are dealt out to records."
)
HIDDEN_NOTE = (
    "A hidden positive looks to the miner as a right answer does that nobody has marked: only its rank and cosines can "
    "give it away. Its rate is the estimate of false negatives; the other two kinds check the rules on identity and "
    "nearness. Intervals are Wilson's, at 95 %; no two plants of a kind are of one group."
)


def report_page(
    config: "MineConfig", results: Sequence[TaskResult], lacking: Sequence[str], facts: Mapping[str, Any]
) -> str:
    """The whole page."""
    counts = facts["mining"]["counts"]
    return page(
        "Hard negatives",
        paragraph(
            f"{counts['negatives']:,} negatives for {counts['with_negatives']:,} of {counts['records']:,} records; "
            f"{counts['without']:,} got none, {counts['untouched']:,} of other tasks and splits are as they were."
        ),
        paragraph(f"Data {facts['digest']}, made of {facts['mining']['parent']} by model {facts['mining']['model']}."),
        *([paragraph(f"Left out, because the model lacks a modality: {', '.join(lacking)}.")] if lacking else []),
        *_warnings(config, results),
        section("Right documents that were planted", *_plants(results)),
        section("Cosines", svg(_histograms(results))),
        section("Records", table(COLUMNS, map(_row, results))),
        section("Examples", *(_examples(result) for result in results)),
        section("Kept and refused, by rule", paragraph(COUNTED), *(_verdicts(result) for result in results)),
    )


def _warnings(config: "MineConfig", results: Sequence[TaskResult]) -> list[str]:
    found = []
    for result in results:
        for kind, outcome in result.plants.items():
            if outcome.planted and outcome.refused < config.least_refused:
                found.append(
                    f"{result.task.name}: of {outcome.planted} planted right documents ({kind}) only "
                    f"{outcome.refused:.1%} were refused, less than {config.least_refused:.0%}: lower rules.ratio or "
                    "rules.near, raise rules.alike or rules.first_rank, or give a judge."
                )
        if not result.negatives:
            found.append(f"{result.task.name}: no record got a negative: the rules refuse every candidate.")
    return [paragraph(text, bad=True) for text in found]


def _plants(results: Sequence[TaskResult]) -> list[str]:
    summed = totals(results)
    if not summed:
        return [paragraph("None: plants.queries is 0.")]
    rows = [_plant("all tasks", kind, outcome) for kind, outcome in summed.items()]
    rows += [_plant(r.task.name, kind, outcome) for r in results for kind, outcome in r.plants.items()]
    columns = (
        "task",
        "kind",
        "planted",
        "refused",
        "interval",
        "without rules",
        "interval",
        "refused by",
        "impossible",
    )
    words = [paragraph(f"{kind}: {meaning}.") for kind, meaning in PLANTS.items()]
    return [paragraph(HIDDEN_NOTE), table(columns, rows), *words]


def _plant(task: str, kind: str, outcome: Outcome) -> tuple[Any, ...]:
    if not outcome.planted:
        return task, kind, 0, None, None, None, None, "", outcome.impossible
    without = 1 - outcome.taken_without / outcome.planted
    ends = [f"{low:.1%} – {high:.1%}" for low, high in (outcome.interval(), outcome.interval(without=True))]
    by = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in outcome.verdicts.most_common())
    shares = f"{outcome.refused:.1%}", f"{without:.1%}"
    return task, kind, outcome.planted, shares[0], ends[0], shares[1], ends[1], by, outcome.impossible


COLUMNS = (
    "task",
    "records",
    "with negatives",
    "negatives a record",
    "queries",
    "documents",
    "search",
    "used as negatives",
    "most used",
    "median cosine: positives",
    "mined",
    "random",
)


def _row(result: TaskResult) -> tuple[Any, ...]:
    pool, uses = result.miner.pool, uses_of(result.taken)
    medians = [float(np.median(values)) if len(values) else None for values in _cosines(result).values()]
    return (
        result.task.name,
        pool.records,
        result.with_negatives,
        round(result.negatives / max(1, pool.records), 2),
        len(pool.asks),
        len(pool.documents),
        "exact" if result.miner.exact else "graph",
        len(uses),
        max(uses.values(), default=0),
        *medians,
    )


def _cosines(result: TaskResult) -> dict[str, Any]:
    positives = [found.positives_M for found in result.found]
    mined = [negative.score for negatives in result.taken.values() for negative in negatives]
    return {
        "positives": np.concatenate(positives) if positives else np.zeros(0),
        "mined": np.array(mined),
        "random": result.random,
    }


def _histograms(results: Sequence[TaskResult]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.1 * len(results)))
    for axes, result in zip(figure.subplots(len(results), 1, squeeze=False)[:, 0], results, strict=True):
        cosines = {name: values for name, values in _cosines(result).items() if len(values)}
        low, high = (end(end(values) for values in cosines.values()) for end in (min, max))
        edges = np.linspace(low, max(high, low + 1e-6), 60)
        for name, values in cosines.items():
            weights = np.full(len(values), 1 / len(values))
            axes.hist(values, edges, weights=weights, alpha=0.6, color=COLOURS[name], label=f"{name} ({len(values):,})")
        axes.set_title(result.task.name, fontsize=10, loc="left")
        axes.set_ylabel("share", fontsize=8)
        axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure


def _examples(result: TaskResult) -> str:
    return f"<details open><summary>{result.task.name}</summary>{examples_html(result.examples)}</details>"


def _verdicts(result: TaskResult) -> str:
    total = sum(result.miner.verdicts.values())
    rows = [
        (name.replace("_", " "), WHY.get(name, ""), count, f"{count / total:.1%}")
        for name in WHY
        if (count := result.miner.verdicts[name])
    ]
    return paragraph(result.task.name) + table(("verdict", "why", "candidates", "share"), rows)
