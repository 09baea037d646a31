"""Nobody waits for more than a fair share of the others' work, whatever these send; a plain queue would fail."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from serving.fairness import MOST_PASSES, FairQueue

SLACK, MOST, LONGEST = 24, 5, 30


@dataclass(eq=False)
class Item:
    client: str
    length: int


@dataclass
class Budget:
    """Padded size of a batch, as the batcher counts it."""

    longest: int = 0
    count: int = 0

    def takes(self, first: Item, other: Item) -> bool:
        longest = max(self.longest or first.length, other.length)
        count = max(self.count, 1) + 1
        if longest * count > SLACK:
            return False
        self.longest, self.count = longest, count
        return True


def take(queue: FairQueue[Item]) -> list[Item]:
    return queue.take(Budget().takes, lambda a, b: abs(a.length - b.length), MOST)


@dataclass
class Fifo:
    """What the batcher did before: the oldest item and those nearest in length, whoever sent them."""

    items: list[Item] = field(default_factory=list)

    def add(self, item: Item) -> None:
        self.items.append(item)

    def take(self) -> list[Item]:
        first, budget = self.items[0], Budget()
        batch = [first]
        for item in sorted(self.items[1:], key=lambda item: abs(item.length - first.length)):
            if len(batch) < MOST and budget.takes(first, item):
                batch.append(item)
        self.items = [item for item in self.items if item not in batch]
        return batch


@dataclass
class Fair:
    queue: FairQueue[Item] = field(default_factory=lambda: FairQueue(SLACK))

    def add(self, item: Item) -> None:
        self.queue.add(item.client, item, item.length)

    def take(self) -> list[Item]:
        return take(self.queue)


lengths = st.integers(1, LONGEST)
backlogs = st.dictionaries(st.sampled_from("ABCD"), st.lists(lengths, min_size=1, max_size=40), min_size=1)


def fill(queue: Fair | Fifo, backlog: dict[str, list[int]]) -> list[Item]:
    items = [Item(client, length) for client, sizes in backlog.items() for length in sizes]
    for item in items:
        queue.add(item)
    return items


def worst_gap(queue: Fair | Fifo, backlog: dict[str, list[int]]) -> float:
    """By how much the work done for two clients differs at most, while both wait."""
    items = fill(queue, backlog)
    left = {client: len(sizes) for client, sizes in backlog.items()}
    served = dict.fromkeys(backlog, 0)
    worst, done = 0, 0
    while done < len(items):
        batch = queue.take()
        assert batch
        done += len(batch)
        for item in batch:
            served[item.client] += item.length
            left[item.client] -= 1
        waiting = [served[client] for client, count in left.items() if count]
        worst = max(worst, max(waiting, default=0) - min(waiting, default=0))
    return worst


@settings(max_examples=60, deadline=None)
@given(backlog=backlogs)
def test_clients_who_wait_are_served_alike(backlog: dict[str, list[int]]) -> None:
    assert worst_gap(Fair(), backlog) <= SLACK + LONGEST


def test_a_plain_queue_serves_the_first_alone() -> None:
    backlog = {"A": [5] * 200, "B": [5] * 200}
    assert worst_gap(Fifo(), backlog) >= 200 * 5 - SLACK
    assert worst_gap(Fair(), backlog) <= SLACK + 5


@settings(max_examples=60, deadline=None)
@given(backlog=backlogs, length=lengths, after=st.integers(0, 20))
def test_who_sends_one_item_waits_at_most_a_batch_for_each_who_waits(
    backlog: dict[str, list[int]], length: int, after: int
) -> None:
    queue = Fair()
    fill(queue, backlog)
    for _ in range(after):
        queue.take()
    others = queue.queue.clients
    queue.add(newcomer := Item("newcomer", length))
    assert any(newcomer in queue.take() for _ in range(others + 1))


def test_a_plain_queue_lets_who_sends_one_item_wait_for_all() -> None:
    def turns(queue: Fair | Fifo) -> int:
        fill(queue, {"A": [20] * 100})
        queue.add(newcomer := Item("B", 1))
        return next(turn for turn in range(1, 200) if newcomer in queue.take())

    assert turns(Fair()) <= 2
    assert turns(Fifo()) > 90


@settings(max_examples=40, deadline=None)
@given(backlog=backlogs, leaving=st.sets(st.integers(0, 159)))
def test_each_item_is_taken_once_unless_it_left(backlog: dict[str, list[int]], leaving: set[int]) -> None:
    queue = Fair()
    items = fill(queue, backlog)
    gone = {item for index, item in enumerate(items) if index in leaving}
    for item in gone:
        queue.queue.remove(item)
        queue.queue.remove(item)
    taken = list(drained(queue.take))
    assert len(taken) == len(set(taken)) == len(items) - len(gone)
    assert not gone & set(taken)
    assert len(queue.queue) == queue.queue.clients == 0


def drained(take: Callable[[], list[Item]]) -> Iterable[Item]:
    while batch := take():
        yield from batch


def test_an_item_that_suits_nobody_is_not_passed_over_for_ever() -> None:
    queue = Fair()
    odd = Item("A", LONGEST)
    queue.add(Item("B", 1))
    queue.add(odd)
    for turn in range(200):
        for client in "AB":
            for _ in range(6):
                queue.add(Item(client, 1))
        if odd in queue.take():
            assert turn <= 2 * MOST_PASSES + SLACK
            return
    raise AssertionError("starved by shorter ones")


def test_a_pause_earns_no_credit() -> None:
    queue = Fair()
    fill(queue, {"A": [5] * 100, "B": [5] * 2})
    for _ in range(20):
        queue.take()
    fill(queue, {"B": [5] * 100})
    batches = [queue.take() for _ in range(10)]
    shares = [sum(item.client == "B" for batch in batches[:turn] for item in batch) for turn in (2, 10)]
    assert shares[0] <= 2 * 4 * 0.5 + SLACK / 5
    assert abs(shares[1] - 20) <= SLACK / 5
