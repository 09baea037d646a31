"""Who may come in: bounds on what the service holds, shares of clients, and deadlines that can still be met.

What is held is counted in items and in units of work (tokens; media count for more than their few). The rate at which
work is done is measured, so that ``Retry-After`` tells when what is held will be done, and a request whose deadline
comes before its turn is refused at once instead of failing later.
"""

import math
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from model.content import Content, Part
from model.encoding import MEDIA_COST
from serving.config import RequestLimits
from serving.errors import RequestError

CHARS_PER_TOKEN = 4
FREE_SHARE = 3.0
"""A client may hold so many times what is free when it comes: alone three quarters and part of a request."""
BUSY_WORK = 512
"""The rate is measured while at least this much is held: with less, batches are small, and cost more per token."""
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
    """What somebody has inside the service."""

    items: int = 0
    work: float = 0.0


class Ticket:
    """A request inside the service."""

    def __init__(self, change: Callable[[float], None], work: float) -> None:
        self._change = change
        self.work = work

    def correct(self, work: float) -> None:
        """Replace the guess of its work by what is known after its preparation."""
        self._change(work - self.work)
        self.work = work


class Admission:
    """The door of the service. Used on the event loop only.

    Args:
        limits: how much may be inside.
        clock: seconds.
    """

    def __init__(self, limits: RequestLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self.meter = Meter(clock)
        self.held = Held()
        self._clients: dict[Hashable, Held] = {}

    @contextmanager
    def admitted(self, client: Hashable, items: int, work: float, seconds: float) -> Iterator[Ticket]:
        """Count a request as inside for the length of a block.

        Args:
            client: whose it is.
            items: its items.
            work: a guess of its work.
            seconds: until its deadline.

        Raises:
            RequestError: 429 with ``Retry-After``; ``limit`` is ``queue_items``, ``queue_tokens``, ``client_share`` or
                ``deadline``.
        """
        mine = self._clients.get(client) or Held()
        self._check(mine, items, work, seconds)
        self._clients[client] = mine
        ticket = Ticket(lambda more: self._change(mine, 0, more), work)
        self._change(mine, items, work)
        try:
            yield ticket
        finally:
            self._change(mine, -items, -ticket.work)
            if not mine.items:
                del self._clients[client]

    def _check(self, mine: Held, items: int, work: float, seconds: float) -> None:
        limits, held = self._limits, self.held
        if held.items + items > limits.queue_items:
            raise self._refusal(f"the service holds {held.items} of at most {limits.queue_items} items", "queue_items")
        if held.items and held.work + work > limits.queue_tokens:
            raise self._refusal(
                f"the service holds {held.work:.0f} of at most {limits.queue_tokens} tokens", "queue_tokens"
            )
        free = limits.queue_items - held.items
        if mine.items and mine.items + items > FREE_SHARE * free:
            raise self._refusal(
                f"you have {mine.items} items in the service, and {items} more would leave too little room for others",
                "client_share",
                mine.work,
            )
        wait = self._wait(mine, work)
        if wait is not None and wait > OPTIMISM * seconds:
            raise self._refusal(
                f"about {wait:.0f} s of work are to be done before, more than the {seconds:g} s that the request has",
                "deadline",
            )

    def _wait(self, mine: Held, work: float) -> float | None:
        """In how many seconds new work would be done, or None where no rate was measured.

        Work of others that is served before, because all share fairly, is at most as much as the client's own for each.
        """
        rate = self.meter.rate
        if rate is None:
            return None
        others = len(self._clients) - bool(mine.items)
        return min(self.held.work + work, (mine.work + work) * (1 + others)) / rate

    def _refusal(self, why: str, limit: str, work: float | None = None) -> RequestError:
        rate = self.meter.rate
        backlog = self.held.work if work is None else work
        seconds = 1 if rate is None else max(1, math.ceil(backlog / rate))
        return RequestError(
            f"{why}; retry after {seconds} s",
            status=429,
            code="overloaded",
            limit=limit,
            headers={"Retry-After": str(seconds)},
        )

    def _change(self, mine: Held, items: int, work: float) -> None:
        was_busy = self.held.work >= BUSY_WORK
        for held in (self.held, mine):
            held.items += items
            held.work = held.work + work if held.items else 0.0
        is_busy = self.held.work >= BUSY_WORK
        if was_busy != is_busy:
            self.meter.busy(is_busy)


def guess_work(contents: Sequence[Content], most_each: int) -> float:
    """About how much work contents are, from their sizes alone."""
    return float(sum(min(most_each, sum(map(_guess, content.parts))) for content in contents))


def _guess(part: Part) -> int:
    return MEDIA_COST if part.text is None else 2 + len(part.text) // CHARS_PER_TOKEN
