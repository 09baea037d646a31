"""Batches made by workers are those that the trainer makes itself, to the last bit, whatever happens in between."""

import dataclasses
import multiprocessing
import os
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from components.train.config import TrainConfig
from components.train.feed import BatchMaker
from components.train.run import run
from data.corpus import Corpus
from data.sampling import TaskSampler
from data.shards import write_shard
from model.artifact import load_encoder
from model.content import Modality, media_digest
from model.errors import ContentError, DataError
from model.training.batch import Pooled
from model.training.guard import TrainingError
from model.training.loading import Loading
from tests.components.train.conftest import toy_pair
from tests.components.train.killing import STEPS, start
from tests.conftest import make_mp4, make_ogg, make_pdf, make_png
from tests.processes import alive

pytestmark = pytest.mark.timeout(600)
MAKERS = {
    Modality.IMAGE: make_png,
    Modality.AUDIO: lambda i: make_ogg(i, 0.4),
    Modality.VIDEO: lambda i: make_mp4(i, size=32),
    Modality.DOCUMENT: lambda i: make_pdf(f"page {i}"),
}


class KilledError(Exception):
    """The run ends here."""


def write(directory: Path, broken: int | None = None) -> Path:
    """Pairs of a word and each kind of media; the picture of pair ``broken`` cannot be decoded."""
    directory.mkdir(parents=True, exist_ok=True)
    media, rows = {}, []
    for i in range(12):
        modality, make = list(MAKERS.items())[i % len(MAKERS)]
        data = make(i) if i != broken else make(i)[:-40]
        media[digest := media_digest(data)] = (modality, data)
        rows.append(toy_pair(i, modality, digest, f"not {i}"))
    write_shard(directory / "toy.parquet", rows, media)
    return directory


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("mixed"))


def config(workers: int, **changes: Any) -> TrainConfig:
    stage = {
        "kind": "align",
        "steps": 8,
        "tasks": [{"name": "text_to_image", "batch_size": 4, "query_task": "query", "hard_negatives": 1}],
        "trainable": {"projectors": 1e-2, "trunk.encoder.layer.1": 1e-3},
        "prefix_dropout": 0.5,
        "checkpoint_every_steps": 2,
        "log_every_steps": 1,
        **changes,
    }
    return TrainConfig.parse({"stage": stage, "launch": {"workers": workers, "prefetch": 2}})


def maker(wanted: TrainConfig, dataset: Path, artifact: Path) -> BatchMaker:
    stage = wanted.stage
    corpus = Corpus(dataset, splits=("train",))
    sampler = TaskSampler(corpus.records, stage.tasks, steps=stage.steps, seed=stage.seed)
    return BatchMaker(corpus, sampler, load_encoder(artifact), prefix_dropout=stage.prefix_dropout, seed=stage.seed)


def train(wanted: TrainConfig, dataset: Path, model: Path, where: Path, sinks: tuple = ()) -> None:
    paths = {"dataset": dataset, "model": model, "features": None}
    run(wanted, checkpoints=where / "checkpoints", output=where / "model", sinks=sinks, **paths)


def weights(where: Path) -> dict[str, bytes]:
    return {str(p.relative_to(where)): p.read_bytes() for p in (where / "model").rglob("*.safetensors")}


def assert_same(one: Any, two: Any, path: str = "batch") -> int:
    """Equal to the last bit, types and shapes included; returns the number of arrays compared."""
    assert type(one) is type(two), path
    if dataclasses.is_dataclass(one):
        names = [field.name for field in dataclasses.fields(one)]
        return sum(assert_same(getattr(one, n), getattr(two, n), f"{path}.{n}") for n in names)
    if isinstance(one, dict):
        assert one.keys() == two.keys(), path
        return sum(assert_same(one[key], two[key], f"{path}[{key}]") for key in one)
    if isinstance(one, (tuple, list)):
        assert len(one) == len(two), path
        return sum(assert_same(a, b, f"{path}[{i}]") for i, (a, b) in enumerate(zip(one, two, strict=True)))
    if isinstance(one, (np.ndarray, torch.Tensor)):
        assert one.dtype == two.dtype, path
        assert one.shape == two.shape, path
        assert bytes(memoryview(np.asarray(one)).cast("B")) == bytes(memoryview(np.asarray(two)).cast("B")), path
        return 1
    assert one == two, path
    return 0


