"""Real clients over a real loopback port: ours, and the official openai package."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from langchain_openai import OpenAIEmbeddings

from model.content import Content, audio, image, video
from serving.client import EmbeddingClient, ServiceError, to_item
from serving.config import ServingConfig
from serving.dummy import BROKEN, DummyEncoder
from serving.engine import Engine
from serving.host import ModelHost
from serving.quantize import from_base64

Live = Callable[[ModelHost], AbstractContextManager[str]]
LLAMAINDEX = "OMNIVEC_LLAMAINDEX_PYTHON"
MIXED = Content.of(image(b"12345"), "in red", audio(b"123"), video(b"1234567"))


def expected(*contents: Content) -> Any:
    encoder = DummyEncoder()
    return encoder(encoder.preprocess(contents))


@pytest.mark.parametrize("encoding", ["float", "base64", openai.NOT_GIVEN])
def test_the_official_openai_client(live_url: str, encoding: Any) -> None:
    client = openai.OpenAI(base_url=f"{live_url}/v1", api_key="unused", max_retries=0)
    answer = client.embeddings.create(model="omnivec", input=["four", "a longer one"], encoding_format=encoding)
    wanted = expected(Content.of("four"), Content.of("a longer one"))
    got = [from_base64(row.embedding) if isinstance(row.embedding, str) else row.embedding for row in answer.data]
    assert np.allclose(got, wanted, atol=1e-6)
    assert answer.usage.total_tokens == 4
    assert [model.id for model in client.models.list()] == ["omnivec"]


def test_the_openai_client_sends_content_parts_and_dimensions(live_url: str) -> None:
    client = openai.OpenAI(base_url=f"{live_url}/v1", api_key="unused", max_retries=0)
    answer = client.embeddings.create(
        model="omnivec", input=[], dimensions=4, encoding_format="float", extra_body={"input": to_item(MIXED)}
    )
    head = expected(MIXED)[0, :4]
    assert np.allclose(answer.data[0].embedding, head / np.linalg.norm(head), atol=1e-6)


def test_the_openai_client_raises_its_own_errors(live_url: str) -> None:
    client = openai.OpenAI(base_url=f"{live_url}/v1", api_key="unused", max_retries=0)
    with pytest.raises(openai.NotFoundError, match="not served here"):
        client.embeddings.create(model="other", input="a")
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="omnivec", input="a", dimensions=99)
    assert caught.value.code == "invalid_dimensions"
    assert caught.value.param == "dimensions"


def test_langchains_openai_embeddings(live_url: str) -> None:
    # Without the length check, which would ask the network for OpenAI's tokeniser and send token ids.
    embeddings = OpenAIEmbeddings(
        model="omnivec", base_url=f"{live_url}/v1", api_key="unused", check_embedding_ctx_length=False, dimensions=4
    )
    head = expected(Content.of("four"), Content.of("a longer one"))[:, :4]
    wanted = head / np.linalg.norm(head, axis=1, keepdims=True)
    assert np.allclose(embeddings.embed_documents(["four", "a longer one"]), wanted, atol=1e-6)
    assert np.allclose(embeddings.embed_query("four"), wanted[0], atol=1e-6)


def test_llamaindexs_openai_embeddings(live_url: str) -> None:
    python = os.environ.get(LLAMAINDEX)
    if python is None:
        pytest.skip(f"{LLAMAINDEX} names no Python that has LlamaIndex; see tests/serving/llamaindex_client.py")
    script = Path(__file__).with_name("llamaindex_client.py")
    found = subprocess.run([python, script, live_url, "4"], capture_output=True, text=True, timeout=240, check=False)
    assert found.returncode == 0, found.stderr[-2000:]
    answer = json.loads(found.stdout)
    head = expected(Content.of("four"), Content.of("a longer one"))[:, :4]
    wanted = head / np.linalg.norm(head, axis=1, keepdims=True)
    assert np.allclose(answer["texts"], wanted, atol=1e-6)
    assert np.allclose(answer["query"], wanted[0], atol=1e-6)


def test_our_client_round_trip(live_url: str) -> None:
    contents = [Content.of("one two"), MIXED, Content.of(video(b"123"))]
    with EmbeddingClient(live_url) as client:
        answer = client.embed(contents)
        assert np.allclose(answer.vectors_Nd, expected(*contents), atol=1e-6)
        assert answer.usage["total_tokens"] == 2 + 5 + 1
        assert client.embed(contents, dimensions=2).vectors_Nd.shape == (3, 2)
        with pytest.raises(ServiceError, match="422: item 1: the audio cannot be decoded") as caught:
            client.embed([Content.of("fine"), Content.of(audio(BROKEN))])
        assert caught.value.error["code"] == "audio_undecodable"
        with pytest.raises(ValueError, match="one request has one task"):
            client.embed([Content.of("a", task="query"), Content.of("b")])


class Gated(DummyEncoder):
    """Compute that waits for permission and remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.closed, self.open = False, threading.Event()
        self.lengths: list[int] = []

    def __call__(self, batch: Any) -> Any:
        self.lengths += [int(row[1]) for row in batch]
        assert not self.closed or self.open.wait(10)
        return super().__call__(batch)


def test_items_of_a_caller_that_hung_up_are_never_computed(config: ServingConfig, live: Live) -> None:
    encoder = Gated()
    host = ModelHost(config.model_copy(update={"compute_workers": 1}), lambda _: Engine(encoder, vector_space="x"))
    host.open()
    encoder.closed = True
    with live(host) as url:
        first = threading.Thread(target=lambda: httpx.post(f"{url}/v1/embeddings", json=_body("x" * 11), timeout=10))
        first.start()
        while 11 not in encoder.lengths:  # compute is busy with the first request
            time.sleep(0.01)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v1/embeddings", json=_body("x" * 22), timeout=0.3)
        time.sleep(0.1)
        encoder.open.set()
        first.join()
        assert httpx.post(f"{url}/v1/embeddings", json=_body("x" * 33)).status_code == 200
    assert encoder.lengths[-2:] == [11, 33]


def test_a_request_past_its_time_limit_answers_504(config: ServingConfig, live: Live) -> None:
    encoder = Gated()
    limits = config.limits.model_copy(update={"timeout_seconds": 0.2})
    host = ModelHost(config.model_copy(update={"limits": limits}), lambda _: Engine(encoder, vector_space="x"))
    host.open()
    encoder.closed = True
    with live(host) as url:
        answer = httpx.post(f"{url}/v1/embeddings", json=_body("a"), timeout=10)
        encoder.open.set()
    assert answer.status_code == 504
    assert answer.json()["error"]["limit"] == "timeout_seconds"


def test_a_loading_service_answers_503_and_says_so(config: ServingConfig, live: Live) -> None:
    with live(ModelHost(config)) as url:
        answer = httpx.post(f"{url}/v1/embeddings", json=_body("a"))
    assert answer.status_code == 503
    assert "is loading" in answer.json()["error"]["message"]
    assert answer.headers["retry-after"] == "1"


def _body(text: str) -> dict[str, Any]:
    return {"model": "omnivec", "input": text}
