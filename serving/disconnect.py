"""Stop work for callers that have gone."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import Request

from serving.errors import RequestError

T = TypeVar("T")


async def unless_disconnected(request: Request, work: Awaitable[T]) -> T:
    """Await ``work``; cancel it when the caller hangs up, so that its items leave the queue.

    The request's body must have been read. Raises 499 to end the request; nobody is left to read it.
    """
    task = asyncio.current_task()
    assert task is not None
    gone = False

    def leave(_: "asyncio.Task[None]") -> None:
        nonlocal gone
        gone = True
        task.cancel()

    watcher = asyncio.ensure_future(_disconnect(request))
    watcher.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if gone and not task.uncancel():  # nobody else wants to end this task
            raise RequestError("the caller has disconnected", status=499, code="client_disconnected") from None
        raise
    finally:
        watcher.remove_done_callback(leave)
        watcher.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
