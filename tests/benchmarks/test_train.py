"""The training benchmark: both sides take the same steps, and a side that does not is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import train
from benchmarks.peers import PeerBatching
from benchmarks.rows import BenchmarkError
from benchmarks.setting import Setting
from benchmarks.train import Curve, Load, check_losses, train_row

LOAD = Load(mixed=True, steps=3, pairs=4, micro_batch_tokens=64)
WORDS = [f"word{i}" for i in range(16)]


@pytest.fixture(scope="module")
def setting(tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    from data.records import PartRef, Record
    from data.shards import write_shard
    from model.content import Modality

    def words(*chosen: str) -> tuple[PartRef, ...]:
        return (PartRef(Modality.TEXT, text=" ".join(chosen)),)

    where = tmp_path_factory.mktemp("bench-train")
    records = [
        Record(f"{task}/{i}", task, words(task, str(i)), (words(str(i), *WORDS[: i + 1]),), (), task, ("en",),
               "CC0-1.0", f"{task}-{i}", "train")
        for task in train.PAIR_TASKS
        for i in range(8)
    ]  # fmt: skip
    (where / "corpus").mkdir()
    write_shard(where / "corpus" / "pairs.parquet", records, {})
    return Setting(tiny_artifact, where / "corpus", where / "cache", threads=1, rounds=1)


@pytest.mark.parametrize(("peer", "mixed"), [("rows", True), ("tokens", False)])
def test_losses_of_both_sides_are_equal(setting: Setting, peer: str, mixed: bool) -> None:
    row = train_row(setting, load=replace(LOAD, mixed=mixed), peer=peer, name="train")
    assert row.ours > 0
    assert row.peer_value > 0
    assert row.ratio > 0
    assert "losses within" in row.note


def test_other_work_of_the_peer_is_refused(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: the same pairs in another order make other losses."""
    right = train.texts_of

    def wrong(batches: Any, step: int) -> list[tuple[str, str]]:
        pairs = right(batches, step)
        return [(query, document) for (query, _), (_, document) in zip(pairs, [*pairs[1:], pairs[0]], strict=True)]

    monkeypatch.setattr(train, "texts_of", wrong)
    with pytest.raises(BenchmarkError, match="same losses"):
        train_row(setting, load=LOAD, peer="rows", name="train")


def test_another_temperature_is_refused(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    given: Callable[..., None] = train.train_peer

    def hotter(model: Any, pairs: Any, stage: Any, **rest: Any) -> None:
        given(model, pairs, stage.model_copy(update={"temperature": 0.06}), **rest)

    monkeypatch.setattr(train, "train_peer", hotter)
    with pytest.raises(BenchmarkError, match="same losses"):
        train_row(setting, load=LOAD, peer="rows", name="train")


def test_losses_may_drift_apart_later_but_not_early() -> None:
    assert check_losses([1.0, 1.0, 1.0, 1.005], [1.0, 1.0, 1.0, 1.0]) == pytest.approx(0.005)
    with pytest.raises(BenchmarkError):
        check_losses([1.0, 1.005, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0])
    with pytest.raises(BenchmarkError):
        check_losses([1.0, 1.0, 1.0, 1.02], [1.0, 1.0, 1.0, 1.0])
    with pytest.raises(BenchmarkError):
        check_losses([float("nan")], [1.0])


def test_the_first_step_is_not_counted() -> None:
    assert Curve(ends=[10.0, 12.0, 15.0], spent=[1.0, 2.0, 4.0]).seconds == 5.0
    assert Curve(ends=[10.0, 12.0, 15.0], spent=[1.0, 2.0, 4.0]).processor_seconds == 3.0


def test_peers_say_how_they_batch() -> None:
    assert str(PeerBatching(8)) == "mini_batch_size=8"
    assert str(PeerBatching(8, 1024)) == "mini_batch_num_tokens=1024"
