"""What ``GET /openapi.json`` says: the wire formats, and in them what the served model and its configuration allow.

A field whose values depend on what is served is marked with ``served(NAME)``; the document has the values in place of
the mark: the names of the model, its tasks, the range of its dimensions, limits of counts. So a request that the
document allows is refused for nothing but what its media and texts turn out to be.
"""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI

from serving.errors import RequestError
from serving.host import ModelHost
from serving.runtime import Runtime
from serving.schemas import BASE64, MARK
from serving.work import served_names

Facts = Mapping[str, Mapping[str, Any]]
DATA, ADDRESS = f"^data:[^,]*;base64,{BASE64}$", "^https?://.+$"
SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "google": {"type": "apiKey", "in": "header", "name": "x-goog-api-key"},
    "plain": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
"""The ways to send a key, of which one is enough."""


def openapi_of(app: FastAPI, host: ModelHost) -> Callable[[], dict[str, Any]]:
    """A replacement of ``app.openapi``, which follows the model that is served.

    While a model is loading, the document has the formats alone.
    """
    base = app.openapi
    made: list[tuple[Facts, dict[str, Any]]] = []

    def document() -> dict[str, Any]:
        facts = _facts(host)
        if not made or made[0][0] != facts:
            found = _filled(base(), facts)
            if host.config.keys is not None:
                found["components"]["securitySchemes"] = SCHEMES
                found["security"] = [{name: []} for name in SCHEMES]
            made[:] = [(facts, found)]
        return made[0][1]

    return document


def _facts(host: ModelHost) -> Facts:
    """JSON Schema for every mark."""
    try:
        runtime = host.runtime()
    except RequestError:
        return {}
    return facts_of(runtime)


def facts_of(runtime: Runtime) -> Facts:
    """JSON Schema for every mark, of one model."""
    config, engine = runtime.config, runtime.engine
    names = served_names(config)
    most = config.limits.items_per_request
    fetched = [ADDRESS] if runtime.fetcher is not None else []
    return {
        "name": {"enum": [*names]},
        "named": {"enum": [None, *names, *(f"models/{name}" for name in names)]},
        "task": {"enum": [None, *sorted(engine.tasks)]},
        "dimension": {"minimum": min(engine.dimensions), "maximum": max(engine.dimensions)},
        "items": {"maxItems": most},
        "documents": {"maxItems": most - 1},
        "parts": {"maxItems": engine.limits.max_parts},
        "space": {"enum": [engine.vector_space]},
        "medium": {"pattern": "|".join([DATA, *fetched])},
        "sound": {"pattern": "|".join([DATA, f"^{BASE64}$", *fetched])},
        "elsewhere": {} if fetched else {"type": "null"},
    }


def _filled(value: Any, facts: Facts) -> Any:
    """A copy of a document with facts in place of marks."""
    if isinstance(value, list):
        return [_filled(entry, facts) for entry in value]
    if not isinstance(value, dict):
        return value
    found = {key: _filled(entry, facts) for key, entry in value.items() if key != MARK}
    if MARK in value:
        found |= facts.get(value[MARK], {})
    return found
