"""JSON bodies, read so that no body can hold up the others or grow beyond its size.

Python's own parser accepts NaN, halves of surrogate pairs and other encodings, and of a few million small values it
makes a hundred times their bytes, on the event loop. So the marks that begin a value are counted first, and what is
large is parsed in a thread by a parser that follows the standard.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from serving.errors import RequestError
from serving.responses import NOT_JSON, Refused

MOST_MARKS = 400_000
"""Commas and brackets, those inside texts included: a thousand times what a full request of media has."""
LARGE_BYTES = 100_000
BOM = b"\xef\xbb\xbf"
ENCODED = RequestError(
    "send the body as it is, without Content-Encoding: what it would grow to cannot be known before",
    status=415,
    code="unsupported_content_encoding",
)


class JsonRequest(Request):
    """A request whose body is parsed as described above."""

    async def json(self) -> Any:
        """The parsed body.

        Raises:
            JSONDecodeError: it is no JSON.
            Refused: it is compressed, or has too many values.
        """
        if not hasattr(self, "_json"):
            if self.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
                raise Refused(ENCODED)
            body = await self.body()
            self._json = await asyncio.to_thread(parse, body) if len(body) > LARGE_BYTES else parse(body)
        return self._json


class JsonRoute(APIRoute):
    """A route that reads its body so."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, given a request of ours."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            if request.method == "POST" and "json" not in request.headers.get("content-type", ""):
                raise NOT_JSON  # before its body is read
            return await handle(JsonRequest(request.scope, request.receive))

        return handler


def parse(body: bytes) -> Any:
    """Parse one body.

    Raises:
        JSONDecodeError: it is no JSON, or nested more than a thousand deep.
        Refused: it has too many values.
    """
    if sum(body.count(mark) for mark in (b",", b"[", b"{")) > MOST_MARKS:
        raise Refused(
            RequestError(
                f"the body has more than {MOST_MARKS} commas and brackets; send fewer or shorter items",
                status=413,
                code="too_many_values",
                limit="values",
            )
        )
    return orjson.loads(body.removeprefix(BOM))
