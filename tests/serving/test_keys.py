"""API keys: the file, its rotation, and what the gate lets through."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from model.errors import ConfigError
from serving import keys as keys_module
from serving.config import ServingConfig
from serving.errors import RequestError
from serving.gate import Client, Gate, scope_of
from serving.keys import ApiKey, KeyRing, digest_of, new_key
from tests.serving.simulation import Clock

Make = Callable[..., TestClient]


def write(path: Path, **keys: dict[str, Any]) -> dict[str, str]:
    """Write a file of keys; returns the keys by name."""
    made = {name: new_key() for name in keys}
    entries = [{"name": name, "sha256": digest_of(made[name]), **options} for name, options in keys.items()]
    path.write_text(json.dumps({"keys": entries}))
    return made


def post(client: TestClient, key: str | None = None, header: str = "authorization", items: int = 1) -> Any:
    value = f"Bearer {key}" if header == "authorization" else str(key)
    headers = {} if key is None else {header: value}
    return client.post("/v1/embeddings", json={"model": "omnivec", "input": ["a"] * items}, headers=headers)


@pytest.fixture
def ring(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    path = tmp_path / "keys.json"
    made = write(
        path,
        search={"items_in_flight": 4},
        slow={"requests_per_minute": 2},
        ops={"scopes": ["metrics"]},
    )
    return path, made


@pytest.fixture
def closed(make_client: Make, config: ServingConfig, ring: tuple[Path, dict[str, str]]) -> TestClient:
    return make_client(config.model_copy(update={"keys": ring[0]}))


@pytest.mark.parametrize("header", ["authorization", "x-goog-api-key", "x-api-key"])
def test_a_known_key_is_let_in_by_any_of_the_headers(
    closed: TestClient, ring: tuple[Path, dict[str, str]], header: str
) -> None:
    assert post(closed, ring[1]["search"], header).status_code == 200


def test_without_a_known_key_nothing_is_answered(closed: TestClient, ring: tuple[Path, dict[str, str]]) -> None:
    for path in ("/v1/embeddings", "/embed", "/similarity", "/v1beta/models/omnivec:embedContent", "/nothing"):
        answer = closed.post(path, json={})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path
    for path in ("/v1/models", "/openapi.json", "/docs", "/gallery.json", "/nothing"):
        assert closed.get(path).status_code == 401, path
    unknown = post(closed, new_key())
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (401, "invalid_api_key")
    assert unknown.json()["error"]["type"] == "authentication_error"
    google = closed.post("/v1beta/models/omnivec:embedContent", json={}).json()["error"]
    assert google["status"] == "UNAUTHENTICATED"
    basic = closed.get("/v1/models", headers={"authorization": f"Basic {ring[1]['search']}"})
    assert basic.status_code == 401


def test_a_key_does_only_what_its_scopes_say(closed: TestClient, ring: tuple[Path, dict[str, str]]) -> None:
    answer = post(closed, ring[1]["ops"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "insufficient_scope")
    assert ring[1]["ops"] not in answer.text
    assert (scope_of("GET", "/metrics"), scope_of("GET", "/schema.json")) == ("metrics", "models")


def test_a_large_body_is_not_read_before_the_key_is_known(closed: TestClient) -> None:
    sent = 0

    def body() -> Any:
        nonlocal sent
        for _ in range(200):
            sent += 1
            yield b" " * 1000

    assert (
        closed.post("/v1/embeddings", content=body(), headers={"content-type": "application/json"}).status_code == 401
    )


def test_limits_of_a_key(closed: TestClient, ring: tuple[Path, dict[str, str]]) -> None:
    full = post(closed, ring[1]["search"], items=5)
    assert (full.status_code, full.json()["error"]["limit"]) == (429, "items_in_flight")
    assert post(closed, ring[1]["search"], items=4).status_code == 200, "what ended is not counted"
    statuses = [post(closed, ring[1]["slow"]) for _ in range(3)]
    assert [answer.status_code for answer in statuses] == [200, 200, 429]
    assert statuses[2].json()["error"]["limit"] == "requests_per_minute"
    assert 1 <= int(statuses[2].headers["retry-after"]) <= 30


def test_an_allowance_fills_up_steadily_and_never_beyond_a_minute() -> None:
    now = 0.0
    client = Client(ApiKey(name="a", sha256="0" * 64, requests_per_minute=6), clock=lambda: now)

    def spent() -> int:
        count = 0
        while count < 100:
            try:
                client.spend()
            except RequestError:
                return count
            count += 1
        return count

    assert spent() == 6
    now = 25.0
    assert spent() == 2
    now = 10_000.0
    assert spent() == 6


def test_who_has_too_many_items_is_told_when_they_will_have_left() -> None:
    clock = Clock()
    client = Client(ApiKey(name="a", sha256="0" * 64, items_in_flight=10), clock)

    def told(count: int) -> int:
        with pytest.raises(RequestError) as caught, client.holding(count):
            pass
        seconds = caught.value.headers["Retry-After"]
        assert f"has 9 items in the service and may have 10; retry after {seconds} s" in caught.value.message
        return int(seconds)

    with client.holding(9):
        assert told(4) == 1, "no rate is known yet"
        for _ in range(10):
            with client.holding(1):
                clock.now += 2
            with pytest.raises(RequestError), client.holding(1):  # the service has no room: that is no measure
                raise RequestError("full", status=429, code="overloaded")
        assert [told(2), told(4)] == [3, 8], "at 85 % of an item in two seconds"
    with client.holding(10):
        pass


def test_keys_rotate_without_a_restart(ring: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    path, old = ring
    problems: list[str] = []
    held = KeyRing(path, problems.append)
    monkeypatch.setattr(keys_module, "RELOAD_SECONDS", 0.0)
    assert held.find(old["search"]) is not None
    made = write(path, other={})
    os.utime(path, ns=(1, 1))
    assert held.find(old["search"]) is None
    assert held.find(made["other"]) is not None
    path.write_text("{nope")
    assert held.find(made["other"]) is not None, "keys before a broken change stay in force"
    path.unlink()
    assert held.find(made["other"]) is not None
    assert len(problems) == 2


def test_a_bad_file_of_keys_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="omnivec keys add"):
        KeyRing(tmp_path / "none.json", print)
    path = tmp_path / "keys.json"
    entry = {"name": "a", "sha256": digest_of("k")}
    path.write_text(json.dumps({"keys": [entry, {"name": "b", "sha256": digest_of("k")}]}))
    with pytest.raises(ConfigError, match="two keys have the sha256"):
        KeyRing(path, print)
    path.write_text(json.dumps({"keys": [{**entry, "scopes": ["everything"]}]}))
    with pytest.raises(ConfigError, match="scopes"):
        KeyRing(path, print)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.2", "::", "example.org"])
def test_a_service_for_other_machines_needs_keys_or_a_word(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match="omnivec keys add NAME --file FILE"):
        ServingConfig.parse({"artifact": tmp_path, "host": host})
    assert ServingConfig.parse({"artifact": tmp_path, "host": host, "anonymous": True}).anonymous
    assert ServingConfig.parse({"artifact": tmp_path, "host": host, "keys": tmp_path / "keys.json"}).keys


def test_an_open_gate_knows_everyone_by_one_name() -> None:
    assert Gate(None).admit({"type": "http", "path": "/embed", "method": "POST"}).name == "anonymous"
