"""How many bytes of bodies the service holds at once: a limit on one body does not bound what many callers send.

A body stays in memory, in several forms, until its request ends; so its bytes count from when they come until then.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.types import Message, Receive

from serving.errors import RequestError, body_too_large
from serving.responses import Refused

RETRY_SECONDS = 1


@dataclass
class Bodies:
    """The bodies of all requests that run.

    Attributes:
        each: most bytes of one body.
        together: most bytes of all.
    """

    each: int
    together: int
    held: int = field(default=0, init=False)

    @contextmanager
    def counted(self, receive: Receive) -> Iterator[Receive]:
        """``receive`` of one request, whose bytes count until the block ends.

        The returned function raises ``Refused``: 413 for a body that is too large, 429 when all bodies together are.
        """
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            size = len(message.get("body", b""))
            seen += size
            self.held += size
            if seen > self.each:
                raise Refused(body_too_large(self.each))
            if self.held > self.together:
                raise Refused(self._full())
            return message

        try:
            yield limited
        finally:
            self.held -= seen

    def _full(self) -> RequestError:
        """429: there is no room for more bodies."""
        return RequestError(
            f"the service holds {self.held} of at most {self.together} bytes of requests; retry after "
            f"{RETRY_SECONDS} s",
            status=429,
            code="overloaded",
            limit="bodies_bytes",
            headers={"Retry-After": str(RETRY_SECONDS)},
        )
