"""What a URL in a request can make the service do: nothing, unless its host is on the list, and then little."""

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from model.content import Content, image
from model.errors import ConfigError, ContentError
from serving.config import ServingConfig
from serving.dummy import DummyEncoder
from serving.fetch import FetchConfig, Fetcher, _is_public, _matches


class Handler(BaseHTTPRequestHandler):
    """Answers by path, and remembers what it was asked with."""

    seen: list[tuple[str, dict[str, str]]] = []  # noqa: RUF012 - set anew for each test

    def do_GET(self) -> None:
        self.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        name = self.path.partition("?")[0]
        if name.startswith("/to"):
            self.send_response(302)
            self.send_header("Location", self.path.partition("?")[2])
            self.end_headers()
        elif name == "/endless":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x" * 10_000)
            except OSError:
                return
        elif name == "/slow":
            self.send_response(200)
            self.end_headers()
            try:
                for _ in range(100):
                    self.wfile.write(b"x")
                    self.wfile.flush()
                    time.sleep(0.05)
            except OSError:
                return
        elif name == "/lying":
            self.send_response(200)
            self.send_header("Content-Length", "999999999")
            self.end_headers()
        elif name == "/picture":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"picture")
        else:
            self.send_error(404)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def port() -> Iterator[int]:
    Handler.seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def fetcher(port: int, addresses: dict[str, list[str]] | None = None, **changes: Any) -> Fetcher:
    options = {"hosts": ["media.test", "*.cdn.test"], "schemes": ["http"], "ports": [port], "private": True, **changes}
    known = {"media.test": ["127.0.0.1"], "a.cdn.test": ["127.0.0.1"], **(addresses or {})}
    return Fetcher(FetchConfig.parse(options), resolve=lambda host, _: known[host])


def refusal(fetch: Fetcher, url: str, most: int = 100) -> tuple[str, str]:
    with pytest.raises(ContentError) as caught:
        fetch(url, most)
    assert "media.test" not in str(caught.value), "a message never repeats the caller's input"
    return caught.value.code, str(caught.value)


def test_a_listed_host_is_fetched_by_its_name_and_nothing_goes_along(port: int) -> None:
    assert fetcher(port)(f"http://media.test:{port}/picture", 100) == b"picture"
    assert fetcher(port)(f"http://A.CDN.test:{port}/picture", 100) == b"picture"
    path, headers = Handler.seen[0]
    assert (path, headers["host"]) == ("/picture", f"media.test:{port}")
    assert not {"cookie", "authorization", "referer"} & headers.keys()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://other.test:{port}/picture", "not on the list"),
        ("http://cdn.test:{port}/picture", "not on the list"),
        ("http://evilcdn.test:{port}/picture", "not on the list"),
        ("http://127.0.0.1:{port}/picture", "not on the list"),
        ("http://media.test.evil.test:{port}/picture", "not on the list"),
        ("http://media.test:{port}@evil.test:{port}/", "user name"),
        ("http://u:p@media.test:{port}/picture", "user name"),
        ("http://media.test:22/picture", "port"),
        ("https://media.test:{port}/picture", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("gopher://media.test:{port}/", "scheme"),
        ("http://[::1/", "malformed"),
        ("http://media.test:99999/", "malformed"),
    ],
)
def test_everything_else_is_refused_before_any_connection(port: int, url: str, why: str) -> None:
    code, message = refusal(fetcher(port), url.format(port=port))
    assert code == "remote_url_refused"
    assert why in message
    assert not Handler.seen


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1",
     "10.1.2.3", "169.254.169.254", "192.168.0.1", "100.64.0.1", "0.0.0.0", "::1", "fe80::1%eth0", "fd00::1",
     "::ffff:127.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "224.0.0.1"],
)  # fmt: skip
def test_a_listed_name_that_leads_inside_is_refused(port: int, address: str) -> None:
    for addresses in ([address], ["93.184.216.34", address]):
        code, message = refusal(
            fetcher(port, {"media.test": addresses}, private=False), f"http://media.test:{port}/picture"
        )
        assert (code, "not public" in message) == ("remote_url_refused", True)
    assert not Handler.seen
    assert _is_public("93.184.216.34")
    assert _is_public("2606:4700::1111")


