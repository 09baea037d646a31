"""The work of the evaluate step."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

from components.evaluate.config import EvaluateConfig
from components.evaluate.examples import examples
from components.evaluate.measure import Measured, calibrated, ladder, measure, open_encoder, run_mteb, space, stored
from components.evaluate.report import report_page
from components.evaluate.scores import Outcome, by_subset, headlines, outcomes, scalars, write_outcomes
from components.lineage import DataIdentity, data_identity
from components.serve_check.traffic import held_out
from components.tracking import Run
from data.benchmarks import TASKS
from data.benchmarks.base import RetrievalSet
from data.benchmarks.build import build_sets
from data.corpus import Corpus
from model.errors import DataError
from model.evaluation.metrics import Ranks
from model.integrity import DIGESTS, artifact_digest
from model.quantize import Quantizer

METRICS = "metrics.json"
PER_QUERY = "per_query.parquet"
REPORT = "report.html"


@dataclass(frozen=True)
class EvaluateResult:
    """What the step reports.

    Attributes:
        headline: value of every headline metric.
        scalars: every metric of every subset, by ``task/subset/metric``.
        table: headline metrics with interval, chance and baseline.
        queries: number of queries scored.
    """

    headline: dict[str, float]
    scalars: dict[str, float]
    table: dict[str, dict[str, Any]]
    queries: int
    data: DataIdentity

    def track(self, run: Run | None, *, results: Path, report: Path) -> None:
        """Log everything to MLflow: headline numbers on the parent too, so that whole runs can be compared."""
        if run is None:
            return
        run.headline(self.headline)
        run.metrics(self.scalars)
        run.dataset(
            results, self.data.digest, name="test split", context="evaluation", tags={"dvc_md5": self.data.dvc_md5}
        )
        run.artifact(results, "evaluation")
        run.artifact(report)


def run(
    config: EvaluateConfig,
    *,
    dataset: Path,
    model: Path,
    baseline: Path,
    features: Path | None,
    results: Path,
    report: Path,
) -> EvaluateResult:
    """Evaluate ``model`` and ``baseline`` on the test split and write results and report.

    Args:
        config: what is measured.
        dataset: validated corpus.
        model: artifact of the candidate.
        baseline: artifact of the untrained starting point.
        features: feature store of the frozen towers, or ``None``.
        results: directory for ``metrics.json``, ``per_query.parquet`` and mteb's result files.
        report: HTML file.

    Raises:
        DataError: the test split has no subset of enough queries, or the model has the modalities of none.
    """
    data = data_identity(dataset)
    digest = data.digest
    every = build_sets(Corpus(dataset, splits=("test",)), [TASKS[name] for name in config.tasks], config.sampling)
    sets = [found for found in every if len(found.queries) >= config.least_queries]
    if not sets:
        raise DataError(
            f"{dataset} has no subset with {config.least_queries} test queries among the tasks "
            f"{', '.join(config.tasks)}: nothing to evaluate"
        )
    results.mkdir(parents=True, exist_ok=True)
    start = _untrained(config, baseline, features, sets, digest, results)
    after = measure(open_encoder(model, features), sets, config, label="candidate", revision=artifact_digest(model))
    if not after.sets:
        raise DataError(f"{model} has the modalities of none of the tasks {', '.join(config.tasks)}")
    difference = run_mteb(after, digest, results / "mteb" / "candidate")
    rows = [
        row
        for found, ranks in zip(after.sets, after.ranks, strict=True)
        for row in outcomes(found, ranks, start.ranks.get(found.key))
    ]
    metrics = _document(config, after, sets, rows) | {
        "stored": stored(after, _quantizer(config, dataset, after)),
        "model": _identity(model, after),
        "baseline": {"digest": artifact_digest(baseline)},
        "baseline_space": start.space,
        "data": {"digest": digest, "dvc": data.dvc},
        "too_small": [found.key for found in every if len(found.queries) < config.least_queries],
        "mteb": {"version": version("mteb"), "largest_difference": difference},
    }
    write_outcomes(rows, results / PER_QUERY)
    (results / METRICS).write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    document = report_page(metrics, examples(after, config.examples))
    for path in (report, results / REPORT):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document, encoding="utf-8")
    return _result(metrics, len(rows), data)


@dataclass(frozen=True)
class _Start:
    """What the untrained starting point scored; its vectors are not kept."""

    ranks: dict[str, list[Ranks]]
    space: dict[str, Any] | None


def _untrained(
    config: EvaluateConfig, model: Path, features: Path | None, sets: list[RetrievalSet], digest: str, results: Path
) -> _Start:
    found = measure(open_encoder(model, features), sets, config, label="untrained", revision=artifact_digest(model))
    if not found.sets:
        return _Start({}, None)
    if config.mteb_untrained:
        run_mteb(found, digest, results / "mteb" / "untrained")
    return _Start(found.by_key(), space(found))


def _quantizer(config: EvaluateConfig, dataset: Path, after: Measured) -> Quantizer:
    """Ranges from the validation split; none, and so no measure of ``int8``, where a corpus has no such split."""
    corpus = Corpus(dataset, splits=("validation",))
    if not corpus.records:
        return Quantizer({})
    pools = held_out(corpus, config.calibration_per_kind, split="validation")
    return calibrated(after, list(chain.from_iterable(pools.values())))


def _document(config: EvaluateConfig, after: Measured, sets: list[RetrievalSet], rows: list[Outcome]) -> dict[str, Any]:
    known = {s.key for s in after.sets}
    return {
        "format": "omnivec-metrics/1",
        "config": config.model_dump(mode="json"),
        "level": config.level,
        "queries": len(rows),
        "sets": len(after.sets),
        "left_out": sorted({s.benchmark.name for s in sets if s.key not in known}),
        "headline": headlines(rows, config),
        "tasks": by_subset(rows, config),
        "matryoshka": ladder(after),
        "space": space(after),
    }


def _identity(model: Path, after: Measured) -> dict[str, Any]:
    """What was measured: the digest of the whole artifact, and of its weights, which export must not change."""
    files = json.loads((model / DIGESTS).read_text(encoding="utf-8"))
    encoder = after.model.encoder
    return {
        "digest": artifact_digest(model),
        "weights": {name: digest for name, digest in files.items() if name.endswith(".safetensors")},
        "dimensions": list(encoder.dimensions),
        "modalities": sorted(m.value for m in encoder.modalities),
    }


def _result(metrics: Mapping[str, Any], queries: int, data: DataIdentity) -> EvaluateResult:
    values = {name: float(entry["value"]) for name, entry in metrics["headline"].items()}
    return EvaluateResult(values, scalars(metrics["tasks"]), dict(metrics["headline"]), queries, data)
