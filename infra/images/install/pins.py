"""Runs inside a build, by the base's Python: lists for pip, and a check of what was installed.

pins.py write TORCH DIRECTORY      lists from pyproject.toml and requirements.lock, which lie in DIRECTORY
pins.py check PYTHON LOCK          every package of that Python is the one that the lock names
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

LISTS = {
    "core": (),
    "data": ("data", "step"),
    "train": ("train", "eval"),
    "pipeline": ("serve", "monitor", "pipelines"),
    "serve": ("serve",),
    "serve-torch": ("serve-torch",),
}
"""Extras of each list; ``core`` has the dependencies of every process."""

TORCH = {"cpu": "=={version}+cpu", "cuda": "==={version}"}
"""Which build of torch: the one of its own index without CUDA, or the one of PyPI, which brings CUDA."""

BROUGHT_BY_TORCH = re.compile(r"nvidia-|cuda-|triton$")
"""Packages that only the CUDA build needs, each pinned by torch itself; the lock is written without them."""


def lists(project: dict, lock: str, torch: str) -> dict[str, str]:
    """Text of every file for pip, by name.

    Args:
        project: the table ``project`` of pyproject.toml.
        lock: text of requirements.lock.
        torch: ``cpu`` or ``cuda``.

    Raises:
        SystemExit: no such build of torch.
    """
    if torch not in TORCH:
        raise SystemExit(f"TORCH={torch} is not one of {', '.join(TORCH)}")
    pinned = dict(line.split("==") for line in lock.splitlines() if "==" in line)
    exact = {name: f"=={version}" for name, version in pinned.items()}
    exact["torch"] = TORCH[torch].format(version=pinned["torch"])
    wanted = {name: sorted(requirements(project, extras)) for name, extras in LISTS.items()}
    wanted |= {"core": project["dependencies"], "torch": ["torch"], "build": ["hatchling"]}
    wanted["constraints"] = [f"{name}{rule}" for name, rule in exact.items()]
    return {f"{name}.txt": "".join(f"{line}\n" for line in lines) for name, lines in wanted.items()}


def requirements(project: dict, extras: tuple[str, ...]) -> set[str]:
    """Requirements of the extras, and of those that they refer to."""
    found: set[str] = set()
    for extra in extras:
        for line in project["optional-dependencies"][extra]:
            own = re.fullmatch(rf"{project['name']}\[(.+)\]", line)
            found |= requirements(project, tuple(own[1].split(","))) if own else {line}
    return found


def strangers(installed: dict[str, str], lock: str) -> list[str]:
    """Installed packages that the lock does not name in that version."""
    pinned = dict(line.split("==") for line in lock.splitlines() if "==" in line)
    return sorted(
        f"{name}=={version}"
        for name, version in installed.items()
        if name != "omnivec" and pinned.get(name) != version.split("+")[0] and not BROUGHT_BY_TORCH.match(name)
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
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for name, text in lists(project, (folder / "requirements.lock").read_text(encoding="utf-8"), first).items():
            (folder / name).write_text(text, encoding="utf-8")
    elif found := strangers(installed_in(first), Path(second).read_text(encoding="utf-8")):
        raise SystemExit(
            f"not in requirements.lock: {', '.join(found)}. Add what needs them to pyproject.toml, install it, run make lock"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