def test_a_name_is_resolved_once_for_check_and_connection(port: int) -> None:
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    fetch = Fetcher(
        FetchConfig(hosts=("media.test",), schemes=("http",), ports=(port,), private=True),
        resolve=lambda *_: next(answers),
    )
    assert fetch(f"http://media.test:{port}/picture", 100) == b"picture"


def test_redirects_are_checked_like_first_requests(port: int) -> None:
    base = f"http://media.test:{port}"
    assert fetcher(port)(f"{base}/to?/picture", 100) == b"picture"
    for target in ("http://169.254.169.254/latest", "file:///etc/passwd", f"http://127.0.0.1:{port}/picture"):
        assert refusal(fetcher(port), f"{base}/to?{target}")[0] == "remote_url_refused"
    code, message = refusal(fetcher(port), f"{base}/to?{base}/to?{base}/to?{base}/to?{base}/picture")
    assert (code, "more than 2 redirects" in message) == ("remote_url_failed", True)


def test_bytes_and_time_are_limited_while_they_come(port: int) -> None:
    base = f"http://media.test:{port}"
    for path in ("/endless", "/lying"):
        assert refusal(fetcher(port), base + path)[0] == "media_too_large"
    started = time.monotonic()
    code, message = refusal(fetcher(port, seconds=0.4), f"{base}/slow", 1000)
    assert (code, time.monotonic() - started < 3) == ("remote_url_failed", True), message
    assert refusal(fetcher(port), f"{base}/nothing") == (
        "remote_url_failed", "this URL could not be fetched: the host answered 404"
    )  # fmt: skip


@given(st.text("abc.*-", max_size=12), st.text("abc.", max_size=8))
def test_a_pattern_of_one_domain_matches_nothing_else(host: str, domain: str) -> None:
    if _matches(host, f"*.{domain}"):
        assert host.endswith(f".{domain}")
        assert len(host) > len(domain) + 1 or host == f".{domain}"


def test_a_list_without_hosts_is_no_list() -> None:
    with pytest.raises(ConfigError, match="hosts"):
        FetchConfig.parse({"hosts": []})


def test_routes_fetch_only_where_the_service_may(
    make_client: Callable[..., TestClient], config: ServingConfig, port: int
) -> None:
    address = f"http://localhost:{port}/picture"
    part = {"type": "image_url", "image_url": {"url": address}}
    asked = {"model": "omnivec", "input": {"content": [part, {"type": "text", "text": "in red"}]}}
    gemini = {"content": {"parts": [{"fileData": {"fileUri": address, "mimeType": "image/png"}}, {"text": "in red"}]}}
    allowed = FetchConfig(hosts=("localhost",), schemes=("http",), ports=(port,), private=True)
    client = make_client(config.model_copy(update={"fetch": allowed}))
    wanted = DummyEncoder()(DummyEncoder().preprocess([Content.of(image(b"picture"), "in red")]))[0]
    assert np.allclose(client.post("/v1/embeddings", json=asked).json()["data"][0]["embedding"], wanted)
    answer = client.post("/v1beta/models/omnivec:embedContent", json=gemini).json()
    assert np.allclose(answer["embedding"]["values"], wanted)
    gone = {**asked, "input": {"content": [{"type": "image_url", "image_url": {"url": address + "s"}}]}}
    failed = client.post("/v1/embeddings", json=gone)
    assert (failed.status_code, failed.json()["error"]["code"]) == (422, "remote_url_failed")
    closed = make_client().post("/v1/embeddings", json=asked)
    assert (closed.status_code, closed.json()["error"]["code"]) == (400, "remote_url_refused")
