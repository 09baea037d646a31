"""How many bytes of bodies the service holds at once: a limit on one body does not bound what many callers send.

A body stays in memory, in several forms, until its request ends; so its bytes count from when they come until then.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.types import Message, Receive

from serving.errors import RequestError, body_too_large
from serving.responses import Refused
from serving.room import Room


@dataclass
class Bodies:
    """The bodies of all requests that run.

    Attributes:
        each: most bytes of one body.
        together: most bytes of all.
        clock: seconds.
    """

    each: int
    together: int
    clock: Callable[[], float] = time.monotonic
    _room: Room = field(init=False)

    def __post_init__(self) -> None:
        self._room = Room(self.together, self.clock)

    @property
    def held(self) -> int:
        """Bytes of all bodies that are here."""
        return self._room.held

    @contextmanager
    def counted(self, receive: Receive, declared: int = 0) -> Iterator[Receive]:
        """``receive`` of one request, whose bytes count until the block ends.

        The returned function raises ``Refused``: 413 for a body that is too large, 429 when all bodies together are.

        Args:
            receive: of the request.
            declared: bytes that its head announces; 0 where it does not.
        """
        seen, served = 0, True

        async def limited() -> Message:
            nonlocal seen, served
            message = await receive()
            size = len(message.get("body", b""))
            seen += size
            self._room.take(size)
            if seen > self.each:
                served = False
                raise Refused(body_too_large(self.each))
            if self.held > self.together:
                served = False
                raise Refused(self._full(seen, declared))
            return message

        try:
            yield limited
        finally:
            self._room.leave(seen, served=served)

    def _full(self, seen: int, declared: int) -> RequestError:
        """429: there is no room for more bodies; those who come back bring theirs from the beginning."""
        seconds = self._room.seconds(max(0, declared - seen))
        return RequestError(
            f"the service holds {self.held} of at most {self.together} bytes of requests; retry after {seconds} s",
            status=429,
            code="overloaded",
            limit="bodies_bytes",
            headers={"Retry-After": str(seconds)},
        )
