"""Task-homogeneous batches as a pure function of (seed, step), so that a resumed run sees what it would have seen.

The unit of sampling is the leakage group, not the record: a concept with a hundred captions does not outweigh one
with ten, and no batch holds two records of one group, which rules out most false negatives. No batch holds a positive
twice either, as one query's answer would be another's wrong one.

A batch is that of all processes together. Each process draws it whole, which costs microseconds and needs no message
between them, and computes its own :meth:`Draw.share`; so a run may be resumed by another number of processes.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from data.records import Record
from model.errors import DataError
from model.training.config import TaskConfig

REACH = 4096


@dataclass(frozen=True)
class Draw:
    """One batch: its task and, per member, a record and which of its positives to use."""

    task: TaskConfig
    records: tuple[Record, ...]
    positives: tuple[int, ...]

    def share(self, rank: int, processes: int) -> "Draw":
        """The members that process ``rank`` of ``processes`` computes: consecutive ones, evenly many to within one.

        Raises:
            DataError: there are fewer members than processes, so one of them would have nothing to do.
        """
        count = len(self.records)
        if count < processes:
            raise DataError(
                f"a batch of task {self.task.name!r} has {count} members for {processes} processes: raise its "
                "batch_size (and the number of groups it draws from), or use fewer processes"
            )
        own = slice(rank * count // processes, (rank + 1) * count // processes)
        return replace(self, records=self.records[own], positives=self.positives[own])


class TaskSampler:
    """Draws batches. ``draw(step)`` depends on nothing but the records, the tasks, the seed and the step.

    Args:
        records: of the training split.
        tasks: what to draw, with weights and batch sizes.
        steps: how many to plan; a step's batch does not depend on it.
        seed: of the stage.
        size_exponent: temperature weights: a task's share of the steps goes with its weight times its number of
            groups to this power. 0 leaves the weights alone, 1 is in proportion to size.

    Raises:
        DataError: a task has no record or fewer than two groups.
    """

    def __init__(
        self,
        records: Sequence[Record],
        tasks: Sequence[TaskConfig],
        *,
        steps: int,
        seed: int,
        size_exponent: float = 0.0,
    ) -> None:
        self.tasks = tuple(tasks)
        self.seed = seed
        self._pools = [_Pool(_members(records, task), seed=seed, salt=i) for i, task in enumerate(self.tasks)]
        for task, pool in zip(self.tasks, self._pools, strict=True):
            if pool.groups < 2:
                raise DataError(
                    f"task {task.name!r} has {pool.groups} training group(s) in languages "
                    f"{list(task.languages) or 'any'}, sources {list(task.sources) or 'any'}; it needs at least 2: "
                    "check names, licences and splits"
                )
        sizes = np.array([pool.groups for pool in self._pools], dtype=np.float64)
        weights = np.array([task.weight for task in self.tasks]) * sizes**size_exponent
        self.schedule = np.random.default_rng([seed, 0]).choice(len(self.tasks), size=steps, p=weights / weights.sum())
        self._seen = np.zeros((steps, len(self.tasks)), dtype=np.int64)
        for i in range(len(self.tasks)):
            self._seen[:, i] = np.cumsum(self.schedule == i) - (self.schedule == i)

    def draw(self, step: int) -> Draw:
        """The batch of a step."""
        number = int(self.schedule[step])
        task, pool = self.tasks[number], self._pools[number]
        records = pool.batch(int(self._seen[step, number]), task.batch_size)
        rng = np.random.default_rng([self.seed, 1, step])
        positives = tuple(int(rng.integers(len(r.positives))) for r in records)
        return Draw(task, tuple(records), positives)


class _Pool:
    """Records of one task by group; groups come in a new order each round, and so do the records of a group."""

    def __init__(self, records: Sequence[Record], *, seed: int, salt: int) -> None:
        by_group: dict[str, list[Record]] = {}
        for record in records:
            by_group.setdefault(record.group, []).append(record)
        self._members = [by_group[name] for name in sorted(by_group)]
        self._seed = (seed, 2 + salt)

    @property
    def groups(self) -> int:
        return len(self._members)

    def batch(self, number: int, size: int) -> list[Record]:
        """The ``number``-th batch of at most ``size`` records, each of another group and with another positive."""
        size = min(size, self.groups)
        round_, place = divmod(number, self.groups // size)
        return self._round(round_, size)[place * size : (place + 1) * size]

    @lru_cache(maxsize=2)  # noqa: B019 - a pool lives as long as its sampler
    def _round(self, round_: int, size: int) -> list[Record]:
        """A record of every group, in the order of a round."""
        order = np.random.default_rng([*self._seed, 0, round_]).permutation(self.groups)
        records = [self._record(int(group), round_) for group in order]
        _spread(records, size)
        return records

    def _record(self, group: int, round_: int) -> Record:
        members = self._members[group]
        cycle, place = divmod(round_, len(members))
        order = np.random.default_rng([*self._seed, 1, group, cycle]).permutation(len(members))
        return members[int(order[place])]


def _spread(records: list[Record], size: int) -> None:
    """Exchange records between the batches of a round, in place, so that no batch has a positive twice.

    Two stay together only where none of the next ``REACH`` records can change places with one of them, as when a task
    has fewer positives than its batch has members; the loss then leaves the pair out of the negatives.
    """
    batches = len(records) // size  # what comes after the last whole batch waits for the next round
    held = [Counter(p for r in records[b * size : (b + 1) * size] for p in set(r.positives)) for b in range(batches)]

    def fits(record: Record, batch: int, instead_of: Record) -> bool:
        return batch == batches or not any(held[batch][p] > (p in instead_of.positives) for p in record.positives)

    def move(record: Record, batch: int, by: int) -> None:
        if batch < batches:
            for positive in set(record.positives):
                held[batch][positive] += by

    for place in range(batches * size):
        batch, record = place // size, records[place]
        if all(held[batch][p] < 2 for p in record.positives):
            continue
        for ahead in range(1, min(REACH, len(records))):
            other = (place + ahead) % len(records)
            theirs, found = min(other // size, batches), records[other]
            if theirs != batch and fits(found, batch, record) and fits(record, theirs, found):
                records[place], records[other] = found, record
                for moved, target, by in (
                    (record, batch, -1),
                    (found, theirs, -1),
                    (record, theirs, 1),
                    (found, batch, 1),
                ):
                    move(moved, target, by)
                break


def _members(records: Sequence[Record], task: TaskConfig) -> list[Record]:
    tests: list[Callable[[Record], bool]] = [lambda r: r.task == task.name]
    if task.languages:
        tests.append(lambda r: not set(task.languages).isdisjoint(r.languages))
    if task.sources:
        tests.append(lambda r: r.source in task.sources)
    return [r for r in records if all(test(r) for test in tests)]
