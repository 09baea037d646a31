"""The container beside the service: it writes the configuration of what should be served, and nothing else."""

import json
import os
import time
from pathlib import Path

import pytest

from components.environment import Environment
from components.registry import CHAMPION, Registry, RegistryError
from components.tracking import step_run
from model.errors import ConfigError, DataError
from pipelines.commands.fetch import Fetcher, keep_looking
from pipelines.commands.steps import recent
from serving.config import ServingConfig
from tests.components.test_registry import candidate


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Two versions; the first is champion."""
    environment = Environment.local(tmp_path_factory.mktemp("home"))
    registry = Registry(environment, "fetched")
    for weights in (b"one", b"two"):
        with step_run("register", environment) as run:
            registry.register(candidate(tmp_path_factory.mktemp("model"), weights), run)
    return registry


@pytest.fixture
def source(tmp_path: Path, registry: Registry) -> Path:
    registry.set_alias(CHAMPION, "1")
    path = tmp_path / "base.json"
    path.write_text(json.dumps({"anonymous": True, "host": "0.0.0.0", "limits": {"queue_items": 128}}))
    return path


def served(output: Path) -> ServingConfig:
    return ServingConfig.parse(output)


def test_alias_and_configuration_are_followed(registry: Registry, source: Path, tmp_path: Path) -> None:
    output = tmp_path / "run/serving.json"
    fetcher = Fetcher(registry, source, output, captures=tmp_path / "captures")
    assert fetcher.look() is not None
    first = served(output)
    assert (first.version, first.limits.queue_items) == ("1", 128)
    assert first.artifact.joinpath("digests.json").is_file()
    assert first.capture is not None
    assert first.capture.directory == tmp_path / "captures/1"
    assert fetcher.look() is None, "nothing changed"
    registry.set_alias(CHAMPION, "2")
    assert fetcher.look() is not None
    assert served(output).version == "2"
    source.write_text(json.dumps({"anonymous": True, "host": "0.0.0.0", "version": "1"}))
    assert fetcher.look() is not None
    assert served(output).version == "1", "pinned by its number, whatever the alias says"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ('{"version": "9", "anonymous": true}', "no version or alias '9'"),
        ('{"artifact": "/models/x"}', "without `artifact`"),
        ("{", "cannot be read as a JSON file"),
        ('{"anonymous": true, "limits": {"queue": 1}}', "limits.queue"),
        ('{"host": "0.0.0.0"}', "no keys are set"),
    ],
)
def test_what_cannot_be_served_is_said_and_changes_nothing(
    registry: Registry, source: Path, tmp_path: Path, document: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "serving.json"
    fetcher = Fetcher(registry, source, output)
    fetcher.look()
    before = output.read_bytes()
    source.write_text(document)
    with pytest.raises((ConfigError, RegistryError), match=said):
        fetcher.look()
    keep_looking(fetcher, tmp_path / "none", wait=lambda _: None, looks=3)
    assert capsys.readouterr().err.count("nothing changed:") == 1, "said once, not at every look"
    assert output.read_bytes() == before


def test_only_the_present_version_and_the_one_before_stay(registry: Registry, source: Path, tmp_path: Path) -> None:
    folders = tmp_path / "models"
    for name in ("fetched-1", "fetched-7", "other-7"):
        (folders / name).mkdir(parents=True)

    def promote(_: float) -> None:
        registry.set_alias(CHAMPION, "2")
        (folders / "fetched-2").mkdir(exist_ok=True)

    keep_looking(Fetcher(registry, source, tmp_path / "serving.json"), folders, wait=promote, looks=2)
    assert sorted(folder.name for folder in folders.iterdir()) == ["fetched-1", "fetched-2", "other-7"]


def test_a_download_that_is_cut_off_is_no_version(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import mlflow.artifacts

    def cut_off(*, artifact_uri: str, dst_path: str, tracking_uri: str) -> str:
        (Path(dst_path) / "artifact").mkdir()
        raise ConnectionError("the server went away")

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", cut_off)
    target = Path("models") / "fetched-9" / "artifact"
    with pytest.raises(ConnectionError):
        registry._download("mlflow-artifacts:/x", target)
    folder = registry.environment.home / "cache" / target.parent
    assert list(folder.iterdir()) == [], "the next attempt starts anew"


def test_the_window_of_a_scheduled_check_has_the_last_hours_only(tmp_path: Path) -> None:
    captures = tmp_path / "captures/3"
    captures.mkdir(parents=True)
    for name, hours in (("new", 1), ("old", 30)):
        path = captures / f"{name}.parquet"
        path.write_bytes(b"x")
        os.utime(path, (time.time() - hours * 3600,) * 2)
    for _ in range(2):  # a second check replaces the window of the first
        window = recent(captures, 24, tmp_path / "out/windows/3")
        assert [path.name for path in window.iterdir()] == ["new.parquet"]
    with pytest.raises(DataError, match=r"no capture of the last 0\.5 h"):
        recent(captures, 0.5, tmp_path / "out/windows/3")
