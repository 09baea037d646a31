"""A batch that is decoded part by part is the batch, and what is learned from it does not depend on who decodes when.

Parts are made tiny here, so that a batch of a few pairs has several.
"""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch

from components.train.config import TrainConfig
from components.train.feed import BatchMaker
from model.artifact import load_encoder
from model.errors import ContentError
from model.training import parts
from model.training.batch import Pooled
from model.training.loading import Loading
from model.training.module import ContrastiveModule
from model.training.parts import Parted, cut_rows
from model.unified.merge import merge_batches
from tests.components.train.test_workers import KilledError, assert_same, config, maker, train, weights, write

pytestmark = pytest.mark.timeout(600)
PART = 40_000  # a few pictures of the tiny encoder


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("mixed"))


@pytest.fixture(autouse=True)
def tiny_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", PART)


def lazy(workers: int = 0, keep_gb: float = 2.0, **changes: Any) -> TrainConfig:
    tasks = [{"name": "text_to_image", "batch_size": 8, "query_task": "query", "hard_negatives": 1}]
    made = config(workers, **{"tasks": tasks, "steps": 4, "micro_batch_tokens": 64, **changes})
    return made.model_copy(update={"launch": made.launch.model_copy(update={"keep_gb": keep_gb})})


def made_in_parts(make: BatchMaker, steps: int, **options: Any) -> list[tuple[Any, list[Any]]]:
    """Batches, and of each side the parts of both passes or what is there already."""
    found = []
    for batch in Loading(make, steps, lambda: 0, lazy=True, **options):
        sides = [batch.query, batch.document]
        first = [[p for _, p in side] if isinstance(side, Parted) else side for side in sides]
        if parts_of(batch) > 2:
            for side, before in zip(sides, first, strict=True):
                if isinstance(side, Parted):
                    assert_same([p for _, p in side], before)
        found.append((batch, first))
    return found


def parts_of(batch: Any) -> int:
    return sum(len(side.orders) for side in (batch.query, batch.document) if isinstance(side, Parted))


@pytest.mark.parametrize("pooled", [pytest.param(False, marks=pytest.mark.minutes), True])
def test_parts_put_together_are_the_batch(mixed: Path, tiny_artifact: Path, pooled: bool) -> None:
    make = maker(lazy(), mixed, tiny_artifact)
    if pooled:
        make.pool_texts(range(4))
    for keep in (None, 0, PART):  # all, nothing and some of it kept for the second pass
        make.keep_bytes = keep
        for batch, sides in made_in_parts(make, 4):
            whole = make(batch.step)
            for name in ("task", "step", "pairing", "ids"):
                assert_same(getattr(batch, name), getattr(whole, name))
            assert parts_of(batch) > 2
            assert isinstance(batch.query, Pooled) == pooled
            for found, wanted in zip(sides, (whole.query, whole.document), strict=True):
                assert_same(merge_batches(found) if isinstance(found, list) else found, wanted)


def test_runs_hold_as_much_as_fits_and_at_least_one() -> None:
    assert cut_rows([3, 3, 3, 9, 1, 1], 6) == [range(2), range(2, 3), range(3, 4), range(4, 6)]
    assert cut_rows([], 6) == []


def test_a_small_batch_is_taken_whole(mixed: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 10**9)
    make = maker(lazy(), mixed, tiny_artifact)
    for batch in Loading(make, 4, lambda: 0, lazy=True):
        whole = make(batch.step)
        found = parts.materialised(batch)
        assert_same(found.query, whole.query)
        assert_same(found.document, whole.document)
        assert batch.query.lengths[0].sum() == whole.query.mask_NL.sum()


def test_gradients_are_those_of_the_whole_batch(mixed: Path, still: Path) -> None:
    stage = lazy().stage
    module = ContrastiveModule(load_encoder(still), stage)
    module.log = module.log_dict = lambda *_, **__: None
    make = maker(lazy(), mixed, still)

    def gradients(batch: Any) -> dict[str, torch.Tensor]:
        module.training_step(batch, 0)
        return {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}

    for batch in Loading(make, 2, lambda: 0, lazy=True):
        assert parts_of(batch) > 2
        found, expected = gradients(batch), gradients(make(batch.step))
        assert found.keys() == expected.keys()
        assert max(float(g.abs().max()) for g in expected.values()) > 1e-3
        for name, want in expected.items():
            assert torch.allclose(found[name], want, rtol=1e-3, atol=1e-5 * max(1.0, float(want.abs().max()))), name


@pytest.mark.minutes
def test_weights_depend_neither_on_workers_nor_on_what_is_kept_nor_on_a_kill(
    mixed: Path, tiny_artifact: Path, tmp_path: Path
) -> None:
    def kill(_: object, step: int) -> None:
        if step == 3:
            raise KilledError

    train(lazy(0), mixed, tiny_artifact, tmp_path / "0")
    expected = weights(tmp_path / "0")
    for name, first, second in (("1", lazy(1, keep_gb=0.0), lazy(0, keep_gb=PART / 1e9)), ("2", lazy(2), lazy(1, 0.0))):
        where = tmp_path / name
        with pytest.raises(KilledError):
            train(first, mixed, tiny_artifact, where, (kill,))
        assert multiprocessing.active_children() == []
        train(second, mixed, tiny_artifact, where)
        assert weights(where) == expected, name
    learned = (tmp_path / "0/model/projectors.safetensors").read_bytes()
    assert learned != (tiny_artifact / "projectors.safetensors").read_bytes()


@pytest.mark.minutes
def test_an_error_in_a_part_is_the_error_of_the_stage(tiny_artifact: Path, tmp_path: Path) -> None:
    broken = write(tmp_path / "broken", broken=0)
    for workers in (0, 2):
        with pytest.raises(ContentError, match="ends before its own header"):
            train(lazy(workers), broken, tiny_artifact, tmp_path / str(workers))
