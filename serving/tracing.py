"""OpenTelemetry traces: a request's span with its phases below it, and a span of each batch linked to its requests.

Nothing here runs unless the configuration has ``tracing``. Spans are made after the fact, from times that are taken
anyway, so a phase costs nothing while it runs. Attributes are counts, kinds, codes and ids, never input.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from starlette.types import Scope

from model.errors import ConfigError
from serving.batcher import BatchStats
from serving.config import TracingConfig

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Link, Span

EXPORTER = "opentelemetry-exporter-otlp-proto-http"
CARRIED = ("traceparent", "tracestate")
Attributes = Mapping[str, str | int | float | Sequence[str]]
_OFFSET_NS = time.time_ns() - time.monotonic_ns()


def _clock_ns(monotonic: float) -> int:
    """A reading of ``time.monotonic`` as time of the day."""
    return round(monotonic * 1e9) + _OFFSET_NS


class Tracing:
    """Makes spans and hands them to a processor.

    Args:
        processor: what becomes of ended spans.
        sample_rate: share of the requests that are traced, of those that come without a trace.
        service_name: names the service in the traces.
    """

    def __init__(self, processor: "SpanProcessor", *, sample_rate: float = 1.0, service_name: str = "omnivec") -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = Resource.create({"service.name": service_name})
        sampler = ParentBased(TraceIdRatioBased(sample_rate))
        self._processor = processor
        self._provider = TracerProvider(sampler=sampler, resource=resource)
        batches = TracerProvider(sampler=ALWAYS_ON, resource=resource)  # made only for requests that are sampled
        for provider in (self._provider, batches):
            provider.add_span_processor(processor)
        self._propagator = TraceContextTextMapPropagator()
        self._requests, self._batches = self._provider.get_tracer("omnivec"), batches.get_tracer("omnivec")

    def request(self, scope: Scope, request_id: str) -> "RequestTrace | None":
        """Start the span of a request, below the caller's span if it sent one; None if it is not sampled."""
        from opentelemetry.trace import SpanKind

        headers = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope.get("headers", ()))
        context = self._propagator.extract({name: value for name, value in headers if name in CARRIED})
        span = self._requests.start_span(
            scope["method"],
            context=context,
            kind=SpanKind.SERVER,
            attributes={"http.request.method": scope["method"], "omnivec.request_id": request_id},
        )
        return RequestTrace(self, span) if span.is_recording() else None

    def span(
        self, parent: "Span", name: str, started: float, ended: float, attributes: Attributes, links: "list[Link]"
    ) -> None:
        """Record a phase of a request, from and to a reading of ``time.monotonic``."""
        from opentelemetry.trace import set_span_in_context

        span = self._requests.start_span(
            name,
            context=set_span_in_context(parent),
            attributes=dict(attributes),
            links=links,
            start_time=_clock_ns(started),
        )
        span.end(_clock_ns(ended))

    def batch(self, stats: BatchStats[Any], traces: "Iterable[RequestTrace]") -> "Span":
        """Record the computation of a batch, linked to the requests in it."""
        from opentelemetry.context import Context
        from opentelemetry.trace import Link

        span = self._batches.start_span(
            "batch",
            context=Context(),
            links=[Link(trace.span.get_span_context()) for trace in traces],
            attributes={
                "omnivec.items": len(stats.items),
                "omnivec.tokens": stats.tokens,
                "omnivec.padded_tokens": stats.padded_tokens,
            },
            start_time=_clock_ns(stats.ended - stats.compute_seconds),
        )
        span.end(_clock_ns(stats.ended))
        return span

    def close(self) -> None:
        """Send what is left."""
        self._processor.shutdown()


@dataclass(frozen=True, eq=False)
class RequestTrace:
    """The trace of one request."""

    tracing: Tracing
    span: "Span"

    @property
    def id(self) -> str:
        """Id of the trace, in hex."""
        return f"{self.span.get_span_context().trace_id:032x}"

    def phase(self, name: str, started: float, ended: float, attributes: Attributes | None = None) -> None:
        """Record a phase, from and to a reading of ``time.monotonic``."""
        self.tracing.span(self.span, name, started, ended, attributes or {}, [])

    def end(self, route: str, method: str, status: int, notes: Mapping[str, Any]) -> None:
        """End the request's span with what the log says of it."""
        from opentelemetry.trace import Status, StatusCode

        self.span.update_name(f"{method} {route}")
        facts = {f"omnivec.{key}": notes[key] for key in ("items", "tokens", "kinds") if key in notes}
        self.span.set_attributes({"http.route": route, "http.response.status_code": status, **facts})
        if "error" in notes:
            self.span.set_attribute("error.type", notes["error"])
        if status >= 500:
            self.span.set_status(Status(StatusCode.ERROR))
        self.span.end()


def trace_batch(stats: BatchStats[Any]) -> None:
    """Record a batch for the requests in it that are traced; their tags are the items' traces or None."""
    waited: dict[RequestTrace, float] = {}
    for trace, seconds in zip(stats.tags, stats.queue_seconds, strict=True):
        if trace is not None:
            waited[trace] = max(seconds, waited.get(trace, 0.0))
    if not waited:
        return
    from opentelemetry.trace import Link

    tracing = next(iter(waited)).tracing
    link = Link(tracing.batch(stats, waited).get_span_context())
    started = stats.ended - stats.compute_seconds
    for trace, seconds in waited.items():
        items = {"omnivec.items": sum(tag is trace for tag in stats.tags)}
        tracing.span(trace.span, "queue", started - seconds, started, items, [])
        tracing.span(trace.span, "compute", started, stats.ended, items, [link])


def open_tracing(config: TracingConfig | None) -> Tracing | None:
    """Tracing as configured; None where it is not.

    Raises:
        ConfigError: the exporter is not installed.
    """
    if config is None:
        return None
    try:
        otlp: Any = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    except ImportError as error:
        raise ConfigError(
            f"tracing sends traces over OTLP, which needs the package {EXPORTER} ({error}): install it in the version "
            "of opentelemetry-sdk that is there, or leave `tracing` out of the serving configuration"
        ) from error
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = otlp.OTLPSpanExporter(endpoint=config.endpoint, headers=dict(config.headers))
    return Tracing(BatchSpanProcessor(exporter), sample_rate=config.sample_rate, service_name=config.service_name)
