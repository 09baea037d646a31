"""The summary of a run: its promised keys, and honest words about a run that ended early."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from components.environment import Environment
from components.report.outcome import collect, save
from components.step import StepRecord, write
from pipelines.table import show

PLAN = ("validate", "train-align", "evaluate", "gate")


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(home=tmp_path, tracking_uri="sqlite://", run_id="r1", parent_run="p1")


def put(environment: Environment, *records: StepRecord) -> None:
    for record in records:
        write(record, environment)


def test_successful_run_has_the_promised_keys(environment: Environment, tmp_path: Path) -> None:
    made = {name: tmp_path / "pipeline" / name / "report" for name in ("validate", "evaluate", "gate")}
    for name, path in made.items():
        path.parent.mkdir(parents=True)
        path.write_text(f"<p>{name}</p>")
    put(
        environment,
        StepRecord("validate", "cached", 0.0, facts={"digest": "d", "rows": 10, "report": str(made["validate"])}),
        StepRecord("train-align", "ok", 9.0),
        StepRecord(
            "evaluate",
            "ok",
            3.0,
            facts={"report": str(made["evaluate"]), "headline": {"text_to_image": {"hit_at_10": 0.5}}},
        ),
        StepRecord("register", "ok", 1.0, facts={"name": "omnivec", "version": "1", "digest": "m"}),
        StepRecord("gate", "ok", 1.0, facts={"promoted": True, "alias": "champion", "report": str(made["gate"])}),
    )
    outcome = collect(environment, PLAN, status="ok", seconds=13.04)
    document = json.loads(save(outcome, tmp_path).read_text())
    assert {"steps", "metrics", "model", "report", "data"} <= set(document)
    assert [(row["name"], row["status"]) for row in document["steps"]] == [
        ("validate", "cached"), ("train-align", "ok"), ("evaluate", "ok"), ("gate", "ok"),
    ]  # fmt: skip
    assert document["model"] == {
        "name": "omnivec", "version": "1", "digest": "m", "alias": "champion", "promoted": True
    }  # fmt: skip
    assert document["report"] == document["reports"]["evaluate"]
    for name, path in document["reports"].items():
        assert Path(path).name == f"{name}.html"
        assert Path(path).read_text() == f"<p>{name}</p>"
    assert set(document["reports"]) == set(made)
    assert document["data"] == {"digest": "d", "rows": 10}
    assert document["failure"] is None


def test_killed_step_is_told_from_a_failed_one(environment: Environment) -> None:
    put(environment, StepRecord("validate", "ok", 1.0), StepRecord("train-align", "running"))
    outcome = collect(environment, PLAN, status="failed", seconds=5.0, error="Inner task failed")
    assert outcome.failure is not None
    assert outcome.failure["step"] == "train-align"
    assert "out of memory" in outcome.failure["error"]
    assert "last checkpoint" in outcome.failure["next"]
    assert [row["status"] for row in outcome.steps] == ["ok", "failed", "not run", "not run"]


def test_interrupted_run_and_failure_before_the_first_step(environment: Environment) -> None:
    early = collect(environment, PLAN, status="failed", seconds=0.1, error="disk full")
    assert early.failure is not None
    assert early.failure["error"] == "disk full"
    put(environment, StepRecord("validate", "running"))
    stopped = collect(environment, PLAN, status="interrupted", seconds=1.0, error="interrupted by the user")
    assert stopped.steps[0]["status"] == "interrupted"
    assert stopped.failure is not None
    assert stopped.failure["error"] == "interrupted by the user"


def test_latest_follows_the_newest_run(environment: Environment, tmp_path: Path) -> None:
    for run_id in ("r1", "r2"):
        home = Environment(home=tmp_path, tracking_uri="sqlite://", run_id=run_id)
        save(collect(home, PLAN, status="ok", seconds=1.0), tmp_path)
    assert json.loads((tmp_path / "runs" / "latest" / "summary.json").read_text())["run_id"] == "r2"


def test_table_shows_steps_metrics_and_the_way_out(environment: Environment) -> None:
    put(
        environment,
        StepRecord("evaluate", "ok", 3.0, facts={"headline": {"text_to_image": {"value": 0.512, "chance": 0.1}}}),
        StepRecord("gate", "failed", 1.0, error="DataError: [broken] results"),
    )
    console = Console(record=True, width=200, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    show(collect(environment, PLAN, status="failed", seconds=4.0), console)
    text = console.export_text()
    for expected in ("text_to_image", "0.512", "chance", "DataError: [broken] results", "Put it right", "not run"):
        assert expected in text
