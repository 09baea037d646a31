"""Runs inside a build, by the base's Python: files for pip, and a check of what was installed.

``pins.py write TORCH SOURCE OUTPUT`` puts the versions of SOURCE's lock to the names in SOURCE/lists.
``pins.py check PYTHON LOCK`` finds packages of that Python that are not the ones that the lock names.
"""

import re
import subprocess
import sys
from pathlib import Path

TORCH = {"cpu": "=={version}+cpu", "cuda": "==={version}"}
"""Which build of torch: the one of its own index without CUDA, or the one of PyPI, which brings CUDA."""

CUDA = Path(__file__).with_name("cuda.txt")
"""Packages that only the CUDA build of torch brings, in their versions; the lock is written without them."""


def pinned(lock: str) -> dict[str, str]:
    """Version of each package in the lock."""
    return dict(line.split("==") for line in lock.splitlines() if "==" in line and not line.startswith("#"))


def rules(lock: str, torch: str) -> dict[str, str]:
    """The full requirement of each package in the lock.

    Args:
        lock: text of requirements.lock.
        torch: ``cpu`` or ``cuda``.

    Raises:
        SystemExit: no such build of torch.
    """
    if torch not in TORCH:
        raise SystemExit(f"TORCH={torch} is not one of {', '.join(TORCH)}")
    versions = pinned(lock)
    more = pinned(CUDA.read_text(encoding="utf-8")) if torch == "cuda" else {}
    lines = {name: f"{name}=={version}" for name, version in (versions | more).items()}
    return lines | {"torch": "torch" + TORCH[torch].format(version=versions["torch"])}


def strangers(installed: dict[str, str], lock: str) -> list[str]:
    """Installed packages that neither the lock nor the list for CUDA names in that version."""
    versions = pinned(CUDA.read_text(encoding="utf-8")) | pinned(lock)
    return sorted(
        f"{name}=={version}"
        for name, version in installed.items()
        if name != "omnivec" and versions.get(name) != version.split("+")[0]
    )


def installed_in(python: str) -> dict[str, str]:
    """Packages of another Python, by their normal names."""
    code = "import importlib.metadata as m\nfor d in m.distributions(): print(d.metadata['Name'], d.version)"
    printed = subprocess.run([python, "-I", "-c", code], check=True, capture_output=True, text=True).stdout
    pairs = (line.split() for line in printed.splitlines())
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pairs}


def write(torch: str, source: Path, output: Path) -> None:
    """A folder for each list, with what pip needs for it; the same list gives the same folder."""
    exact = rules((source / "requirements.lock").read_text(encoding="utf-8"), torch)
    for path in sorted((source / "lists").glob("*.txt")):
        folder = output / path.stem
        folder.mkdir(parents=True)
        lines = [exact[name] for name in path.read_text(encoding="utf-8").split()]
        # torch brings packages that its list has not; of the others two are built, by the locked setuptools.
        bounds = list(exact.values()) if path.stem == "torch" else [exact["setuptools"]]
        for name, content in (("requirements.txt", lines), ("constraints.txt", bounds)):
            (folder / name).write_text("".join(f"{line}\n" for line in content), encoding="utf-8")


def main(verb: str, *arguments: str) -> None:
    """Do what the command line says."""
    if verb == "write":
        write(arguments[0], Path(arguments[1]), Path(arguments[2]))
    elif found := strangers(installed_in(arguments[0]), Path(arguments[1]).read_text(encoding="utf-8")):
        raise SystemExit(f"not in requirements.lock: {', '.join(found)}; after a change of packages run make lock")


if __name__ == "__main__":
    main(*sys.argv[1:])
