"""What the document says of the served model; that its answers keep to it is for test_openapi_fuzz."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.app import create_app
from serving.config import ServingConfig
from serving.fetch import FetchConfig
from serving.host import ModelHost
from serving.schemas import MARK
from tests.serving.conftest import dummy_engine
from tests.serving.test_keys import write

Make = Callable[..., TestClient]


def fields(document: dict[str, Any], name: str) -> dict[str, Any]:
    return document["components"]["schemas"][name]["properties"]


def test_it_has_what_the_model_takes(make_client: Make, config: ServingConfig) -> None:
    client = make_client(config.model_copy(update={"aliases": ("other",)}))
    document = client.get("/openapi.json").json()
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
    make_client: Make, config: ServingConfig, tmp_path: Any
) -> None:
    key = write(tmp_path / "keys.json", one={})["one"]
    changes = {"fetch": FetchConfig(hosts=("media.example.org",)), "keys": tmp_path / "keys.json"}
    client = make_client(config.model_copy(update=changes))
    document = client.get("/openapi.json", headers={"x-api-key": key}).json()
    assert "type" not in fields(document, "GeminiPart")["fileData"]
    assert "https" in fields(document, "DataUri")["url"]["pattern"]
    assert {scheme["type"] for scheme in document["components"]["securitySchemes"].values()} == {"http", "apiKey"}
    assert len(document["security"]) == 3, "one of them is enough"


@pytest.mark.parametrize(
    ("body", "status"),
    [({"inputs": "a", "prompt_name": "query"}, 200), ({"inputs": "a", "prompt_name": "query", "task": "query"}, 400)],
)
def test_teis_word_for_a_task_stands_in_it(client: TestClient, body: dict[str, Any], status: int) -> None:
    assert "prompt_name" in fields(client.get("/openapi.json").json(), "EmbedRequest")
    assert client.post("/embed", json=body).status_code == status


def test_while_a_model_is_loading_it_has_the_formats_alone(config: ServingConfig) -> None:
    document = create_app(ModelHost(config, dummy_engine)).openapi()
    assert "enum" not in fields(document, "EmbeddingsRequest")["model"]
    assert MARK not in json.dumps(document)
