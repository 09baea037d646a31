"""Killing the worker of a real service under load: callers see what can be tried again, and the service comes back."""

import random
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from benchmarks.soaking.watch import worker_of
from model.artifact import load_encoder
from model.content import Content
from model.encoding import encode_contents
from serving.config import ServingConfig
from serving.launch import Server, free_port, running

pytestmark = [pytest.mark.minutes, pytest.mark.timeout(900)]
RETRYABLE = {429, 502, 503, 504}
KILLS = 2
BACK_SECONDS = 180.0
"""On a machine with nothing else to do it takes as long as a start."""
TEXTS = [f"text number {index}" for index in range(20)]


class Caller(threading.Thread):
    """Asks one text after another, until told to stop; every answer is checked or counted."""

    def __init__(self, server: Server, vectors_ND: np.ndarray, seed: int) -> None:
        super().__init__(daemon=True)
        self.server, self.vectors_ND, self.rng = server, vectors_ND, random.Random(seed)
        self.seen: Counter[str] = Counter()
        self.broken = 0
        self.wrong: list[str] = []
        self.stop = threading.Event()

    def run(self) -> None:
        with httpx.Client(base_url=self.server.url, timeout=BACK_SECONDS, trust_env=False) as client:
            while not self.stop.is_set():
                self._ask(client, self.rng.randrange(len(TEXTS)))

    def _ask(self, client: httpx.Client, index: int) -> None:
        try:
            answer = client.post("/v1/embeddings", json={"model": "omnivec", "input": TEXTS[index]})
        except httpx.TransportError as error:
            self.seen[type(error).__name__] += 1
            self.broken += 1
            self.stop.wait(0.1)
            return
        self.seen[str(answer.status_code)] += 1
        if answer.status_code == 200:
            vector_D = np.array(answer.json()["data"][0]["embedding"])
            if vector_D @ self.vectors_ND[index] < 0.9999:
                self.wrong.append(f"a wrong vector of {TEXTS[index]!r}")
        elif answer.status_code not in RETRYABLE:
            self.wrong.append(f"{answer.status_code}: {answer.text[:200]}")
        else:
            self.stop.wait(0.2)


def test_a_killed_worker_costs_callers_a_retry_and_comes_back(tiny_artifact: Path, tmp_path: Path) -> None:
    vectors_ND = encode_contents(load_encoder(tiny_artifact), [Content.of(text) for text in TEXTS])
    config = ServingConfig(artifact=tiny_artifact, backend="torch", port=free_port())
    rng, back = random.Random(0), []
    with running(config, tmp_path / "state") as server:
        supervisor = psutil.Process(server.process.pid)
        callers = [Caller(server, vectors_ND, seed) for seed in range(8)]
        for caller in callers:
            caller.start()
        for _ in range(KILLS):
            time.sleep(rng.uniform(0.5, 3))
            cut = sum(caller.broken for caller in callers)
            worker = worker_of(server)
            worker.kill()
            killed = time.monotonic()
            before = [caller.seen["200"] for caller in callers]
            while not (_answers(server, worker.pid) and all(map(_gets_on, callers, before))):
                assert time.monotonic() - killed < BACK_SECONDS, server.log.read_text()[-2000:]
                time.sleep(0.1)
            back.append(time.monotonic() - killed)
            assert sum(caller.broken for caller in callers) > cut, "nobody was asking when the worker was killed"
        for caller in callers:
            caller.stop.set()
        for caller in callers:
            caller.join(BACK_SECONDS)
        family = supervisor.children(recursive=True)
        assert not [process for process in family if process.status() == psutil.STATUS_ZOMBIE]
        assert len([process for process in family if "worker" in " ".join(process.cmdline())]) == 1
    seen = sum((caller.seen for caller in callers), Counter())
    print(f"back after {[round(seconds, 1) for seconds in back]} s; callers saw {dict(seen)}")
    assert [problem for caller in callers for problem in caller.wrong] == []
    assert seen["200"] > 0
    assert not supervisor.is_running()
    with running(config, tmp_path / "again"):  # the port is free again
        pass


def _gets_on(caller: Caller, answers: int) -> bool:
    """Whether a caller has had more good answers than so many, one of the new worker among them."""
    return caller.seen["200"] > answers + 1


def _answers(server: Server, killed: int) -> bool:
    """Whether another worker is there and ready."""
    try:
        return worker_of(server).pid != killed and httpx.get(f"{server.url}/readyz", timeout=2).status_code == 200
    except (RuntimeError, psutil.NoSuchProcess, httpx.TransportError):
        return False
