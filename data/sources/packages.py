"""Pinned packages that the starter corpus is built from: fetched by the ordinary clients, verified, unpacked.

Every package is named by version and SHA-256. A file whose checksum differs is refused and left in place for
inspection; a version that is no longer served is reported with the way out.
"""

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model.errors import DataError

Kind = Literal["npm", "debian", "pypi"]
Runner = Callable[[list[str], Path], None]


@dataclass(frozen=True)
class Package:
    """One pinned package.

    Attributes:
        kind: which client fetches it.
        sha256: of the package file as served.
        members: path prefixes to unpack; empty for everything.
    """

    kind: Kind
    name: str
    version: str
    sha256: str
    members: tuple[str, ...] = ()

    @property
    def filename(self) -> str:
        """Name under which the file is kept in the cache."""
        stem = f"{self.name}-{self.version}".replace("/", "-").replace(":", "-").lstrip("@")
        return stem + {"npm": ".tgz", "debian": ".deb", "pypi": ".whl"}[self.kind]


_HELP_VERSION = "4:7.4.7-1+deb12u14"
_HELP_SHA256 = {
    "en-us": "8faa840285734d6cfe1ed25537b48f07e74bd6412e3917bf8e5f8a653f7b3712",
    "de": "00490b63c509ac96f7f212d6a6e40452d3e0d1f97ccf4b824dd5ec4c01e8277f",
    "fr": "c796530d3e95af1ea4d054076682efc8aad2b569ae9513f3d4a776b2df3fd206",
    "es": "9128a84d83d92c8b1c618d90469d16affddb7d1290b09d42a0c5109cb16f0480",
    "it": "7fa29342a302bb495981fdabf98f3a9c3628123f3f191b2a5c95cb583c9ff212",
    "pt-br": "600d4294e52a6534be923521aff7b1b9eb7e6ddb7e30b2598ad04b2fe9cf8278",
    "ru": "5a2f75d5b0dfcf660275070647af528a81be28b5d3e9c3ec2d419ef5518db7a2",
    "ja": "7799ace9bfe0845771ed2499913e7f7e521318cf3727c007672e3b020f8eb7b9",
    "zh-cn": "db867cdece4c2f9c7eebe65e519c6cf386fdcf49d6e061db3dffec893b3e1dee",
}
_PYTHON_VERSION = "3.11.2-6+deb12u9"

PACKAGES: Mapping[str, Package] = {
    "cldr-names": Package(
        "npm",
        "cldr-annotations-full",
        "48.2.0",
        "28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1",
    ),
    "cldr-derived": Package(
        "npm",
        "cldr-annotations-derived-full",
        "48.2.0",
        "4be946ff5815f806ec78b50363d577a769f2fbfb90c6380a44e161a92436996e",
    ),
    "fluent": Package(
        "npm",
        "@lobehub/fluent-emoji-3d",
        "1.1.0",
        "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    ),
    "noto": Package(
        "npm",
        "emoji-datasource-google",
        "16.0.0",
        "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
        members=("package/img/google/64/",),
    ),
    "twemoji": Package(
        "npm",
        "emoji-datasource-twitter",
        "16.0.0",
        "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
        members=("package/img/twitter/64/",),
    ),
    "openmoji": Package(
        "npm",
        "openmoji",
        "17.0.0",
        "55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68",
        members=("package/color/svg/", "package/data/openmoji.json"),
    ),
    "stamps": Package(
        "debian",
        "tuxpaint-stamps-default",
        "2022.06.04-1",
        "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    ),
    **{
        f"help-{tag}": Package("debian", f"libreoffice-help-{tag}", _HELP_VERSION, digest)
        for tag, digest in _HELP_SHA256.items()
    },
    "python-stdlib": Package(
        "debian",
        "libpython3.11-stdlib:amd64",
        _PYTHON_VERSION,
        "10f13e000ee757f5f2d2d3569f9e30546214a0c850acd78695feae373bfa3e53",
    ),
    "python-minimal": Package(
        "debian",
        "libpython3.11-minimal:amd64",
        _PYTHON_VERSION,
        "69f41cfa3f4ba17284e538f843069d7529c53c207d2ae17a5b02785944870e33",
    ),
}


def fetch(package: Package, cache: Path, *, runner: Runner | None = None) -> Path:
    """Return the verified package file, downloading it into ``cache`` when it is not there yet.

    Raises:
        DataError: the client failed (version withdrawn, no network) or the checksum is another one.
    """
    target = cache / package.filename
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _download(package, target, runner or _run)
    found = _sha256(target)
    if found != package.sha256:
        raise DataError(
            f"checksum mismatch for {package.kind} package {package.name} {package.version}: {target.name} has "
            f"sha256 {found}, the pin says {package.sha256}. Delete the file to download it again; if it still "
            "differs, the package was changed and must be reviewed before the pin is changed."
        )
    return target


def unpack(name: str, cache: Path, *, packages: Mapping[str, Package] = PACKAGES) -> Path:
    """Fetch, verify and unpack a package of ``packages`` once; return the directory that holds its content."""
    package = packages[name]
    archive = fetch(package, cache)
    target = cache / "unpacked" / package.filename.rsplit(".", 1)[0]
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=target.parent))
    _UNPACKERS[package.kind](archive, partial, package.members)
    try:
        partial.rename(target)
    except OSError:
        # Another build unpacked the same package meanwhile; its copy is as good.
        shutil.rmtree(partial)
        if not target.exists():
            raise
    return target


def _download(package: Package, target: Path, runner: Runner) -> None:
    pinned = {"npm": "@", "debian": "=", "pypi": "=="}[package.kind].join((package.name, package.version))
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        folder = Path(scratch)
        # apt drops privileges to a user of its own, who must be able to write here.
        folder.chmod(0o755)
        try:
            runner([*_COMMANDS[package.kind], pinned], folder)
        except (OSError, subprocess.CalledProcessError) as error:
            detail = (getattr(error, "stderr", None) or str(error)).strip()
            raise DataError(
                f"cannot fetch {package.kind} package {pinned}: {detail[-400:]}. The version may no longer be "
                "served: use the committed shards of data/starter, or change the pin in data/sources/packages.py."
            ) from error
        files = [path for path in folder.iterdir() if path.is_file()]
        if len(files) != 1:
            raise DataError(f"fetching {pinned} left {len(files)} files, expected 1: {[f.name for f in files]}")
        shutil.move(files[0], target)


_COMMANDS: Mapping[Kind, list[str]] = {
    "npm": ["npm", "pack", "--silent"],
    "debian": ["apt-get", "download"],
    "pypi": ["python3", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"],
}


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)


def _unpack_tar(archive: Path, target: Path, members: tuple[str, ...]) -> None:
    with tarfile.open(archive) as tar:
        chosen = [m for m in tar if m.isfile() and (not members or m.name.startswith(members))]
        tar.extractall(target, chosen, filter="data")


def _unpack_deb(archive: Path, target: Path, members: tuple[str, ...]) -> None:
    del members  # Debian packages are small enough to be unpacked whole
    _run(["dpkg-deb", "-x", str(archive.resolve()), str(target.resolve())], target)


def _unpack_wheel(archive: Path, target: Path, members: tuple[str, ...]) -> None:
    with zipfile.ZipFile(archive) as wheel:
        for name in wheel.namelist():
            if not members or name.startswith(members):
                wheel.extract(name, target)


_UNPACKERS: Mapping[Kind, Callable[[Path, Path, tuple[str, ...]], None]] = {
    "npm": _unpack_tar,
    "debian": _unpack_deb,
    "pypi": _unpack_wheel,
}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
