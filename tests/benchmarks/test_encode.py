"""The benchmark: both sides do the same work, pairs are compared, and the report says what was measured."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.encode import ROWS
from benchmarks.report import write_report
from benchmarks.rows import BenchmarkError, Duel, duel
from benchmarks.setting import Setting


@pytest.fixture(scope="module")
def setting(tiny_artifact: Path, benchmark_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    cache = tmp_path_factory.mktemp("bench")
    small = {"texts": 12, "pictures": 5, "queries": 10}
    return Setting(tiny_artifact, benchmark_corpus, cache, threads=1, rounds=1, int8_loss=1.0, **small)


@pytest.mark.minutes
def test_every_row_compares_equal_vectors(setting: Setting, tmp_path: Path) -> None:
    rows = [measure(setting) for measure in ROWS.values()]
    assert [row.name for row in rows] == list(ROWS)
    assert all(row.ours > 0 and row.peer_value > 0 and row.ratio > 0 and row.hardware for row in rows)
    document, table = write_report(rows, tmp_path)
    assert set(json.loads(document.read_text())[0]) == {
        "name", "ours", "peer", "peer_value", "ratio", "unit", "hardware", "note",
    }  # fmt: skip
    assert all(f"| {row.name} |" in table.read_text() for row in rows)


def test_inputs_are_the_same_every_time_and_distinct(setting: Setting) -> None:
    again = Setting(setting.artifact, setting.corpus, setting.cache, texts=12, pictures=5)
    assert again.text_contents == setting.text_contents
    assert len({content.digest for content in again.text_contents}) == 12
    assert len({content.digest for content in again.picture_contents}) == 5


def test_sides_with_other_vectors_are_refused() -> None:
    with pytest.raises(BenchmarkError, match="same vectors"):
        duel(lambda: np.eye(3, dtype=np.float32), lambda: np.ones((3, 3), np.float32), rounds=1, min_cosine=0.99)


def test_ratio_is_of_pairs_so_that_drift_cancels() -> None:
    assert Duel(ours=[1.0, 10.0, 2.0], peer=[2.0, 20.0, 4.0], cosine=1.0).ratio == 2.0


def test_sides_take_turns_and_both_warm_up() -> None:
    calls: list[str] = []
    vectors = np.ones((1, 2), np.float32)
    duel(lambda: calls.append("a") or vectors, lambda: calls.append("b") or vectors, rounds=2, min_cosine=0.9)
    assert "".join(calls) == "ab" + "ab" + "ba"


@pytest.mark.minutes
def test_int8_that_costs_too_much_has_no_speed(setting: Setting) -> None:
    strict = replace(setting, int8_loss=-1.0)
    with pytest.raises(BenchmarkError, match=r"costs .* of nDCG@10"):
        ROWS["text-onnx-int8"](strict)
