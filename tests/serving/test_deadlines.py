"""Who runs out of time, or leaves, has his items dropped: neither prepared nor computed from then on."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from model.content import Content
from serving.config import RequestLimits, ServingConfig
from serving.deadline import seconds_allowed
from serving.dummy import DummyEncoder
from serving.embedder import Caller, Embedder
from serving.engine import Engine
from serving.errors import RequestError
from serving.telemetry import metrics

LIMITS = RequestLimits(timeout_seconds=7, max_timeout_seconds=20)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 7),
        ({"X-Request-Timeout": "0.5"}, 0.5),
        ({"X-Server-Timeout": "12"}, 12),
        ({"X-Request-Timeout": "1000"}, 20),
        ({"X-Request-Timeout": "2.5e-1"}, 0.25),
    ],
)
def test_the_caller_chooses_within_what_is_allowed(headers: dict[str, str], seconds: float) -> None:
    assert seconds_allowed(headers, LIMITS) == seconds


@pytest.mark.parametrize(
    "given", ["", "soon", "0", "0.0", "-1", "nan", "inf", "-inf", "1_000", "1e400", "+5", ".5", "5 s", "9" * 400]
)
def test_a_time_that_is_none_is_refused(given: str, client: TestClient) -> None:
    answer = ask(client, "a", given)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_timeout")
    assert answer.json()["error"]["param"] == "X-Request-Timeout"
    assert "above 0, such as 30 or 2.5" in answer.json()["error"]["message"]


def ask(client: TestClient, text: str, seconds: str) -> Any:
    body = {"model": "omnivec", "input": text}
    return client.post("/v1/embeddings", json=body, headers={"X-Request-Timeout": seconds})


class Held(DummyEncoder):
    """Prepares and computes what it is let to, and remembers the lengths of the texts."""

    def __init__(self) -> None:
        super().__init__()
        self.prepared: list[int] = []
        self.computed: list[int] = []
        self.may_prepare, self.may_compute = threading.Event(), threading.Event()
        self.may_prepare.set()

    def preprocess(self, contents: Any) -> Any:
        if len(contents) == 1:
            assert self.may_prepare.wait(20)
            self.prepared.append(len(contents[0].parts[0].text or ""))
        return super().preprocess(contents)

    def __call__(self, batch: Any) -> Any:
        assert self.may_compute.wait(20)
        self.computed += [int(row[1]) for row in batch]
        return super().__call__(batch)


def embedder_of(encoder: DummyEncoder, **limits: Any) -> Embedder:
    engine = Engine(encoder, vector_space="x")
    return Embedder(engine, RequestLimits(**limits), prepare_workers=1, capture=None)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # threads tell nobody
        await asyncio.sleep(0.005)


async def timed(embedder: Embedder, text: str, seconds: float) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await embedder.embed([Content.of(text)], request_id="late", caller=Caller("late", seconds))
    assert (caught.value.status, caught.value.limit) == (504, "timeout_seconds")
    assert "0 of 1 items done" in caught.value.message
    return caught.value


def test_who_is_late_is_not_computed() -> None:
    async def work() -> None:
        encoder = Held()
        embedder = embedder_of(encoder)
        first = asyncio.ensure_future(embedder.embed([Content.of("a")], request_id="1"))
        await until(lambda: embedder.load().items == 1 and encoder.prepared == [1])
        await asyncio.sleep(0.02)  # compute holds the first
        before = metrics().dropped.labels("deadline")._value.get()
        await timed(embedder, "bb", 0.05)
        assert embedder.load().waiting_items == 0
        encoder.may_compute.set()
        await first
        await embedder.embed([Content.of("ccc")], request_id="3")
        assert (encoder.prepared, encoder.computed) == ([1, 2, 3], [1, 3])
        assert metrics().dropped.labels("deadline")._value.get() == before + 1
        await embedder.close()

    asyncio.run(work())


def test_who_is_late_or_gone_is_not_even_prepared() -> None:
    async def work() -> None:
        encoder = Held()
        encoder.may_compute.set()
        encoder.may_prepare.clear()
        embedder = embedder_of(encoder)
        first = asyncio.ensure_future(embedder.embed([Content.of("a")], request_id="1"))
        await asyncio.sleep(0.02)  # the only thread to prepare holds the first
        gone = asyncio.ensure_future(embedder.embed([Content.of("bb")], request_id="2"))
        await timed(embedder, "ccc", 0.05)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        encoder.may_prepare.set()
        await first
        assert (encoder.prepared, encoder.computed) == ([1], [1])
        await embedder.close()

    asyncio.run(work())


def test_equal_work_lives_as_long_as_the_most_patient_caller() -> None:
    async def work() -> None:
        encoder = Held()
        embedder = embedder_of(encoder)
        late = asyncio.ensure_future(timed(embedder, "same", 0.05))
        await asyncio.sleep(0)
        patient = asyncio.ensure_future(embedder.embed([Content.of("same")], request_id="2"))
        await late
        encoder.may_compute.set()
        assert np.isfinite((await patient).vectors_ND).all()
        assert encoder.computed == [4]
        await embedder.close()

    asyncio.run(work())


def test_a_request_that_is_over_when_it_is_read_does_no_work() -> None:
    async def work() -> None:
        embedder = embedder_of(encoder := Held())
        with pytest.raises(RequestError, match="are over"):
            await embedder.embed([Content.of("a")], request_id="1", caller=Caller("x", -0.1))
        assert encoder.prepared == []
        await embedder.close()

    asyncio.run(work())


def test_the_route_takes_the_time_from_the_header(
    make_client: Callable[..., TestClient], config: ServingConfig
) -> None:
    encoder = Held()
    encoder.may_compute.set()  # for the warm-up
    client = make_client(config, lambda _: Engine(encoder, vector_space="x"))
    encoder.may_compute.clear()
    answer = ask(client, "aa", "0.1")
    encoder.may_compute.set()
    assert answer.status_code == 504
    assert "X-Request-Timeout" in answer.json()["error"]["message"]
    assert ask(client, "aa", "20").status_code == 200
