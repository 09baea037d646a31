"""A real service that one client floods: another, who sends one item at a time, notices little and loses nothing."""

import itertools
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from serving.config import ServingConfig
from serving.launch import free_port, running

pytestmark = [pytest.mark.minutes, pytest.mark.timeout(600)]
FLOOD, SINGLE = "127.0.0.2", "127.0.0.3"
"""Clients without keys are told apart by their addresses."""
FLOODERS, ITEMS, ASKED = 8, 64, 60
WORDS = "one fish two fish red fish blue fish " * 3


class Caller:
    """Sends requests of so many items one after another, each with texts that nobody sent before."""

    def __init__(self, url: str, address: str, items: int) -> None:
        transport = httpx.HTTPTransport(local_address=address)
        self.client = httpx.Client(base_url=url, transport=transport, timeout=300, trust_env=False)
        self.items, self.numbers = items, itertools.count()
        self.seconds: list[float] = []
        self.statuses: Counter[int] = Counter()

    def ask(self, over: Callable[[], bool] = lambda: False) -> None:
        number = next(self.numbers)
        texts = [f"{id(self)} {number} {item} {WORDS}" for item in range(self.items)]
        while True:
            asked = time.monotonic()
            answer = self.client.post("/v1/embeddings", json={"model": "omnivec", "input": texts})
            self.statuses[answer.status_code] += 1
            if answer.status_code != 429:
                self.seconds.append(time.monotonic() - asked)
                return
            if over():
                return
            time.sleep(int(answer.headers["retry-after"]))

    def ask_until(self, over: Callable[[], bool]) -> None:
        while not over():
            self.ask(over)


def test_a_flood_of_one_client_costs_another_little_time_and_no_request(tiny_artifact: Path, tmp_path: Path) -> None:
    config = ServingConfig(artifact=tiny_artifact, backend="torch", port=free_port())
    over = threading.Event()
    with running(config, tmp_path / "state") as server:
        single = Caller(server.url, SINGLE, 1)
        flood = [Caller(server.url, FLOOD, ITEMS) for _ in range(FLOODERS)]
        threads = [threading.Thread(target=one.ask_until, args=(over.is_set,), daemon=True) for one in flood]
        for thread in threads:
            thread.start()
        try:
            while sum(len(one.seconds) for one in flood) < FLOODERS:
                time.sleep(0.1)
            for _ in range(ASKED):
                single.ask()
        finally:
            over.set()
        for thread in threads:
            thread.join(300)
    flooded = sum((one.statuses for one in flood), Counter())
    slow = statistics.median(second for one in flood for second in one.seconds)
    worst = statistics.quantiles(single.seconds, n=100)[98]
    print(f"p99 of single items {worst:.2f} s, a request of {ITEMS} items {slow:.2f} s; the flood saw {dict(flooded)}")
    assert single.statuses == {200: ASKED}, "neither refused nor failed"
    assert set(flooded) == {200, 429}, "more than the service takes, and nothing else went wrong"
    # Hundreds of items were there before each of its own. In a plain queue it would wait for them all, as the flood
    # does for its own; here it waits for the batches that run, and one.
    assert worst <= slow / 4
