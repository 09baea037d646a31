"""The HTTP layer over the dummy encoder: no weights, no process."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from starlette.testclient import TestClient

from model.quantize import Quantizer
from serving.app import create_app
from serving.config import CaptureConfig, RequestLimits, ServingConfig
from serving.doorman import Doorman
from serving.dummy import DummyEncoder
from serving.engine import Engine
from serving.host import ModelHost

SPACE = "0123456789abcdef"


def dummy_engine(_: ServingConfig) -> Engine:
    """An engine over the dummy encoder."""
    ranges = {8: np.stack([np.full(8, -0.5), np.ones(8)])}
    return Engine(DummyEncoder(), vector_space=SPACE, quantizer=Quantizer(ranges))


@pytest.fixture
def config(tmp_path: Path) -> ServingConfig:
    """Small limits and a capture of everything."""
    return ServingConfig(
        artifact=tmp_path / "artifact",
        version="7",
        limits=RequestLimits(items_per_request=8, queue_items=16, body_bytes=300_000),
        capture=CaptureConfig(directory=tmp_path / "captures", flush_seconds=60),
    )


@pytest.fixture
def make_client(config: ServingConfig) -> Iterator[Callable[..., TestClient]]:
    """Build a client of a warm app; closes hosts at the end."""
    opened: list[tuple[TestClient, ModelHost]] = []

    def make(config: ServingConfig = config, load: Callable[[ServingConfig], Engine] = dummy_engine) -> TestClient:
        host = ModelHost(config, load)
        host.open()
        client = TestClient(create_app(host), raise_server_exceptions=False)
        client.__enter__()  # one event loop for all requests, as in production
        opened.append((client, host))
        return client

    yield make
    for client, host in opened:
        assert client.portal is not None
        client.portal.call(host.close)
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client: Callable[..., TestClient]) -> TestClient:
    """A client of a warm app."""
    return make_client()


@contextmanager
def _live(host: ModelHost) -> Iterator[str]:
    """The app on a real loopback port, in a thread: what clients other than the test client talk to."""
    config = uvicorn.Config(create_app(host), http=Doorman, host="127.0.0.1", port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


@pytest.fixture
def live() -> Callable[[ModelHost], AbstractContextManager[str]]:
    """Serve a host on a loopback port for the length of a ``with`` block."""
    return _live


@pytest.fixture
def live_url(config: ServingConfig) -> Iterator[str]:
    """Address of a warm service."""
    host = ModelHost(config, dummy_engine)
    host.open()
    with _live(host) as url:
        yield url
