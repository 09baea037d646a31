"""Task-homogeneous batches as a pure function of (seed, step), so that a resumed run sees what it would have seen.

The unit of sampling is the leakage group, not the record: a concept with a hundred captions does not outweigh one
with ten, and no batch holds two records of one group, which rules out most false negatives.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from data.records import Record
from model.errors import DataError
from model.training.config import TaskConfig


@dataclass(frozen=True)
class Draw:
    """One batch: its task and, per member, a record and which of its positives to use."""

    task: TaskConfig
    records: tuple[Record, ...]
    positives: tuple[int, ...]


class TaskSampler:
    """Draws batches. ``draw(step)`` depends on nothing but the records, the tasks, the seed and the step.

    Raises:
        DataError: a task has no record or fewer than two groups.
    """

    def __init__(self, records: Sequence[Record], tasks: Sequence[TaskConfig], *, steps: int, seed: int) -> None:
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
        weights = np.array([task.weight for task in self.tasks])
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
        """The ``number``-th batch of at most ``size`` records, each of another group."""
        size = min(size, self.groups)
        per_round = self.groups // size
        round_, place = divmod(number, per_round)
        order = np.random.default_rng([*self._seed, 0, round_]).permutation(self.groups)
        return [self._record(int(g), round_) for g in order[place * size : (place + 1) * size]]

    def _record(self, group: int, round_: int) -> Record:
        members = self._members[group]
        cycle, place = divmod(round_, len(members))
        order = np.random.default_rng([*self._seed, 1, group, cycle]).permutation(len(members))
        return members[int(order[place])]


def _members(records: Sequence[Record], task: TaskConfig) -> list[Record]:
    tests: list[Callable[[Record], bool]] = [lambda r: r.task == task.name]
    if task.languages:
        tests.append(lambda r: not set(task.languages).isdisjoint(r.languages))
    if task.sources:
        tests.append(lambda r: r.source in task.sources)
    return [r for r in records if all(test(r) for test in tests)]
