"""Gemini's methods over the dummy encoder: by hand for the wire format, and by Google's own client."""

import base64
from typing import Any

import numpy as np
import pytest
from google import genai
from google.genai import errors, types
from starlette.testclient import TestClient

from model.content import Content, audio, image, video
from serving.dummy import BROKEN, DummyEncoder

# Bytes whose base64 differs between the standard alphabet and the one for URLs.
PICTURE = b"\xfb\xef\xff\xfe\xfb"
MIXED = Content.of(image(PICTURE), "the same in red", audio(b"123"), video(b"1234567"))


def expected(*contents: Content) -> Any:
    encoder = DummyEncoder()
    return np.asarray(encoder(encoder.preprocess(contents)))


def parts_of(encode: Any = base64.b64encode) -> list[dict[str, Any]]:
    """MIXED on the wire, in camelCase."""

    def blob(kind: str, data: bytes) -> dict[str, Any]:
        return {"inlineData": {"mimeType": kind, "data": encode(data).decode()}}

    return [
        blob("image/png", PICTURE),
        {"text": "the same in red"},
        blob("audio/wav", b"123"),
        blob("video/mp4", b"1234567"),
    ]


def post(client: TestClient, body: Any, method: str = "embedContent", model: str = "omnivec") -> Any:
    return client.post(f"/v1beta/models/{model}:{method}", json=body)


def text(words: str) -> dict[str, Any]:
    return {"content": {"parts": [{"text": words}]}}


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_parts_of_one_content_are_one_vector(client: TestClient, encode: Any) -> None:
    answer = post(client, {"content": {"parts": parts_of(encode), "role": "user"}})
    assert answer.status_code == 200, answer.text
    assert np.allclose(answer.json()["embedding"]["values"], expected(MIXED)[0])
    usage = answer.json()["usageMetadata"]
    assert usage["promptTokenCount"] == usage["totalTokenCount"] == 7
    assert {"modality": "TEXT", "tokenCount": 4} in usage["promptTokensDetails"]
    assert answer.headers["x-omnivec-vector-space"]


def test_separate_contents_are_separate_vectors_with_dimensions_of_their_own(client: TestClient) -> None:
    batch = [
        {**text("four"), "outputDimensionality": 4, "model": "models/omnivec"},
        {**text("a longer one"), "embedContentConfig": {"outputDimensionality": 2, "taskType": "RETRIEVAL_QUERY"}},
        {"content": {"parts": parts_of()}, "task_type": "RETRIEVAL_DOCUMENT", "output_dimensionality": 8},
    ]
    rows = [row["values"] for row in post(client, {"requests": batch}, "batchEmbedContents").json()["embeddings"]]
    assert [len(row) for row in rows] == [4, 2, 8]
    for row, full in zip(rows, expected(Content.of("four"), Content.of("a longer one"), MIXED), strict=True):
        head = full[: len(row)]
        assert np.allclose(row, head / np.linalg.norm(head), atol=1e-6)


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({"content": {"parts": []}}, (400, "INVALID_ARGUMENT", "INVALID_REQUEST", {"param": "content.parts"})),
        ({"content": {"parts": [{}]}}, (400, "INVALID_ARGUMENT", "INVALID_REQUEST", {})),
        ({"content": {"parts": [{"text": "a", "smell": 1}]}}, (400, "INVALID_ARGUMENT", "INVALID_REQUEST", {})),
        ({**text("a"), "outputDimensionality": 9}, (400, "INVALID_ARGUMENT", "INVALID_DIMENSIONS", {})),
        ({**text("a"), "taskType": "DANCE"}, (400, "INVALID_ARGUMENT", "INVALID_REQUEST", {"param": "taskType"})),
        ({**text("a"), "model": "models/other"}, (404, "NOT_FOUND", "MODEL_NOT_FOUND", {"param": "model"})),
        (text("b " * 65), (413, "INVALID_ARGUMENT", "TOO_MANY_TOKENS", {"param": "requests.0", "limit": "max_tokens"})),
        (
            {"content": {"parts": [{"fileData": {"fileUri": "http://169.254.169.254/"}}]}},
            (400, "INVALID_ARGUMENT", "REMOTE_URL_REFUSED", {"item": "0"}),
        ),
        (
            {"content": {"parts": [{"inlineData": {"mimeType": "model/obj", "data": "AAAA"}}]}},
            (415, "INVALID_ARGUMENT", "UNSUPPORTED_MEDIA_TYPE", {}),
        ),
        (
            {"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "*"}}]}},
            (400, "INVALID_ARGUMENT", "MALFORMED_PART", {}),
        ),
        (
            {"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "YnJva2Vu"}}]}},
            (422, "INVALID_ARGUMENT", "IMAGE_UNDECODABLE", {}),
        ),
    ],
)
def test_errors_have_googles_envelope(client: TestClient, body: Any, wanted: tuple[Any, ...]) -> None:
    answer = post(client, body)
    error = answer.json()["error"]
    info = error["details"][0]
    assert error["code"] == answer.status_code
    assert error["message"]
    assert info["metadata"]["request_id"] == answer.headers["x-request-id"]
    status, kind, reason, metadata = wanted
    assert (answer.status_code, error["status"], info["reason"]) == (status, kind, reason)
    assert metadata.items() <= info["metadata"].items()


