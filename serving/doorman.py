"""The connections of the service: uvicorn's HTTP protocol, with the limits that uvicorn does not have.

uvicorn waits for ever for the first byte of a connection, for the rest of a head or body, and for a caller who does not
read its answer; it keeps a head of any length, any number of pipelined requests and any number of connections, and its
``limit_concurrency`` would let idle connections shut everyone out. BentoML passes none of its few limits on. So each
connection is looked at once a second and ended when it takes too long; when there are too many, one that never asked
anything makes room, or the one that has been idle longest.
"""

import asyncio
import resource
import select
from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson
import uvicorn.config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from serving.config import ConnectionLimits
from serving.errors import RequestError

LOOK_SECONDS = 1.0
LINGER_SECONDS = 5.0
"""How long a body is still swallowed after its answer: closing at once would take the answer from the caller too."""
LEAST_IDLE_SECONDS, LEAST_SILENT_SECONDS = 2.0, 1.0
"""To make room a connection is closed only if it has been idle for so long: one that was used, one that never was."""
OWN_FILES = 256


class Reading(Enum):
    """What a connection is expected to send next."""

    NOTHING = "a request, or nothing"
    HEAD = "the rest of a head"
    BODY = "the rest of a body"


@dataclass
class _Progress:
    """How far a connection has come."""

    reading: Reading = Reading.NOTHING
    since: float = 0.0
    size: int = 0
    """Bytes of the present head or body."""
    unread: int = 0
    unread_since: float = 0.0


