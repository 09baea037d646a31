"""The report: its last word about a run that went well, failed, was stopped, or left few traces."""

import json
from pathlib import Path

import pytest
from kfp import dsl

from components.environment import Environment
from components.report.component import report
from components.report.config import ReportConfig
from components.report.run import run
from components.step import StepRecord, write
from components.tracking import client_for, shared_parent, start_parent, step_run

PLAN = ReportConfig(name="nightly", steps=("validate", "audit", "train-align", "gate"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for all: making one takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def environment(tmp_path: Path, store: str) -> Environment:
    """As in a pod: a run id, no parent in MLflow."""
    return Environment(home=tmp_path, tracking_uri=store, run_id=tmp_path.name)


def told(environment: Environment, state: str, message: str = "", *records: StepRecord) -> tuple[dict, str]:
    for record in records:
        write(record, environment)
    outputs = {"summary": environment.home / "out" / "summary", "page": environment.home / "out" / "page"}
    run(PLAN, state=state, message=message, environment=environment, **outputs)
    kept = json.loads((environment.home / "runs" / str(environment.run_id) / "summary.json").read_text())
    assert kept == json.loads(outputs["summary"].read_text())
    return kept, outputs["page"].read_text()


def test_a_failed_run_is_told_with_its_step_on_disk_on_the_page_and_in_mlflow(environment: Environment) -> None:
    with pytest.raises(ValueError, match="broken"), step_run("audit", environment):
        raise ValueError("broken")
    parent = shared_parent(environment)
    kept, page = told(
        environment,
        "FAILED",
        "",
        StepRecord("validate", "ok", 3.0),
        StepRecord("audit", "failed", 1.0, error="DataError: 5 leaks; see the report"),
    )
    assert kept["status"] == "failed"
    assert (kept["failure"]["step"], kept["failure"]["error"]) == ("audit", "DataError: 5 leaks; see the report")
    assert [row["status"] for row in kept["steps"]] == ["ok", "failed", "not run", "not run"]
    assert "# nightly: failed" in page
    assert "**audit**: DataError: 5 leaks" in page
    ended = client_for(environment).get_run(parent)
    assert ended.info.status == "FAILED"
    assert ended.info.run_name == "nightly"
    assert ended.data.tags["omnivec.failed_step"] == "audit"
    assert client_for(environment).list_artifacts(parent)[0].path == "summary.json"


@pytest.mark.parametrize("state", ["SUCCEEDED", "COMPLETE", "RUNNING"])
def test_words_of_several_backends_for_success(environment: Environment, state: str) -> None:
    """RUNNING is what a known fault of the backend says at the end; then the records decide."""
    kept, _ = told(environment, state, "", StepRecord("validate", "ok", 1.0), StepRecord("gate", "ok", 1.0))
    assert kept["status"] == "ok"
    assert [row["status"] for row in kept["steps"]] == ["ok", "cached", "cached", "ok"], "no pod ran for these two"
    assert kept["failure"] is None


def test_a_killed_pod_makes_a_run_failed_whatever_the_word(environment: Environment) -> None:
    kept, _ = told(environment, "RUNNING", "", StepRecord("validate", "ok", 1.0), StepRecord("audit", "running"))
    assert (kept["status"], kept["failure"]["step"]) == ("failed", "audit")


def test_a_stopped_run_and_one_without_any_record(environment: Environment) -> None:
    kept, _ = told(environment, "CANCELED", "terminated by the user")
    assert kept["status"] == "interrupted"
    assert kept["failure"]["error"] == "terminated by the user"


def test_a_tracking_server_that_is_gone_fails_no_run(
    environment: Environment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr("components.tracking.shared_parent", gone)
    kept, _ = told(environment, "SUCCEEDED", "", StepRecord("gate", "ok", 1.0))
    assert kept["status"] == "ok"
    assert "took no report: refused" in capsys.readouterr().err


def test_steps_of_a_run_share_one_parent_and_the_older_of_two_stays(environment: Environment) -> None:
    with step_run("validate", environment) as first:
        pass
    with step_run("audit", environment) as second:
        pass
    assert first.parent == second.parent
    assert client_for(environment).get_run(first.parent).info.status == "RUNNING", "the report ends it"
    start_parent(environment, "a second one, made at the same time")
    assert shared_parent(environment) == first.parent
    assert shared_parent(Environment(home=environment.home, tracking_uri=environment.tracking_uri)) is None


def test_the_component_takes_what_the_backend_gives(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.variables().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    status = dsl.PipelineTaskFinalStatus("FAILED", "job", "exit-handler-1", None, None)
    summary, page = dsl.Artifact(uri=f"{environment.home}/s"), dsl.Markdown(uri=f"{environment.home}/p")
    report.python_func(PLAN.model_dump_json(), status, summary, page)
    assert json.loads((environment.home / "s").read_text())["status"] == "failed"
