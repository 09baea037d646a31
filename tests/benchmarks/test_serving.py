"""The serving rows: what is sent is the same for all sides, nothing but 200 counts, pairs are compared."""

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import serving, serving_start
from benchmarks.rows import BenchmarkError, MissingPeerError
from benchmarks.serving_fastapi import create_app
from benchmarks.serving_load import Load, ask, closed_loop, open_loop
from benchmarks.serving_plot import draw
from benchmarks.serving_sides import body, fleet
from benchmarks.setting import Setting
from model.content import Content, audio, image

CORPUS = Path(__file__).parents[2] / "data" / "starter"


class Service:
    """A service in a thread that notes the bodies it gets; ``answer`` makes the bytes of an answer of each."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.answer = lambda got: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(got), got)
        self.delay = 0.0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()
        self._ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            self.bodies.append(await reader.readexactly(length))
            await asyncio.sleep(self.delay)
            whole = self.answer(self.bodies[-1])
            writer.write(whole[:10])  # an answer may come in pieces
            await writer.drain()
            writer.write(whole[10:])


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.stop()


BODIES = [b'"%d"' % n for n in range(4)]


def test_a_closed_loop_sends_everything_in_turn(service: Service) -> None:
    load = closed_loop(service.port, BODIES, clients=3, requests=10)
    assert len(load.latencies) == 10
    assert sorted(service.bodies) == sorted((BODIES * 3)[:10])
    assert load.rate == pytest.approx(10 / load.seconds)
    assert ask(service.port, b'{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 429 Too Many\r\ncontent-length: 4\r\n\r\nfull", "answered 429: full"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "does not say how long"),
    ],
)
def test_nothing_but_a_whole_good_answer_counts(service: Service, answer: bytes, message: str) -> None:
    service.answer = lambda _: answer
    with pytest.raises((BenchmarkError, ExceptionGroup)) as caught:
        closed_loop(service.port, BODIES, clients=1, requests=2)
    found = caught.value
    while isinstance(found, ExceptionGroup):
        found = found.exceptions[0]
    assert message in str(found)


def test_an_open_loop_counts_from_when_a_request_was_due(service: Service) -> None:
    service.delay = 0.05
    load = open_loop(service.port, BODIES, rate=500.0, requests=40)
    assert len(load.latencies) == 40
    assert load.percentile(0) >= 50
    assert sorted(service.bodies) == sorted(BODIES * 10)


def test_all_sides_get_the_same_request(png_bytes: bytes) -> None:
    assert json.loads(body(Content.of("hello"))) == {"model": "omnivec", "input": "hello"}
    sent = json.loads(body(Content.of(image(png_bytes))))["input"]["content"]
    assert [part["type"] for part in sent] == ["image_url"]
    assert "content" in json.loads(body(Content.of("a", "b")))["input"]


def test_the_peer_decodes_what_it_is_sent(png_bytes: bytes, ogg_bytes: bytes) -> None:
    from starlette.testclient import TestClient

    seen: list[Any] = []

    def encode(inputs: Sequence[Any], **_: Any) -> np.ndarray:
        seen.extend(inputs)
        return np.ones((len(inputs), 2), np.float32)

    client = TestClient(create_app(SimpleNamespace(encode=encode), threading.Lock()))  # type: ignore[arg-type]
    for content in (Content.of("hello"), Content.of(image(png_bytes)), Content.of("and", audio(ogg_bytes))):
        answer = client.post("/v1/embeddings", content=body(content), headers={"content-type": "application/json"})
        assert answer.json()["data"] == [{"object": "embedding", "index": 0, "embedding": [1.0, 1.0]}]
    assert seen == ["hello", {"image": png_bytes}, ("and", {"audio": ogg_bytes})]


class Side:
    """Takes so many seconds for everything, and gives the same vector."""

    def __init__(self, name: str, calls: list[str], vector: Sequence[float] = (1, 0)) -> None:
        self.name, self.calls, self.vector = name, calls, vector

    def load(self, contents: Sequence[Content], *, clients: int, requests: int) -> Load:
        self.calls.append(self.name)
        return Load(1.0, (0.1,) * requests)

    def vectors(self, contents: Sequence[Content]) -> np.ndarray:
        return np.array([self.vector] * len(contents), np.float32)


def test_sides_take_turns_after_one_run_that_does_not_count() -> None:
    calls: list[str] = []
    sides = {name: Side(name, calls) for name in "abc"}
    loads = serving.take_turns(sides, [Content.of("x")], clients=1, requests=5, rounds=2)
    assert "".join(calls) == "abc" + "abc" + "bca"
    assert {name: len(found) for name, found in loads.items()} == {"a": 2, "b": 2, "c": 2}


def test_a_ratio_is_of_pairs_so_that_drift_cancels() -> None:
    ours = [Load(seconds, (0.1,) * 100) for seconds in (1.0, 10.0, 2.0)]
    peer = [Load(seconds, (0.1,) * 100) for seconds in (2.0, 20.0, 4.0)]
    assert serving.ratio(ours, peer) == 2.0


def test_a_peer_with_other_vectors_is_refused() -> None:
    ours, peer = Side("a", []), Side("b", [], vector=(1, 0.1))
    assert serving.same_vectors("twin", ours, Side("c", [], vector=(2, 0)), [Content.of("x")]) == pytest.approx(1)
    with pytest.raises(BenchmarkError, match=r"b gives other vectors than ours: least cosine 0\.995"):
        serving.same_vectors("b", ours, peer, [Content.of("x")])


def test_a_peer_that_is_not_installed_is_skipped_with_the_way_out(tmp_path: Path) -> None:
    setting = Setting(tmp_path, CORPUS, tmp_path)
    with pytest.raises(MissingPeerError, match="--infinity DIR/bin/python"):
        fleet(setting).infinity()


def test_the_picture_has_all_sides(tmp_path: Path) -> None:
    cells = [
        serving.Cell("texts", clients, side, rate=clients * 10.0, p50=5.0, p99=50.0)
        for clients in (1, 8)
        for side in ("ours", "fastapi", "onnx")
    ]
    draw([*cells, serving.Cell("images", 8, "ours", 60.0, 5.0, 9.0)], "a machine", tmp_path / "serving.svg")
    drawn = (tmp_path / "serving.svg").read_text()
    assert len(drawn) > 5000
    serving.write(tmp_path / "serving.svg", [], cells)
    assert json.loads((tmp_path / "serving.json").read_text())["cells"][0]["clients"] == 1


@pytest.mark.minutes
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "name", ["serving-texts-8-fastapi", "serving-texts-1-onnx", "serving-images-1-fastapi", "serving-tail-80"]
)
def test_rows_over_real_processes(tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    cache = tmp_path_factory.getbasetemp() / "serving-rows"
    setting = Setting(tiny_artifact, CORPUS, cache, threads=1, rounds=1, texts=12, pictures=4, sounds=3)
    row = serving.ROWS[name](setting)
    assert row.name == name
    assert min(row.ours, row.peer_value, row.ratio) > 0
    assert "p50" in row.note
    fleet(setting).close()


@pytest.mark.minutes
@pytest.mark.timeout(1200)
def test_the_start_is_measured_with_the_memory(tiny_artifact: Path, tmp_path: Path) -> None:
    setting = Setting(tiny_artifact, CORPUS, tmp_path, threads=1, rounds=1, texts=8, pictures=2, sounds=2)
    row = serving_start.ROWS["serving-start-fp32"](replace(setting, cache=tmp_path / "cache"))
    assert 0 < row.ours < 300
    assert "MiB after load against" in row.note
