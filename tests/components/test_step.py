"""Records, exit codes and errors of a step."""

import json
from pathlib import Path

import pytest

from components.environment import Environment
from components.step import BESIDE, StepRecord, dump, load, read_records, step
from model.errors import DataError


def environment(tmp_path: Path) -> Environment:
    return Environment(home=tmp_path, tracking_uri="sqlite://", run_id="r1")


def test_record_and_its_copy_beside_the_output(tmp_path: Path) -> None:
    output = tmp_path / "task" / "dataset"
    with step("validate", output, environment=environment(tmp_path)) as record:
        record.log({"rows": 3.0})
        record.add(report=output / "report.html")
    (found,) = read_records(environment(tmp_path)).values()
    assert (found.status, found.facts) == ("ok", {"rows": 3.0, "report": str(output / "report.html")})
    assert found.seconds >= 0
    assert found.peak_mb > 10
    assert load(output.parent / BESIDE) == found


def test_user_error_ends_the_process_with_its_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, step("validate", tmp_path / "t" / "x", environment=environment(tmp_path)):
        raise DataError("no shard; give a directory of shards")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "validate: no shard; give a directory of shards" in said
    assert "Traceback" not in said
    assert read_records(environment(tmp_path))["validate"].error == "DataError: no shard; give a directory of shards"
    assert not (tmp_path / "t" / BESIDE).exists(), "a failed step must not leave facts for a later run"


def test_unexpected_error_keeps_its_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), step("train", environment=environment(tmp_path)):
        _ = 1 / 0
    assert "Traceback" in capsys.readouterr().err
    assert read_records(environment(tmp_path))["train"].status == "failed"


def test_record_says_running_while_the_work_runs(tmp_path: Path) -> None:
    with step("train", environment=environment(tmp_path)):
        assert read_records(environment(tmp_path))["train"].status == "running"


def test_outside_a_pipeline_nothing_is_written(tmp_path: Path) -> None:
    with step("train", environment=Environment(home=tmp_path, tracking_uri="sqlite://")):
        pass
    assert list(tmp_path.iterdir()) == []


def test_configuration_opens_an_mlflow_run(tmp_path: Path) -> None:
    from components.tracking import client_for, start_parent

    local = Environment.local(tmp_path)
    parent = start_parent(local, "test")
    joined = Environment.local(tmp_path, parent_run=parent)
    with step("train-align", config=json.dumps({"stage": {"steps": 5}}), environment=joined) as record:
        record.sink({"loss": 2.5}, 10)
        record.log({"steps": 5.0})
    client = client_for(local)
    experiment = client.get_run(parent).info.experiment_id
    (run,) = client.search_runs([experiment], filter_string="tags.step = 'train-align'")
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.data.params["stage.steps"] == "5"
    assert run.data.metrics == {"loss": 2.5, "steps": 5.0}
    assert client.get_metric_history(run.info.run_id, "loss")[0].step == 10


def test_dump_and_load_agree(tmp_path: Path) -> None:
    record = StepRecord("gate", "ok", 1.5, 100.0, None, {"promoted": True})
    dump(record, tmp_path / "a" / "r.json")
    assert load(tmp_path / "a" / "r.json") == record
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["r.json"]
