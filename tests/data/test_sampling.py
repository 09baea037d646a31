"""The sampler: a pure function of (seed, step), one task and distinct groups per batch, shares as asked."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.records import PartRef, Record
from data.sampling import TaskSampler
from model.content import Modality
from model.errors import DataError
from model.training.config import TaskConfig


def records(task: str, groups: int, each: int) -> list[Record]:
    part = (PartRef(Modality.TEXT, text="x"),)
    return [
        Record(f"{task}/{g}/{i}", task, part, (part, part), (), "s", ("en",), "MIT", f"{task}-{g}", "train")
        for g in range(groups)
        for i in range(each)
    ]


POOL = records("a", 9, 4) + records("b", 5, 1)
TASKS = (TaskConfig(name="a", weight=3, batch_size=4), TaskConfig(name="b", weight=1, batch_size=2))


def sampler(steps: int = 60, seed: int = 1) -> TaskSampler:
    return TaskSampler(POOL, TASKS, steps=steps, seed=seed)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 59), st.integers(0, 20))
def test_a_draw_depends_on_seed_and_step_alone(step: int, seed: int) -> None:
    fresh, used = sampler(seed=seed), sampler(seed=seed)
    for earlier in range(step):
        used.draw(earlier)
    assert fresh.draw(step) == used.draw(step)


def test_batches_have_one_task_and_distinct_groups() -> None:
    draws = [sampler().draw(step) for step in range(60)]
    assert {d.task.name for d in draws} == {"a", "b"}
    for d in draws:
        assert {r.task for r in d.records} == {d.task.name}
        assert len({r.group for r in d.records}) == len(d.records) == d.task.batch_size


def test_every_record_comes_around() -> None:
    seen = Counter(r.id for step in range(60) for r in sampler().draw(step).records)
    assert set(seen) == {r.id for r in POOL}


def test_another_seed_gives_other_batches() -> None:
    assert [sampler(seed=1).draw(s) for s in range(10)] != [sampler(seed=2).draw(s) for s in range(10)]


def test_shares_follow_the_weights() -> None:
    shares = Counter(sampler(steps=4000).schedule.tolist())
    assert shares[0] / 4000 == pytest.approx(0.75, abs=0.02)


def test_a_task_without_records_is_refused() -> None:
    with pytest.raises(DataError, match=r"task 'c' has 0 training group\(s\)"):
        TaskSampler(POOL, [TaskConfig(name="c")], steps=1, seed=0)
