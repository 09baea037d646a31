"""The last word of a run, however it ended: its summary on disk, on a page, and on its MLflow run."""

import json
import sys
import time
from pathlib import Path
from typing import Literal

from components.environment import Environment
from components.report.config import ReportConfig
from components.report.outcome import Outcome, collect, save
from components.step import read_records

Status = Literal["ok", "failed", "interrupted"]
# Kubeflow's backend says COMPLETE (the word of its metadata store) where the SDK documents SUCCEEDED.
ENDED: dict[str, Status] = {"SUCCEEDED": "ok", "COMPLETE": "ok", "CACHED": "ok", "FAILED": "failed"}
ENDED |= {"CANCELLED": "interrupted", "CANCELED": "interrupted"}
MLFLOW = {"ok": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
TAG_LIMIT = 500


def run(
    config: ReportConfig,
    *,
    state: str,
    message: str,
    summary: Path,
    page: Path,
    environment: Environment,
    tracked: bool = True,
) -> Outcome:
    """Say how a run ended. A tracking server that does not answer is reported, and is no failure of the run.

    Args:
        config: what was planned.
        state: final state by Kubeflow Pipelines, such as ``SUCCEEDED``. Of another word the records decide.
        message: its message, often empty.
        summary: JSON file to write, the same as ``summary.json`` of the run in the home directory.
        page: Markdown file to write, for the list of runs.
        environment: says which run.
        tracked: put it on the run's MLflow parent; a runner on this machine does that itself.
    """
    status = ENDED.get(state.upper()) or _by_records(environment)
    seconds = _elapsed(environment)
    outcome = collect(
        environment, config.steps, status=status, seconds=seconds, error=message or None, silent_cache=True
    )
    if environment.run_id:
        save(outcome, environment.home)
    summary.parent.mkdir(parents=True, exist_ok=True)
    summary.write_text(json.dumps(vars(outcome), indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(markdown(config.name, outcome), encoding="utf-8")
    if tracked:
        track(config.name, outcome, environment)
    return outcome


def track(name: str, outcome: Outcome, environment: Environment) -> None:
    """Put status and failure on the run's MLflow parent, and end it if it belongs to the steps.

    A server that takes nothing is told of on stderr.
    """
    try:
        _track(name, outcome, environment)
    except Exception as error:  # mlflow raises many kinds, and a run that succeeded must not fail by its report
        sys.stderr.write(f"report: MLflow at {environment.tracking_uri} took no report: {error}\n")


def _track(name: str, outcome: Outcome, environment: Environment) -> None:
    from components.tracking import Run, client_for, end_parent, shared_parent

    parent = environment.parent_run or shared_parent(environment)
    if parent is None:
        return
    run = Run(client_for(environment), parent)
    failure = outcome.failure or {}
    tags = {"omnivec.status": outcome.status, "omnivec.failed_step": failure.get("step", "")}
    run.tags({**tags, "omnivec.error": failure.get("error", "")[:TAG_LIMIT]})
    run.json("summary.json", json.loads(json.dumps(vars(outcome), default=str)))
    if environment.parent_run is None:
        run.tags({"mlflow.runName": name})
        end_parent(environment, parent, status=MLFLOW[outcome.status])


def markdown(name: str, outcome: Outcome) -> str:
    """The outcome as a page for the list of runs."""
    lines = [f"# {name}: {outcome.status}", ""]
    if outcome.failure:
        lines += [f"**{outcome.failure['step'] or 'no step'}**: {outcome.failure['error']}", ""]
        lines += [outcome.failure["next"], ""]
    lines += ["| step | status | seconds |", "|---|---|---:|"]
    lines += [f"| {row['name']} | {row['status']} | {row['seconds']:.1f} |" for row in outcome.steps]
    if outcome.model:
        lines += ["", "model: " + ", ".join(f"{key} {value}" for key, value in outcome.model.items())]
    for title, given in outcome.metrics.items():
        value = given.get("value") if isinstance(given, dict) else given
        lines += ["", f"{title}: {value}"]
    return "\n".join(lines) + "\n"


def _by_records(environment: Environment) -> Status:
    unfinished = [name for name, kept in read_records(environment).items() if kept.status in ("failed", "running")]
    return "failed" if set(unfinished) - {"report"} else "ok"


def _elapsed(environment: Environment) -> float:
    """Seconds since the first step began, by its record; 0 without one."""
    if environment.run_id is None:
        return 0.0
    folder = environment.home / "runs" / environment.run_id / "steps"
    began = [
        path.stat().st_mtime - float(json.loads(path.read_text(encoding="utf-8"))["seconds"])
        for path in folder.glob("*.json")
    ]
    return max(0.0, time.time() - min(began)) if began else 0.0
