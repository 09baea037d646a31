"""Connections that take too long, or too much, are ended; good callers beside them notice nothing."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

import httpx
import pytest

from serving import doorman
from serving.config import ConnectionLimits, ServingConfig
from serving.doorman import Doorman, install
from serving.host import ModelHost
from tests.serving.conftest import dummy_engine

Live = Callable[[ModelHost], AbstractContextManager[str]]
BODY = b'{"model":"omnivec","input":"four"}'
HEAD = b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
PATIENCE_SECONDS = 20.0
LIMITS = ConnectionLimits(
    connections=4,
    idle_seconds=2,
    head_seconds=0.4,
    head_bytes=2000,
    body_seconds=1.0,
    body_grace_seconds=0.4,
    body_bytes_per_second=100_000,
    write_seconds=0.5,
    pipelined=3,
)


@pytest.fixture
def url(config: ServingConfig, live: Live, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A warm service with short limits."""
    monkeypatch.setattr(doorman, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(doorman, "LINGER_SECONDS", 0.3)
    monkeypatch.setattr(doorman, "LEAST_IDLE_SECONDS", 0.3)
    monkeypatch.setattr(doorman, "LEAST_SILENT_SECONDS", 0.15)
    monkeypatch.setattr(Doorman, "limits", LIMITS)
    host = ModelHost(config, dummy_engine)
    host.open()
    with live(host) as address:
        yield address
        assert httpx.post(f"{address}/v1/embeddings", content=BODY, headers={"content-type": "application/json"})


def connect(url: str) -> socket.socket:
    address = httpx.URL(url)
    return socket.create_connection((address.host, address.port), timeout=PATIENCE_SECONDS)


def rest(connection: socket.socket) -> bytes:
    """Everything until the service closes; a time-out fails the test."""
    data = b""
    try:
        while piece := connection.recv(1 << 16):
            data += piece
    except ConnectionError:
        pass
    return data


def send_on(connection: socket.socket, piece: bytes, pause: float) -> None:
    """Send again and again until the service cuts the connection off, which raises ConnectionError."""
    ended = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ended:
        connection.sendall(piece)
        time.sleep(pause)


def code_of(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]["code"]


def test_a_connection_that_says_nothing_is_closed(url: str) -> None:
    with connect(url) as connection:
        assert rest(connection) == b""


def test_a_connection_that_was_used_is_kept_longer(url: str) -> None:
    with connect(url) as connection:
        for _ in range(2):
            connection.sendall(WHOLE)
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
            time.sleep(LIMITS.head_seconds * 2)
        assert rest(connection) == b""


def test_a_head_that_comes_too_slowly(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(HEAD)
        assert code_of(rest(connection)) == (408, "head_too_slow")


@pytest.mark.parametrize("length", [b"Content-Length: 99\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"])
def test_a_body_that_comes_too_slowly(url: str, length: bytes) -> None:
    with connect(url) as connection:
        connection.sendall(HEAD + length)
        assert code_of(rest(connection)) == (408, "body_too_slow")


def test_a_body_that_comes_steadily_has_time(url: str) -> None:
    with connect(url) as connection:
        head, body = HEAD + b"Connection: close\r\nContent-Length: 80034\r\n\r\n", BODY + b" " * 80_000
        connection.sendall(head + body[:70_000])
        time.sleep(0.6)  # more than the grace, less than the bytes so far have earned
        connection.sendall(body[70_000:])
        assert rest(connection).startswith(b"HTTP/1.1 200")


def test_a_head_without_an_end(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(HEAD + b"X-A: " + b"a" * 3000)
        assert code_of(rest(connection)) == (431, "head_too_large")


def test_a_flood_of_requests_on_one_connection(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(WHOLE * 50)
        assert code_of(rest(connection)) == (400, "too_many_pipelined")
    with connect(url) as connection:
        connection.sendall(WHOLE * 3)
        time.sleep(0.3)
        assert rest(connection).count(b"HTTP/1.1 200") == 3


def test_what_goes_on_after_an_early_answer_is_cut_off(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(HEAD.replace(b"application/json", b"text/plain") + b"Content-Length: 9000000\r\n\r\n")
        with pytest.raises(ConnectionError):
            send_on(connection, b"a" * 1000, 0.01)


def ask(connection: socket.socket, request: bytes = WHOLE) -> bytes:
    """The answer of a request, of which it is the only one."""
    connection.sendall(request)
    return connection.recv(1 << 16)


def is_open(connection: socket.socket) -> bool:
    """Whether the service still has a connection."""
    connection.settimeout(0.1)
    try:
        return connection.recv(1) != b""
    except TimeoutError:
        return True
    except ConnectionError:
        return False
    finally:
        connection.settimeout(PATIENCE_SECONDS)


@pytest.fixture
def held(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """As many connections as the service takes; nothing but another one lets it close them."""
    monkeypatch.setattr(Doorman, "limits", LIMITS.model_copy(update={"idle_seconds": 60, "head_seconds": 60.0}))
    with ExitStack() as stack:
        yield [stack.enter_context(connect(url)) for _ in range(LIMITS.connections)]


def test_a_connection_that_never_asked_makes_room_before_one_that_is_idle_longest(
    url: str, held: list[socket.socket]
) -> None:
    for connection in held[:3]:
        assert ask(connection).startswith(b"HTTP/1.1 200")
    time.sleep(0.3)
    with connect(url) as fifth:
        assert ask(fifth).startswith(b"HTTP/1.1 200")
        assert [is_open(connection) for connection in held] == [True, True, True, False]
        assert ask(held[1]).startswith(b"HTTP/1.1 200")
        with connect(url) as sixth:
            assert ask(sixth).startswith(b"HTTP/1.1 200")
        assert [is_open(connection) for connection in held] == [False, True, True, False]


def test_who_was_served_a_moment_ago_is_not_cut_off_for_a_newcomer(
    url: str, held: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorman, "LEAST_IDLE_SECONDS", 60.0)
    for _ in range(3):
        for connection in held:
            assert ask(connection).startswith(b"HTTP/1.1 200")
        with connect(url) as newcomer:
            assert code_of(rest(newcomer)) == (503, "too_many_connections")


def test_a_newcomer_is_told_when_to_come_where_none_is_idle(url: str, held: list[socket.socket]) -> None:
    for connection in held:
        connection.sendall(HEAD + b"Content-Length: 99\r\n\r\n{")
    time.sleep(0.2)
    with connect(url) as newcomer:
        answer = rest(newcomer)
    assert code_of(answer) == (503, "too_many_connections")
    assert b"retry-after: 1" in answer


def test_a_connection_whose_bytes_are_here_is_not_closed(
    url: str, held: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop has not read them yet, as it happens when it has much to do."""
    made: list[Doorman] = []
    look = Doorman._look
    monkeypatch.setattr(Doorman, "_look", lambda self: (made.append(self), look(self)))
    for connection in held:
        assert ask(connection).startswith(b"HTTP/1.1 200")
    time.sleep(0.2)
    first = next(one for one in made if one.transport.get_extra_info("peername") == held[0].getsockname())
    first.loop.call_soon_threadsafe(first.transport.pause_reading)
    time.sleep(0.4)
    held[0].sendall(WHOLE)
    with connect(url) as newcomer:
        assert ask(newcomer).startswith(b"HTTP/1.1 200")
        first.loop.call_soon_threadsafe(first.transport.resume_reading)
        assert held[0].recv(1 << 16).startswith(b"HTTP/1.1 200")
        assert [is_open(connection) for connection in held] == [True, False, True, True]


def test_a_caller_that_reads_nothing_is_left(url: str) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        address = httpx.URL(url)
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect((address.host, address.port))
        ask = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
        with pytest.raises(ConnectionError):
            send_on(connection, ask * 3, 0.1)


def test_garbage_after_a_request_ends_the_connection(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(WHOLE + b"\x16\x03\x01 no HTTP \r\n\r\n")
        assert b"HTTP/1.1 400" in rest(connection)


def test_an_upgrade_that_is_not_offered_is_answered_plainly(url: str) -> None:
    with connect(url) as connection:
        head = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        connection.sendall(head + b"Sec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_bentoml_finds_it_and_the_system_must_have_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    import uvicorn

    monkeypatch.setattr(Doorman, "limits", ConnectionLimits())
    monkeypatch.setitem(uvicorn.config.HTTP_PROTOCOLS, "auto", "x:y")
    monkeypatch.setattr(doorman.resource, "getrlimit", lambda _: (300, 400))
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(doorman.resource, "setrlimit", lambda _, limits: asked.append(limits))
    install(ConnectionLimits())
    assert asked == [(400, 400)]
    assert Doorman.limits.connections == 400 - doorman.OWN_FILES
    loaded = uvicorn.Config("serving.doorman:install")
    loaded.load()
    assert loaded.http_protocol_class is Doorman
