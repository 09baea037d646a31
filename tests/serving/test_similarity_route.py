"""``POST /similarity`` over the dummy encoder."""

from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from model.content import Content, image
from serving.client import to_item
from serving.dummy import BROKEN, DummyEncoder

PICTURE = Content.of(image(b"1" * 40))


def post(client: TestClient, documents: Any, query: Any = "a red fox", **options: Any) -> Any:
    body = {"model": "omnivec", "query": query, "documents": documents, **options}
    return client.post("/similarity", json=body)


@pytest.mark.parametrize("dimensions", [None, 2])
def test_similarities_are_cosines_in_the_order_of_the_documents(client: TestClient, dimensions: int | None) -> None:
    contents = [Content.of("a red fox", task="query"), Content.of("a red fox!!"), PICTURE]
    options = {} if dimensions is None else {"dimensions": dimensions}
    answer = post(client, ["a red fox!!", to_item(PICTURE)], query_task="query", **options).json()
    rows = DummyEncoder()(DummyEncoder().preprocess(contents))[:, :dimensions]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert np.allclose(answer["similarities"], rows[1:] @ rows[0], atol=1e-6)
    assert answer["similarities"][0] > answer["similarities"][1]
    assert answer["usage"]["total_tokens"] == 3 + 3 + 1


def test_errors_name_the_query_or_the_document(client: TestClient) -> None:
    broken = to_item(Content.of(image(BROKEN)))
    of_query, of_document = post(client, ["a"], broken).json()["error"], post(client, ["a", broken]).json()["error"]
    assert (of_query["code"], of_query["param"]) == ("image_undecodable", "query")
    assert (of_document["code"], of_document["param"]) == ("image_undecodable", "documents.1")
    too_many = post(client, ["a"] * 8)
    assert (too_many.status_code, too_many.json()["error"]["limit"]) == (413, "items_per_request")
    assert post(client, ["a"], {"content": [{"type": "text"}]}).json()["error"]["param"] == "query.content.0.text"
    assert post(client, []).json()["error"]["param"] == "documents"
    assert post(client, ["a"], model="x").status_code == 404
