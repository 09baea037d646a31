"""What every route does between its own wire format and the embedder: checks, conversion, embedding, usage."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request

from model.content import Content, Modality
from serving.config import ServingConfig
from serving.deadline import seconds_allowed
from serving.disconnect import unless_disconnected
from serving.embedder import Caller, Embedded
from serving.errors import RequestError, from_exception
from serving.runtime import Runtime

T = TypeVar("T")
SPACE_HEADER = "X-Omnivec-Vector-Space"


@dataclass(frozen=True)
class Done:
    """Full-length vectors of a request, and its usage in OpenAI's words."""

    embedded: Embedded
    usage: dict[str, Any]


def runtime_of(request: Request) -> Runtime:
    """The runtime that serves a request to its end.

    Raises:
        RequestError: 503 while loading; 409 where the caller named a vector space in the header
            ``X-Omnivec-Vector-Space`` and another one is served by now.
    """
    runtime: Runtime = request.app.state.host.runtime()
    request.state.leases.enter_context(runtime.held())
    wanted = request.headers.get(SPACE_HEADER)
    if wanted is not None and wanted != runtime.engine.vector_space:
        raise RequestError(
            f"the service now embeds into vector space {runtime.engine.vector_space!r}, and the request asks for "
            f"{wanted[:64]!r}; vectors of the two cannot be compared: embed your items again, or ask without "
            f"{SPACE_HEADER}",
            status=409,
            code="vector_space_changed",
            param=SPACE_HEADER,
        )
    return runtime


def served_names(config: ServingConfig) -> tuple[str, ...]:
    """What a request may call the model: its name, alone or as ``name@version``, and the operator's aliases."""
    return (config.model_name, f"{config.model_name}@{config.version}", *config.aliases)


def check_model(runtime: Runtime, name: str) -> None:
    """Accept the names of the served model.

    Raises:
        RequestError: 404 naming what is served.
    """
    names = served_names(runtime.config)
    if name not in names:
        raise RequestError(
            f"model {name[:64]!r} is not served here; use {names[0]!r}",
            status=404,
            code="model_not_found",
            param="model",
        )


def check_count(runtime: Runtime, count: int, *, param: str) -> None:
    """Refuse more items than one request may have.

    Raises:
        RequestError: 413 naming the limit.
    """
    limit = runtime.config.limits.items_per_request
    if count > limit:
        raise RequestError(
            f"{count} items are more than the {limit} that one request may have; send several requests",
            status=413,
            code="too_many_items",
            param=param,
            limit="items_per_request",
        )


def checked_dimension(runtime: Runtime, dimension: int | None, *, param: str = "dimensions") -> int:
    """The dimension of the answer: what was asked for, or the service's own.

    Raises:
        RequestError: 400 naming the dimensions that the model offers.
    """
    try:
        return runtime.engine.check_dimension(dimension) if dimension else runtime.dimension
    except ValueError as error:
        raise RequestError(str(error), status=400, code="invalid_dimensions", param=param) from error


async def convert_all(items: Sequence[T], convert: Callable[[T], Content], runtime: Runtime) -> list[Content]:
    """Contents of all items; base64 of media is decoded in a thread, so that a large body holds up nobody.

    Raises:
        RequestError: naming the first bad item.
    """

    def work() -> list[Content]:
        contents = []
        for index, item in enumerate(items):
            try:
                content = convert(item)
                runtime.engine.check(content)
                _ = content.digest  # kept, so that the event loop need not go through the bytes
            except ValueError as error:
                raise from_exception(error, index) from error
            contents.append(content)
        return contents

    if all(isinstance(item, str) for item in items):
        return work()
    return await asyncio.to_thread(work)


@contextmanager
def naming(name: Callable[[int], str]) -> Iterator[None]:
    """Let errors inside name an item as the caller wrote it: ``name`` gives the field of an item's index."""
    try:
        yield
    except RequestError as error:
        if error.item is not None:
            error.param = name(error.item)
        raise


async def embed(request: Request, runtime: Runtime, contents: Sequence[Content]) -> Done:
    """Embed the contents of one request, unless its caller hangs up; what was done goes into the log line.

    Raises:
        RequestError: naming the first bad item; 429 where the caller's key or the service has no room, or not in time;
            504 when time is over.
    """
    exchange = request.state.exchange
    kinds = sorted({content.kind for content in contents})
    exchange.notes.update(items=len(contents), kinds=kinds)
    caller = caller_of(request, runtime)
    with request.state.client.holding(len(contents)):
        work = runtime.embedder.embed(contents, request_id=exchange.request_id, caller=caller)
        embedded = await unless_disconnected(request, work)
    usage = count_usage(embedded.tokens)
    exchange.notes.update(tokens=usage["total_tokens"])
    exchange.computed(kinds[0] if len(kinds) == 1 else "mixed")
    return Done(embedded, usage)


def caller_of(request: Request, runtime: Runtime) -> Caller:
    """Who sends a request, by the name of the key or else by address, and the time that is left for it.

    Raises:
        RequestError: 400 for a header with a time that is none.
    """
    exchange, key = request.state.exchange, request.state.client.key
    address = request.client.host if request.client is not None else ""
    allowed = seconds_allowed(request.headers, runtime.config.limits)
    return Caller(
        client=("key", key.name) if key is not None else ("address", address),
        seconds=allowed - (time.monotonic() - exchange.started),
        trace=exchange.trace,
    )


def count_usage(tokens: Sequence[dict[Modality, int]]) -> dict[str, Any]:
    """OpenAI's usage object with exact counts per modality."""
    details = {f"{m.value}_tokens": sum(item.get(m, 0) for item in tokens) for m in Modality}
    total = sum(details.values())
    return {"prompt_tokens": total, "total_tokens": total, "prompt_tokens_details": details}
