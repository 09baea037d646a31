"""Killed again and again at random moments, a stage still ends with the weights of an uninterrupted one."""

import os
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from model.training.checkpoints import CheckpointStore
from tests.components.train.killing import STEPS, start

KILLS = 12
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def contents(directory: Path) -> dict[str, bytes]:
    """Every weight file of an artifact, snapshots included."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*.safetensors")}


@pytest.fixture(scope="module")
def whole(dataset: Path, tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """An uninterrupted run, and how long its training took."""
    where = tmp_path_factory.mktemp("whole")
    process = start(dataset, tiny_artifact, where)
    until = time.monotonic() + 120
    while not list((where / "checkpoints").glob("step-*")):
        assert process.exitcode is None
        assert time.monotonic() < until
        time.sleep(0.002)
    began = time.monotonic()
    process.join(120)
    assert process.exitcode == 0
    return where / "model", time.monotonic() - began


def reached(where: Path) -> int:
    return max(CheckpointStore(where / "checkpoints").steps(), default=0)


def wait_for_a_step(where: Path, done: int, process: BaseProcess) -> None:
    until = time.monotonic() + 60
    while reached(where) <= done and process.exitcode is None:
        assert time.monotonic() < until
        time.sleep(0.001)


@pytest.mark.minutes
def test_killed_at_random_moments(dataset, tiny_artifact, whole, tmp_path) -> None:
    model, seconds = whole
    rng = random.Random(os.getpid())
    at: list[int] = []
    for _ in range(KILLS):
        process = start(dataset, tiny_artifact, tmp_path)
        wait_for_a_step(tmp_path, at[-1] if at else 0, process)
        time.sleep(rng.uniform(0, 1.5 * seconds / KILLS))
        process.kill()
        process.join()
        at.append(reached(tmp_path))
        if process.exitcode == 0:
            break
    process = start(dataset, tiny_artifact, tmp_path)
    process.join(120)
    assert process.exitcode == 0
    assert len({step for step in at if 0 < step < STEPS}) >= 3, f"killed at {at}: too few of them in training"
    assert contents(tmp_path / "model") == contents(model), f"killed at {at}"
    learned = (tmp_path / "model" / "projectors.safetensors").read_bytes()
    assert learned != (tiny_artifact / "projectors.safetensors").read_bytes()


def test_a_damaged_checkpoint_costs_a_step_and_nothing_else(dataset, tiny_artifact, whole, tmp_path) -> None:
    process = start(dataset, tiny_artifact, tmp_path)
    wait_for_a_step(tmp_path, 4, process)
    process.kill()
    process.join()
    store = CheckpointStore(tmp_path / "checkpoints")
    newest, path = store.newest() or pytest.fail("no checkpoint")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert newest >= 5
    process = start(dataset, tiny_artifact, tmp_path)
    process.join(120)
    assert process.exitcode == 0
    assert contents(tmp_path / "model") == contents(whole[0])


def test_sigterm_saves_and_stops_with_its_own_code(dataset, tiny_artifact, whole, tmp_path) -> None:
    process = start(dataset, tiny_artifact, tmp_path, pause=0.05, every=1000)
    until = time.monotonic() + 60
    while not (tmp_path / "at").exists():
        assert process.exitcode is None
        assert time.monotonic() < until
        time.sleep(0.01)
    assert reached(tmp_path) == 0
    process.terminate()
    process.join(60)
    assert process.exitcode == 128 + signal.SIGTERM
    assert 0 < reached(tmp_path) < STEPS
    process = start(dataset, tiny_artifact, tmp_path)
    process.join(120)
    assert process.exitcode == 0
    assert contents(tmp_path / "model") == contents(whole[0])
