"""The shell of the mine step, and the command that does the same."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from components.environment import Environment
from components.lineage import data_identity
from components.mine.component import mine
from components.mine.config import MineConfig
from components.step import load
from components.tracking import client_for

OVERRIDES = ["rules.ratio=null", "rules.near=null", "rules.last_rank=12", "plants.queries=0"]


class Artifact:
    def __init__(self, path: Path) -> None:
        self.path = str(path)


def test_the_shell_logs_a_data_set_with_its_parent(dataset, tiny_artifact, tmp_path, monkeypatch) -> None:
    for name, value in Environment.local(tmp_path / "home").variables().items():
        monkeypatch.setenv(name, value)
    features = tmp_path / "features"
    from model.features import write_index

    write_index(features, towers=towers_of(tiny_artifact), modalities=[], items={})
    outputs = {"mined": Artifact(tmp_path / "out" / "mined"), "report": Artifact(tmp_path / "out" / "report.html")}
    inputs = {"dataset": Artifact(dataset), "model": Artifact(tiny_artifact), "features": Artifact(features)}
    config = MineConfig.parse({"rules": {"ratio": None, "near": None, "last_rank": 12}, "plants": {"queries": 4}})
    mine.python_func(name="mine", config=config.model_dump_json(), **inputs, **outputs)
    facts = load(tmp_path / "out" / "step.json").facts
    found = data_identity(tmp_path / "out" / "mined")
    assert (facts["digest"], facts["parent"]) == (found.digest, data_identity(dataset).digest)
    assert facts["with_negatives"] == 27
    client = client_for(Environment.from_env())
    (experiment,) = [e for e in client.search_experiments() if e.name == "omnivec"]
    (run,) = client.search_runs([experiment.experiment_id], "tags.mlflow.parentRunId != ''")
    (logged,) = run.inputs.dataset_inputs
    tags = {tag.key: tag.value for tag in logged.tags}
    assert tags["digest"] == found.digest
    assert tags["parent_digest"] == facts["parent"]
    assert run.data.metrics["planted_copy_refused"] == 1
    assert {f.path for f in client.list_artifacts(run.info.run_id)} >= {"report.html", "mining.json"}


def towers_of(artifact: Path) -> str:
    from model.artifact import load_encoder

    return str(load_encoder(artifact).tower_digest())  # type: ignore[attr-defined]


@pytest.fixture
def command(tmp_path, monkeypatch):
    from pipelines.commands.data_mine import mine as entry

    monkeypatch.setenv("OMNIVEC_HOME", str(tmp_path / "home"))
    import typer

    app = typer.Typer()
    app.command()(entry)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_the_command(command, dataset, tiny_artifact, tmp_path) -> None:
    sets = [word for override in OVERRIDES for word in ("--set", override)]
    result = command(dataset, "--model", tiny_artifact, "-o", tmp_path / "mined", *sets)
    assert result.exit_code == 0, result.output
    assert f"corpus  {tmp_path / 'mined'}" in result.stdout
    assert (tmp_path / "mined-report.html").is_file()
    assert sorted(path.name for path in (tmp_path / "mined").iterdir()) == [
        "dataset.json",
        "pictures.parquet",
        "texts.parquet",
    ]
    again = command(dataset, "--model", tiny_artifact, "-o", tmp_path / "mined", *sets)
    assert again.exit_code == 0, "an earlier result is replaced"


def test_the_command_does_not_write_over_other_data(command, dataset, tiny_artifact, tmp_path) -> None:
    same = command(dataset, "--model", tiny_artifact, "-o", dataset)
    assert "is the corpus itself" in str(same.exception)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious.parquet").touch()
    strange = command(dataset, "--model", tiny_artifact, "-o", tmp_path / "other")
    assert "precious.parquet" in str(strange.exception)
    unknown = command(dataset, "--model", tiny_artifact, "-o", tmp_path / "new", "--set", "rules.rato=1")
    assert "rules.rato" in str(unknown.exception)
