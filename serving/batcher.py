"""A micro-batcher for asyncio: items of all callers share compute, and nothing else.

It never waits for company: an item that finds compute idle goes alone at once, and while a batch is computed the
others gather. A batch starts with the oldest item of the client that was served least (:mod:`serving.fairness`) and is
filled with those nearest in length, while ``items x longest`` stays within the token budget and no more of it is
padding than another call of compute would cost. Batches are computed in an executor, ``workers`` at a time. A batch
that fails is halved and tried again, so that only the bad item gets the error. A cancelled item leaves the queue and is
never computed.
"""

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from serving.fairness import FairQueue

T = TypeVar("T")
R = TypeVar("R")
PADDING = 12
"""Tokens that a processor computes in the time that a call takes besides: more padding is dearer than a call."""


@dataclass(frozen=True)
class BatchStats(Generic[T]):
    """What one batch was.

    Attributes:
        items: in the order of the batch.
        tags: what ``submit`` was given beside each item.
        queue_seconds: how long each item waited.
        compute_seconds: how long all were computed.
        tokens: of all items together.
        padded_tokens: ``items x longest``.
        ended: on ``time.monotonic``'s clock.
    """

    items: tuple[T, ...]
    tags: tuple[Any, ...]
    queue_seconds: tuple[float, ...]
    compute_seconds: float
    tokens: int
    padded_tokens: int
    ended: float


@dataclass(eq=False)
class _Waiting(Generic[T, R]):
    item: T
    length: int
    tag: Any
    future: "asyncio.Future[R]"
    since: float = field(default_factory=time.monotonic)


@dataclass
class _Filling:
    """Sizes of a batch while it is filled."""

    count: int
    longest: int
    tokens: int

    def takes(self, length: int, budget: int, padding: int) -> bool:
        """Whether an item of ``length`` may join; if so, it has."""
        count, longest, tokens = self.count + 1, max(self.longest, length), self.tokens + length
        if count * longest > budget or count * longest - tokens > padding:
            return False
        self.count, self.longest, self.tokens = count, longest, tokens
        return True


class MicroBatcher(Generic[T, R]):
    """Batches items for a synchronous ``compute`` that maps a list of items to as many results or exceptions.

    Args:
        compute: called in ``executor``, ``workers`` calls at a time; may raise.
        executor: where compute runs.
        batch_tokens: limit of ``items x longest length``; a longer single item still goes, alone.
        batch_items: limit of items in a batch.
        padding: most tokens of a batch that are none of its items'.
        workers: batches that are computed at a time.
        observe: called after each batch, in the event loop.
    """

    def __init__(
        self,
        compute: Callable[[list[T]], Sequence[R | Exception]],
        executor: Executor,
        *,
        batch_tokens: int,
        batch_items: int,
        padding: int = PADDING,
        workers: int = 1,
        observe: Callable[[BatchStats[T]], None] = lambda _: None,
    ) -> None:
        self._compute = compute
        self._executor = executor
        self._batch_tokens = batch_tokens
        self._batch_items = batch_items
        self._padding = padding
        self._most_workers = workers
        self._observe = observe
        self._queue: FairQueue[_Waiting[T, R]] = FairQueue(slack=batch_tokens)
        self._workers: set[asyncio.Task[None]] = set()
        self._tokens = 0

    @property
    def waiting(self) -> int:
        """Items that wait for compute."""
        return len(self._queue)

    @property
    def waiting_tokens(self) -> int:
        """Their tokens."""
        return self._tokens

    def submit(
        self, item: T, length: int, *, client: Hashable = None, cost: float | None = None, tag: Any = None
    ) -> "asyncio.Future[R]":
        """Queue one item; the future has its own result or its own exception, and may be cancelled.

        Args:
            item: what compute is given.
            length: tokens, for the budget of a batch.
            client: who shares fairly with the others.
            cost: what the client is charged; ``length`` by default.
            tag: given back in the statistics.
        """
        loop = asyncio.get_running_loop()
        entry: _Waiting[T, R] = _Waiting(item, length, tag, loop.create_future())
        entry.future.add_done_callback(lambda _: self._forget(entry))
        self._queue.add(client, entry, length if cost is None else cost)
        self._tokens += length
        if len(self._workers) < self._most_workers:
            self._workers.add(loop.create_task(self._run()))
        return entry.future

    async def close(self) -> None:
        """Fail what still waits and let running batches end."""
        for entry in list(self._queue):
            entry.future.cancel()
            self._forget(entry)
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def _run(self) -> None:
        """Work until the queue is empty; the next ``submit`` starts a new worker."""
        try:
            await asyncio.sleep(0)  # the other items of the same request are queued in this turn of the loop
            while batch := self._take():
                await self._serve(batch)
        finally:
            # At once, not when the loop comes to tell of the end: what is submitted in between would wait for ever.
            self._workers.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _serve(self, batch: "list[_Waiting[T, R]]") -> None:
        """Compute one batch and hand out what came of it."""
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        outcomes = await loop.run_in_executor(self._executor, self._isolated, [entry.item for entry in batch])
        for entry, outcome in zip(batch, outcomes, strict=True):
            _deliver(entry.future, outcome)
        self._observe(_stats(batch, started, time.monotonic()))

    def _take(self) -> list[_Waiting[T, R]]:
        """Remove the next batch from the queue."""
        filling: _Filling | None = None

        def fits(first: _Waiting[T, R], other: _Waiting[T, R]) -> bool:
            nonlocal filling
            filling = filling or _Filling(1, first.length, first.length)
            return not other.future.done() and filling.takes(other.length, self._batch_tokens, self._padding)

        while batch := self._queue.take(fits, lambda a, b: abs(a.length - b.length), self._batch_items):
            self._tokens -= sum(entry.length for entry in batch)
            if alive := [entry for entry in batch if not entry.future.done()]:
                return alive
            filling = None
        return []

    def _forget(self, entry: _Waiting[T, R]) -> None:
        """Take what was cancelled out of the queue."""
        if entry in self._queue:
            self._queue.remove(entry)
            self._tokens -= entry.length

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


def _stats(batch: Sequence[_Waiting[T, R]], started: float, ended: float) -> BatchStats[T]:
    lengths = [entry.length for entry in batch]
    return BatchStats(
        items=tuple(entry.item for entry in batch),
        tags=tuple(entry.tag for entry in batch),
        queue_seconds=tuple(started - entry.since for entry in batch),
        compute_seconds=ended - started,
        tokens=sum(lengths),
        padded_tokens=max(lengths) * len(lengths),
        ended=ended,
    )


def _deliver(future: "asyncio.Future[R]", outcome: R | Exception) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
