"""Hostile bodies, each answered with the status that it deserves, in the envelope of its route."""

import asyncio
import json
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from benchmarks.soaking.bodies import Bad, json_bodies, large_bodies, odd_requests
from serving.bodies import Bodies
from serving.config import RequestLimits, ServingConfig
from serving.parsing import MOST_MARKS, parse
from serving.responses import Refused

BODY_BYTES = 16_000_000
BY_THE_MODEL = "zero_byte_in_a_task"
"""Refused by a real encoder; the dummy of these tests takes every task."""
BAD = [bad for bad in (*json_bodies(), *odd_requests(), *large_bodies(BODY_BYTES)) if bad.name != BY_THE_MODEL]


@pytest.fixture(scope="module")
def texts() -> dict[str, bytes]:
    """Bodies that go in pieces, joined."""

    async def joined(bad: Bad) -> bytes:
        assert callable(bad.content)
        return b"".join([piece async for piece in bad.content()])

    return {bad.name: asyncio.run(joined(bad)) for bad in BAD if callable(bad.content)}


def test_every_bad_request_gets_its_answer(
    make_client: Callable[..., TestClient], config: ServingConfig, texts: dict[str, bytes]
) -> None:
    limits = RequestLimits(items_per_request=8, queue_items=16, body_bytes=BODY_BYTES)
    client = make_client(config.model_copy(update={"limits": limits}))
    wrong = []
    for bad in BAD:
        content = texts.get(bad.name, bad.content)
        answer = client.request(bad.method, bad.path, content=content, headers=dict(bad.headers))
        # The dummy encoder refuses by its own limits what a real one cuts.
        if answer.status_code not in bad.statuses | {413 if 200 in bad.statuses else 0}:
            wrong.append(f"{bad.name}: {answer.status_code} {answer.text[:200]}")
        told = answer.json()
        if answer.status_code >= 400 and not ("error" in told and answer.headers["x-request-id"]):
            wrong.append(f"{bad.name}: no envelope")
    assert wrong == []
    assert client.post("/v1/embeddings", json={"model": "omnivec", "input": "a"}).status_code == 200


def test_a_byte_order_mark_is_no_fault(client: TestClient) -> None:
    body = b"\xef\xbb\xbf" + json.dumps({"model": "omnivec", "input": "a"}).encode()
    answer = client.post("/v1/embeddings", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200


def test_values_are_counted_before_they_are_made() -> None:
    assert len(parse(b"[" + b"1," * (MOST_MARKS - 2) + b"1]")) == MOST_MARKS - 1
    with pytest.raises(Refused, match="more than 400000 commas"):
        parse(b"[" + b"1," * MOST_MARKS + b"1]")


def test_all_bodies_together_have_a_limit(make_client: Callable[..., TestClient], config: ServingConfig) -> None:
    limits = RequestLimits(items_per_request=8, queue_items=16, body_bytes=1000, bodies_bytes=1500)
    client = make_client(config.model_copy(update={"limits": limits}))
    body = json.dumps({"model": "omnivec", "input": "a"}).encode()
    answers = []
    headers = {"content-type": "application/json"}

    async def hold() -> None:
        """A body of which the last byte is missing."""
        bodies = Bodies(1000, 1500)

        async def receive():
            return {"type": "http.request", "body": b" " * 900, "more_body": True}

        with bodies.counted(receive) as first, bodies.counted(receive) as second:
            await first()
            with pytest.raises(Refused) as caught:
                await second()
            answers.append(caught.value.error)
        assert bodies.held == 0

    asyncio.run(hold())
    assert (answers[0].status, answers[0].code, answers[0].limit) == (429, "overloaded", "bodies_bytes")
    assert answers[0].headers == {"Retry-After": "1"}
    assert client.post("/v1/embeddings", content=body + b" " * 2000, headers=headers).status_code == 413
