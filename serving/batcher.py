"""A micro-batcher for asyncio: items of all callers share compute, and nothing else.

It never waits for company: an item that finds compute idle goes alone at once, and while a batch is computed the
others gather. A batch starts with the oldest item and is filled with those nearest in length, while
``items x longest`` stays within the token budget. One batch is computed at a time, in an executor. A batch that fails
is halved and tried again, so that only the bad item gets the error. A cancelled item leaves the queue.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class BatchStats(Generic[T]):
    """What one batch was: its items, seconds that each waited, seconds that all were computed."""

    items: tuple[T, ...]
    queue_seconds: tuple[float, ...]
    compute_seconds: float


@dataclass(eq=False)
class _Waiting(Generic[T, R]):
    item: T
    length: int
    future: "asyncio.Future[R]"
    since: float = field(default_factory=time.monotonic)


class MicroBatcher(Generic[T, R]):
    """Batches items for a synchronous ``compute`` that maps a list of items to as many results.

    Args:
        compute: called in ``executor``, one call at a time; may raise.
        executor: where compute runs.
        batch_tokens: limit of ``items x longest length``; a longer single item still goes, alone.
        batch_items: limit of items in a batch.
        observe: called after each batch, in the event loop.
    """

    def __init__(
        self,
        compute: Callable[[list[T]], Sequence[R]],
        executor: Executor,
        *,
        batch_tokens: int,
        batch_items: int,
        observe: Callable[[BatchStats[T]], None] = lambda _: None,
    ) -> None:
        self._compute = compute
        self._executor = executor
        self._batch_tokens = batch_tokens
        self._batch_items = batch_items
        self._observe = observe
        self._queue: list[_Waiting[T, R]] = []
        self._worker: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Items that wait for compute."""
        return len(self._queue)

    async def submit(self, item: T, length: int) -> R:
        """Queue one item of ``length`` tokens and wait for its own result or its own exception."""
        entry: _Waiting[T, R] = _Waiting(item, length, asyncio.get_running_loop().create_future())
        self._queue.append(entry)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.get_running_loop().create_task(self._run())
        try:
            return await entry.future
        finally:
            if entry in self._queue:  # cancelled before its batch was taken
                self._queue.remove(entry)

    async def close(self) -> None:
        """Fail what still waits and let a running batch end."""
        for entry in self._queue:
            entry.future.cancel()
        self._queue.clear()
        if self._worker is not None:
            await asyncio.gather(self._worker, return_exceptions=True)

    async def _run(self) -> None:
        """Work until the queue is empty; the next ``submit`` starts a new worker."""
        await asyncio.sleep(0)  # the other items of the same request are queued in this turn of the loop
        while batch := self._take():
            started = time.monotonic()
            loop = asyncio.get_running_loop()
            outcomes = await loop.run_in_executor(self._executor, self._isolated, [entry.item for entry in batch])
            for entry, outcome in zip(batch, outcomes, strict=True):
                _deliver(entry.future, outcome)
            self._observe(
                BatchStats(
                    items=tuple(entry.item for entry in batch),
                    queue_seconds=tuple(started - entry.since for entry in batch),
                    compute_seconds=time.monotonic() - started,
                )
            )

    def _take(self) -> list[_Waiting[T, R]]:
        """Remove the next batch from the queue: the oldest item, then its nearest in length."""
        self._queue = [entry for entry in self._queue if not entry.future.done()]
        if not self._queue:
            return []
        oldest = self._queue[0]
        batch, longest = [oldest], oldest.length
        for entry in sorted(self._queue[1:], key=lambda e: abs(e.length - oldest.length)):
            longest_then = max(longest, entry.length)
            if len(batch) >= self._batch_items:
                break
            if longest_then * (len(batch) + 1) <= self._batch_tokens:
                batch.append(entry)
                longest = longest_then
        taken = set(map(id, batch))
        self._queue = [entry for entry in self._queue if id(entry) not in taken]
        return batch

    def _isolated(self, items: list[T]) -> list[R | Exception]:
        """Results or exceptions, one per item; a failing batch is halved until the failing items stand alone."""
        try:
            results: list[R | Exception] = list(self._compute(items))
            if len(results) != len(items):
                raise RuntimeError(f"compute returned {len(results)} results for {len(items)} items")
        except Exception as error:
            if len(items) == 1:
                return [error]
            half = len(items) // 2
            return self._isolated(items[:half]) + self._isolated(items[half:])
        return results


def _deliver(future: "asyncio.Future[R]", outcome: R | Exception) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
