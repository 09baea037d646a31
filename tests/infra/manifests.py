"""The renders that are kept in ``infra/rendered``, and the schemas of objects that Kubernetes itself does not know."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from tests.infra.policies import NATIVE_KINDS, Object, load

INFRA = Path(__file__).resolve().parents[2] / "infra"
OVERLAYS = ("local", "gpu", "prod")


@cache
def _text(overlay: str) -> str:
    return (INFRA / "rendered" / f"{overlay}.yaml").read_text(encoding="utf-8")


def rendered(overlay: str) -> list[Object]:
    """The objects of an overlay, anew at each call."""
    return load(_text(overlay))


def is_native(thing: Object) -> bool:
    """Whether Kubernetes itself knows the kind."""
    return NATIVE_KINDS.match(thing["apiVersion"]) is not None


@cache
def schema(kind: str) -> dict[str, Any]:
    """The published schema of a custom kind."""
    document: dict[str, Any] = json.loads((INFRA / "schemas" / f"{kind.lower()}.json").read_text(encoding="utf-8"))
    return document


def misfits(thing: Object) -> list[str]:
    """Where a custom object does not fit its schema."""
    found = jsonschema.Draft202012Validator(schema(thing["kind"])).iter_errors(thing)
    return [f"{error.json_path}: {error.message[:200]}" for top in found for error in _leaves(top)]


def _leaves(error: jsonschema.ValidationError) -> Iterator[jsonschema.ValidationError]:
    """The innermost reasons: a field that may be left out is "this or null", and it is never meant to be null."""
    inner = [leaf for cause in error.context or () for leaf in _leaves(cause) if leaf.validator_value != "null"]
    yield from inner or [error]
