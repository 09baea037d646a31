"""Room for one kind of thing: what is held of it, and when there will be room for more, at the measured rate.

The door of the service has several such bounds and a line before it (:mod:`serving.admission`); this is for bounds that
stand alone: bytes of bodies, items of one key.
"""

import time
from collections.abc import Callable

from serving.admission import BUSY_SHARE, CAUTION, Held, Meter
from serving.line import seconds_to_room

MOST_SECONDS = 60
"""Rates change, and OpenAI's clients do not obey a longer time."""


class Room:
    """What may be held, and what is.

    Args:
        most: that may be held.
        clock: seconds.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self._held = Held(Meter(clock))

    @property
    def held(self) -> int:
        """What is held."""
        return self._held.items

    def take(self, size: int) -> None:
        """Count what comes."""
        self._held.change(size, 0.0, many=BUSY_SHARE * self.most)

    def leave(self, size: int, *, served: bool = True) -> None:
        """Count what leaves. What was refused leaves at once, and tells nothing of how fast room is made."""
        self._held.change(-size, 0.0, many=BUSY_SHARE * self.most, served=served)

    def seconds(self, size: int) -> int:
        """The first whole second at which there is room, at least one; where no rate is known, all leaves in one."""
        rate = CAUTION * (self._held.leaving.rate or self.most)
        room = seconds_to_room(size, level=self.held, most=self.most, rate=rate, coming=())
        return min(MOST_SECONDS, max(1, room))
