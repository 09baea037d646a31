import base64
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.importing.config import Places
from data.importing.places import Access
from data.importing.refusal import Refused
from model.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.bin").write_bytes(b"0123456789")
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "loop").symlink_to(root / "loop")
    return root


def reason(access: Access, value: str, most: int = 100) -> str:
    with pytest.raises(Refused) as refused:
        access.read(value, most)
    return refused.value.reason


def test_files_below_the_base_are_read(folder: Path) -> None:
    access = Access(Places(), str(folder))
    assert access.read("a.bin", 10) == b"0123456789"
    assert access.read(str(folder / "a.bin"), 10) == b"0123456789"
    assert access.read((folder / "a.bin").as_uri(), 10) == b"0123456789"


@pytest.mark.parametrize("value", ["../secret", "/etc/passwd", "link", "x/../../secret", "file:///etc/passwd"])
def test_nothing_else_is(folder: Path, value: str) -> None:
    assert reason(Access(Places(), str(folder)), value) == "path_outside_root"


def test_unless_a_root_allows_it(folder: Path) -> None:
    access = Access(Places(roots=(str(folder.parent),)), str(folder))
    assert access.read("link", 10) == b"secret"


def test_what_is_not_a_file(folder: Path) -> None:
    access = Access(Places(), str(folder))
    for value in (".", "no.bin", "x" * 5000):
        assert reason(access, value) in ("path_missing", "path_invalid")
    assert reason(access, "loop") in ("path_invalid", "path_missing")
    assert reason(access, "a\0b") == "path_invalid"


def test_no_more_is_read_than_allowed(folder: Path) -> None:
    assert reason(Access(Places(), str(folder)), "a.bin", 9) == "too_large"


@given(st.text(max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_gets_out(folder: Path, value: str) -> None:
    access = Access(Places(), str(folder))
    for text in (value, f"../{value}", f"/{value}", f"file://{value}", f"https://{value}"):
        with suppress(Refused):
            assert access.read(text, 100) == b"0123456789"


def test_data_uris(folder: Path) -> None:
    access = Access(Places(), str(folder))
    assert access.read("data:image/png;base64," + base64.b64encode(b"abc").decode(), 3) == b"abc"
    assert reason(access, "data:text/plain,abc") == "uri_not_allowed"
    assert reason(access, "data:;base64,!!!!") == "uri_invalid"
    assert reason(access, "data:;base64," + "A" * 4000, 100) == "too_large"


class Handler(BaseHTTPRequestHandler):
    tries = 0

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.end_headers()
            return
        if self.path == "/flaky":
            type(self).tries += 1
            if type(self).tries == 1:
                self.send_response(503)
                self.end_headers()
                return
        if self.path == "/slow":
            time.sleep(3)
            return
        if self.path == "/none":
            self.send_response(404)
            self.end_headers()
            return
        self.send_response(200)
        if self.path == "/endless":
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x" * 65536)
            except OSError:
                return
        body = b"content"
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()


ALLOWED = Places(schemes=("http",), hosts=("127.0.0.1",), seconds=5, retries=1)


def test_remote_needs_scheme_and_host(server: str, folder: Path) -> None:
    assert Access(ALLOWED, str(folder)).read(f"{server}/file", 100) == b"content"
    assert reason(Access(Places(), str(folder)), f"{server}/file") == "uri_not_allowed"
    for host in ("example.org", "*.0.0.1.org"):
        other = Places(schemes=("http",), hosts=(host,))
        assert reason(Access(other, str(folder)), f"{server}/file") == "uri_not_allowed"
    assert reason(Access(ALLOWED, str(folder)), "ftp://127.0.0.1/x") == "uri_not_allowed"
    for trick in (
        "http://127.0.0.1@evil.example/x",
        "http://evil.example/127.0.0.1",
        "simplecache::http://127.0.0.1/x",
    ):
        assert reason(Access(ALLOWED, str(folder)), trick) in ("uri_not_allowed",)


def test_redirects_are_not_followed(server: str, folder: Path) -> None:
    assert reason(Access(ALLOWED, str(folder)), f"{server}/moved") == "fetch_failed"


def test_an_endless_answer_ends(server: str, folder: Path) -> None:
    assert reason(Access(ALLOWED, str(folder)), f"{server}/endless", 1000) == "too_large"


def test_a_slow_answer_is_not_waited_for(server: str, folder: Path) -> None:
    places = Places(schemes=("http",), hosts=("127.0.0.1",), seconds=0.3, retries=0)
    assert reason(Access(places, str(folder)), f"{server}/slow") == "fetch_failed"


def test_what_may_pass_is_tried_again_and_what_may_not_is_not(server: str, folder: Path) -> None:
    assert Access(ALLOWED, str(folder)).read(f"{server}/flaky", 100) == b"content"
    assert Handler.tries == 2
    assert reason(Access(ALLOWED, str(folder)), f"{server}/none") == "path_missing"


def test_subdomains() -> None:
    places = Places(schemes=("https",), hosts=("*.example.org",))
    access = Access(places, "/nowhere")
    access._allow("https://a.example.org/x")
    for place in ("https://example.org/x", "https://aexample.org/x", "https://example.org.evil/x"):
        with pytest.raises(Refused):
            access._allow(place)


def test_the_source_itself_needs_the_allow_list(folder: Path) -> None:
    with pytest.raises(DataError, match=r"places\.schemes"), Access(Places(), "s3://bucket").open("s3://bucket/x"):
        pass
