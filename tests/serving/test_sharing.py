"""Equal work is done once, for whoever waits, and nobody's leaving hurts the others."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from model.content import Content, Modality, image
from serving.config import RequestLimits, ServingConfig
from serving.dummy import DummyEncoder
from serving.embedder import Embedder
from serving.engine import Engine
from serving.errors import RequestError
from serving.sharing import Known, Shared, VectorCache


def test_equal_work_runs_once_and_the_next_time_again() -> None:
    async def work() -> None:
        started = 0
        go = asyncio.Event()

        async def slow() -> int:
            nonlocal started
            started += 1
            await go.wait()
            return started

        shared: Shared[int] = Shared()
        callers = [shared("a", slow) for _ in range(5)]
        await asyncio.sleep(0)
        go.set()
        assert await asyncio.gather(*callers) == [1] * 5
        assert await shared("a", slow) == 2

    asyncio.run(work())


def test_errors_reach_all_who_wait_and_are_not_remembered() -> None:
    async def work() -> None:
        async def bad() -> int:
            await asyncio.sleep(0)
            raise ValueError("no")

        async def good() -> int:
            return 1

        shared: Shared[int] = Shared()
        outcomes = await asyncio.gather(*(shared("a", bad) for _ in range(3)), return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["no"] * 3
        assert await shared("a", good) == 1

    asyncio.run(work())


@settings(max_examples=60, deadline=None)
@given(leaving=st.sets(st.integers(0, 4)))
def test_who_leaves_takes_nothing_from_the_others_and_the_last_ends_the_work(leaving: set[int]) -> None:
    async def work() -> None:
        ended: list[str] = []
        go = asyncio.Event()

        async def slow() -> int:
            try:
                await go.wait()
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            return 7

        shared: Shared[int] = Shared()
        callers = [shared("a", slow) for _ in range(5)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for number in leaving:
            callers[number].cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        go.set()
        outcomes = await asyncio.gather(*callers, return_exceptions=True)
        for number, outcome in enumerate(outcomes):
            assert isinstance(outcome, asyncio.CancelledError) if number in leaving else outcome == 7
        assert ended == (["cancelled"] if len(leaving) == 5 else [])

    asyncio.run(work())


class Counting(DummyEncoder):
    """Counts the rows that are computed and can be held up."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = 0
        self.prepared = 0
        self.gate = threading.Event()
        self.gate.set()

    def preprocess(self, contents: Any) -> Any:
        self.prepared += len(contents) == 1  # several: the dummy's batches are joined by preparing them again
        return super().preprocess(contents)

    def __call__(self, batch: Any) -> Any:
        assert self.gate.wait(10)
        self.rows += len(batch)
        return super().__call__(batch)


def embedder_of(encoder: DummyEncoder, **limits: Any) -> Embedder:
    return Embedder(Engine(encoder, vector_space="x"), RequestLimits(**limits), prepare_workers=2, capture=None)


def test_equal_contents_of_several_requests_are_computed_once() -> None:
    async def work() -> None:
        encoder = Counting()
        embedder = embedder_of(encoder)
        contents = [Content.of("same"), Content.of("other"), Content.of("same"), Content.of("same", task="query")]
        encoder.gate.clear()
        asked = [asyncio.create_task(embedder.embed(contents, request_id=str(i))) for i in range(4)]
        while encoder.prepared < 3:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        encoder.gate.set()
        answers = await asyncio.gather(*asked)
        assert (encoder.rows, encoder.prepared) == (3, 3), "two texts, one of them also with a task"
        wanted = DummyEncoder()(DummyEncoder().preprocess(contents))
        for answer in answers:
            assert np.allclose(answer.vectors_ND, wanted)
            assert len(answer.tokens) == 4
        await embedder.close()

    asyncio.run(work())


def test_the_cache_is_off_unless_asked_for_and_gives_the_same() -> None:
    async def work() -> None:
        for capacity, rows in ((0, 4), (2, 2)):
            encoder = Counting()
            embedder = embedder_of(encoder, cache_items=capacity)
            contents = [Content.of("a"), Content.of(image(b"123"), "b")]
            first = await embedder.embed(contents, request_id="1")
            second = await embedder.embed(contents, request_id="2")
            assert np.array_equal(first.vectors_ND, second.vectors_ND)
            assert first.tokens == second.tokens
            assert encoder.rows == rows
            await embedder.close()

    asyncio.run(work())


def test_a_bad_content_is_never_remembered() -> None:
    async def work() -> None:
        embedder = embedder_of(Counting(), cache_items=8)
        for _ in range(2):
            with pytest.raises(RequestError, match="cannot be decoded"):
                await embedder.embed([Content.of(image(b"broken"))], request_id="1")
        await embedder.close()

    asyncio.run(work())


def test_the_cache_forgets_what_was_not_asked_for_longest() -> None:
    cache = VectorCache(2)
    a, b, c = (Content.of(text) for text in "abc")
    for content in (a, b):
        cache.put(content, Known(np.zeros(1, np.float32), {Modality.TEXT: 1}))
    assert cache.get(a) is not None
    cache.put(c, Known(np.zeros(1, np.float32), {}))
    assert (cache.get(b), cache.get(a) is None, cache.get(c) is None) == (None, False, False)
    assert cache.get(Content.of("a", task="query")) is None


def test_reuse_is_counted(make_client: Callable[..., TestClient], config: ServingConfig) -> None:
    from serving.telemetry import metrics

    limits = config.limits.model_copy(update={"cache_items": 4})
    client = make_client(config.model_copy(update={"limits": limits}))
    before = metrics().reused.labels("cache")._value.get()
    for _ in range(3):
        assert client.post("/v1/embeddings", json={"model": "omnivec", "input": "again"}).status_code == 200
    assert metrics().reused.labels("cache")._value.get() == before + 2
