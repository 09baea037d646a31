"""Doing equal work once: while it runs, for all who wait for it; afterwards, for those who come soon."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from model.content import Content, Modality

R = TypeVar("R")


@dataclass(eq=False)
class _Work(Generic[R]):
    future: "asyncio.Future[R]"
    callers: "set[asyncio.Future[R]]" = field(default_factory=set)


class Shared(Generic[R]):
    """Work by key: equal work that runs already is waited for, not started again.

    One caller that goes away takes nothing from the others; when the last one goes, the work is cancelled.

    Args:
        reused: called for each caller who found the work running.
    """

    def __init__(self, reused: Callable[[], None] = lambda: None) -> None:
        self._running: dict[Hashable, _Work[R]] = {}
        self._reused = reused

    def __call__(self, key: Hashable, start: Callable[[], Awaitable[R]]) -> "asyncio.Future[R]":
        """A future of the caller's own for the work's result or exception; to cancel it is to go away."""
        work = self._running.get(key)
        if work is None:
            work = self._running[key] = _Work(asyncio.ensure_future(start()))
            work.future.add_done_callback(partial(self._ended, key, work))
        else:
            self._reused()
        caller: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        work.callers.add(caller)
        caller.add_done_callback(partial(self._left, key, work))
        return caller

    def _ended(self, key: Hashable, work: _Work[R], future: "asyncio.Future[R]") -> None:
        self._forget(key, work)
        for caller in work.callers:
            if caller.done():
                continue
            if future.cancelled():
                caller.cancel()
            elif (error := future.exception()) is not None:
                caller.set_exception(error)
            else:
                caller.set_result(future.result())

    def _left(self, key: Hashable, work: _Work[R], caller: "asyncio.Future[R]") -> None:
        if work.future.done():
            return
        work.callers.discard(caller)
        if not work.callers:
            self._forget(key, work)  # nobody may join what is being cancelled
            work.future.cancel()

    def _forget(self, key: Hashable, work: _Work[R]) -> None:
        if self._running.get(key) is work:
            del self._running[key]


@dataclass(frozen=True)
class Known:
    """Vector [D] and tokens of a content that was embedded before."""

    vector_D: NDArray[np.float32]
    tokens: dict[Modality, int]


class VectorCache:
    """The vectors used last, by a digest of what was embedded; no input is kept.

    Args:
        capacity: vectors to keep; 0 keeps none.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._known: OrderedDict[str, Known] = OrderedDict()

    def get(self, content: Content) -> Known | None:
        """What is known of a content."""
        if not self._capacity:
            return None
        key = content.digest
        if key in self._known:
            self._known.move_to_end(key)
        return self._known.get(key)

    def put(self, content: Content, known: Known) -> None:
        """Remember a content, and forget the one that was not asked for longest."""
        if not self._capacity:
            return
        key = content.digest
        self._known[key] = known
        self._known.move_to_end(key)
        while len(self._known) > self._capacity:
            self._known.popitem(last=False)
