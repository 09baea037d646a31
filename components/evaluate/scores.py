"""Per-query outcomes, their summary by subset and headline, and the table that the gate compares.

Shape legend: Q queries.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.evaluate.config import EvaluateConfig
from components.evaluate.headlines import HEADLINES, Headline
from data.benchmarks.base import RetrievalSet
from model.evaluation.bootstrap import bootstrap_mean
from model.evaluation.metrics import Ranks, chance_hit_at, chance_ndcg_at, hit_at, ndcg_at

METRICS = ("hit_at_1", "hit_at_10", "ndcg_at_10")


@dataclass(frozen=True)
class Outcome:
    """How one query went.

    ``rank`` is that of the best right document, from 1; ``baseline_rank`` that of the untrained starting point.
    """

    task: str
    subset: str
    query_id: str
    group: str
    rank: int
    ndcg_at_10: float
    pool: int
    right: int
    baseline_rank: int | None = None
    baseline_ndcg_at_10: float | None = None

    @property
    def values(self) -> dict[str, float]:
        """Metrics of this query."""
        return {"hit_at_1": float(self.rank <= 1), "hit_at_10": float(self.rank <= 10), "ndcg_at_10": self.ndcg_at_10}

    @property
    def baseline_values(self) -> dict[str, float]:
        """Metrics of the starting point on this query; empty when it could not run the task."""
        if self.baseline_rank is None or self.baseline_ndcg_at_10 is None:
            return {}
        hits = {"hit_at_1": float(self.baseline_rank <= 1), "hit_at_10": float(self.baseline_rank <= 10)}
        return {**hits, "ndcg_at_10": self.baseline_ndcg_at_10}

    @property
    def chance_values(self) -> dict[str, float]:
        """What a random ranking would score."""
        return {
            "hit_at_1": chance_hit_at(self.pool, self.right, 1),
            "hit_at_10": chance_hit_at(self.pool, self.right, 10),
            "ndcg_at_10": chance_ndcg_at(self.pool, self.right, 10),
        }


def outcomes(found: RetrievalSet, ranks: Sequence[Ranks], baseline: Sequence[Ranks] | None) -> list[Outcome]:
    """One outcome per query of a set."""
    pools = found.pool_sizes()
    return [
        Outcome(
            task=found.benchmark.name,
            subset=found.subset,
            query_id=found.query_ids[i],
            group=found.groups[i],
            rank=int(own[0]),
            ndcg_at_10=ndcg_at(own, 10),
            pool=pools[i],
            right=len(own),
            baseline_rank=int(baseline[i][0]) if baseline else None,
            baseline_ndcg_at_10=ndcg_at(baseline[i], 10) if baseline else None,
        )
        for i, own in enumerate(ranks)
    ]


def subset_weights(rows: Sequence[Outcome]) -> NDArray[np.float64]:
    """Weight 1 / size of its subset for every row, so that the weighted mean is the mean over subsets."""
    sizes: dict[tuple[str, str], int] = {}
    for row in rows:
        sizes[row.task, row.subset] = sizes.get((row.task, row.subset), 0) + 1
    return np.array([1.0 / sizes[row.task, row.subset] for row in rows])


def summarise(rows: Sequence[Outcome], metric: str, config: EvaluateConfig) -> dict[str, Any]:
    """Value with interval, chance, baseline with interval and counts of one metric over rows (mean over subsets)."""
    weights_Q, clusters_Q = subset_weights(rows), [row.group for row in rows]

    def estimate(values: list[float]) -> Any:
        return bootstrap_mean(
            values, clusters_Q=clusters_Q, weights_Q=weights_Q, level=config.level, draws=config.draws, seed=config.seed
        )

    summary = asdict(estimate([row.values[metric] for row in rows]))
    summary["chance"] = float(np.average([row.chance_values[metric] for row in rows], weights=weights_Q))
    summary["baseline"] = None
    if all(row.baseline_values for row in rows):
        baseline = asdict(estimate([row.baseline_values[metric] for row in rows]))
        summary |= {"baseline": baseline["value"], "baseline_low": baseline["low"], "baseline_high": baseline["high"]}
    return summary | {"n": len(rows), "subsets": len({(row.task, row.subset) for row in rows})}


def by_subset(rows: Sequence[Outcome], config: EvaluateConfig) -> dict[str, dict[str, Any]]:
    """All metrics per task and subset: ``{task: {subset: {n, pool, hit_at_1: {...}, ...}}}``."""
    tables: dict[str, dict[str, Any]] = {}
    for (task, subset), members in _grouped(rows).items():
        entry = {metric: summarise(members, metric, config) for metric in METRICS}
        pool = float(np.mean([row.pool for row in members]))
        tables.setdefault(task, {})[subset] = {"n": len(members), "pool": pool, **entry}
    return tables


def headlines(rows: Sequence[Outcome], config: EvaluateConfig) -> dict[str, dict[str, Any]]:
    """The headline numbers for which there are queries."""
    found: dict[str, dict[str, Any]] = {}
    for name, headline in HEADLINES.items():
        members = members_of(rows, headline)
        if not members:
            continue
        found[name] = {"title": headline.title, **summarise(members, headline.metric, config)}
        if headline.by_language:
            for language in sorted({row.subset.rsplit("/", 1)[-1] for row in members}):
                own = [row for row in members if row.subset.endswith(f"/{language}")]
                title = f"{headline.title}, {language}"
                found[f"{name}/{language}"] = {"title": title, **summarise(own, headline.metric, config)}
    return found


def members_of(rows: Iterable[Outcome], headline: Headline) -> list[Outcome]:
    """Rows that a headline is the mean of."""
    return [row for row in rows if row.task in headline.tasks and headline.includes(row.subset)]


def write_outcomes(rows: Sequence[Outcome], path: Path) -> None:
    """Write one row per query as Parquet."""
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows]), path, compression="zstd")


def read_outcomes(path: Path) -> list[Outcome]:
    """Read what :func:`write_outcomes` wrote."""
    return [Outcome(**row) for row in pq.read_table(path).to_pylist()]


def scalars(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Every metric of every subset as ``task/subset/metric``, for MLflow."""
    return {
        f"{task}/{subset}/{metric}": entry[metric]["value"]
        for task, subsets in tables.items()
        for subset, entry in subsets.items()
        for metric in METRICS
    }


def hit_rate(ranks: Sequence[Ranks], k: int) -> float:
    """Mean hit@k."""
    return float(np.mean([hit_at(own, k) for own in ranks]))


def _grouped(rows: Iterable[Outcome]) -> dict[tuple[str, str], list[Outcome]]:
    grouped: dict[tuple[str, str], list[Outcome]] = {}
    for row in rows:
        grouped.setdefault((row.task, row.subset), []).append(row)
    return grouped
