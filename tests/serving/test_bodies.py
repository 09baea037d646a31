"""Bodies are counted while they are here, and whoever finds no room is told when there will be some."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message

from serving.admission import CAUTION
from serving.bodies import Bodies
from serving.responses import Refused
from serving.room import MOST_SECONDS, Room
from tests.serving.simulation import Clock


class Sender:
    """Sends a body in pieces."""

    def __init__(self, *pieces: int) -> None:
        self.pieces = list(pieces)

    async def __call__(self) -> Message:
        return {"type": "http.request", "body": b" " * self.pieces.pop(0), "more_body": bool(self.pieces)}


def send(inside: ExitStack, bodies: Bodies, *pieces: int, declared: int = 0) -> None:
    """Read a body, which stays until ``inside`` ends."""
    receive = inside.enter_context(bodies.counted(Sender(*pieces), declared))
    for _ in pieces:
        asyncio.run(receive())  # type: ignore[arg-type]


def told(bodies: Bodies, *pieces: int, declared: int = 0) -> int:
    """Seconds after which a refused body shall come again."""
    with ExitStack() as inside, pytest.raises(Refused) as caught:
        send(inside, bodies, *pieces, declared=declared)
    assert caught.value.error.limit == "bodies_bytes"
    seconds = caught.value.error.headers["Retry-After"]
    assert caught.value.error.message.endswith(f"retry after {seconds} s")
    return int(seconds)


def served(bodies: Bodies, clock: Clock, seconds: int) -> None:
    """Let 100 bytes be served in each of some seconds."""
    for _ in range(seconds):
        with ExitStack() as inside:
            send(inside, bodies, 60, 40)
            clock.now += 1


@contextmanager
def nearly_full(clock: Clock) -> Iterator[Bodies]:
    """Room for 2000 bytes, of which 1800 are taken."""
    bodies = Bodies(1000, 2000, clock)
    with ExitStack() as inside:
        send(inside, bodies, 900)
        send(inside, bodies, 900)
        yield bodies


def test_retry_after_is_the_time_until_a_body_has_room_at_the_measured_rate() -> None:
    clock = Clock()
    with nearly_full(clock) as bodies:
        assert told(bodies, 300) == 1, "no rate is known yet"
        served(bodies, clock, 10)
        assert told(bodies, 300) == 2, "100 bytes more than there is room for, at 85 of 100 bytes a second"
        assert told(bodies, 300, declared=1000) == 10, "its rest has to find room as well"
        assert bodies.held == 1800
    assert bodies.held == 0


def test_what_was_refused_tells_nothing_of_how_fast_room_is_made() -> None:
    clock = Clock()
    with nearly_full(clock) as bodies:
        served(bodies, clock, 10)
        for _ in range(100):
            assert told(bodies, 100, 900) == 10
        with ExitStack() as other, pytest.raises(Refused, match="1000"):
            send(other, bodies, 100, 1000)
        assert told(bodies, 100, 900) == 10


@settings(max_examples=100, deadline=None)
@given(
    most=st.integers(10, 10_000),
    share=st.floats(0.3, 1),
    rate=st.floats(0.001, 0.3),
    size=st.floats(0.01, 1),
)
def test_there_is_room_when_it_was_told_and_not_a_second_before_with_the_same_caution(
    most: int, share: float, rate: float, size: float
) -> None:
    clock = Clock()
    room = Room(most, clock)
    level, leaving, more = round(share * most), max(1, round(rate * most)), max(1, round(size * most))
    room.take(level)
    for _ in range(5):  # as much comes as leaves
        clock.now += 1
        room.leave(leaving)
        room.take(leaving)
    seconds = room.seconds(more)
    assert 1 <= seconds <= MOST_SECONDS
    assert level - leaving * seconds + more <= most or seconds == MOST_SECONDS
    assert seconds == 1 or level - CAUTION * leaving * (seconds - 1) + more > most - 1e-6