@pytest.mark.parametrize("pooled", [False, True])
def test_batches_are_the_same_with_any_number_of_workers(mixed, tiny_artifact, pooled) -> None:
    make = maker(config(0), mixed, tiny_artifact)
    if pooled:
        make.pool_texts(range(8))
    expected = [make(step) for step in range(3, 8)]
    assert isinstance(expected[0].query, Pooled) == pooled
    assert {name for batch in expected for name in batch.document.media} == {"image", "audio", "video"}
    for workers in (0, 1, 2):
        found = list(Loading(make, 8, lambda: 3, workers=workers))
        assert [batch.step for batch in found] == list(range(3, 8))
        compared = sum(assert_same(a, b) for a, b in zip(found, expected, strict=True))
        assert compared > 50
    with pytest.raises(AssertionError):
        assert_same(expected[0], make(5))


@pytest.mark.minutes
def test_weights_are_the_same_with_any_number_of_workers_and_after_a_resume(mixed, tiny_artifact, tmp_path) -> None:
    def kill(_: object, step: int) -> None:
        if step == 5:
            raise KilledError

    train(config(0), mixed, tiny_artifact, tmp_path / "0")
    expected = weights(tmp_path / "0")
    for workers in (1, 2):
        where = tmp_path / str(workers)
        with pytest.raises(KilledError):
            train(config(workers), mixed, tiny_artifact, where, (kill,))
        assert multiprocessing.active_children() == []
        train(config(3 - workers), mixed, tiny_artifact, where)
        assert weights(where) == expected, workers
    learned = (tmp_path / "0/model/projectors.safetensors").read_bytes()
    assert learned != (tiny_artifact / "projectors.safetensors").read_bytes()


def test_an_error_in_a_worker_is_the_error_of_the_stage(tiny_artifact, tmp_path) -> None:
    broken = write(tmp_path / "broken", broken=0)
    messages = []
    for workers in (0, 2):
        with pytest.raises(ContentError) as caught:
            train(config(workers), broken, tiny_artifact, tmp_path / str(workers))
        messages.append((str(caught.value), caught.value.code, caught.value.limit))
    assert messages[0] == messages[1]
    assert "preprocess.py" in str(caught.value.__cause__), "where it happened is told too"


def test_missing_media_are_a_data_error_in_a_worker_too(mixed, tiny_artifact, tmp_path) -> None:
    write_shard(tmp_path / "bare.parquet", [], {})
    make = maker(config(1), mixed, tiny_artifact)
    order = dataclasses.replace(make.order(0), shards=(tmp_path / "bare.parquet",) * 4)
    make.order = lambda _: order
    with pytest.raises(DataError, match=r"record toy/\d+ refers to media \w+, absent from bare.parquet"):
        list(Loading(make, 1, lambda: 0, workers=1))


def workers_of(where: Path) -> list[int]:
    """Process ids that the trainer left word of."""
    return [int(pid) for pid in (where / "workers").read_text().split()]


def until_step(where: Path, step: int, process: BaseProcess) -> None:
    until = time.monotonic() + 240
    while not (where / "at").exists() or int((where / "at").read_text() or 0) < step:
        assert process.exitcode is None
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.minutes
def test_a_stage_that_is_killed_takes_its_workers_along_and_resumes(dataset, tiny_artifact, tmp_path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    uninterrupted = start(dataset, tiny_artifact, whole)
    for how, code, step in ((signal.SIGKILL, -9, 7), (signal.SIGTERM, 128 + 15, 14)):
        process = start(dataset, tiny_artifact, cut, pause=0.05, every=5, workers=2)
        until_step(cut, step, process)
        pids = workers_of(cut)
        assert len(pids) == 2
        assert alive(pids) == pids
        os.kill(process.pid, how)
        process.join(60)
        assert process.exitcode == code
        until = time.monotonic() + 10
        while alive(pids):
            assert time.monotonic() < until, "workers outlive their trainer"
            time.sleep(0.01)
        assert int((cut / "at").read_text()) < STEPS
        (cut / "at").unlink()
    again = start(dataset, tiny_artifact, cut, workers=1)
    for started in (again, uninterrupted):
        started.join(240)
        assert started.exitcode == 0
    assert weights(cut) == weights(whole)


def test_a_worker_that_is_killed_ends_the_stage_with_what_to_change(dataset, tiny_artifact, tmp_path) -> None:
    def shoot(_: object, step: int) -> None:
        if step == 2:
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(TrainingError, match=r"a worker .* died.*lower launch.workers \(now 1\)"):
        train(
            config(1, steps=50, tasks=[{"name": "text_to_image", "batch_size": 4}]),
            dataset,
            tiny_artifact,
            tmp_path,
            (shoot,),
        )
    assert multiprocessing.active_children() == []
