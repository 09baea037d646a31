"""Who may come in: bounds on what the service holds, shares of clients, and deadlines that can still be met.

What is held is counted in items and in units of work (tokens; media count for more than their few). The rates at which
work is done and items leave are measured, so that ``Retry-After`` tells when there will be room beside all who were
told before (:mod:`serving.line`); who comes as told finds it kept. A request whose deadline comes before its turn is
refused at once instead of failing later.
"""

import math
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial

from model.content import Content, Part
from model.encoding import MEDIA_COST
from serving.config import RequestLimits
from serving.errors import RequestError
from serving.line import Line, Place, seconds_to_room

CHARS_PER_TOKEN = 4
FRESH_SHARE, BACK_SHARE = 3.0, 7.0
"""A client may hold so many times what it leaves free: by requests that come unasked, and with those told to come."""
PROMISED, CAUTION = 3 / 4, 0.85
"""Callers are told to come when so much is taken, at so much of the measured rate: not all comes as reckoned."""
OPEN = 1 / 4
"""Up to here everyone is let in, whoever was told to come: they may stay away, and compute must not idle."""
QUEUES = 6
"""Callers are told to come until so many full queues are told."""
BUSY_WORK = 512
"""The rate is measured while at least this much is held: with less, batches are small, and cost more per token."""
BUSY_SHARE = 1 / 8
"""The same for the rate at which items leave, as a share of those that may be held."""
MEMORY_SECONDS = 10.0
LEAST_MEASURED_SECONDS = 1.0
OPTIMISM = 2.0
"""Only what would take more than this many times its deadline is refused: a longer queue makes fuller batches, which
cost less per token than those that the rate was measured with."""


