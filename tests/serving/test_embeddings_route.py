"""``POST /v1/embeddings`` over the dummy encoder, whose vectors can be checked by eye."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from model.content import Content, Modality, audio, image, video
from serving.client import to_item
from serving.config import ServingConfig
from serving.dummy import BROKEN, DummyEncoder
from serving.engine import Engine
from serving.quantize import from_base64
from tests.serving.conftest import dummy_engine

Make = Callable[..., TestClient]


def expected(content: Content) -> np.ndarray[Any, np.dtype[np.float32]]:
    encoder = DummyEncoder()
    return np.asarray(encoder(encoder.preprocess([content])))[0]


def post(client: TestClient, value: Any, **options: Any) -> Any:
    return client.post("/v1/embeddings", json={"model": "omnivec", "input": value, **options})


def vectors(response: Any) -> list[Any]:
    assert response.status_code == 200, response.text
    return [row["embedding"] for row in response.json()["data"]]


def problem(response: Any) -> tuple[int, str, int | None, str | None]:
    error = response.json()["error"]
    assert error["message"]
    assert error["request_id"] == response.headers["x-request-id"]
    return response.status_code, error["code"], error["item"], error["limit"]


MIXED = Content.of(image(b"12345"), "the same in red", audio(b"123"), video(b"1234567"))


def test_a_string_a_content_and_a_list_of_both(client: TestClient) -> None:
    one = vectors(post(client, "four"))
    assert np.allclose(one, [expected(Content.of("four"))])
    assert np.allclose(vectors(post(client, to_item(MIXED))), [expected(MIXED)])
    several = post(client, ["four", to_item(MIXED), "seven.."])
    assert np.allclose(
        vectors(several), [expected(Content.of("four")), expected(MIXED), expected(Content.of("seven.."))]
    )
    assert [row["index"] for row in several.json()["data"]] == [0, 1, 2]


def test_usage_counts_every_modality(client: TestClient) -> None:
    usage = post(client, ["one two", to_item(MIXED)]).json()["usage"]
    details = usage["prompt_tokens_details"]
    assert usage["prompt_tokens"] == usage["total_tokens"] == 2 + 4 + 3
    assert details == {
        "text_tokens": 6,
        "image_tokens": 1,
        "audio_tokens": 1,
        "video_tokens": 1,
        "document_tokens": 0,
    }


def test_answers_name_their_vector_space_and_request(client: TestClient) -> None:
    response = client.post(
        "/v1/embeddings", json={"model": "omnivec@7", "input": "a"}, headers={"X-Request-ID": "mine-1"}
    )
    assert response.headers["x-request-id"] == "mine-1"
    assert response.headers["x-omnivec-version"] == "7"
    assert response.headers["x-omnivec-vector-space"] == "0123456789abcdef"
    odd = client.post(
        "/v1/embeddings", json={"model": "omnivec", "input": "a"}, headers={"X-Request-ID": "a b<script>"}
    )
    assert odd.headers["x-request-id"].isalnum()


def test_shorter_vectors_are_renormalised(client: TestClient) -> None:
    short = vectors(post(client, "four", dimensions=4))[0]
    full = expected(Content.of("four"))[:4]
    assert np.allclose(short, full / np.linalg.norm(full))


@pytest.mark.parametrize("dtype", ["float", "int8", "uint8", "binary", "ubinary"])
def test_base64_and_numbers_say_the_same(client: TestClient, dtype: Any) -> None:
    numbers = vectors(post(client, ["four", "a longer one"], output_dtype=dtype))
    packed = vectors(post(client, ["four", "a longer one"], output_dtype=dtype, encoding_format="base64"))
    rows = [from_base64(row, dtype) for row in packed]
    assert np.allclose(rows, numbers)
    full = np.stack([expected(Content.of("four")), expected(Content.of("a longer one"))])
    quantizer = dummy_engine(None).quantizer
    assert np.allclose(rows, quantizer(full, dtype))
    response = post(client, ["four"], output_dtype=dtype)
    assert ("x-omnivec-ranges" in response.headers) == (dtype in ("int8", "uint8"))
    assert response.headers.get("x-omnivec-ranges") in (None, quantizer.digest)


@pytest.mark.parametrize(
    ("value", "options", "wanted"),
    [
        ("a", {"model": "gpt-4"}, (404, "model_not_found", None, None)),
        ("", {}, (400, "invalid_request", 0, None)),
        ([], {}, (400, "invalid_request", None, None)),
        ([1, 2, 3], {}, (400, "invalid_request", 0, None)),
        ([["a"]], {}, (400, "invalid_request", 0, None)),
        (["a", {"content": []}], {}, (400, "invalid_request", 1, None)),
        (["a", {"content": [{"type": "smell"}]}], {}, (400, "invalid_request", 1, None)),
        ("a", {"dimension": 4}, (400, "invalid_request", None, None)),
        ("a", {"dimensions": 9}, (400, "invalid_dimensions", None, None)),
        ("a", {"output_dtype": "float8"}, (400, "invalid_request", None, None)),
        ("a", {"output_dtype": "int8", "dimensions": 4}, (400, "output_dtype_unavailable", None, None)),
        (["a"] * 9, {}, (413, "too_many_items", None, "items_per_request")),
        (["a", "b " * 65], {}, (413, "too_many_tokens", 1, "max_tokens")),
        (["a", to_item(Content.of(image(BROKEN)))], {}, (422, "image_undecodable", 1, None)),
        (to_item(Content.of("a", image(b"x" * 100_001))), {}, (413, "image_too_large", 0, "max_media_bytes")),
        (to_item(Content.of(*"abcde")), {}, (413, "too_many_parts", 0, "max_parts")),
    ],
)
def test_a_bad_request_is_told_which_item_and_which_limit(
    client: TestClient, value: Any, options: dict[str, Any], wanted: tuple[Any, ...]
) -> None:
    assert problem(post(client, value, **options)) == wanted
    assert post(client, "still well").status_code == 200


@pytest.mark.parametrize(
    ("part", "wanted"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            (400, "remote_url_refused", 1, None),
        ),
        ({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}, (400, "remote_url_refused", 1, None)),
        ({"type": "image_url", "image_url": {"url": "data:image/png,abc"}}, (400, "malformed_part", 1, None)),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,*"}}, (400, "malformed_part", 1, None)),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "exe"}},
            (415, "unsupported_media_type", 1, None),
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0="}},
            (415, "unsupported_modality", 1, None),
        ),
    ],
)
def test_bad_parts_are_refused_before_any_work(
    client: TestClient, part: dict[str, Any], wanted: tuple[Any, ...]
) -> None:
    assert problem(post(client, ["fine", {"content": [part]}])) == wanted


def test_bodies_that_are_no_json(client: TestClient) -> None:
    json = {"content-type": "application/json"}
    assert problem(client.post("/v1/embeddings", content=b"{nope", headers=json))[:2] == (400, "invalid_request")
    assert problem(client.post("/v1/embeddings", content=b"[" * 50_000, headers=json))[0] == 400
    assert problem(client.post("/v1/embeddings", content=b"a=b"))[:2] == (415, "unsupported_content_type")


def test_a_large_body_is_refused_with_and_without_a_declared_length(client: TestClient) -> None:
    wanted = (413, "body_too_large", None, "body_bytes")
    json = {"content-type": "application/json"}
    assert problem(client.post("/v1/embeddings", content=b" " * 300_001, headers=json)) == wanted
    chunks = (b" " * 1000 for _ in range(400))
    assert problem(client.post("/v1/embeddings", content=chunks, headers=json)) == wanted


def test_unknown_paths_and_methods_have_the_same_envelope(client: TestClient) -> None:
    assert problem(client.get("/v2/nothing"))[:2] == (404, "not_found")
    assert problem(client.get("/v1/embeddings"))[:2] == (405, "method_not_allowed")


def test_an_internal_error_is_opaque_and_keeps_neighbours(make_client: Make) -> None:
    class Fragile(DummyEncoder):
        def __call__(self, batch: Any) -> Any:
            if (batch[:, 1] == len("secret words")).any():
                raise RuntimeError("secret words")
            return super().__call__(batch)

    client = make_client(load=lambda _: Engine(Fragile(), vector_space="x"))
    response = post(client, ["fine", "secret words"])
    assert problem(response) == (500, "internal_error", 1, None)
    assert "secret" not in response.text
    assert post(client, "fine").status_code == 200


def test_a_vector_that_is_not_finite_is_never_sent(make_client: Make) -> None:
    class Overflowing(DummyEncoder):
        calls = 0

        def __call__(self, batch: Any) -> Any:
            self.calls += 1
            return super().__call__(batch) * (np.nan if self.calls > 6 else 1)  # well during warm-up

    client = make_client(load=lambda _: Engine(Overflowing(), vector_space="x"))
    assert problem(post(client, "a"))[:2] == (500, "internal_error")


def test_a_full_queue_answers_429_and_the_rest_is_served(make_client: Make, config: ServingConfig) -> None:
    gate = threading.Event()

    class Slow(DummyEncoder):
        slow = False

        def __call__(self, batch: Any) -> Any:
            assert not self.slow or gate.wait(10)
            return super().__call__(batch)

    encoder = Slow()
    client = make_client(load=lambda _: Engine(encoder, vector_space="x"))
    encoder.slow = True
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(post(client, ["a"] * 8))) for _ in range(3)]
    for thread in threads:
        thread.start()
    while not answers:  # sixteen items fill the queue, so exactly one of the three is refused at once
        threads[0].join(0.01)
    gate.set()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200, 200, 429]
    assert problem(answers[0]) == (429, "overloaded", None, "queue_items")
    assert int(answers[0].headers["retry-after"]) >= 1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.text("abcdefghij", min_size=1, max_size=60), min_size=1, max_size=8))
def test_any_list_comes_back_in_its_order(client: TestClient, words: list[str]) -> None:
    rows = [from_base64(row) for row in vectors(post(client, words, encoding_format="base64"))]
    assert np.allclose(rows, [expected(Content.of(word)) for word in words])


def test_models(client: TestClient, make_client: Make) -> None:
    listed = client.get("/v1/models").json()["data"]
    assert listed == [client.get("/v1/models/omnivec").json()]
    model = listed[0]
    assert (model["id"], model["version"], model["vector_space"]) == ("omnivec", "7", "0123456789abcdef")
    assert model["dimensions"] == [8, 4, 2]
    assert model["modalities"] == ["audio", "image", "text", "video"]
    assert model["limits"]["items_per_request"] == 8
    assert model["limits"]["max_tokens"] == 64
    assert problem(client.get("/v1/models/other"))[:2] == (404, "model_not_found")


def test_a_model_without_a_tower_says_what_it_embeds(make_client: Make) -> None:
    only_text = DummyEncoder(frozenset({Modality.TEXT}))
    client = make_client(load=lambda _: Engine(only_text, vector_space="x"))
    response = post(client, to_item(MIXED))
    assert problem(response)[:2] == (415, "unsupported_modality")
    assert "embeds text, not audio, image, video" in response.json()["error"]["message"]
