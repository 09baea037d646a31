"""Following an alias: the running service is told once of each change."""

from pathlib import Path

import pytest

from model.errors import ArtifactError
from pipelines.commands.serve import follower
from serving.config import ServingConfig
from serving.launch import write_config


def test_the_service_gets_the_configuration_of_a_new_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = "1"

    def config_of(version: str) -> ServingConfig:
        if version == "2":
            raise ArtifactError("its files were changed")
        return ServingConfig(artifact=tmp_path / version, version=version)

    look = follower(lambda: named, "1", config_of, lambda config: write_config(config, tmp_path) and None)
    written = tmp_path / "serving.json"
    look()
    assert not written.exists(), "nothing changed"
    named = "2"
    look()
    look()
    assert not written.exists(), "a version that cannot be served changes nothing"
    named = "3"
    look()
    assert ServingConfig.parse(written).version == "3"
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "version 2 cannot be served, 1 goes on: its files were changed",
        "version 3 takes over from 1",
    ]
