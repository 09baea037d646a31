"""The soak, shortly: a real process, a tiny model, every kind of attack; and that its verdict can be a bad one."""

import json
from pathlib import Path

import pytest

from benchmarks.soak import Plan, problems, soak
from benchmarks.soaking.watch import Sample, growth


@pytest.mark.minutes
@pytest.mark.timeout(1200)
def test_a_short_soak_finds_nothing(tiny_artifact: Path, tmp_path: Path) -> None:
    plan = Plan(
        minutes=0.6,
        warm_minutes=0.3,
        clients=32,
        attackers=20,
        crowd=300,
        contents=60,
        body_bytes=8_000_000,
        queue_items=16,
        grows=0.6,  # half a minute is all warm-up; the ten minutes of the command are what tells
        let_in=0.5,  # a queue of 16 is four requests, and its rates are those of a few seconds
    )
    result = soak(tiny_artifact, plan, tmp_path, backend="torch")
    assert result["problems"] == []
    assert result["lowest_cosine"] >= 0.9999
    assert json.loads((tmp_path / "soak.json").read_text())["good_answers"] > 0
    assert "<svg" in (tmp_path / "soak.html").read_text()


def _result() -> dict:
    return {
        "wrong": {},
        "failures": [],
        "log_errors": {},
        "kinds": {"openai": {"200": 5, "429": 5}},
        "came_as_told": {"200": 90, "504": 1, "bodies_bytes": 1, "client_share": 8},
        "memory": {"growth": 0.01, "threads": 10},
        "rest": {"pending": 0.0, "end_descriptors": 20, "end_threads": 10, "answer_seconds": 0.1},
        "idle": {"descriptors": 20, "threads": 8},
        "same_worker": True,
    }


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"wrong": {"openai: a vector that is not its own": 1}}, "not its own"),
        ({"failures": ["KeyError()"]}, "KeyError"),
        ({"log_errors": {"unhandled": 2}}, "2 x unhandled"),
        ({"kinds": {"openai": {"200": 5}}}, "no overload"),
        ({"kinds": {"openai": {"429": 5}}}, "no load"),
        ({"memory": {"growth": 0.06, "threads": 10}}, "memory grew by 6.0%"),
        ({"memory": {"growth": 0.0, "threads": 5}}, "threads went from 5 to 10"),
        ({"idle": {"descriptors": 5, "threads": 8}}, "descriptors went from 5 to 20"),
        ({"same_worker": False}, "restarted"),
        ({"came_as_told": {"200": 15, "queue_items": 5, "client_share": 80}}, "only 15% of those who came"),
    ],
)
def test_whatever_was_wrong_is_told(change: dict, word: str) -> None:
    assert problems(_result(), Plan()) == []
    found = problems(_result() | change, Plan())
    assert len(found) == 1
    assert word in found[0]


def test_growth_compares_what_follows_the_warm_up() -> None:
    samples = [Sample(second, 100 + (50 if second < 20 else second), 10, 5) for second in range(0, 120, 2)]
    found = growth(samples, 20)
    assert found["first_mb"] == pytest.approx(130)
    assert found["last_mb"] == pytest.approx(210)
    assert found["growth"] == pytest.approx(210 / 130 - 1)
    assert found["peak_mb"] == 218
