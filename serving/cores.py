"""How many cores this process may use, and how computations share them."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from model.artifact import Backend

QUOTA = Path("/sys/fs/cgroup/cpu.max")
MOST_WORKERS = 8
"""Computations side by side by default: all share one event loop, which more could not feed."""


def usable_cores(quota: Path = QUOTA) -> int:
    """Cores that the process may run on, at most what a quota of processor time amounts to, rounded up.

    A container sees the cores of its machine, and may use its quota.
    """
    allowed = len(os.sched_getaffinity(0))
    try:
        most, period = quota.read_text(encoding="ascii").split()
        return max(1, min(allowed, math.ceil(int(most) / int(period))))
    except (OSError, ValueError):  # no quota: the file is missing or says "max"
        return allowed


@dataclass(frozen=True)
class Sharing:
    """How computations share the cores."""

    workers: int
    threads: int


def share_cores(backend: Backend, *, workers: int, threads: int, cores: int) -> Sharing:
    """Computations side by side and threads of each, where 0 stands for a choice by the backend.

    ONNX Runtime computes a batch on each core rather than one on all: threads that share a small batch wait for each
    other more than they compute. Torch has one computation at a time, on all cores or on the GPU.
    """
    if not workers:
        workers = 1 if backend == "torch" else min(MOST_WORKERS, max(1, cores // max(1, threads)))
    return Sharing(workers, threads or max(1, cores // workers))
