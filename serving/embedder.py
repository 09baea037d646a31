"""The one way from contents to vectors that every route uses: admit, prepare, batch, finish, capture.

Shape legend: N items, D embedding dimensions.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from model.content import Content, Modality
from serving.batcher import BatchStats, MicroBatcher
from serving.capture import Capture, Served
from serving.config import RequestLimits
from serving.engine import Engine, Prepared
from serving.errors import RequestError, from_exception, overloaded
from serving.sharing import Known, Shared, VectorCache
from serving.telemetry import log, metrics

T = TypeVar("T")
ASSUMED_ITEMS_PER_SECOND = 20.0
RATE_MEMORY = 0.9


@dataclass(frozen=True)
class Embedded:
    """Answer to one request: full-length vectors [N, D] and the tokens of each item."""

    vectors_ND: NDArray[np.float32]
    tokens: tuple[dict[Modality, int], ...]


class Embedder:
    """Shares one engine between all requests.

    A bad item fails its own request, with its index; it never reaches a batch, or is isolated in it. The service holds
    at most ``queue_items`` items in all phases together; more are refused at the door, before any work. Equal contents
    that are in the service at the same time are prepared and computed once.
    """

    def __init__(self, engine: Engine, limits: RequestLimits, *, prepare_workers: int, capture: Capture | None) -> None:
        self.engine = engine
        self._limits = limits
        self._capture = capture
        self._pending = 0
        self._rate = ASSUMED_ITEMS_PER_SECOND
        self._prepare_pool = ThreadPoolExecutor(prepare_workers, thread_name_prefix="prepare")
        self._compute_pool = ThreadPoolExecutor(1, thread_name_prefix="compute")
        self._batcher: MicroBatcher[Prepared, NDArray[np.float32]] = MicroBatcher(
            lambda items: list(engine.compute(items)),
            self._compute_pool,
            batch_tokens=limits.batch_tokens,
            batch_items=limits.batch_items,
            observe=self._observe,
        )
        self._preparing: Shared[Prepared] = Shared()
        self._computing: Shared[NDArray[np.float32]] = Shared(lambda: metrics().reused.labels("in_flight").inc())
        self._cache = VectorCache(limits.cache_items)

    async def embed(self, contents: Sequence[Content], *, request_id: str) -> Embedded:
        """Embed the contents of one request.

        Raises:
            RequestError: naming the first bad item; 429 when the service is full; 504 when time is over.
        """
        with self._admitted(len(contents)):
            try:
                async with asyncio.timeout(self._limits.timeout_seconds):
                    return await self._embed(contents, request_id)
            except TimeoutError as error:
                raise from_exception(error) from error

    async def close(self) -> None:
        """Stop the batcher and the threads, after what runs."""
        await self._batcher.close()
        self._prepare_pool.shutdown(wait=True, cancel_futures=True)
        self._compute_pool.shutdown(wait=True)

    async def _embed(self, contents: Sequence[Content], request_id: str) -> Embedded:
        prepared = await _settle([self._prepared(content) for content in contents])
        ready: list[Prepared | Known] = self._only_good(contents, prepared, request_id, tokens=[{}] * len(contents))
        pairs = zip(contents, ready, strict=True)
        vectors: list[NDArray[np.float32] | Exception] = await _settle([self._vector(*pair) for pair in pairs])
        tokens = [item.tokens for item in ready]
        started = time.monotonic()
        good: list[NDArray[np.float32]] = self._only_good(contents, vectors, request_id, tokens=tokens)
        vectors_ND = np.stack(good)
        for content, vector_D, counts in zip(contents, vectors_ND, tokens, strict=True):
            self._record(content, request_id, counts, vector_D=vector_D)
            self._cache.put(content, Known(vector_D, counts))
        metrics().phase_seconds.labels("finish", "all").observe(time.monotonic() - started)
        return Embedded(vectors_ND, tuple(tokens))

    async def _prepared(self, content: Content) -> Prepared | Known:
        """What compute needs of a content, or what is known of it."""
        if (known := self._cache.get(content)) is not None:
            metrics().reused.labels("cache").inc()
            return known
        loop = asyncio.get_running_loop()
        return await self._preparing(content, lambda: loop.run_in_executor(self._prepare_pool, self._prepare, content))

    async def _vector(self, content: Content, item: Prepared | Known) -> NDArray[np.float32]:
        if isinstance(item, Known):
            return item.vector_D
        return await self._computing(content, lambda: self._batcher.submit(item, item.length))

    def _prepare(self, content: Content) -> Prepared:
        started = time.monotonic()
        prepared = self.engine.prepare(content)
        metrics().phase_seconds.labels("prepare", content.kind).observe(time.monotonic() - started)
        return prepared

    def _only_good(
        self,
        contents: Sequence[Content],
        outcomes: list[T | Exception],
        request_id: str,
        *,
        tokens: Sequence[dict[Modality, int]],
    ) -> list[T]:
        """The outcomes if all are good; else capture the bad ones and raise for the first."""
        first: RequestError | None = None
        good: list[T] = []
        for index, (content, outcome) in enumerate(zip(contents, outcomes, strict=True)):
            if not isinstance(outcome, Exception):
                good.append(outcome)
                continue
            error = from_exception(outcome, index)
            if error.status >= 500:
                log.error("item_failed", exc_info=outcome, extra={"request_id": request_id, "item": index})
            self._record(content, request_id, tokens[index], error_code=error.code)
            first = first or error
        if first is not None:
            raise first
        return good

    def _record(
        self,
        content: Content,
        request_id: str,
        tokens: dict[Modality, int],
        *,
        vector_D: NDArray[np.float32] | None = None,
        error_code: str | None = None,
    ) -> None:
        metrics().items.labels(content.kind, error_code or "ok").inc()
        if error_code is None:
            for modality, count in tokens.items():
                metrics().tokens.labels(modality.value).inc(count)
        if self._capture is not None:
            self._capture.record(Served(content, request_id, tokens, vector_D, error_code))

    def _observe(self, stats: BatchStats[Prepared]) -> None:
        phase = metrics().phase_seconds
        kinds = {item.content.kind for item in stats.items}
        phase.labels("compute", kinds.pop() if len(kinds) == 1 else "mixed").observe(stats.compute_seconds)
        for item, seconds in zip(stats.items, stats.queue_seconds, strict=True):
            phase.labels("queue", item.content.kind).observe(seconds)
        metrics().batch_items.observe(len(stats.items))
        rate = len(stats.items) / max(stats.compute_seconds, 1e-4)
        self._rate = RATE_MEMORY * self._rate + (1 - RATE_MEMORY) * rate

    @contextmanager
    def _admitted(self, count: int) -> Iterator[None]:
        if self._pending + count > self._limits.queue_items:
            retry_after = max(1, math.ceil(self._pending / self._rate))
            raise overloaded(self._pending, self._limits.queue_items, retry_after)
        self._pending += count
        metrics().pending.inc(count)
        try:
            yield
        finally:
            self._pending -= count
            metrics().pending.dec(count)


async def _settle(work: Sequence[Awaitable[T]]) -> list[T | Exception]:
    """Wait for all; exceptions are results, cancellation of the caller cancels all."""
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
            raise outcome
    return outcomes  # type: ignore[return-value]  # the loop above leaves no other BaseException
