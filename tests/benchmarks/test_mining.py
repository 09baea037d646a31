"""The comparison of mined with random negatives: its arithmetic, its draws, and the whole of it small."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import mining
from benchmarks.mining import ARMS, MINED, Scores, rows_of, table
from data.mining.config import MineTask
from data.mining.knowledge import Knowledge
from data.mining.pool import pool_of
from data.records import PartRef, Record
from model.content import Modality


def record(number: int, language: str) -> Record:
    query, document = (
        (PartRef(Modality.TEXT, text=f"{side} {number}"),) for side in ("question", f"answer in {language}")
    )
    return Record(
        f"r/{number}", "t", query, (document,), (), "r", (language,), "CC0-1.0", f"group {number % 10}", "train"
    )


def test_mined_is_compared_with_every_other_arm_query_by_query() -> None:
    worth = dict(zip(ARMS, (0.1, 0.2, 0.3, 0.5, 0.4), strict=True))
    spread_Q = np.linspace(-0.05, 0.05, 40)
    groups = tuple(f"g{i % 20}" for i in range(40))
    arms = {arm: {"speech_to_text": Scores(spread_Q + value, groups)} for arm, value in worth.items()}
    rows = rows_of({"start": arms["none"], **arms})
    assert [row["task"] for row in rows] == ["speech_to_text", "all tasks"]
    for row in rows:
        for arm in set(ARMS) - {"mined"}:
            found = row[f"mined - {arm}"]
            # What all arms have in common is no part of a paired difference.
            assert (found["value"], found["low"], found["high"]) == pytest.approx((worth["mined"] - worth[arm],) * 3)
    lines = table({"rows": rows}).splitlines()
    assert {line.count("|") for line in lines} == {lines[0].count("|")}
    assert "mined - language" in lines[0]


@pytest.mark.parametrize("within", [(), ("languages",)])
def test_random_negatives_are_as_many_and_none_that_is_known_to_be_right(within: tuple[str, ...]) -> None:
    records = [record(i, ("en", "de")[i % 2]) for i in range(60)]
    knowledge = Knowledge(records)
    pool = pool_of(MineTask.parse({"name": "t", "within": within}), records, knowledge)
    counts = {one.id: i % 4 for i, one in enumerate(records)}
    found = mining._random(pool, knowledge, counts, seed=1)
    assert {name: len(refs) for name, refs in found.items()} == counts
    owners = {one.positives[0]: one for one in records}
    others = 0
    for one in records:
        for ref in found[one.id]:
            assert owners[ref].group != one.group
            others += owners[ref].languages != one.languages
    assert (others == 0) == bool(within)
    assert mining._random(pool, knowledge, counts, seed=2) != found


def test_only_the_tasks_that_were_asked_for_are_kept() -> None:
    spoken, picture = MINED["speech_to_text"], MINED["text_to_image"]
    german = record(0, "de")
    assert not any(mining._wanted(german, task) for task in (spoken, picture))
    assert mining._wanted(record(1, "de"), MineTask(name="t"))
    assert not mining._wanted(record(1, "de"), MineTask(name="t", languages=("en",)))


@pytest.mark.minutes
def test_a_toy_runs_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["mining", "--out", str(tmp_path), "--toy", "--threads", "1"])
    mining.main()
    found = json.loads((tmp_path / "mining.json").read_text())
    assert [row["task"] for row in found["rows"]] == ["speech_to_text", "all tasks"]
    assert found["with_negatives"] > 0
    assert set(found["training_seconds"]) == set(ARMS)
