"""Names of the packages of each image, from the environment that requirements.lock describes: closure.py [DIRECTORY].

With complete lists a build needs no resolver: names come from here, versions from the lock. ``make lock`` runs this.
"""

import re
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1] / "pyproject.toml"

EXTRAS = {
    "core": (),
    "data": ("data", "step"),
    "train": ("train", "eval"),
    "pipeline": ("serve", "monitor", "pipelines", "tracking"),
    "serve": ("serve",),
    "serve-torch": ("serve-torch",),
}
"""Extras that each list adds; ``core`` has what every process needs."""

BELOW = {
    "core": (),
    "data": ("core",),
    "train": ("core", "data"),
    "pipeline": ("core", "data", "train"),
    "serve": ("core",),
    "serve-torch": ("core", "serve"),
}
"""Lists that are installed before each, in lower layers."""

ALONE = frozenset({"torch"})
"""Installed by themselves, with what they bring: a CUDA build needs packages that the lock's environment has not."""


def lists() -> dict[str, list[str]]:
    """Names in each list, in order."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    found: dict[str, set[str]] = {}
    for name, extras in EXTRAS.items():
        wanted = [*project["dependencies"], *requirements(project, extras)]
        below = set().union(*(found[lower] for lower in BELOW[name]))
        found[name] = closure(wanted) - below
    return {name: sorted(names - ALONE) for name, names in found.items()} | {
        "torch": ["torch"],
        "build": sorted(closure(["hatchling"])),
    }


def requirements(project: dict, extras: tuple[str, ...]) -> set[str]:
    """Requirements of the extras, and of those that they refer to."""
    found: set[str] = set()
    for extra in extras:
        for line in project["optional-dependencies"][extra]:
            own = re.fullmatch(rf"{project['name']}\[(.+)\]", line)
            found |= requirements(project, tuple(own[1].split(","))) if own else {line}
    return found


def closure(wanted: list[str]) -> set[str]:
    """Normal names of all that the requirements need, themselves included."""
    todo = [Requirement(line) for line in wanted]
    seen: set[tuple[str, str]] = set()
    while todo:
        requirement = todo.pop()
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                needs = map(Requirement, distribution(name).requires or [])
                todo += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def main(folder: Path) -> None:
    """Write the lists."""
    for name, names in lists().items():
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in names), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else HERE / "lists")
