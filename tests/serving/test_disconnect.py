"""Work ends with its caller, and with nobody else's."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from serving.disconnect import unless_disconnected
from serving.errors import RequestError


class Caller:
    """A request whose body has been read."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.watched = 0

    async def receive(self) -> dict[str, Any]:
        self.watched += 1
        try:
            await self.gone.wait()
        finally:
            self.watched -= 1
        return {"type": "http.disconnect"}


class Work:
    """Work that lasts until it is told what comes of it."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.cancelled = False

    async def __call__(self) -> int:
        try:
            return await self.outcome
        except asyncio.CancelledError:
            self.cancelled = True
            raise


Act = Callable[[Caller, Work, "asyncio.Task[int]"], Awaitable[None] | None]


async def served(act: Act) -> tuple[Caller, Work, "asyncio.Task[int]"]:
    """What remains after ``act`` was done to running work."""
    caller, work = Caller(), Work()
    task = asyncio.ensure_future(unless_disconnected(caller, work()))  # type: ignore[arg-type]
    for _ in range(3):
        await asyncio.sleep(0)
    assert caller.watched == 1
    act(caller, work, task)
    await asyncio.wait({task})
    await asyncio.sleep(0)
    assert caller.watched == 0, "the watcher outlives the request"
    return caller, work, task


def test_the_result_comes_back() -> None:
    _, work, task = asyncio.run(served(lambda _, work, __: work.outcome.set_result(7)))
    assert task.result() == 7
    assert not work.cancelled


def test_an_error_of_the_work_is_that_error() -> None:
    _, _, task = asyncio.run(served(lambda _, work, __: work.outcome.set_exception(ValueError("bad"))))
    with pytest.raises(ValueError, match="bad"):
        task.result()


def test_work_of_a_caller_that_has_gone_is_cancelled_and_its_task_goes_on() -> None:
    _, work, task = asyncio.run(served(lambda caller, _, __: caller.gone.set()))
    with pytest.raises(RequestError, match="disconnected"):
        task.result()
    assert work.cancelled
    assert not task.cancelling(), "what comes after would be cancelled"


def test_a_cancelled_request_is_cancelled_and_is_no_disconnect() -> None:
    def both(caller: Caller, _: Work, task: "asyncio.Task[int]") -> None:
        task.cancel()
        caller.gone.set()

    for act in (both, lambda _, __, task: task.cancel()):
        _, work, task = asyncio.run(served(act))
        assert work.cancelled
        assert task.cancelled()


def test_a_caller_that_goes_as_the_work_ends_harms_nobody() -> None:
    def both(caller: Caller, work: Work, _: "asyncio.Task[int]") -> None:
        caller.gone.set()
        work.outcome.set_result(7)

    _, _, task = asyncio.run(served(both))
    assert task.exception() is None or isinstance(task.exception(), RequestError)
