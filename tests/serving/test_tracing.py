"""A request's trace has its phases, a batch's span names the requests in it, and neither holds any input."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.testclient import TestClient

from model.content import Content
from model.errors import ConfigError
from serving.app import create_app
from serving.config import RequestLimits, ServingConfig, TracingConfig
from serving.embedder import Caller, Embedder
from serving.host import ModelHost
from serving.tracing import EXPORTER, Tracing, open_tracing
from tests.serving.conftest import dummy_engine

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SECRET = "nobody may read this"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traced(config: ServingConfig, exporter: InMemorySpanExporter) -> Iterator[TestClient]:
    host = ModelHost(config, dummy_engine)
    host.open()
    app = create_app(host, Tracing(SimpleSpanProcessor(exporter)))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
        assert client.portal is not None
        client.portal.call(host.close)


def ask(client: TestClient, value: Any, **headers: str) -> Any:
    return client.post("/v1/embeddings", json={"model": "omnivec", "input": value}, headers=headers)


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    spans = exporter.get_finished_spans()
    assert max(Counter(span.name for span in spans).values()) == 1
    return {span.name: span for span in spans}


def test_a_request_has_its_phases_below_the_callers_span(traced: TestClient, exporter: InMemorySpanExporter) -> None:
    answer = ask(traced, SECRET, traceparent=f"00-{TRACE}-{PARENT}-01")
    assert answer.status_code == 200
    spans = by_name(exporter)
    assert set(spans) == {"POST /v1/embeddings", "prepare", "queue", "compute", "batch", "finish"}
    request = spans["POST /v1/embeddings"]
    assert request.parent is not None
    assert (f"{request.context.trace_id:032x}", f"{request.parent.span_id:016x}") == (TRACE, PARENT)
    facts = dict(request.attributes or {})
    assert facts["http.response.status_code"] == 200
    assert facts["omnivec.request_id"] == answer.headers["x-request-id"]
    assert (facts["omnivec.items"], facts["omnivec.tokens"], facts["omnivec.kinds"]) == (1, 4, ("text",))
    for name in ("prepare", "queue", "compute", "finish"):
        span = spans[name]
        assert span.parent is not None
        assert span.parent.span_id == request.context.span_id
        assert request.start_time <= span.start_time <= span.end_time <= request.end_time, name
    order = [spans[name].start_time for name in ("prepare", "queue", "compute", "finish")]
    assert order == sorted(order)
    assert [link.context.span_id for link in spans["batch"].links] == [request.context.span_id]
    assert [link.context.span_id for link in spans["compute"].links] == [spans["batch"].context.span_id]


def test_no_input_is_in_any_span(traced: TestClient, exporter: InMemorySpanExporter) -> None:
    ask(traced, SECRET)
    ask(traced, [SECRET, {"content": [{"type": SECRET}]}])
    ask(traced, SECRET * 100)
    told = " ".join(span.to_json() for span in exporter.get_finished_spans())
    assert SECRET not in told
    assert "too_many_tokens" in told
    assert "invalid_request" in told


def test_a_batch_is_linked_to_all_requests_in_it(exporter: InMemorySpanExporter) -> None:
    tracing = Tracing(SimpleSpanProcessor(exporter))

    async def work() -> None:
        embedder = Embedder(dummy_engine(None), RequestLimits(), prepare_workers=1, capture=None)  # type: ignore[arg-type]
        scope = {"type": "http", "method": "POST", "headers": []}
        traces = [tracing.request(scope, str(number)) for number in range(3)]
        jobs = [
            embedder.embed(
                [Content.of("a " * (1 + n)), Content.of("b " * (4 + n))], request_id="x", caller=Caller(n, trace=trace)
            )
            for n, trace in enumerate(traces)
        ]
        await asyncio.gather(*jobs)
        await embedder.close()

    asyncio.run(work())
    batches = [span for span in exporter.get_finished_spans() if span.name == "batch"]
    linked = {link.context.trace_id for span in batches for link in span.links}
    assert len(linked) == 3
    assert max(len(span.links) for span in batches) > 1, "the test is vacuous unless requests shared a batch"
    assert sum(span.attributes["omnivec.items"] for span in batches if span.attributes) == 6


def test_what_is_not_sampled_leaves_no_span(config: ServingConfig, exporter: InMemorySpanExporter) -> None:
    tracing = Tracing(SimpleSpanProcessor(exporter), sample_rate=0)
    scope: dict[str, Any] = {"type": "http", "method": "POST", "headers": []}
    assert tracing.request(scope, "1") is None
    scope["headers"] = [(b"traceparent", f"00-{TRACE}-{PARENT}-01".encode())]
    assert tracing.request(scope, "1") is not None, "the caller has decided"
    scope["headers"] = [(b"traceparent", f"00-{TRACE}-{PARENT}-00".encode())]
    assert Tracing(SimpleSpanProcessor(exporter)).request(scope, "1") is None


@pytest.mark.parametrize(
    "sent", ["", "00-xyz", f"00-{'0' * 32}-{PARENT}-01", "\xff" * 40], ids=["none", "odd", "zeros", "no text"]
)
def test_a_broken_traceparent_starts_a_new_trace(traced: TestClient, exporter: InMemorySpanExporter, sent: str) -> None:
    headers = {b"traceparent": sent.encode("latin-1")}
    assert traced.get("/v1/models", headers=headers).status_code == 200
    assert by_name(exporter)["GET /v1/models"].parent is None


def test_it_is_off_unless_configured(make_client: Callable[..., TestClient], config: ServingConfig) -> None:
    assert open_tracing(None) is None
    assert config.tracing is None
    assert ask(make_client(), "a").status_code == 200


def test_a_missing_exporter_is_named(config: ServingConfig) -> None:
    pytest.importorskip("opentelemetry.sdk")
    try:
        import opentelemetry.exporter.otlp.proto.http  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match=EXPORTER):
            open_tracing(TracingConfig(endpoint="http://127.0.0.1:4318/v1/traces"))
    else:
        pytest.skip("the exporter is installed")
