"""From a recipe file and ``--set`` overrides to a validated run configuration."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from model.errors import ConfigError
from pipelines.config import RunConfig

RECIPES = Path(__file__).parent / "recipes"


def load(recipe: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a recipe by name or path and apply overrides.

    Args:
        recipe: the stem of a file in ``pipelines/recipes``, or a path to a YAML file.
        overrides: ``a.b=value`` or ``stages.0.steps=5``; the value is read as YAML.

    Raises:
        ConfigError: listing every problem with its path.
    """
    document = read(recipe)
    for override in overrides:
        apply(document, override)
    return RunConfig.parse(document)


def read(recipe: str) -> dict[str, Any]:
    """The recipe as written, before overrides and defaults."""
    path = Path(recipe) if recipe.endswith((".yaml", ".yml")) else RECIPES / f"{recipe}.yaml"
    if not path.is_file():
        raise ConfigError(f"no recipe {recipe!r}; there are {', '.join(names())}, or give the path of a .yaml file")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path} must hold a mapping at the top, found {type(document).__name__}")
    return document


def names() -> list[str]:
    """Names of the recipes that come with the code."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def apply(document: dict[str, Any], override: str) -> None:
    """Set one ``a.b.0.c=value`` in place; missing mappings are made, list positions must exist.

    Raises:
        ConfigError: the override is malformed or leads nowhere.
    """
    path, separator, text = override.partition("=")
    steps = path.strip().split(".")
    if not separator or not all(steps):
        raise ConfigError(f"--set needs path=value such as stages.0.steps=5, got {override!r}")
    node: Any = document
    for depth, key in enumerate(steps[:-1]):
        node = _child(node, key, ".".join(steps[: depth + 1]))
    _put(node, steps[-1], yaml.safe_load(text), path)


def _child(node: Any, key: str, path: str) -> Any:
    if isinstance(node, list):
        return node[_position(node, key, path)]
    if not isinstance(node, dict):
        raise ConfigError(f"--set {path}: its parent holds a single value ({node!r}), not a mapping or list")
    if node.get(key) is None:
        node[key] = {}
    return node[key]


def _put(node: Any, key: str, value: Any, path: str) -> None:
    if isinstance(node, list):
        node[_position(node, key, path)] = value
    elif isinstance(node, dict):
        node[key] = value
    else:
        raise ConfigError(f"--set {path}: its parent holds a single value ({node!r}), not a mapping or list")


def _position(node: list[Any], key: str, path: str) -> int:
    if not key.isdigit() or int(key) >= len(node):
        raise ConfigError(f"--set {path}: expected a position from 0 to {len(node) - 1}, got {key!r}")
    return int(key)
