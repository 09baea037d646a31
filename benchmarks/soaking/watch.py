"""What is looked at during a soak: the process from outside, and every answer."""

import asyncio
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil

from serving.launch import Server

EVERY_SECONDS = 2.0


@dataclass(frozen=True)
class Sample:
    """One look at the worker: proportional memory in MB, file descriptors, threads."""

    second: float
    megabytes: float
    descriptors: int
    threads: int


@dataclass
class Tally:
    """Answers by second and status, and everything that was wrong."""

    started: float = field(default_factory=time.monotonic)
    statuses: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    kinds: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    wrong: Counter[str] = field(default_factory=Counter)
    lowest_cosine: float = 1.0
    seconds: list[float] = field(default_factory=list)
    came_as_told: Counter[str] = field(default_factory=Counter)
    """Of those who waited as long as they were told: the status they got then, or the limit that refused them again."""
    told: list[float] = field(default_factory=list)

    def answer(self, kind: str, status: int | str) -> None:
        """Count one answer, or what came instead of one."""
        self.statuses[int(time.monotonic() - self.started)][str(status)] += 1
        self.kinds[kind][str(status)] += 1

    def total(self, status: str) -> int:
        """Answers of one status."""
        return sum(counts[status] for counts in self.statuses.values())


def worker_of(server: Server) -> psutil.Process:
    """The process that serves, a child of BentoML's supervisor."""
    for process in psutil.Process(server.process.pid).children(recursive=True):
        if "worker" in " ".join(process.cmdline()):
            return process
    raise RuntimeError(f"the service {server.process.pid} has no worker")


def look(process: psutil.Process, started: float) -> Sample:
    """One sample."""
    return Sample(
        second=time.monotonic() - started,
        megabytes=process.memory_full_info().pss / 1e6,
        descriptors=process.num_fds(),
        threads=process.num_threads(),
    )


async def sample_until(stop: asyncio.Event, process: psutil.Process, started: float, into: list[Sample]) -> None:
    """Look every few seconds; a worker that has gone raises."""
    while not stop.is_set():
        into.append(await asyncio.to_thread(look, process, started))
        try:
            await asyncio.wait_for(stop.wait(), EVERY_SECONDS)
        except TimeoutError:
            continue


def growth(samples: list[Sample], warm_seconds: float) -> dict[str, float]:
    """Median memory of the fifth after the warm-up and of the last fifth, and their ratio less one."""
    after = [sample for sample in samples if sample.second >= warm_seconds]
    fifth = max(1, len(after) // 5)
    first, last = (sorted(s.megabytes for s in part)[len(part) // 2] for part in (after[:fifth], after[-fifth:]))
    return {
        "first_mb": first,
        "last_mb": last,
        "growth": last / first - 1,
        "peak_mb": max(s.megabytes for s in samples),
        "threads": max(s.threads for s in after[:fifth]),
    }


def as_rows(samples: list[Sample]) -> list[dict[str, Any]]:
    """Samples as JSON."""
    return [asdict(sample) for sample in samples]
