"""The result of a run: what its steps recorded, put together as ``summary.json``."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from components.environment import Environment
from components.step import StepRecord, read_records

SUMMARY = "summary.json"
LATEST = "latest"
REPORTS = ("report", "quarantine", "results")
AUDITED = ("digest", "rows", "quarantined", "moved", "leaks", "duplicates")
NOT_RUN = "not run"


@dataclass(frozen=True)
class Outcome:
    """How a run ended, as written to ``summary.json``.

    Attributes:
        run_id: folder under ``runs``.
        status: ``ok``, ``failed`` or ``interrupted``.
        seconds: wall-clock seconds of the whole run.
        steps: name, seconds and status of each planned step, in order.
        metrics: headline numbers of the evaluation, with chance and baseline beside them.
        model: name, version, alias and digest of the registered model.
        report: path of the evaluation report.
        reports: paths of every report by step.
        data: digests and counts of the corpus.
        mlflow: tracking address and parent run.
        failure: failed step, error and way out, or None.
    """

    run_id: str
    status: Literal["ok", "failed", "interrupted"]
    seconds: float
    steps: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    report: str | None = None
    reports: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    mlflow: Mapping[str, Any] = field(default_factory=dict)
    failure: Mapping[str, str] | None = None


def collect(
    environment: Environment,
    plan: Sequence[str],
    *,
    status: Literal["ok", "failed", "interrupted"],
    seconds: float,
    error: str | None = None,
    silent_cache: bool = False,
) -> Outcome:
    """Put together what the steps of a run recorded.

    Args:
        environment: says which run.
        plan: names of its steps, in order.
        status: how it ended.
        seconds: how long it took.
        error: what is known of a failure that no step recorded.
        silent_cache: a step taken from the cache leaves no record, as on Kubeflow, where its pod never starts.
    """
    records = read_records(environment)
    steps = [_row(name, records.get(name), status) for name in plan]
    if silent_cache:
        steps = _with_cached(steps)
    facts = {name: record.facts for name, record in records.items()}
    evaluated = facts.get("evaluate", {})
    reports = _publish(facts, environment)
    return Outcome(
        run_id=environment.run_id or "",
        status=status,
        seconds=round(seconds, 1),
        steps=steps,
        metrics=_headline(evaluated),
        model=_model(facts),
        report=reports.get("evaluate"),
        reports=reports,
        data=_data(facts),
        mlflow={"tracking_uri": environment.tracking_uri, "run": environment.parent_run},
        failure=_failure(steps, records, environment, status, error) if status != "ok" else None,
    )


def save(outcome: Outcome, home: Path) -> Path:
    """Write ``runs/<run_id>/summary.json`` and point ``runs/latest`` at the run."""
    folder = home / "runs" / outcome.run_id
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SUMMARY
    path.write_text(json.dumps(vars(outcome), indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    fresh = folder.parent / f".{LATEST}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(outcome.run_id)
    fresh.replace(folder.parent / LATEST)
    return path


def _row(name: str, record: StepRecord | None, status: str) -> dict[str, Any]:
    if record is None:
        return {"name": name, "seconds": 0.0, "status": NOT_RUN}
    ended = record.status if record.status != "running" else ("interrupted" if status == "interrupted" else "failed")
    return {"name": name, "seconds": record.seconds, "status": ended, "peak_mb": record.peak_mb}


def _with_cached(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Call a step without a record cached where one after it ran, unless one before it failed."""
    last = max((i for i, row in enumerate(steps) if row["status"] != NOT_RUN), default=-1)
    broken = next((i for i, row in enumerate(steps) if row["status"] in {"failed", "interrupted"}), len(steps))
    return [
        {**row, "status": "cached"} if row["status"] == NOT_RUN and i < min(last, broken) else row
        for i, row in enumerate(steps)
    ]


def _data(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the validated corpus is, and beside it what the audit made of it, which is what was trained on."""
    shown = {key: value for key, value in facts.get("validate", {}).items() if key not in REPORTS}
    audited = facts.get("audit", {})
    return shown | ({"audit": {key: audited[key] for key in AUDITED if key in audited}} if audited else {})


def _publish(facts: Mapping[str, Mapping[str, Any]], environment: Environment) -> dict[str, str]:
    """Copy the reports to ``runs/<run_id>/reports/<step>.html``: a pipeline artifact has no name a browser knows."""
    folder = environment.home / "runs" / (environment.run_id or "") / "reports"
    published = {}
    for name, values in facts.items():
        source = Path(values.get("report", ""))
        if source.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            published[name] = str(shutil.copyfile(source, folder / f"{name}.html"))
    return published


def _headline(evaluated: Mapping[str, Any]) -> dict[str, Any]:
    """Headline metrics: what the evaluate step put under ``headline``."""
    return dict(evaluated.get("headline", {}))


def _model(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    registered, decided = facts.get("register", {}), facts.get("gate", {})
    model = {key: registered[key] for key in ("name", "version", "digest") if key in registered}
    if model:
        model["alias"] = decided.get("alias", registered.get("alias"))
        model["promoted"] = bool(decided.get("promoted", False))
    return model


def _failure(
    steps: Sequence[Mapping[str, Any]],
    records: Mapping[str, StepRecord],
    environment: Environment,
    status: str,
    error: str | None,
) -> dict[str, str]:
    broken = next((row["name"] for row in steps if row["status"] in {"failed", "interrupted"}), None)
    if broken is None:
        return {"step": "", "error": error or "the run ended before its first step", "next": "run it again"}
    reason = records[broken].error or error or "the process was killed"
    if records[broken].status == "running" and status == "failed":
        reason = f"the process of the step ended without a word (killed, or out of memory): {reason}"
    again = f"Put it right and start the same command again: the steps before {broken} come from the cache"
    if broken.startswith("train"):
        again += ", and training goes on from its last checkpoint"
    return {"step": broken, "error": reason, "next": f"{again}. Its record: {_record(environment, broken)}"}


def _record(environment: Environment, name: str) -> Path:
    return environment.home / "runs" / (environment.run_id or "") / "steps" / f"{name}.json"
