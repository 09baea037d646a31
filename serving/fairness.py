"""A queue that is shared fairly: whoever was served least goes first, however much the others have sent.

Each client has a counter of the cost that was served to it, and the client with the least is next ("virtual token
counter", Sheng et al., Fairness in Serving Large Language Models, OSDI 2024). A client that comes back after a pause
starts at the least counter of those who wait: a pause earns no credit. Counters of clients that wait all the time
never differ by more than ``slack`` and the cost of one entry.
"""

import itertools
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace
from typing import Generic, TypeVar

E = TypeVar("E", bound=Hashable)
Client = Hashable
MOST_PASSES = 8
MOST_REMEMBERED = 1024


@dataclass(eq=False)
class Lane(Generic[E]):
    """What waits of one client: entries and their costs, oldest first.

    Attributes:
        served: the client's counter.
        passes: how often younger entries were preferred to the oldest one, since it is the oldest.
    """

    client: Client
    served: float
    number: int
    entries: dict[E, float] = field(default_factory=dict)
    passes: int = 0

    @property
    def oldest(self) -> E:
        """The entry that waits longest."""
        return next(iter(self.entries))


class FairQueue(Generic[E]):
    """Entries of several clients.

    Args:
        slack: by how much a client may be ahead of another that waits, in units of cost. A larger one lets a batch
            have more company that suits it.
    """

    def __init__(self, slack: float) -> None:
        self._slack = slack
        self._lanes: dict[Client, Lane[E]] = {}
        self._gone: dict[Client, float] = {}
        self._numbers = itertools.count()
        self._where: dict[E, Lane[E]] = {}

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, entry: object) -> bool:
        return entry in self._where

    def __iter__(self) -> Iterator[E]:
        return iter(self._where)

    @property
    def clients(self) -> int:
        """How many clients wait."""
        return len(self._lanes)

    def add(self, client: Client, entry: E, cost: float) -> None:
        """Let an entry wait."""
        lane = self._lanes.get(client)
        if lane is None:
            served = max(self._gone.pop(client, 0.0), self._least())
            lane = self._lanes[client] = Lane(client, served, next(self._numbers))
        lane.entries[entry] = cost
        self._where[entry] = lane

    def remove(self, entry: E) -> None:
        """Take an entry out unserved; nothing happens if it has left already."""
        if (lane := self._where.pop(entry, None)) is not None:
            self._leave(lane, entry)

    def take(self, fits: Callable[[E, E], bool], distance: Callable[[E, E], float], most: int) -> list[E]:
        """Take out a batch: the oldest entry of the client served least, and company that suits it.

        Args:
            fits: whether an entry may join, given the first one; called for each in turn, and true means that it joins.
            distance: how ill an entry suits the first one; each client offers its entries in this order.
            most: entries of a batch.
        """
        if not self._lanes:
            return []
        first = self._first()
        batch = [self._serve(first)]
        seed = batch[0]
        offers = [(lane.served, lane.number, lane, self._suited(lane, seed, distance)) for lane in self._lanes.values()]
        heapify(offers)
        behind = float("inf")  # counter of the client served least of those whom nothing suits
        while offers and len(batch) < most and offers[0][0] <= behind + self._slack:
            served, number, lane, suited = offers[0]
            entry = next((entry for entry in suited if fits(seed, entry)), None)
            if entry is None:
                heappop(offers)
                behind = min(behind, served) if lane.entries else behind
                continue
            batch.append(self._serve(lane, entry))
            heapreplace(offers, (lane.served, number, lane, suited))
        return batch

    @staticmethod
    def _suited(lane: Lane[E], seed: E, distance: Callable[[E, E], float]) -> Iterator[E]:
        """A client's entries, those that suit the first entry best at the front; equals in the order of arrival."""
        if len(lane.entries) == 1:
            return iter(tuple(lane.entries))
        return iter(sorted(lane.entries, key=lambda entry: distance(seed, entry)))

    def _first(self) -> Lane[E]:
        """The client served least, unless the oldest entry of another has been passed over too often."""
        least = min(self._lanes.values(), key=lambda lane: (lane.served, lane.number))
        allowed = least.served + self._slack
        passed = max(self._lanes.values(), key=lambda lane: lane.passes if lane.served <= allowed else -1)
        return passed if passed.passes >= MOST_PASSES and passed.served <= allowed else least

    def _serve(self, lane: Lane[E], entry: E | None = None) -> E:
        oldest = lane.oldest
        entry = oldest if entry is None else entry
        lane.passes = 0 if entry is oldest else lane.passes + 1
        lane.served += lane.entries[entry]
        del self._where[entry]
        self._leave(lane, entry)
        return entry

    def _leave(self, lane: Lane[E], entry: E) -> None:
        del lane.entries[entry]
        if lane.entries:
            return
        del self._lanes[lane.client]
        if not self._lanes:  # nobody competes: all start anew
            self._gone.clear()
            return
        self._gone[lane.client] = lane.served
        if len(self._gone) > MOST_REMEMBERED:
            least = self._least()
            self._gone = {client: served for client, served in self._gone.items() if served > least}

    def _least(self) -> float:
        return min((lane.served for lane in self._lanes.values()), default=0.0)