class Doorman(HttpToolsProtocol):
    """One connection."""

    limits = ConnectionLimits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.timeout_keep_alive = self.limits.idle_seconds
        self._progress = _Progress(since=self.loop.time())
        self._timer: asyncio.TimerHandle | None = None
        self._running: RequestResponseCycle | None = None

    @property
    def answering(self) -> bool:
        """Whether a request waits for its answer."""
        return self._running is not None and not self._running.response_complete

    @property
    def idle_since(self) -> float | None:
        """When the connection began to do nothing of use; None while it sends a body or waits for an answer."""
        busy = self.answering or self._progress.reading is Reading.BODY
        return None if busy else self._progress.since

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection, or refuse it."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(LOOK_SECONDS, self._look)
        if len(self.connections) > self.limits.connections and not self._make_room():
            self._end(503, "too_many_connections", f"the service has {self.limits.connections} connections; try again")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._timer is not None:
            self._timer.cancel()
        self._abandon()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what the caller sent."""
        if self._progress.reading is Reading.NOTHING:
            self._enter(Reading.HEAD)
        if self._progress.reading is Reading.HEAD:
            self._progress.size += len(data)
        super().data_received(data)
        if self._progress.reading is Reading.HEAD and self._progress.size > self.limits.head_bytes:
            self._end(431, "head_too_large", f"the head has more than {self.limits.head_bytes} bytes")
        elif len(self.pipeline) > self.limits.pipelined:
            self._end(400, "too_many_pipelined", f"more than {self.limits.pipelined} requests wait on this connection")

    def on_headers_complete(self) -> None:
        """A head is complete."""
        self._enter(Reading.BODY)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._progress.size += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        self._enter(Reading.NOTHING)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer has been given, perhaps before its request was complete."""
        self._progress.since = self.loop.time()
        super().on_response_complete()

    def shutdown(self) -> None:
        """The service ends: requests that are here are answered, those that are still coming are not waited for."""
        if self._progress.reading is Reading.BODY:
            self._end(503, "shutting_down", "the service is stopping; try again")
        super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and close; nobody waits for the answer of a request before it any more."""
        self._abandon()
        super().send_400_response(msg)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _abandon(self) -> None:
        """Tell the request that runs that its caller has gone: uvicorn tells the last one that came instead."""
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def _should_upgrade_to_ws(self) -> bool:
        return False  # there are no sockets here

    def _unsupported_upgrade_warning(self) -> None:
        """Answer as if nothing had been asked; uvicorn would log advice for developers at each attempt."""

    def _enter(self, reading: Reading) -> None:
        self._progress.reading, self._progress.since, self._progress.size = reading, self.loop.time(), 0

    def _look(self) -> None:
        if not self._end_if_overdue(self.loop.time()):
            self._timer = self.loop.call_later(LOOK_SECONDS, self._look)

    def _end_if_overdue(self, now: float) -> bool:
        """Whether nothing is left to be looked after."""
        progress, limits = self._progress, self.limits
        if self._is_unread(now):
            self.transport.abort()
            return True
        if self.transport.is_closing():
            return False  # what was written may still have to be read
        spent = now - progress.since
        if self.answering:
            if progress.reading is Reading.BODY and not self.flow.read_paused and self._is_slow(spent):
                self._end(408, "body_too_slow", "the rest of the body came too slowly")
        elif progress.reading is Reading.BODY:
            if spent > LINGER_SECONDS:
                self.transport.abort()
                return True
        elif progress.reading is Reading.HEAD:
            if spent > limits.head_seconds:
                self._end(408, "head_too_slow", f"the head was not complete after {limits.head_seconds:g} s")
        elif spent > (limits.head_seconds if self.cycle is None else limits.idle_seconds):
            self.transport.close()
        return False

    def _is_slow(self, spent: float) -> bool:
        """Whether a body takes longer than its bytes so far excuse."""
        earned = self.limits.body_grace_seconds + self._progress.size / self.limits.body_bytes_per_second
        return spent > min(self.limits.body_seconds, earned)

    def _is_unread(self, now: float) -> bool:
        """Whether the caller has not read a byte of what waits for it, for too long."""
        waiting = self.transport.get_write_buffer_size()
        if waiting != self._progress.unread:
            self._progress.unread, self._progress.unread_since = waiting, now
        return waiting > 0 and now - self._progress.unread_since > self.limits.write_seconds

    def _make_room(self) -> bool:
        """Close a connection that is of no use: one that never asked anything, else the one that is idle longest.

        Its caller may be about to use it. So one that was used a moment ago is left alone, and one whose bytes are here
        already, though nobody has read them yet.
        """
        now = self.loop.time()
        idle = []
        for other in self.connections:
            if isinstance(other, Doorman) and other is not self and (since := other.idle_since) is not None:
                was_used = other.cycle is not None
                if now - since >= (LEAST_IDLE_SECONDS if was_used else LEAST_SILENT_SECONDS):
                    idle.append((was_used, since, other))
        for *_, other in sorted(idle, key=lambda entry: entry[:2]):
            if not other.transport.is_closing() and not _has_bytes(other.transport):
                other.transport.abort() if other.transport.get_write_buffer_size() else other.transport.close()
                return True
        return False

    def _end(self, status: int, code: str, message: str) -> None:
        """Answer what is being asked with an error, and close."""
        has_begun = self.answering and self._running is not None and self._running.response_started
        self._abandon()
        if has_begun:
            self.transport.abort()
        if self.transport.is_closing():
            return
        body = orjson.dumps(RequestError(message, status=status, code=code).body(""))
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n" % len(body)
        again = b"retry-after: 1\r\n" if status == 503 else b""
        self.transport.write(STATUS_LINE[status] + head + again + b"\r\n" + body)
        self.transport.close()


def _has_bytes(transport: asyncio.BaseTransport) -> bool:
    """Whether something has come that was not read yet, if only the caller's good-bye."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))


def install(limits: ConnectionLimits) -> None:
    """Let uvicorn, which BentoML starts without a choice of protocol, use this one for every connection."""
    Doorman.limits = limits.model_copy(update={"connections": _allowed_by_the_system(limits.connections)})
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{Doorman.__name__}"


def _allowed_by_the_system(connections: int) -> int:
    """As many connections as there are file descriptors for, beside the files that the service itself has open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(1, min(connections, soft - OWN_FILES))
    return connections
