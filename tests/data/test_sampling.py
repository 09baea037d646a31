"""The sampler: a pure function of (seed, step), one task and distinct groups per batch, shares as asked."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.records import PartRef, Record
from data.sampling import Draw, TaskSampler
from model.content import Modality
from model.errors import DataError
from model.training.config import TaskConfig


def text(value: str) -> tuple[PartRef, ...]:
    return (PartRef(Modality.TEXT, text=value),)


def records(task: str, groups: int, each: int) -> list[Record]:
    return [
        Record(
            f"{task}/{g}/{i}",
            task,
            text("x"),
            (text(f"{g}/{i}/a"), text(f"{g}/{i}/b")),
            (),
            "s",
            ("en",),
            "MIT",
            f"{task}-{g}",
            "train",
        )
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


def pool(positives: list[str]) -> list[Record]:
    """One record a group, each with the given positive."""
    return [
        Record(f"{g}", "a", text(f"q{g}"), (text(value),), (), "s", ("en",), "MIT", f"g{g:04}", "train")
        for g, value in enumerate(positives)
    ]


def repeated(draw: Draw) -> int:
    return len(draw.records) - len({p for r in draw.records for p in r.positives})


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 9), st.integers(3, 6), st.integers(0, 10_000), st.data())
def test_no_positive_is_in_a_batch_twice(size: int, batches: int, seed: int, data: st.DataObject) -> None:
    count = size * batches + data.draw(st.integers(0, size - 1))
    twins = data.draw(st.integers(0, count // 2))
    records = pool([str(min(i, count - 1 - i) if i < twins or count - 1 - i < twins else i) for i in range(count)])
    draws = TaskSampler(records, [TaskConfig(name="a", batch_size=size)], steps=3 * batches, seed=seed)
    for first in range(0, 3 * batches, batches):
        found = [draws.draw(step) for step in range(first, first + batches)]
        assert not any(map(repeated, found))
        members = [r.group for draw in found for r in draw.records]
        assert len(set(members)) == len(members) == size * batches, "each group at most once a round"


def test_without_the_exchange_positives_would_meet(monkeypatch) -> None:
    """The property above is about something: in this pool chance alone does bring twins together."""
    records = pool([str(i % 20) for i in range(40)])
    tasks = [TaskConfig(name="a", batch_size=10)]
    assert not any(repeated(TaskSampler(records, tasks, steps=40, seed=1).draw(s)) for s in range(40))
    monkeypatch.setattr("data.sampling._spread", lambda records, size: None)
    assert any(repeated(TaskSampler(records, tasks, steps=40, seed=1).draw(s)) for s in range(40))


def test_batches_without_a_repetition_are_left_as_they_were(monkeypatch) -> None:
    records = pool([str(i % 38) for i in range(40)])
    tasks = [TaskConfig(name="a", batch_size=10)]
    after = [TaskSampler(records, tasks, steps=40, seed=3).draw(s) for s in range(40)]
    monkeypatch.setattr("data.sampling._spread", lambda records, size: None)
    before = [TaskSampler(records, tasks, steps=40, seed=3).draw(s) for s in range(40)]
    touched = [s for s in range(40) if before[s] != after[s]]
    assert any(repeated(before[s]) for s in touched)
    assert len(touched) <= 2 * sum(repeated(d) for d in before)


def test_fewer_positives_than_members_still_fill_the_batch() -> None:
    draws = TaskSampler(pool(["yes", "no"] * 10), [TaskConfig(name="a", batch_size=6)], steps=6, seed=0)
    assert [len(draws.draw(s).records) for s in range(6)] == [6] * 6


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 59), st.integers(1, 4), st.integers(0, 20))
def test_shares_of_any_number_of_processes_make_up_the_batch(step: int, processes: int, seed: int) -> None:
    whole = sampler(seed=seed).draw(step)
    if len(whole.records) < processes:
        with pytest.raises(DataError, match=f"for {processes} processes: raise its batch_size"):
            whole.share(0, processes)
        return
    shares = [sampler(seed=seed).draw(step).share(rank, processes) for rank in range(processes)]
    assert {s.task for s in shares} == {whole.task}, "every process is at the same task"
    assert tuple(r for s in shares for r in s.records) == whole.records
    assert tuple(p for s in shares for p in s.positives) == whole.positives
    sizes = [len(s.records) for s in shares]
    assert max(sizes) - min(sizes) <= 1


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(0, 20))
def test_a_longer_run_starts_with_the_same_batches(steps: int, seed: int) -> None:
    short, long = sampler(steps, seed), sampler(60, seed)
    assert [short.draw(s) for s in range(steps)] == [long.draw(s) for s in range(steps)]


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_temperature_weights_go_with_the_size_to_a_power(exponent: float) -> None:
    made = TaskSampler(
        records("a", 64, 1) + records("b", 4, 1),
        [TaskConfig(name="a", batch_size=2), TaskConfig(name="b", batch_size=2, weight=2)],
        steps=6000,
        seed=0,
        size_exponent=exponent,
    )
    large, small = 64**exponent, 2 * 4**exponent
    assert (made.schedule == 0).mean() == pytest.approx(large / (large + small), abs=0.02)
