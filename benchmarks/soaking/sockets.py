"""Hostile callers that no HTTP library would be: each holds a connection until the service ends it, or leaves.

Each returns normally when the service did what it must; ``HeldError`` says that the service kept a caller for too long.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

BODY = b'{"model":"omnivec","input":"a text that nobody waits for"}'
HEAD = b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
PATIENCE_SECONDS = 90.0
"""Above every limit of a connection, with as much again for a machine that has other things to do."""
Attack = Callable[[str, int, random.Random], Awaitable[None]]


class HeldError(Exception):
    """The service did not end a connection in time."""


async def _closed(reader: asyncio.StreamReader, seconds: float = PATIENCE_SECONDS) -> bytes:
    """What comes until the service closes.

    Raises:
        HeldError: it does not.
    """
    try:
        async with asyncio.timeout(seconds):
            return await reader.read(-1)
    except TimeoutError as error:
        raise HeldError from error
    except ConnectionError:
        return b""


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, piece: bytes, pause: float) -> None:
    """Send a little now and then until the service closes."""
    end = asyncio.ensure_future(_closed(reader))
    try:
        while not end.done():
            writer.write(piece)
            await writer.drain()
            await asyncio.wait({end}, timeout=pause)
    except ConnectionError:
        end.cancel()
    finally:
        await asyncio.gather(end, return_exceptions=True)
    if not end.cancelled() and isinstance(end.exception(), HeldError):
        raise HeldError


async def slow_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random) -> None:
    """A head without an end, a byte at a time."""
    writer.write(HEAD + b"X-A: ")
    await _drip(reader, writer, b"a", rng.uniform(0.5, 2))


async def slow_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random) -> None:
    """A body at a few bytes a second."""
    writer.write(HEAD + b"Content-Length: 1000000\r\n\r\n" + BODY[:-1])
    await _drip(reader, writer, b" ", rng.uniform(0.5, 2))


async def slow_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random) -> None:
    """The same without a length."""
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    await _drip(reader, writer, b"1\r\n \r\n", rng.uniform(0.5, 2))


async def endless_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random) -> None:
    """A head of megabytes, as fast as it goes."""
    writer.write(HEAD)
    await _drip(reader, writer, b"X-A: " + b"a" * 60_000 + b"\r\n", 0)


async def endless_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random) -> None:
    """Chunks that go on after the answer."""
    writer.write(HEAD.replace(b"application/json", b"text/plain") + b"Transfer-Encoding: chunked\r\n\r\n")
    await _drip(reader, writer, b"8000\r\n" + b"a" * 0x8000 + b"\r\n", 0.05)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random) -> None:
    """A connection that says nothing."""
    await _closed(reader)


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random) -> None:
    """Bytes that are no HTTP, after a good request."""
    first = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    writer.write(first + rng.randbytes(2000) + b"\r\n\r\n" + b"\x16\x03\x01\x02\x00\x01")
    await _closed(reader)


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random) -> None:
    """Thousands of requests at once on one connection."""
    writer.write((HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY) * 3000)
    await _closed(reader)


async def smuggle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random) -> None:
    """Two lengths that contradict each other."""
    writer.write(HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    await _closed(reader)


async def bad_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random) -> None:
    """A chunk of impossible size."""
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\naaaa\r\n")
    await _closed(reader)


async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random) -> None:
    """A WebSocket that is not offered."""
    writer.write(
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    await _closed(reader)


async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random) -> None:
    """Asks for the large page at / again and again and reads nothing."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # of every TCP transport
    for _ in range(10):
        writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(rng.uniform(5, 20))


async def leave_while_sending(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random) -> None:
    """Goes away in the middle of a body."""
    writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY[: rng.randrange(len(BODY))])
    await writer.drain()
    await asyncio.sleep(rng.uniform(0, 0.5))


async def leave_while_waiting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random) -> None:
    """Goes away before the answer."""
    writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
    await writer.drain()
    await asyncio.sleep(rng.uniform(0, 0.3))


ACTS = (
    slow_head,
    slow_body,
    slow_chunks,
    endless_head,
    endless_body,
    silent,
    garbage,
    flood,
    smuggle,
    bad_chunks,
    upgrade,
    deaf,
    leave_while_sending,
    leave_while_waiting,
)


async def attack(act: Callable[..., Awaitable[None]], host: str, port: int, rng: random.Random) -> None:
    """Open a connection, act on it, and leave, half of the time without a good-bye.

    Raises:
        HeldError: the service kept the caller for too long.
    """
    try:
        reader, writer = await asyncio.open_connection(host, port, limit=1 << 20)
    except OSError:
        return
    try:
        await act(reader, writer, rng)
    except ConnectionError:
        pass
    finally:
        if rng.random() < 0.5:
            writer.transport.abort()
        else:
            writer.close()
