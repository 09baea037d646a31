"""Runs inside a build, by the base's Python: files for pip, and a check of what was installed.

``pins.py write TORCH DIRECTORY`` puts the locked versions to the names in DIRECTORY/lists.
``pins.py check PYTHON LOCK`` finds packages of that Python that are not the ones that the lock names.
"""

import re
import subprocess
import sys
from pathlib import Path

TORCH = {"cpu": "=={version}+cpu", "cuda": "==={version}"}
"""Which build of torch: the one of its own index without CUDA, or the one of PyPI, which brings CUDA."""

BROUGHT_BY_TORCH = re.compile(r"nvidia-|cuda-|triton$")
"""Packages that only the CUDA build needs, each pinned by torch itself; the lock is written without them."""


def pinned(lock: str) -> dict[str, str]:
    """Version of each package in the lock."""
    return dict(line.split("==") for line in lock.splitlines() if "==" in line)


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
    lines = {name: f"{name}=={version}" for name, version in versions.items()}
    return lines | {"torch": "torch" + TORCH[torch].format(version=versions["torch"])}


def strangers(installed: dict[str, str], lock: str) -> list[str]:
    """Installed packages that the lock does not name in that version."""
    versions = pinned(lock)
    return sorted(
        f"{name}=={version}"
        for name, version in installed.items()
        if name != "omnivec" and versions.get(name) != version.split("+")[0] and not BROUGHT_BY_TORCH.match(name)
    )


def installed_in(python: str) -> dict[str, str]:
    """Packages of another Python, by their normal names."""
    code = "import importlib.metadata as m\nfor d in m.distributions(): print(d.metadata['Name'], d.version)"
    printed = subprocess.run([python, "-I", "-c", code], check=True, capture_output=True, text=True).stdout
    pairs = (line.split() for line in printed.splitlines())
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pairs}


def main(verb: str, first: str, second: str) -> None:
    """Do what the command line says."""
    if verb == "write":
        folder = Path(second)
        exact = rules((folder / "requirements.lock").read_text(encoding="utf-8"), first)
        for path in sorted((folder / "lists").glob("*.txt")):
            names = path.read_text(encoding="utf-8").split()
            (folder / path.name).write_text("".join(f"{exact[name]}\n" for name in names), encoding="utf-8")
        (folder / "constraints.txt").write_text("".join(f"{line}\n" for line in exact.values()), encoding="utf-8")
    elif found := strangers(installed_in(first), Path(second).read_text(encoding="utf-8")):
        raise SystemExit(f"not in requirements.lock: {', '.join(found)}; after a change of packages run make lock")


if __name__ == "__main__":
    main(*sys.argv[1:])
