"""What the document says of the served model; that its answers keep to it is for test_openapi_fuzz."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from serving.config import ServingConfig
from serving.fetch import FetchConfig
from serving.host import ModelHost
from serving.openapi import openapi_of
from serving.routes import ROUTES
from serving.schemas import MARK
from tests.serving.conftest import dummy_engine
from tests.serving.test_keys import write

Document = dict[str, Any]


@pytest.fixture(scope="module")
def routes() -> FastAPI:
    """All routes, whose formats are described once: it is this that takes time."""
    app = FastAPI()
    for router in ROUTES:
        app.include_router(router)
    return app


@pytest.fixture
def describe(routes: FastAPI) -> Iterator[Callable[[ServingConfig], Document]]:
    """What the document says of a served model."""
    hosts: list[ModelHost] = []

    def made(config: ServingConfig) -> Document:
        hosts.append(host := ModelHost(config, dummy_engine))
        host.open()
        return openapi_of(routes, host)()

    yield made
    for host in hosts:
        asyncio.run(host.close())


def fields(document: Document, name: str) -> Document:
    return document["components"]["schemas"][name]["properties"]


def test_it_has_what_the_model_takes(describe: Callable[[ServingConfig], Document], config: ServingConfig) -> None:
    document = describe(config.model_copy(update={"aliases": ("other",)}))
    asked = fields(document, "EmbeddingsRequest")
    assert asked["model"]["enum"] == ["omnivec", "omnivec@7", "other"]
    assert asked["task"]["enum"] == [None, "document", "query"]
    assert (asked["dimensions"]["minimum"], asked["dimensions"]["maximum"]) == (2, 8)
    assert [form.get("maxItems") for form in asked["input"]["oneOf"]] == [None, None, 8]
    assert fields(document, "SimilarityRequest")["documents"]["maxItems"] == 7
    assert fields(document, "ContentObject")["content"]["maxItems"] == 4
    assert fields(document, "GeminiPart")["fileData"]["type"] == "null", "nothing is fetched"
    assert MARK not in json.dumps(document)
    assert "securitySchemes" not in document["components"]


def test_addresses_and_keys_stand_in_it_where_there_are_any(
    describe: Callable[[ServingConfig], Document], config: ServingConfig, tmp_path: Path
) -> None:
    write(tmp_path / "keys.json", one={})
    changes = {"fetch": FetchConfig(hosts=("media.example.org",)), "keys": tmp_path / "keys.json"}
    document = describe(config.model_copy(update=changes))
    assert "type" not in fields(document, "GeminiPart")["fileData"]
    assert "https" in fields(document, "DataUri")["url"]["pattern"]
    assert {scheme["type"] for scheme in document["components"]["securitySchemes"].values()} == {"http", "apiKey"}
    assert len(document["security"]) == 3, "one of them is enough"


def test_the_service_hands_it_out_and_keeps_to_teis_word_for_a_task(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["info"]["title"] == "Omnivec"
    assert MARK not in json.dumps(document)
    assert "prompt_name" in fields(document, "EmbedRequest")
    named = {"inputs": "a", "prompt_name": "query"}
    assert client.post("/embed", json=named).status_code == 200
    assert client.post("/embed", json=named | {"task": "query"}).status_code == 400


def test_while_a_model_is_loading_it_has_the_formats_alone(routes: FastAPI, config: ServingConfig) -> None:
    document = openapi_of(routes, ModelHost(config, dummy_engine))()
    assert "enum" not in fields(document, "EmbeddingsRequest")["model"]
    assert MARK not in json.dumps(document)
