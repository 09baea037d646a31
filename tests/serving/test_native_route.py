"""``POST /embed`` over the dummy encoder."""

from typing import Any

import anyio
import numpy as np
import pytest
from starlette.testclient import TestClient

from model.content import Content, image
from serving.client import to_item
from serving.config import ServingConfig
from serving.dummy import BROKEN, DummyEncoder
from serving.errors import RequestError
from serving.host import ModelHost
from serving.routes.native import embed_in_process
from serving.schemas import EmbedRequest
from tests.serving.conftest import dummy_engine

PICTURE = Content.of(image(b"1" * 40), "in red")


def expected(*contents: Content) -> Any:
    return DummyEncoder()(DummyEncoder().preprocess(contents))


def test_plain_vectors_come_back(client: TestClient) -> None:
    answer = client.post("/embed", json={"inputs": ["four", to_item(PICTURE)]})
    assert np.allclose(answer.json(), expected(Content.of("four"), PICTURE))
    assert answer.headers["x-omnivec-tokens"] == "4"
    assert answer.headers["x-omnivec-version"] == "7"


def test_the_options_of_tei_are_understood(client: TestClient) -> None:
    body = {"inputs": "four", "normalize": True, "truncate": False, "prompt_name": "query", "dimensions": 2}
    head = expected(Content.of("four"))[0, :2]
    assert np.allclose(client.post("/embed", json=body).json(), [head / np.linalg.norm(head)])
    refused = client.post("/embed", json={**body, "truncate": True})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "truncate")


def test_errors_name_the_input(client: TestClient) -> None:
    broken = to_item(Content.of(image(BROKEN)))
    error = client.post("/embed", json={"inputs": ["a", broken]}).json()["error"]
    assert (error["code"], error["param"]) == ("image_undecodable", "inputs.1")
    nested = client.post("/embed", json={"inputs": ["a", {"content": [{"type": "smell"}]}]}).json()["error"]
    assert (nested["param"], nested["item"]) == ("inputs.1.content.0", 1)


def test_callers_in_the_process_get_the_same(config: ServingConfig) -> None:
    async def work() -> None:
        host = ModelHost(config, dummy_engine)
        host.open()
        body = EmbedRequest(inputs=["four"], dimensions=4)
        head = expected(Content.of("four"))[0, :4]
        assert np.allclose(await embed_in_process(host.runtime(), body), [head / np.linalg.norm(head)])
        with pytest.raises(RequestError, match="more than the 8"):
            await embed_in_process(host.runtime(), EmbedRequest(inputs=["a"] * 9))
        await host.close()

    anyio.run(work)
