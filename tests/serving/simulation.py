"""A service in simulated time: callers of several kinds, a door, and compute that works off what is inside."""

import heapq
import itertools
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from serving.admission import Admission, Bound
from serving.config import RequestLimits
from serving.errors import RequestError
from serving.line import Place

PATIENCE = 60.0
RUDE_SECONDS = 0.02
BATCH_ITEMS = 8
"""Items that are computed at a time."""


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Before(Admission):
    """The rule before there was a line: all are told how long what is held will take, and nothing is kept for them."""

    def _tell(self, bounds: Sequence[Bound], place: Place) -> int:
        limit = next(bound.limit for bound in bounds if not bound.admits(place, self._clock()))
        held = self._clients[place.client] if limit == "client_share" else self.held
        rate = self.meter.rate
        return 1 if rate is None else max(1, math.ceil(held.work / rate))


@dataclass(frozen=True)
class Kind:
    """How a caller behaves.

    Attributes:
        client: whose it is.
        obeys: comes back when it was told, with a delay of so many seconds at most; None for other behaviour.
        gives_up: share of its requests that it never sends again, but something else, at once.
        most_items: of a request.
        different: contents that its requests have at most; None for contents of their own.
    """

    client: str = "A"
    obeys: float | None = 0.05
    gives_up: float = 0.0
    most_items: int = 4
    different: int | None = None


@dataclass
class Seen:
    """What happened to the callers of one client and kind."""

    first: Counter[bool] = field(default_factory=Counter)
    """Requests that were let in at once, or not."""
    as_told: Counter[bool] = field(default_factory=Counter)
    """Those who came as told, and were let in, or not."""
    told: list[int] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    done: int = 0

    def clear(self) -> None:
        """Forget everything."""
        self.first.clear(), self.as_told.clear(), self.told.clear(), self.waited.clear()
        self.done = 0

    @property
    def kept(self) -> float:
        """Share of those who came as told that were let in."""
        return self.as_told[True] / max(1, self.as_told.total())


@dataclass(eq=False)
class Request:
    """A request inside: how many of its items are not done, and who waits for it."""

    left: int
    story: "Story | None" = None


Story = Iterator[float | Request]
"""What a caller or compute does: it yields seconds to wait, or a request to wait for."""


class Simulation:
    """Everything together.

    Args:
        limits: of the service.
        make: makes the door.
        rate: work done in a second at a time.
        seed: of everything that is random.
    """

    def __init__(
        self,
        limits: RequestLimits,
        make: Callable[[RequestLimits, Clock], Admission] = Admission,
        *,
        rate: Callable[[float], float] = lambda _: 1000.0,
        seed: int = 0,
    ) -> None:
        self.clock = Clock()
        self.door = make(limits, self.clock)
        self.seen: dict[Kind, Seen] = {}
        self._rate, self._rng = rate, random.Random(seed)
        self._events: list[tuple[float, int, Story]] = []
        self._number = itertools.count()
        self._queue: deque[tuple[float, Request]] = deque()
        self._computing = False
        self._worked, self._began = 0.0, self.clock.now

    @property
    def busy(self) -> float:
        """Share of the time in which something was computed."""
        return self._worked / (self.clock.now - self._began)

    def add(self, kind: Kind, count: int, *, at: float = 0.0, spread: float = 1.0) -> None:
        """Let callers begin some time from now."""
        seen = self.seen.setdefault(kind, Seen())
        for _ in range(count):
            self._push(at + spread * self._rng.random(), self._live(kind, seen))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.clock.now + seconds
        while self._events and self._events[0][0] <= end:
            self.clock.now, _, story = heapq.heappop(self._events)
            self._step(story)
        self.clock.now = end

    def _push(self, delay: float, story: Story) -> None:
        heapq.heappush(self._events, (self.clock.now + delay, next(self._number), story))

    def _step(self, story: Story) -> None:
        """Go on with a caller or with compute until it waits."""
        until = next(story, None)
        if isinstance(until, Request):
            until.story = story
        elif until is not None:
            self._push(until, story)

    def _live(self, kind: Kind, seen: Seen) -> Story:
        rng = self._rng
        while True:
            identity = next(self._number) if kind.different is None else -1 - rng.randrange(kind.different)
            drawn = rng if kind.different is None else random.Random(identity)  # equal contents cost the same
            costs = [min(400.0, 8 * drawn.lognormvariate(1, 1)) for _ in range(drawn.randint(1, kind.most_items))]
            began, told = self.clock.now, None
            gives_up = rng.random() < kind.gives_up
            while True:
                inside = ExitStack()
                try:
                    inside.enter_context(self.door.admitted(kind.client, len(costs), sum(costs), PATIENCE, identity))
                except RequestError as error:
                    if told is None:
                        seen.first[False] += 1
                    elif kind.obeys is not None:
                        seen.as_told[False] += 1
                    told = int(error.headers["Retry-After"])
                    seen.told.append(told)
                    is_rude = gives_up or kind.obeys is None
                    yield RUDE_SECONDS if is_rude else told + rng.random() * kind.obeys
                    if gives_up:
                        break
                    continue
                if told is None:
                    seen.first[True] += 1
                elif kind.obeys is not None:
                    seen.as_told[True] += 1
                seen.waited.append(self.clock.now - began)
                yield self._let_in(costs)
                inside.close()
                seen.done += 1
                yield 0.01 * rng.random()
                break

    def _let_in(self, costs: list[float]) -> Request:
        """Let all items be computed, those of all callers in the order in which they came."""
        request = Request(len(costs))
        self._queue.extend((cost, request) for cost in costs)
        if not self._computing:
            self._computing = True
            self._push(0.0, self._compute())
        return request

    def _compute(self) -> Story:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(BATCH_ITEMS, len(self._queue)))]
            work = sum(cost for cost, _ in batch)
            seconds = work / self._rate(self.clock.now)
            yield seconds
            self._worked += seconds
            self.door.meter.done(work)
            for _, request in batch:
                request.left -= 1
                if not request.left and request.story is not None:
                    self._push(0.0, request.story)
        self._computing = False
