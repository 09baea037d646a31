"""Doing equal work once: while it runs, for all who wait for it; afterwards, for those who come soon."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from model.content import Content, Modality

R = TypeVar("R")


@dataclass(eq=False)
class _Work(Generic[R]):
    task: "asyncio.Future[R]"
    callers: int = 0


class Shared(Generic[R]):
    """Work by key: equal work that runs already is waited for, not started again.

    One caller that goes away takes nothing from the others; when the last one goes, the work is cancelled.

    Args:
        reused: called for each caller who found the work running.
    """

    def __init__(self, reused: Callable[[], None] = lambda: None) -> None:
        self._running: dict[Hashable, _Work[R]] = {}
        self._reused = reused

    async def __call__(self, key: Hashable, start: Callable[[], Awaitable[R]]) -> R:
        """Result of the work, or its exception."""
        work = self._running.get(key)
        if work is None:
            work = self._running[key] = _Work(asyncio.ensure_future(start()))
            work.task.add_done_callback(partial(self._ended, key, work))
        else:
            self._reused()
        work.callers += 1
        try:
            return await asyncio.shield(work.task)
        finally:
            work.callers -= 1
            if work.callers == 0 and not work.task.done():
                self._forget(key, work)  # nobody may join what is being cancelled
                work.task.cancel()

    def _ended(self, key: Hashable, work: _Work[R], _: "asyncio.Future[R]") -> None:
        self._forget(key, work)

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
        self._known: OrderedDict[bytes, Known] = OrderedDict()

    def get(self, content: Content) -> Known | None:
        """What is known of a content."""
        if not self._capacity:
            return None
        key = _key(content)
        if key in self._known:
            self._known.move_to_end(key)
        return self._known.get(key)

    def put(self, content: Content, known: Known) -> None:
        """Remember a content, and forget the one that was not asked for longest."""
        if not self._capacity:
            return
        key = _key(content)
        self._known[key] = known
        self._known.move_to_end(key)
        while len(self._known) > self._capacity:
            self._known.popitem(last=False)


def _key(content: Content) -> bytes:
    parts = [[part.modality.value, part.digest] for part in content.parts]
    return hashlib.blake2b(repr((content.task, content.title, parts)).encode(), digest_size=16).digest()
