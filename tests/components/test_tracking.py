"""Runs: nesting, failure status, joining a foreign parent, names MLflow would reject."""

from pathlib import Path

import pytest

from components.environment import Environment
from components.tracking import client_for, end_parent, flatten, start_parent, step_run
from model.errors import ConfigError


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment.local(tmp_path_factory.mktemp("home"))


def test_environment_reads_kubeflow_and_own_variables() -> None:
    env = Environment.from_env({"OMNIVEC_HOME": "/state", "MLFLOW_RUN_ID": "r1", "OMNIVEC_RUN_ID": "n1"})
    assert (env.home, env.parent_run, env.run_id) == (Path("/state"), "r1", "n1")
    assert env.tracking_uri == "sqlite:////state/mlflow.db"
    assert Environment.from_env(env.variables()) == env
    remote = Environment.from_env({"OMNIVEC_HOME": "/state", "MLFLOW_TRACKING_URI": "http://mlflow:5000"})
    assert remote.artifact_location is None


def test_steps_nest_under_one_parent_and_log(environment: Environment, tmp_path: Path) -> None:
    parent = start_parent(environment, "quickstart", {"seed": 1})
    joined = Environment.local(environment.home, parent_run=parent)
    (tmp_path / "note.txt").write_text("hello")
    with step_run("validate", joined, {"a": {"b": 2}}) as run:
        run.metrics({"text_to_image/emoji-noto/en/hit_at_10": 0.5})
        run.headline({"hit_at_10": 0.5})
        run.artifact(tmp_path / "note.txt")
        run.dataset(tmp_path, "0123456789" * 6, tags={"dvc_md5": "abc"})
    end_parent(joined, parent)
    client = client_for(environment)
    nested = client.get_run(run.id)
    assert nested.data.tags["mlflow.parentRunId"] == parent
    assert nested.info.status == "FINISHED"
    assert nested.data.params == {"a.b": "2"}
    assert nested.data.metrics["text_to_image/emoji-noto/en/hit_at_10"] == 0.5
    assert {a.path for a in client.list_artifacts(run.id)} == {"note.txt", "config.json"}
    assert (environment.home / "mlartifacts").is_dir()
    tags = {t.key: t.value for t in nested.inputs.dataset_inputs[0].tags}
    assert tags == {"mlflow.data.context": "training", "digest": "0123456789" * 6, "dvc_md5": "abc"}
    whole = client.get_run(parent)
    assert (whole.data.metrics, whole.info.status) == ({"hit_at_10": 0.5}, "FINISHED")


def test_failure_marks_the_run_and_its_own_parent_failed(environment: Environment) -> None:
    with pytest.raises(ValueError, match="broken corpus"), step_run("train", environment) as run:
        raise ValueError("broken corpus")
    client = client_for(environment)
    failed = client.get_run(run.id)
    assert failed.info.status == "FAILED"
    assert failed.data.tags["error"] == "ValueError: broken corpus"
    assert client.get_run(failed.data.tags["mlflow.parentRunId"]).info.status == "FAILED"


def test_a_foreign_parent_is_joined_and_never_ended(environment: Environment) -> None:
    client = client_for(environment)
    experiment = client.create_experiment("kubeflow", artifact_location=environment.artifact_location)
    foreign = client.create_run(experiment).info.run_id
    joined = Environment.local(environment.home, parent_run=foreign)
    assert start_parent(joined, "quickstart") == foreign
    with step_run("evaluate", joined) as run:
        pass
    end_parent(joined, foreign)
    assert client.get_run(foreign).info.status == "RUNNING"
    assert client.get_run(run.id).info.experiment_id == experiment


@pytest.mark.parametrize("values", [{"recall@10": 0.1}, {"loss": float("nan")}])
def test_metrics_that_mlflow_would_reject_or_hide_are_refused(
    environment: Environment, values: dict[str, float]
) -> None:
    with pytest.raises(ConfigError, match="cannot be logged"), step_run("x", environment) as run:
        run.metrics(values)


def test_flatten() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {"a.b": 1, "a.c.d": [2], "e": None}