def test_other_models_and_methods_are_not_found(client: TestClient) -> None:
    assert post(client, text("a"), model="gemini-embedding-2").json()["error"]["status"] == "NOT_FOUND"
    assert post(client, text("a"), method="generateContent").json()["error"]["status"] == "UNIMPLEMENTED"
    too_many = post(client, {"requests": [text("a")] * 9}, "batchEmbedContents")
    assert too_many.json()["error"]["details"][0]["metadata"]["limit"] == "items_per_request"


@pytest.fixture(params=[None, "v1beta"])
def google(live_url: str, request: pytest.FixtureRequest) -> genai.Client:
    """Google's client, pointed at a live service, with its own and with the older version of the API."""
    options = types.HttpOptions(base_url=live_url, api_version=request.param)
    return genai.Client(api_key="unused", http_options=options)


def test_googles_client_embeds_texts(google: genai.Client) -> None:
    answer = google.models.embed_content(
        model="omnivec",
        contents=["four", "a longer one"],
        config=types.EmbedContentConfig(task_type="SEMANTIC_SIMILARITY", output_dimensionality=4),
    )
    assert answer.embeddings is not None
    for one, full in zip(
        answer.embeddings, expected(Content.of("four"), Content.of("a longer one"))[:, :4], strict=True
    ):
        assert np.allclose(one.values, full / np.linalg.norm(full), atol=1e-6)


def test_googles_client_embeds_parts_together_or_apart(google: genai.Client) -> None:
    parts = [
        types.Part.from_bytes(data=PICTURE, mime_type="image/png"),
        types.Part.from_text(text="the same in red"),
        types.Part.from_bytes(data=b"123", mime_type="audio/wav"),
        types.Part.from_bytes(data=b"1234567", mime_type="video/mp4"),
    ]
    together = google.models.embed_content(model="omnivec", contents=types.Content(parts=parts))
    assert together.embeddings is not None
    assert [len(together.embeddings)] == [1]
    assert np.allclose(together.embeddings[0].values, expected(MIXED)[0], atol=1e-6)
    apart = google.models.embed_content(model="omnivec", contents=[types.Content(parts=[part]) for part in parts])
    singles = [Content((part,)) for part in MIXED.parts]
    assert apart.embeddings is not None
    assert np.allclose([one.values for one in apart.embeddings], expected(*singles), atol=1e-6)


def test_googles_client_raises_its_own_errors(google: genai.Client) -> None:
    with pytest.raises(errors.ClientError) as caught:
        google.models.embed_content(
            model="omnivec", contents=types.Content(parts=[types.Part.from_bytes(data=BROKEN, mime_type="image/png")])
        )
    assert (caught.value.code, caught.value.status) == (422, "INVALID_ARGUMENT")
    assert "the image cannot be decoded" in str(caught.value.message)


def test_googles_client_lists_models(live_url: str) -> None:
    google = genai.Client(api_key="unused", http_options=types.HttpOptions(base_url=live_url, api_version="v1beta"))
    assert [model.name for model in google.models.list()] == ["models/omnivec"]
    assert google.models.get(model="omnivec").input_token_limit == 64
