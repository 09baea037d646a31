"""Arrays of workers arrive as they were, large ones without a pipe, and leave nothing open behind."""

import os
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.training import sending
from model.training.loading import Loading

pytestmark = pytest.mark.timeout(300)
SIDE = 300  # a picture of so many pixels a side is larger than what goes through the pipe


def work(step: int) -> dict[str, Any]:
    """Arrays of many kinds; no two steps have the same."""
    rng = np.random.default_rng(step)
    pixels = rng.integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    return {
        "pixels": pixels,
        "turned": pixels.transpose(0, 3, 1, 2),  # not in one piece
        "cells": rng.standard_normal((50, 700)).astype(np.float16),
        "numbers": rng.standard_normal((sending.LARGE // 8, 1)),
        "flags": rng.random(2 * sending.LARGE) < 0.5,
        "small": rng.integers(0, 9, 5),
        "none": np.zeros((0, SIDE)),
        "words": np.array(["a", "bcd"]),
    }


class Maker:
    """Batches of the toy work."""

    work = staticmethod(work)

    def order(self, step: int) -> int:
        return step

    def finish(self, made: Any) -> Any:
        return made

    def __call__(self, step: int) -> Any:
        return work(step)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_arrays_arrive_as_they_were_and_hold_no_descriptors() -> None:
    running: Any = iter(Loading(Maker(), 9, lambda: 0, workers=2))
    kept = [next(running)]
    before = descriptors()
    kept += [next(running) for _ in range(7)]
    assert descriptors() < before + len(kept)  # three of five arrays a batch are large
    for step, found in enumerate(kept):
        for name, array in work(step).items():
            assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
            assert np.array_equal(found[name], array), name
    found = kept[0]
    found["pixels"] += 1  # they may be written to, as arrays of this process
    assert not np.array_equal(found["pixels"], work(0)["pixels"])
    running.close()


def test_large_arrays_do_not_go_through_the_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    large, small = work(0)["pixels"], work(0)["small"]
    assert len(ForkingPickler.dumps(large)) > large.nbytes  # this process sends nothing by memory
    monkeypatch.setattr(ForkingPickler, "_extra_reducers", {**ForkingPickler._extra_reducers})
    sending.send_by_memory()
    assert len(ForkingPickler.dumps(large)) < 1000
    assert np.array_equal(ForkingPickler.loads(ForkingPickler.dumps(small)), small)


def test_without_memory_for_it_an_array_goes_through_the_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: str) -> int:
        raise OSError(28, "No space left on device")

    large = work(0)["pixels"]
    monkeypatch.setattr(ForkingPickler, "_extra_reducers", {**ForkingPickler._extra_reducers})
    monkeypatch.setattr(os, "memfd_create", full)
    sending.send_by_memory()
    assert np.array_equal(ForkingPickler.loads(ForkingPickler.dumps(large)), large)
