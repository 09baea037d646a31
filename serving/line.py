"""The line before the door: who is refused is told when there will be room, and has a place in line until then.

A refused request is told the first whole second at which, at the measured rate, there is room for it beside all who
were told before. Its place is known by its client and its contents, which a caller that obeys ``Retry-After`` sends
again as they were: nobody needs to know of tickets, and asking all the time earns nothing. A place that nobody comes
for lapses. It is counted for no more than the share of its places that its client came for of late, so that whoever
stays away does not let others wait.

A request that comes before the time of its place may be the same one, too early, or another one of equal contents.
Nothing tells them apart but what follows: a place for the other is used, or lapses. So it is given one where the client
came for its places of late, and is told the rest of the time where it did not.
"""

import itertools
import math
import time
from bisect import insort
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Set
from dataclasses import dataclass
from typing import Literal

import numpy as np

GRACE_SECONDS = 5.0
"""How long a place is kept for a caller that is late: both answers and bodies take time under load."""
MOST_PLACES = 512
"""Of all clients; each reckoning goes through them."""
Unit = Literal["items", "work"]
SHARE = 3.0
"""A client may have places for so many times the items that it leaves to others."""
LEARNING = 1 / 16
LEAST_KEPT = 1 / 16
TRUSTED = 0.95
"""The share of its places that a client must have come for to have several for equal requests."""
MOST_EQUAL = 4
"""Places that equal requests of a client have at most: nothing is known of it at first, and whoever asks all the time
gets so many as well, until they lapse."""
MOST_REMEMBERED = 1024


@dataclass(eq=False)
class Place:
    """The right of a request to come back.

    Attributes:
        client: whose it is.
        identity: equal for requests of equal contents; None has no place.
        items: its items.
        work: a guess of its work.
        at: when it shall come.
        number: lower of those who were refused first; 0 before it has a place.
    """

    client: Hashable
    identity: Hashable
    items: int
    work: float
    at: float = 0.0
    number: int = 0


class Line:
    """The places of all refused requests.

    Args:
        most: items that all places together may have.
        clock: seconds.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._places: dict[Hashable, list[Place]] = {}
        self._order: list[Place] = []
        self._items: Counter[Hashable] = Counter()
        self._counts: Counter[Hashable] = Counter()
        self._kept: dict[Hashable, float] = {}
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        return len(self._order)

    @property
    def clients(self) -> Set[Hashable]:
        """All who have a place."""
        return self._counts.keys()

    def items(self, client: Hashable) -> float:
        """The items that a client will come back with."""
        return self._items[client] * self._kept.get(client, 1.0)

    def find(self, client: Hashable, identity: Hashable) -> Place | None:
        """The place that a request comes for, the first that equal ones got; None where it is to get one of its own."""
        self._lapse()
        equal = self._places.get((client, identity))
        if equal is None:
            return None
        first = min(equal, key=_time)
        if first.at <= self._clock():
            return first
        is_trusted = self._kept.get(client, 1.0) >= TRUSTED and len(equal) < MOST_EQUAL
        return None if is_trusted else max(equal, key=_time)

    def coming(self, unit: Unit, place: Place, *, own: bool = False) -> list[tuple[float, float]]:
        """Seconds from now and sizes of the others who will come back, the next one first.

        For a request that came as told and was refused, these are those who were refused before it.

        Args:
            unit: of the sizes.
            place: the one that asks.
            own: only those of the same client.
        """
        now = self._clock()
        before = place.number if place.number and place.at <= now else math.inf
        return [
            (other.at - now, (other.items if unit == "items" else other.work) * self._kept.get(other.client, 1.0))
            for other in self._order
            if other is not place and other.number < before and (not own or other.client == place.client)
        ]

    def put(self, place: Place, at: float) -> None:
        """Let a request come back at a time, unless there are too many places, of its client or of all."""
        if place.number:
            self._order.remove(place)
        elif self._takes(place):
            self._places.setdefault((place.client, place.identity), []).append(place)
            self._items[place.client] += place.items
            self._counts[place.client] += 1
            place.number = next(self._numbers)
        else:
            return
        place.at = at
        insort(self._order, place, key=_time)

    def came(self, place: Place) -> None:
        """Say that a request has been let in."""
        self._order.remove(place)
        self._close(place, 1.0)

    def _takes(self, place: Place) -> bool:
        """Whether there is a place for another request, with some left for other clients."""
        client, count = place.client, self._counts[place.client]
        if place.identity is None or count >= SHARE * (MOST_PLACES - len(self._order)):
            return False
        left = self._most - sum(map(self.items, self._counts)) - place.items
        return not count or self.items(client) + place.items <= SHARE * left

    def _lapse(self) -> None:
        """Forget places that nobody came for."""
        latest = self._clock() - GRACE_SECONDS
        while self._order and self._order[0].at < latest:
            self._close(self._order.pop(0), 0.0)

    def _close(self, place: Place, kept: float) -> None:
        """Remember which share of its places a client came for: of late, and all where nothing is known."""
        client, key = place.client, (place.client, place.identity)
        self._places[key].remove(place)
        if not self._places[key]:
            del self._places[key]
        self._items[client] -= place.items
        self._counts[client] -= 1
        if not self._counts[client]:
            del self._items[client], self._counts[client]
        known = self._kept.pop(client, 1.0)
        self._kept[client] = max(LEAST_KEPT, known + LEARNING * (kept - known))  # the latest at the end
        if len(self._kept) > MOST_REMEMBERED:
            del self._kept[next(iter(self._kept))]


def seconds_to_room(
    size: float, *, level: float, most: float, rate: float, coming: Iterable[tuple[float, float]]
) -> int:
    """The first whole second at which there is room for ``size``, without taking it from any who come later.

    Args:
        size: what shall come in; one that is larger than ``most`` needs all of it.
        level: what is inside now.
        most: up to which it may be filled.
        rate: what leaves in a second.
        coming: seconds from now (those in the past come now) and sizes of all who were told to come, in order.
    """
    size = min(size, most)
    pairs = np.array([(0.0, 0.0), *coming], dtype=np.float64)
    times, sizes = np.maximum(pairs[:, 0], 0.0), pairs[:, 1]
    # What would be inside before each comes if it could be less than nothing, and what that takes away too much.
    unbounded = level + np.cumsum(sizes) - sizes - rate * times
    levels = unbounded - np.minimum(np.minimum.accumulate(unbounded), 0.0) + sizes
    highest = np.append(np.maximum.accumulate(levels[::-1])[::-1], 0.0)  # from each on
    seconds = np.arange(math.ceil(times[-1]))
    after = np.searchsorted(times, seconds, side="right")
    before = np.maximum(0.0, levels[after - 1] - rate * (seconds - times[after - 1]))
    fits = np.maximum(before, highest[after]) + size <= most
    if fits.any():
        return int(fits.argmax())
    return math.ceil(float(times[-1] + max(0.0, levels[-1] + size - most) / rate))


def _time(place: Place) -> float:
    return place.at
