"""Good callers, who check every vector, and bad ones, whose answers are judged.

Shape legend: N contents, D dimensions.
"""

import asyncio
import base64
import random
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.soaking.bodies import BUSY, Bad
from benchmarks.soaking.sockets import ACTS, HeldError, attack
from benchmarks.soaking.watch import Tally
from model.content import Content
from serving.client import to_item
from serving.quantize import from_base64

LOST = "connection lost"
MOST_ITEMS = 4
RUDE_SHARE = 0.5
RUDE_SECONDS = 0.02
LONGEST_WAIT = 600
LARGE_AT_ONCE = 3
FULL = frozenset({"queue_items", "queue_tokens", "client_share"})
"""Limits whose ``Retry-After`` is a time at which there will be room: who comes then has to be let in."""
_LIMIT = re.compile(r'"limit":"(\w+)"')


@dataclass
class Load:
    """What all callers share."""

    url: str
    contents: list[Content]
    vectors_ND: NDArray[np.float32]
    bad: list[Bad]
    tally: Tally
    minimum_cosine: float
    hostile_share: float
    warm_seconds: float = 0.0
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    large: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LARGE_AT_ONCE))


async def call(load: Load, seed: int) -> None:
    """One caller: good requests, and among them a share of bad ones, until the end."""
    rng = random.Random(seed)
    async with httpx.AsyncClient(base_url=load.url, timeout=150, trust_env=False) as client:
        while not load.stop.is_set():
            if rng.random() < load.hostile_share:
                await _send_bad(load, client, rng.choice(load.bad))
            else:
                await _send_good(load, client, rng)


async def harass(load: Load, seed: int) -> None:
    """One attacker on bare connections, until the end."""
    rng = random.Random(seed)
    target = httpx.URL(load.url)
    while not load.stop.is_set():
        act = rng.choice(ACTS)
        try:
            await attack(act, target.host, target.port or 80, rng)
            load.tally.answer(act.__name__, "ended")
        except HeldError:
            load.tally.wrong[f"{act.__name__}: the connection was kept"] += 1
        await asyncio.sleep(rng.uniform(0, 0.2))


async def crowd(load: Load, connections: int) -> None:
    """Open many connections that say nothing, keep them, open as many again when they are gone."""
    target = httpx.URL(load.url)
    while not load.stop.is_set():
        opening = (asyncio.open_connection(target.host, target.port or 80) for _ in range(connections))
        opened = await asyncio.gather(*opening, return_exceptions=True)
        load.tally.answer("crowd", "wave")
        with suppress(TimeoutError):
            await asyncio.wait_for(load.stop.wait(), 15)
        for pair in opened:
            if not isinstance(pair, BaseException):
                pair[1].transport.abort()


async def _send_bad(load: Load, client: httpx.AsyncClient, bad: Bad) -> None:
    async def send() -> int | str:
        content: Any = bad.content() if callable(bad.content) else bad.content
        try:
            response = await client.request(bad.method, bad.path, content=content, headers=dict(bad.headers))
        except httpx.TransportError:
            return LOST
        return response.status_code

    if bad.large:
        async with load.large:
            status = await send()
    else:
        status = await send()
    load.tally.answer(bad.name, status)
    allowed = bad.statuses | BUSY
    # Who sends on after the answer to a body that is too large may find the connection closed under it.
    if status not in allowed and not (status == LOST and bad.large):
        load.tally.wrong[f"{bad.name}: {status} instead of {', '.join(map(str, sorted(bad.statuses)))}"] += 1


