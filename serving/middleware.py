"""The outermost layer of the app: request ids, gate, body limit, one log line and metric per request, opaque 500s."""

import re
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.bodies import Bodies
from serving.errors import RequestError, body_too_large
from serving.gate import Gate
from serving.responses import error_response
from serving.telemetry import log, metrics
from serving.tracing import RequestTrace, Tracing

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_id_of(scope: Scope) -> str:
    """The caller's ``X-Request-ID`` if it is harmless, else a new one."""
    for name, value in scope.get("headers", ()):
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value.decode("latin-1")):
            return str(value.decode("latin-1"))
    return uuid.uuid4().hex


@dataclass
class Exchange:
    """What is known about one request while it runs; ``notes`` are counts that a route adds to the log line."""

    request_id: str
    started: float = field(default_factory=time.monotonic)
    status: int = 0
    notes: dict[str, Any] = field(default_factory=dict)
    trace: RequestTrace | None = None
    finishing: tuple[float, str] | None = None

    def computed(self, kind: str) -> None:
        """Say that the vectors are there, of a request of this kind; what follows until its answer is ``finish``."""
        self.finishing = (time.monotonic(), kind)

    def answered(self, status: int) -> None:
        """Say that the answer begins."""
        self.status = status
        if self.finishing is not None:
            since, kind = self.finishing
            now = time.monotonic()
            metrics().phase("finish", kind).observe(now - since)
            if self.trace is not None:
                self.trace.phase("finish", since, now)


class RequestMiddleware:
    """Pure ASGI, so that bodies stream and disconnects are seen."""

    def __init__(self, app: ASGIApp, *, bodies: Bodies, gate: Gate, tracing: Tracing | None = None) -> None:
        self._app = app
        self._tracing = tracing
        self._gate = gate
        self._bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(request_id_of(scope))
        scope.setdefault("state", {})["request_id"] = exchange.request_id
        scope["state"]["notes"] = exchange.notes
        scope["state"]["exchange"] = exchange
        if self._tracing is not None:
            exchange.trace = self._tracing.request(scope, exchange.request_id)

        async def tracked_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.answered(message["status"])
                message.setdefault("headers", []).append((b"x-request-id", exchange.request_id.encode()))
            await send(message)

        try:
            with ExitStack() as scope["state"]["leases"]:  # of the model that a route takes
                await self._serve(scope, receive, tracked_send, exchange)
        finally:
            self._report(scope, exchange)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, exchange: Exchange) -> None:
        try:
            scope["state"]["client"] = client = self._gate.admit(scope)
            exchange.notes["client"] = client.name
            if (declared := _declared_length(scope)) > self._bodies.each:
                raise body_too_large(self._bodies.each)
        except RequestError as error:
            exchange.notes.update(error=error.code, limit=error.limit)
            await error_response(error, exchange.request_id, scope["path"])(scope, receive, send)
            return
        try:
            with self._bodies.counted(receive, declared) as limited:
                await self._app(scope, limited, send)
        except Exception as error:  # the last line of defence: the caller gets an opaque answer, the log the stack
            log.error("unhandled", exc_info=error, extra={"request_id": exchange.request_id})
            if exchange.status == 0:
                opaque = RequestError(
                    "internal error; quote the request id to the operator", status=500, code="internal_error"
                )
                response: Response = error_response(opaque, exchange.request_id, scope["path"])
                await response(scope, receive, send)

    @staticmethod
    def _report(scope: Scope, exchange: Exchange) -> None:
        route = getattr(scope.get("route"), "path", "") or "unmatched"  # a mount is a route without a path
        seconds = time.monotonic() - exchange.started
        metrics().requests.labels(route, str(exchange.status)).inc()
        metrics().request_seconds.labels(route).observe(seconds)
        notes = {key: value for key, value in exchange.notes.items() if value is not None}
        if "error" in notes:
            metrics().rejections.labels(notes["error"], notes.get("limit", "")).inc()
        if exchange.trace is not None:
            exchange.trace.end(route, scope["method"], exchange.status, notes)
            notes["trace_id"] = exchange.trace.id
        log.info(
            "request",
            extra={
                "request_id": exchange.request_id,
                "method": scope["method"],
                "route": route,
                "status": exchange.status,
                "ms": round(seconds * 1000, 2),
                **notes,
            },
        )


def _declared_length(scope: Scope) -> int:
    for name, value in scope.get("headers", ()):
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
