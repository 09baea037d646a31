"""Versions and aliases: idempotent registration, verified fetch, compare-and-set promotion, rollback."""

import json
from pathlib import Path

import pytest

from components.environment import Environment
from components.registry import CHALLENGER, CHAMPION, PREVIOUS, Candidate, Registry, RegistryError, fetch_version
from components.tracking import step_run
from model.errors import ArtifactError
from model.integrity import write_digests


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment.local(tmp_path_factory.mktemp("home"))


def candidate(folder: Path, weights: bytes, data: str = "d1") -> Candidate:
    artifact, results = folder / "artifact", folder / "results"
    for directory in (artifact, results):
        directory.mkdir(parents=True, exist_ok=True)
    (artifact / "trunk.safetensors").write_bytes(weights)
    (artifact / "README.md").write_text("# Card")
    (results / "metrics.json").write_text("{}")
    write_digests(artifact)
    return Candidate(artifact, results, data, (32, 16), ("image", "text"), {"hit_at_10": 0.5}, {"git_sha": "abc"})


def register(environment: Environment, name: str, found: Candidate) -> tuple[str, bool]:
    with step_run("register", environment) as run:
        return Registry(environment, name).register(found, run)


def test_a_version_carries_signature_facts_card_and_evaluation(environment: Environment, tmp_path: Path) -> None:
    from mlflow.models import Model

    version, created = register(environment, "facts", candidate(tmp_path, b"w1"))
    assert (version, created) == ("1", True)
    registry = Registry(environment, "facts")
    found = registry.resolve("1")
    assert found.tags["git_sha"] == "abc"
    assert found.tags["validation_status"] == "pending"
    folder = registry.folder("1").parent
    described = Model.load(str(folder / "MLmodel"))
    assert set(described.flavors) == {"omnivec"}, "no pyfunc: nothing that would unpickle or import our modules"
    assert described.flavors["omnivec"]["dimensions"] == [32, 16]
    assert described.signature.outputs.inputs[0].shape == (-1, 32)
    assert (folder / "README.md").read_text() == "# Card"
    assert (folder / "evaluation" / "metrics.json").exists()
    logged = registry.client.get_logged_model(found.source.removeprefix("models:/"))
    assert {(m.key, m.value, m.dataset_digest) for m in logged.metrics} == {("hit_at_10", 0.5, "d1")}


def test_the_same_model_and_data_give_the_same_version(environment: Environment, tmp_path: Path) -> None:
    found = candidate(tmp_path, b"w1")
    assert register(environment, "same", found) == ("1", True)
    assert register(environment, "same", found) == ("1", False)
    assert register(environment, "same", candidate(tmp_path, b"w1", data="d2")) == ("2", True)
    assert register(environment, "same", candidate(tmp_path, b"w2", data="d2")) == ("3", True)


def test_a_damaged_artifact_is_not_registered(environment: Environment, tmp_path: Path) -> None:
    found = candidate(tmp_path, b"w1")
    (found.artifact / "trunk.safetensors").write_bytes(b"changed")
    with pytest.raises(ArtifactError, match=r"trunk\.safetensors"):
        register(environment, "damaged", found)


def test_fetch_refuses_files_changed_after_registration(environment: Environment, tmp_path: Path) -> None:
    register(environment, "tampered", candidate(tmp_path, b"w1"))
    directory = fetch_version("1", environment, "tampered")
    assert (directory / "trunk.safetensors").read_bytes() == b"w1"
    (directory / "trunk.safetensors").write_bytes(b"evil")
    with pytest.raises(ArtifactError, match="does not match its digests"):
        fetch_version("1", environment, "tampered")
    write_digests(directory)  # an attacker who also rewrites the digests
    with pytest.raises(ArtifactError, match="changed after registration"):
        fetch_version("1", environment, "tampered")


def test_promotion_moves_aliases_and_rollback_moves_them_back(environment: Environment, tmp_path: Path) -> None:
    registry = Registry(environment, "moves")
    with pytest.raises(RegistryError, match="no previous champion"):
        registry.rollback()
    for weights in (b"w1", b"w2"):
        version, _ = register(environment, "moves", candidate(tmp_path, weights))
        registry.set_alias(CHALLENGER, version)
        registry.promote(version, expected=registry.aliases().get(CHAMPION))
    assert registry.aliases() == {CHAMPION: "2", PREVIOUS: "1"}
    assert registry.rollback() == ("2", "1")
    assert registry.aliases() == {CHAMPION: "1", PREVIOUS: "2"}
    assert registry.resolve("2").tags["rolled_back_to"] == "1"
    assert fetch_version(CHAMPION, environment, "moves").is_dir()


def test_promotion_against_a_stale_champion_changes_nothing(environment: Environment, tmp_path: Path) -> None:
    registry = Registry(environment, "stale")
    for weights in (b"w1", b"w2"):
        register(environment, "stale", candidate(tmp_path, weights))
    registry.promote("1", expected=None)
    with pytest.raises(RegistryError, match="compare again"):
        registry.promote("2", expected=None)
    assert registry.aliases() == {CHAMPION: "1"}


def test_unknown_versions_name_what_exists(environment: Environment, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="nothing yet"):
        fetch_version("champion", environment, "absent")
    register(environment, "present", candidate(tmp_path, b"w1"))
    with pytest.raises(RegistryError, match="versions 1"):
        fetch_version("7", environment, "present")


def test_register_step_refuses_results_of_another_model(environment: Environment, tmp_path: Path) -> None:
    from components.register.config import RegisterConfig
    from components.register.run import run

    found = candidate(tmp_path, b"w1")
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "dataset.json").write_text(json.dumps({"digest": "d1", "dvc": {"md5": "m"}}))
    recorded = json.loads((found.artifact / "digests.json").read_text())
    weights = {"trunk.safetensors": recorded["trunk.safetensors"]}
    facts = {"digest": "x", "weights": weights, "dimensions": [32], "modalities": ["text"]}

    def attempt() -> object:
        (found.results / "metrics.json").write_text(json.dumps({"model": facts, "headline": {"h": {"value": 0.5}}}))
        paths = {"model": found.artifact, "results": found.results, "dataset": tmp_path / "dataset"}
        with step_run("register", environment) as tracked:
            return run(RegisterConfig(name="step"), environment=environment, tracked=tracked, **paths)

    first, again = attempt(), attempt()
    assert (first.version, first.created, first.alias) == ("1", True, CHALLENGER)  # type: ignore[attr-defined]
    assert (again.version, again.created) == ("1", False)  # type: ignore[attr-defined]
    assert Registry(environment, "step").resolve("1").tags["dvc_md5"] == "m"
    facts["weights"] = {"trunk.safetensors": "0" * 64}
    with pytest.raises(ArtifactError, match="is not the model that was evaluated"):
        attempt()