class Meter:
    """Work done in a second while there was enough to do; the last seconds count most."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._work = self._seconds = 0.0
        self._busy_since: float | None = None

    def busy(self, is_busy: bool) -> None:
        """Say whether there is enough to do."""
        self._advance()
        self._busy_since = self._clock() if is_busy else None

    def done(self, work: float) -> None:
        """Say that work has been done."""
        if self._busy_since is not None:
            self._advance()
            self._work += work

    @property
    def rate(self) -> float | None:
        """Work in a second, or None where too little was seen."""
        self._advance()
        return self._work / self._seconds if self._work and self._seconds >= LEAST_MEASURED_SECONDS else None

    def _advance(self) -> None:
        if self._busy_since is None:
            return
        now = self._clock()
        passed, self._busy_since = now - self._busy_since, now
        keep = math.exp(-passed / MEMORY_SECONDS)
        self._work, self._seconds = self._work * keep, self._seconds * keep + passed


@dataclass
class Held:
    """What somebody has inside the service, and how fast its items leave while they are many."""

    leaving: Meter
    items: int = 0
    work: float = 0.0

    def change(self, items: int, work: float, *, many: float, served: bool = True) -> None:
        """Count what comes or, below zero, leaves: served, or as if it had never been here."""
        self.leaving.done(max(0, -items) if served else 0)
        was_many, self.items = self.items >= many, self.items + items
        self.work = self.work + work if self.items else 0.0
        if was_many != (self.items >= many):
            self.leaving.busy(not was_many)


class Ticket:
    """A request inside the service."""

    def __init__(self, change: Callable[[float], None], work: float) -> None:
        self._change = change
        self.work = work

    def correct(self, work: float) -> None:
        """Replace the guess of its work by what is known after its preparation."""
        self._change(work - self.work)
        self.work = work


@dataclass(frozen=True)
class Bound:
    """One thing that can be full, and a request that needs some of it.

    Attributes:
        limit: its name.
        why: what an error says.
        size: what the request needs.
        level: what is taken.
        fresh: up to which requests may come in that come unasked.
        back: up to which requests may come in that come as told.
        whole: what all who may come back can have together.
        rate: what leaves in a second, or None where it was not measured: all of it then.
        coming: seconds from now, and sizes, of others who will come back.
    """

    limit: str
    why: str
    size: float
    level: float
    fresh: float
    back: float
    whole: float
    rate: float | None
    coming: Callable[[], Sequence[tuple[float, float]]]

    def admits(self, place: Place, now: float) -> bool:
        """Whether the request may come in: it comes as told, or takes no room from those who will."""
        after = self.level + self.size
        if place.number and place.at <= now:
            return after <= self.back
        if after <= OPEN * self.whole or not self.level:
            return after <= self.fresh
        return after <= self.fresh and not place.number and (not self._coming or self.seconds == 0)

    @cached_property
    def seconds(self) -> int:
        """The first second at which there is room."""
        rate, most = CAUTION * (self.rate or self.whole), PROMISED * self.whole
        return seconds_to_room(self.size, level=self.level, most=most, rate=rate, coming=self._coming)

    @property
    def latest(self) -> float:
        """When what is inside and all that the line takes will be done."""
        return math.inf if self.rate is None else (QUEUES + 1) * self.whole / (CAUTION * self.rate)

    @cached_property
    def _coming(self) -> Sequence[tuple[float, float]]:
        return self.coming()


class Admission:
    """The door of the service. Used on the event loop only.

    Args:
        limits: how much may be inside.
        clock: seconds.
        line: that leads here; by default a new one. One that outlives the door keeps what was promised before it.
    """

    def __init__(
        self, limits: RequestLimits, clock: Callable[[], float] = time.monotonic, line: Line | None = None
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._line = line_of(limits, clock) if line is None else line
        self._clients: dict[Hashable, Held] = {}
        self.meter = Meter(clock)
        self.held = Held(Meter(clock))

    @contextmanager
    def admitted(
        self, client: Hashable, items: int, work: float, seconds: float, identity: Hashable = None
    ) -> Iterator[Ticket]:
        """Count a request as inside for the length of a block.

        Args:
            client: whose it is.
            items: its items.
            work: a guess of its work.
            seconds: until its deadline.
            identity: equal for requests of equal contents; with None it gets no place in line.

        Raises:
            RequestError: 429 with ``Retry-After``; ``limit`` is ``queue_items``, ``queue_tokens``, ``client_share`` or
                ``deadline``.
        """
        mine = self._clients.get(client) or Held(Meter(self._clock))
        place = self._line.find(client, identity) or Place(client, identity, items, work)
        now = self._clock()
        bounds = list(self._bounds(client, mine, place))
        if full := [bound for bound in bounds if not bound.admits(place, now)]:
            raise _refusal(full[0].why, full[0].limit, self._tell(bounds, place))
        self._check_deadline(mine, work, seconds)
        if place.number:
            self._line.came(place)
        self._clients[client] = mine
        ticket = Ticket(lambda more: self._change(mine, 0, more), work)
        self._change(mine, items, work)
        try:
            yield ticket
        finally:
            self._change(mine, -items, -ticket.work)
            if not mine.items:
                del self._clients[client]

    def _bounds(self, client: Hashable, mine: Held, place: Place) -> Iterator[Bound]:
        """All that a request has to keep to."""
        held, most, most_work = self.held, self._limits.queue_items, self._limits.queue_tokens
        clients = len(self._clients.keys() | self._line.clients | {client})
        # Who has less than his share need not stand back for what others have been promised.
        has_less = mine.items + self._line.items(client) + place.items <= _share(FRESH_SHARE, most, most, clients)
        coming = partial(self._line.coming, place=place) if not has_less else lambda _: ()
        yield Bound(
            "queue_items",
            f"the service holds {held.items} of at most {most} items",
            *(place.items, held.items, most, most, most, held.leaving.rate),
            partial(coming, "items"),
        )
        if held.items:  # what is larger than all that may be held comes in alone
            yield Bound(
                "queue_tokens",
                f"the service holds {held.work:.0f} of at most {most_work} tokens",
                *(place.work, held.work, most_work, most_work, most_work, self.meter.rate),
                partial(coming, "work"),
            )
        if mine.items:
            free, others = most - held.items, held.items - mine.items
            fresh, back = (max(n * free, _share(n, most, most, clients)) for n in (FRESH_SHARE, BACK_SHARE))
            yield Bound(
                "client_share",
                f"you have {mine.items} items in the service, and {place.items} more would leave too little for others",
                *(place.items, mine.items, fresh, back, _share(BACK_SHARE, most, others, clients)),
                max(mine.leaving.rate or 0.0, (held.leaving.rate or most) / clients),
                partial(self._line.coming, "items", place, own=True),
            )

    def _tell(self, bounds: Sequence[Bound], place: Place) -> int:
        """When a refused request shall come back; it has a place in line then, if there is one left."""
        now = self._clock()
        if place.at > now:
            return math.ceil(place.at - now)
        latest = min(bound.latest for bound in bounds if bound.limit != "client_share")
        seconds = math.ceil(min(latest, max(1, *(bound.seconds for bound in bounds))))
        self._line.put(place, now + seconds)
        return seconds

    def _check_deadline(self, mine: Held, work: float, seconds: float) -> None:
        """Refuse what has no chance.

        Work of others that is served before, because all share fairly, is at most as much as the client's own for each.
        """
        if (rate := self.meter.rate) is None:
            return
        others = len(self._clients) - bool(mine.items)
        wait = min(self.held.work + work, (mine.work + work) * (1 + others)) / rate
        if wait > OPTIMISM * seconds:
            why = f"about {wait:.0f} s of work are to be done before, more than the {seconds:g} s that the request has"
            raise _refusal(why, "deadline", max(1, math.ceil(wait - OPTIMISM * seconds)))

    def _change(self, mine: Held, items: int, work: float) -> None:
        was_busy = self.held.work >= BUSY_WORK
        for held in (self.held, mine):
            held.change(items, work, many=BUSY_SHARE * self._limits.queue_items)
        is_busy = self.held.work >= BUSY_WORK
        if was_busy != is_busy:
            self.meter.busy(is_busy)


def line_of(limits: RequestLimits, clock: Callable[[], float] = time.monotonic) -> Line:
    """A line that is as long as the limits allow."""
    return Line(QUEUES * limits.queue_items, clock)


def _share(times: float, most: int, others: int, clients: int) -> float:
    """What a client may hold: so many times what it leaves, though others may have taken more than theirs."""
    return max((most - others) * times / (1 + times), most * times / (1 + times * clients))


def _refusal(why: str, limit: str, seconds: int) -> RequestError:
    return RequestError(
        f"{why}; retry after {seconds} s",
        status=429,
        code="overloaded",
        limit=limit,
        headers={"Retry-After": str(seconds)},
    )


def guess_work(contents: Sequence[Content], most_each: int) -> float:
    """About how much work contents are, from their sizes alone."""
    return float(sum(min(most_each, sum(map(_guess, content.parts))) for content in contents))


def _guess(part: Part) -> int:
    return MEDIA_COST if part.text is None else 2 + len(part.text) // CHARS_PER_TOKEN
