"""Another model takes over while requests run: none is lost, each is answered by one model."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from model.content import Content
from serving import host as host_module
from serving.config import ServingConfig
from serving.dummy import DummyEncoder
from serving.embedder import Caller
from serving.engine import Engine
from serving.errors import RequestError
from serving.host import ModelHost
from serving.launch import write_config

Live = Callable[[ModelHost], AbstractContextManager[str]]


class Turned(DummyEncoder):
    """Another model: other vectors, and other cosines between them."""

    def __call__(self, batch: Any) -> Any:
        return super().__call__(-np.arange(1, 9) * batch)


class Slow(DummyEncoder):
    """Compute that waits until it is let go."""

    gate = threading.Event()
    armed = False

    def __call__(self, batch: Any) -> Any:
        assert not self.armed or self.gate.wait(10)
        return super().__call__(batch)


def engine_of(config: ServingConfig) -> Engine:
    """Version 7 is the dummy, 8 is turned, 9 cannot be loaded."""
    if config.version == "9":
        raise OSError("no such artifact")
    encoder = {"7": DummyEncoder, "7-slow": Slow, "8": Turned, "8-slow": Slow}[config.version]()
    return Engine(encoder, vector_space=f"space-{config.version}")


@pytest.fixture
def source(config: ServingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(host_module, "LOOK_SECONDS", 0.02)
    return write_config(config, tmp_path / "state")


def name(source: Path, config: ServingConfig, **changes: Any) -> None:
    write_config(config.model_copy(update=changes), source.parent)


def ask(url: str, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{url}/v1/embeddings", json={"model": "omnivec", "input": "four"}, headers=headers, timeout=60, trust_env=False
    )


def wait_for(url: str, version: str) -> None:
    for _ in range(500):
        if ask(url).headers["x-omnivec-version"] == version:
            return
        time.sleep(0.02)
    raise AssertionError(f"version {version} did not take over")


GEMINI = {"content": {"parts": [{"text": "four"}]}}
ROUTES: dict[str, tuple[dict[str, Any], Callable[[Any], Any]]] = {
    "/v1/embeddings": ({"model": "omnivec", "input": "four"}, lambda answer: answer["data"][0]["embedding"]),
    "/embed": ({"inputs": "four"}, lambda answer: answer[0]),
    "/v1beta/models/omnivec:embedContent": (GEMINI, lambda answer: answer["embedding"]["values"]),
    "/v1/models/omnivec:batchEmbedContents": ({"requests": [GEMINI]}, lambda answer: answer["embeddings"][0]["values"]),
    "/similarity": (
        {"model": "omnivec", "query": "four", "documents": ["eleven text"]},
        lambda answer: answer["similarities"],
    ),
}
"""A request of every route that computes, and what it answers: a vector, or of the last a cosine."""


def offline(version: str) -> dict[str, Any]:
    """What every route answers with the vectors of one model."""
    encoder = engine_of(ServingConfig(artifact=Path(), version=version)).encoder
    four_D, eleven_D = encoder(encoder.preprocess([Content.of("four"), Content.of("eleven text")]))
    return {path: [four_D @ eleven_D] if path == "/similarity" else four_D for path in ROUTES}


def test_under_load_no_request_of_any_route_fails_and_each_has_one_model(
    config: ServingConfig, source: Path, live: Live
) -> None:
    host = ModelHost(config, engine_of, source)
    host.open()
    answers: list[tuple[str, httpx.Response]] = []
    stop = threading.Event()

    def load(url: str, path: str) -> None:
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            while not stop.is_set():
                answers.append((path, client.post(path, json=ROUTES[path][0])))

    with live(host) as url:
        threads = [threading.Thread(target=load, args=(url, path)) for path in ROUTES]
        for thread in threads:
            thread.start()
        for version in ("8", "7", "8"):
            name(source, config, version=version)
            wait_for(url, version)
        stop.set()
        for thread in threads:
            thread.join()
    assert {answer.status_code for _, answer in answers} == {200}
    wanted = {f"space-{version}": offline(version) for version in ("7", "8")}
    assert not any(np.allclose(wanted["space-7"][path], wanted["space-8"][path], atol=1e-3) for path in ROUTES)
    seen = set()
    for path, answer in answers:
        space = answer.headers["x-omnivec-vector-space"]
        assert space == f"space-{answer.headers['x-omnivec-version']}"
        assert np.allclose(ROUTES[path][1](answer.json()), wanted[space][path], atol=1e-6), (path, space)
        seen.add((path, space))
    assert seen == {(path, space) for path in ROUTES for space in wanted}


def test_a_request_ends_with_the_model_that_it_began_with(config: ServingConfig, source: Path, live: Live) -> None:
    slow = config.model_copy(update={"version": "7-slow"})
    host = ModelHost(slow, engine_of, source)
    host.open()
    Slow.gate.clear()
    before = host.runtime()
    before.engine.encoder.armed = True  # type: ignore[attr-defined]
    answers: list[httpx.Response] = []
    with live(host) as url:
        thread = threading.Thread(target=lambda: answers.append(ask(url)))
        thread.start()
        while before.users.count == 0:
            time.sleep(0.01)
        name(source, config, version="8")
        while host.runtime() is before:  # a request now would wait for the old model
            time.sleep(0.01)
        assert ask(url).headers["x-omnivec-version"] == "8"
        assert before.users.count == 1, "the old model waits for its last request"
        Slow.gate.set()
        thread.join()
    assert answers[0].status_code == 200
    assert answers[0].headers["x-omnivec-version"] == "7-slow"


def test_a_model_that_cannot_take_over_leaves_the_present_one(
    config: ServingConfig, source: Path, live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    host = ModelHost(config, engine_of, source)
    host.open()
    with live(host) as url:
        for changes in ({"version": "9"}, {"version": "8", "port": 3999}):
            name(source, config, **changes)
            time.sleep(0.3)
            assert ask(url).headers["x-omnivec-version"] == "7"
        source.write_text("{nope")
        time.sleep(0.2)
        assert ask(url).status_code == 200
        name(source, config, version="8")
        wait_for(url, "8")
    reasons = [record.reason for record in caplog.records if record.message == "swap_failed"]  # type: ignore[attr-defined]
    assert "no such artifact" in reasons[0]
    assert "port cannot change while the service runs" in reasons[1]
    assert len(reasons) == 3


def test_a_caller_that_names_its_vector_space_never_gets_another(
    config: ServingConfig, source: Path, live: Live
) -> None:
    host = ModelHost(config, engine_of, source)
    host.open()
    with live(host) as url:
        mine = ask(url).headers["x-omnivec-vector-space"]
        assert ask(url, **{"X-Omnivec-Vector-Space": mine}).status_code == 200
        name(source, config, version="8")
        wait_for(url, "8")
        refused = ask(url, **{"X-Omnivec-Vector-Space": mine})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "vector_space_changed")
    assert "space-8" in refused.json()["error"]["message"]


def test_who_was_told_to_come_back_is_let_in_by_the_model_that_serves_then(config: ServingConfig) -> None:
    """Others, who come to the new model first, leave the room that was promised before it took over."""
    Slow.gate.clear()
    host = ModelHost(config.model_copy(update={"version": "7-slow"}), engine_of)
    host.open()
    tasks: list[asyncio.Task[Any]] = []

    async def come(client: str, items: int) -> int:
        """Seconds that a request is told, or 0 when it was let in."""
        contents = [Content.of(f"{client} {number}") for number in range(items)]
        host.runtime().engine.encoder.armed = True  # type: ignore[attr-defined]
        task = asyncio.create_task(host.runtime().embedder.embed(contents, request_id=client, caller=Caller(client)))
        await asyncio.wait({task}, timeout=0.05)
        if task.done() and isinstance(error := task.exception(), RequestError):
            return int(error.headers["Retry-After"])
        tasks.append(task)
        return 0

    async def story() -> None:
        assert [await come("A", 8), await come("B", 4)] == [0, 0]
        told = await come("C", 8)
        before, since = host.runtime(), asyncio.get_running_loop().time()
        assert told == 1, "no rate is known yet"
        tasks.append(asyncio.create_task(host.swap(config.model_copy(update={"version": "8-slow"}))))
        while host.runtime() is before:
            await asyncio.sleep(0.01)
        assert await come("D", 8) == 0
        assert await come("E", 8) > 0
        await asyncio.sleep(since + told - asyncio.get_running_loop().time())
        assert await come("C", 8) == 0
        Slow.gate.set()
        await asyncio.gather(*tasks)
        await host.close()

    asyncio.run(story())