async def _send_good(load: Load, client: httpx.AsyncClient, rng: random.Random) -> None:
    chosen = [rng.randrange(len(load.contents)) for _ in range(rng.randint(1, MOST_ITEMS))]
    route = rng.choice(sorted(ROUTES))
    path, body = ROUTES[route]([load.contents[index] for index in chosen])
    started = time.monotonic()
    was_told = False
    while not load.stop.is_set():
        try:
            response = await client.post(path, json=body)
        except httpx.TransportError as error:
            load.tally.answer(route, LOST)
            load.tally.wrong[f"{route}: {type(error).__name__}"] += 1
            return
        load.tally.answer(route, response.status_code)
        limit = _limit_of(response)
        if was_told and time.monotonic() - load.tally.started >= load.warm_seconds:
            load.tally.came_as_told[limit or str(response.status_code)] += 1
        if response.status_code not in BUSY:
            break
        wait = _told_to_wait(load.tally, route, response)
        is_rude = rng.random() < RUDE_SHARE
        was_told = limit in FULL and not is_rude
        if limit in FULL:
            load.tally.told.append(wait)
        await asyncio.sleep(RUDE_SECONDS if is_rude else wait)
    else:
        return
    load.tally.seconds.append(time.monotonic() - started)
    _judge(load, route, chosen, response)


def _limit_of(response: httpx.Response) -> str:
    """The limit that an error names, in whichever envelope."""
    found = _LIMIT.search(response.text) if response.status_code != 200 else None
    return found[1] if found is not None else ""


def _told_to_wait(tally: Tally, route: str, response: httpx.Response) -> float:
    """Seconds that an answer tells to wait; counts one that tells nonsense."""
    told = response.headers.get("retry-after", "")
    if response.status_code == 504:  # its time was over; it may be sent again at once
        return RUDE_SECONDS
    if not told.isdigit() or not 1 <= int(told) <= LONGEST_WAIT:
        tally.wrong[f"{route}: {response.status_code} with Retry-After {told!r}"] += 1
        return 1.0
    return float(told)


def _judge(load: Load, route: str, chosen: list[int], response: httpx.Response) -> None:
    if response.status_code != 200:
        load.tally.wrong[f"{route}: a good request got {response.status_code} {response.text[:200]}"] += 1
        return
    got_ND, want_ND = READERS[route](response.json()), load.vectors_ND[chosen]
    if got_ND.shape != want_ND.shape:
        load.tally.wrong[f"{route}: {got_ND.shape} instead of {want_ND.shape}"] += 1
        return
    lowest = float((got_ND.astype(np.float64) * want_ND).sum(axis=1).min())
    load.tally.lowest_cosine = min(load.tally.lowest_cosine, lowest)
    if not lowest >= load.minimum_cosine:
        load.tally.wrong[f"{route}: a vector that is not its own"] += 1


def _openai(contents: list[Content], encoding: str) -> tuple[str, dict[str, Any]]:
    items = [to_item(content) for content in contents]
    return "/v1/embeddings", {"model": "omnivec", "input": items, "encoding_format": encoding}


def _gemini(contents: list[Content]) -> tuple[str, dict[str, Any]]:
    requests = [{"content": {"parts": [_gemini_part(part) for part in content.parts]}} for content in contents]
    return "/v1beta/models/omnivec:batchEmbedContents", {"requests": requests}


def _gemini_part(part: Any) -> dict[str, Any]:
    if part.text is not None:
        return {"text": part.text}
    family = {"document": "application/pdf"}.get(part.modality.value, f"{part.modality.value}/x")
    return {"inlineData": {"mimeType": family, "data": base64.b64encode(part.data).decode()}}


ROUTES = {
    "openai": lambda contents: _openai(contents, "float"),
    "openai/base64": lambda contents: _openai(contents, "base64"),
    "gemini": _gemini,
    "native": lambda contents: ("/embed", {"inputs": [to_item(content) for content in contents]}),
}
READERS = {
    "openai": lambda answer: np.array([row["embedding"] for row in answer["data"]]),
    "openai/base64": lambda answer: np.stack([from_base64(row["embedding"]) for row in answer["data"]]),
    "gemini": lambda answer: np.array([row["values"] for row in answer["embeddings"]]),
    "native": np.array,
}
