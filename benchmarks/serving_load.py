"""Load on a service from one event loop: connections that stay open, requests made before, answers only counted.

``python -m benchmarks.serving_load PORT`` is a server that does nothing, which shows what the loop itself can do.
"""

import argparse
import asyncio
import json
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np

from benchmarks.rows import BenchmarkError

ROUTE = "/v1/embeddings"
CRLF = b"\r\n\r\n"
WAITING = 2048
TRIVIAL_ANSWER = json.dumps({"data": [{"embedding": [0.123456789] * 384}]}).encode()


@dataclass(frozen=True)
class Load:
    """One run: how long it took, and the seconds that each request took."""

    seconds: float
    latencies: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, q: float) -> float:
        """Milliseconds that ``q`` percent of the requests stayed below."""
        return float(np.percentile(self.latencies, q)) * 1000


def closed_loop(port: int, bodies: Sequence[bytes], *, clients: int, requests: int) -> Load:
    """So many clients, each of which asks again as soon as it has its answer.

    Args:
        port: of the service on this machine.
        bodies: sent in turn, from one line for all clients, so that every service gets the same work.
        clients: connections.
        requests: of all clients together.

    Raises:
        BenchmarkError: an answer was not 200.
    """
    return asyncio.run(_closed(port, [wire(body) for body in bodies], clients, requests))


def open_loop(port: int, bodies: Sequence[bytes], *, rate: float, requests: int, seed: int = 0) -> Load:
    """Requests that arrive by chance (Poisson), ``rate`` a second on average, whether or not others wait.

    The time of a request counts from when it was due, so that a service that falls behind cannot hide it.

    Raises:
        BenchmarkError: an answer was not 200, or more than 2,048 requests wait for theirs.
    """
    times = np.random.default_rng(seed).exponential(1 / rate, requests).cumsum().tolist()
    return asyncio.run(_open(port, [wire(body) for body in bodies], times))


def ask(port: int, body: bytes) -> dict[str, Any]:
    """The answer to one request.

    Raises:
        BenchmarkError: it was not 200.
    """

    async def once() -> bytes:
        connection = await _connect(port)
        try:
            return await connection.ask(wire(body))
        finally:
            connection.close()

    answer: dict[str, Any] = json.loads(asyncio.run(once()))
    return answer


def wire(body: bytes) -> bytes:
    """A request as it goes over the wire."""
    lines = (
        f"POST {ROUTE} HTTP/1.1",
        "Host: 127.0.0.1",
        "Accept: application/json",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + CRLF + body


class Connection(asyncio.Protocol):
    """One request at a time over one connection."""

    def __init__(self) -> None:
        self._got = bytearray()
        self._start = self._end = 0  # of the body; 0 while the head is not complete
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can be asked."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes) -> bytes:
        """Body of the answer.

        Raises:
            BenchmarkError: the status is not 200, the length was not told, or the service hung up.
        """
        assert self._transport is not None
        self._got.clear()
        self._end = 0
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._got += data
        if self._end == 0:
            head = self._got.find(CRLF)
            if head < 0:
                return
            self._start = head + len(CRLF)
            self._end = self._start + _length(bytes(self._got[:head]))
        if len(self._got) >= self._end and self._answer is not None and not self._answer.done():
            body = bytes(self._got[self._start : self._end])
            if self._got.startswith(b"HTTP/1.1 200"):
                self._answer.set_result(body)
            else:
                self._fail(f"answered {bytes(self._got[9:12]).decode()}: {body[:300].decode(errors='replace')}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._fail(f"hung up ({exc})")

    def _fail(self, what: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(BenchmarkError(f"the service {what}"))


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":", 1)[1])
    raise BenchmarkError("the service does not say how long its answer is; streams are not measured")


async def _connect(port: int) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return connection


async def _closed(port: int, wires: Sequence[bytes], clients: int, requests: int) -> Load:
    connections = [await _connect(port) for _ in range(clients)]
    line = islice(cycle(wires), requests)
    latencies: list[float] = []

    async def client(connection: Connection) -> None:
        for request in line:
            began = time.perf_counter()
            await connection.ask(request)
            latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for connection in connections:
            group.create_task(client(connection))
    seconds = time.perf_counter() - began
    for connection in connections:
        connection.close()
    return Load(seconds, tuple(latencies))


async def _open(port: int, wires: Sequence[bytes], times: Sequence[float]) -> Load:
    idle: deque[Connection] = deque([await _connect(port) for _ in range(16)])
    latencies: list[float] = []
    running: set[asyncio.Task[None]] = set()

    async def one(request: bytes, due: float) -> None:
        while idle:  # the last one used first: a service may close one that was idle for long
            connection = idle.pop()
            if connection.is_open:
                break
        else:
            connection = await _connect(port)
        await connection.ask(request)
        latencies.append(time.perf_counter() - due)
        idle.append(connection)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for request, after in zip(cycle(wires), times, strict=False):
            if (wait := began + after - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            if len(running) >= WAITING:
                raise BenchmarkError(f"more than {WAITING} requests wait: the service does not keep up")
            task = group.create_task(one(request, began + after))
            running.add(task)
            task.add_done_callback(running.discard)
    seconds = time.perf_counter() - began
    for connection in idle:
        connection.close()
    return Load(seconds, tuple(latencies))


class _Trivial(asyncio.Protocol):
    """Answers every request, which must come in one piece or with its length, with the same body."""

    def __init__(self) -> None:
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        head = self._got.find(CRLF)
        if head >= 0 and len(self._got) >= head + len(CRLF) + _length(self._got[:head]):
            self._got = b""
            told = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d" % len(TRIVIAL_ANSWER)
            self._transport.write(told + CRLF + TRIVIAL_ANSWER)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Trivial, "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    """Serve the trivial answer on a port of this machine until killed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving_load", description=main.__doc__)
    parser.add_argument("port", type=int)
    asyncio.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
