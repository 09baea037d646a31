"""The one way from contents to vectors that every route uses: admit, prepare, batch, finish, capture.

Shape legend: N items, D embedding dimensions.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from model.content import Content, Modality
from model.encoding import batch_cost
from serving.admission import Admission, Ticket, guess_work
from serving.batcher import BatchStats, MicroBatcher
from serving.capture import Capture, Served
from serving.config import RequestLimits
from serving.deadline import too_late
from serving.engine import Engine, Prepared
from serving.errors import RequestError, from_exception
from serving.line import Line
from serving.sharing import Known, Shared, VectorCache
from serving.telemetry import Load, log, metrics
from serving.tracing import RequestTrace, trace_batch

T = TypeVar("T")
PREPARED_TOGETHER = 16
KILOBYTE = 1024


@dataclass(frozen=True)
class Caller:
    """Who asks, and until when.

    Attributes:
        client: whose items share fairly with those of the others: the name of a key, or an address.
        seconds: that the request may take from now; None for the service's own limit.
        trace: where its phases are recorded.
    """

    client: Hashable = None
    seconds: float | None = None
    trace: RequestTrace | None = None


@dataclass(frozen=True)
class Embedded:
    """Answer to one request: full-length vectors [N, D] and the tokens of each item."""

    vectors_ND: NDArray[np.float32]
    tokens: tuple[dict[Modality, int], ...]


@dataclass
class _Job:
    """A request while it runs."""

    request_id: str
    caller: Caller
    ticket: Ticket
    seconds: float
    vectors: "Sequence[NDArray[np.float32] | asyncio.Future[NDArray[np.float32]]]" = ()

    @property
    def done(self) -> int:
        """Items whose vectors are there."""
        return sum(not isinstance(one, asyncio.Future) or (one.done() and not one.cancelled()) for one in self.vectors)


class Embedder:
    """Shares one engine between all requests.

    A bad item fails its own request, with its index; it never reaches a batch, or is isolated in it. What the service
    holds is bounded; more is refused at the door, before any work. Clients share preparation and computation fairly.
    Equal contents that are in the service at the same time are prepared and computed once.

    Args:
        engine: what embeds.
        limits: of requests and of the service.
        prepare_workers: threads that decode and tokenise.
        compute_workers: batches that are computed at a time.
        capture: where a sample of the answers is kept.
        line: of refused requests; it outlives a model.
    """

    def __init__(
        self,
        engine: Engine,
        limits: RequestLimits,
        *,
        prepare_workers: int,
        compute_workers: int = 1,
        capture: Capture | None,
        line: Line | None = None,
    ) -> None:
        self.engine = engine
        self._limits = limits
        self._capture = capture
        self._admission = Admission(limits, line=line)
        self._prepare_pool = ThreadPoolExecutor(prepare_workers, thread_name_prefix="prepare")
        self._compute_pool = ThreadPoolExecutor(compute_workers, thread_name_prefix="compute")
        self._prepare: MicroBatcher[Content, Prepared] = MicroBatcher(
            self._prepare_all,
            self._prepare_pool,
            batch_tokens=PREPARED_TOGETHER,
            batch_items=PREPARED_TOGETHER,
            workers=prepare_workers,
        )
        self._compute: MicroBatcher[Prepared, NDArray[np.float32]] = MicroBatcher(
            lambda items: list(engine.compute(items)),
            self._compute_pool,
            batch_tokens=limits.batch_tokens,
            batch_items=limits.batch_items,
            padding=limits.batch_padding,
            workers=compute_workers,
            observe=self._observe,
        )
        self._preparing: Shared[Prepared] = Shared()
        self._computing: Shared[NDArray[np.float32]] = Shared(lambda: metrics().reused.labels("in_flight").inc())
        self._cache = VectorCache(limits.cache_items)
        metrics().watch(self, self.load)

    def load(self) -> Load:
        """What is inside, and how fast it is worked off."""
        held = self._admission.held
        return Load(
            items=held.items,
            work=held.work,
            waiting_items=self._prepare.waiting + self._compute.waiting,
            waiting_tokens=self._compute.waiting_tokens,
            tokens_per_second=self._admission.meter.rate or 0.0,
        )

    async def embed(self, contents: Sequence[Content], *, request_id: str, caller: Caller = Caller()) -> Embedded:
        """Embed the contents of one request.

        Raises:
            RequestError: naming the first bad item; 429 when the service is full or cannot make it in time; 504 when
                time is over.
        """
        seconds = self._limits.timeout_seconds if caller.seconds is None else caller.seconds
        if seconds <= 0:
            raise too_late(0.0, 0, len(contents))
        work = guess_work(contents, self.engine.limits.max_tokens)
        identity = tuple(content.digest for content in contents)
        with self._admission.admitted(caller.client, len(contents), work, seconds, identity) as ticket:
            job = _Job(request_id, caller, ticket, seconds)
            try:
                async with asyncio.timeout(seconds):
                    return await self._embed(contents, job)
            except TimeoutError as error:
                metrics().dropped.labels("deadline").inc(len(contents) - job.done)
                raise too_late(seconds, job.done, len(contents)) from error
            except asyncio.CancelledError:
                metrics().dropped.labels("disconnected").inc(len(contents) - job.done)
                raise

    async def close(self) -> None:
        """Stop the batchers and the threads, after what runs."""
        await self._prepare.close()
        await self._compute.close()
        self._prepare_pool.shutdown(wait=True, cancel_futures=True)
        self._compute_pool.shutdown(wait=True)
        metrics().unwatch(self)

    async def _embed(self, contents: Sequence[Content], job: _Job) -> Embedded:
        started = time.monotonic()
        prepared: list[Prepared | Known | Exception] = await _settle([self._prepared(one, job) for one in contents])
        if job.caller.trace is not None:
            job.caller.trace.phase("prepare", started, time.monotonic(), {"omnivec.items": len(contents)})
        ready: list[Prepared | Known] = self._only_good(contents, prepared, job, tokens=[{}] * len(contents))
        tokens = [item.tokens for item in ready]
        job.ticket.correct(sum(batch_cost(item.tokens) for item in ready if isinstance(item, Prepared)))
        job.vectors = [self._vector(*pair, job) for pair in zip(contents, ready, strict=True)]
        good: list[NDArray[np.float32]] = self._only_good(contents, await _settle(job.vectors), job, tokens=tokens)
        vectors_ND = np.stack(good)
        self._keep(contents, vectors_ND, tokens, job)
        return Embedded(vectors_ND, tuple(tokens))

    def _prepared(self, content: Content, job: _Job) -> "Known | asyncio.Future[Prepared]":
        """What compute needs of a content, or what is known of it."""
        if self._limits.cache_items:
            known = self._cache.get(content)
            metrics().cache.labels("miss" if known is None else "hit").inc()
            if known is not None:
                metrics().reused.labels("cache").inc()
                return known
        # The cost of decoding is not known before; bytes tell most of it, and short texts are prepared together.
        size = 1 + sum(len(part.data or part.text or "") for part in content.parts) // KILOBYTE
        return self._preparing(content.digest, lambda: self._prepare.submit(content, size, client=job.caller.client))

    def _vector(
        self, content: Content, item: Prepared | Known, job: _Job
    ) -> "NDArray[np.float32] | asyncio.Future[NDArray[np.float32]]":
        if isinstance(item, Known):
            return item.vector_D
        caller, cost = job.caller, batch_cost(item.tokens)
        return self._computing(
            content.digest,
            lambda: self._compute.submit(item, item.length, client=caller.client, cost=cost, tag=caller.trace),
        )

    def _prepare_all(self, contents: Sequence[Content]) -> list[Prepared | Exception]:
        """Prepare contents one by one, in a thread; a bad one is an exception in its place."""
        outcomes: list[Prepared | Exception] = []
        for content in contents:
            started = time.monotonic()
            try:
                outcomes.append(self.engine.prepare(content))
            except Exception as error:
                outcomes.append(error)
            metrics().phase("prepare", content.kind).observe(time.monotonic() - started)
        return outcomes

    def _only_good(
        self,
        contents: Sequence[Content],
        outcomes: list[T | Exception],
        job: _Job,
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
                log.error("item_failed", exc_info=outcome, extra={"request_id": job.request_id, "item": index})
            metrics().items.labels(content.kind, error.code).inc()
            if self._capture is not None:
                self._capture.record(Served(content, job.request_id, tokens[index], None, error.code))
            first = first or error
        if first is not None:
            raise first
        return good

    def _keep(
        self, contents: Sequence[Content], vectors_ND: NDArray[np.float32], tokens: list[dict[Modality, int]], job: _Job
    ) -> None:
        """Count, capture and remember what was embedded."""
        for kind, count in Counter(content.kind for content in contents).items():
            metrics().items.labels(kind, "ok").inc(count)
        for modality in Modality:
            if count := sum(counts.get(modality, 0) for counts in tokens):
                metrics().tokens.labels(modality.value).inc(count)
        for content, vector_D, counts in zip(contents, vectors_ND, tokens, strict=True):
            self._cache.put(content, Known(vector_D, counts))
            if self._capture is not None:
                self._capture.record(Served(content, job.request_id, counts, vector_D))

    def _observe(self, stats: BatchStats[Prepared]) -> None:
        kinds = [item.content.kind for item in stats.items]
        metrics().phase("compute", kinds[0] if len(set(kinds)) == 1 else "mixed").observe(stats.compute_seconds)
        for kind, seconds in zip(kinds, stats.queue_seconds, strict=True):
            metrics().phase("queue", kind).observe(seconds)
        metrics().batch_items.observe(len(stats.items))
        metrics().batch_tokens.observe(stats.tokens)
        metrics().padding.inc(stats.padded_tokens - stats.tokens)
        self._admission.meter.done(sum(batch_cost(item.tokens) for item in stats.items))
        trace_batch(stats)


async def _settle(work: Sequence[Any]) -> list[Any]:
    """Results of futures, and what is none as it is; exceptions are results, cancellation of the caller cancels all."""
    if futures := [one for one in work if isinstance(one, asyncio.Future)]:
        for outcome in await asyncio.gather(*futures, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
                raise outcome
    return [_outcome(one) if isinstance(one, asyncio.Future) else one for one in work]


def _outcome(future: "asyncio.Future[Any]") -> Any:
    error = future.exception()
    return future.result() if error is None else error
