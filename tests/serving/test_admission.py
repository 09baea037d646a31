"""What the service holds is bounded and shared, and ``Retry-After`` is what was measured."""

import math
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.content import Content, image
from model.encoding import MEDIA_COST
from serving.admission import CAUTION, OPTIMISM, PROMISED, Admission, Meter, guess_work
from serving.config import RequestLimits
from serving.errors import RequestError
from tests.serving.simulation import Clock


def admission(clock: Clock | None = None, **limits: int) -> Admission:
    return Admission(RequestLimits(items_per_request=8, **{"queue_items": 64, **limits}), clock or Clock())


def refused(door: Admission, client: str, items: int, work: float, seconds: float = 60.0) -> RequestError:
    with pytest.raises(RequestError) as caught, door.admitted(client, items, work, seconds):
        pass
    assert (caught.value.status, caught.value.code) == (429, "overloaded")
    assert caught.value.headers["Retry-After"] in caught.value.message
    return caught.value


def test_the_rate_counts_busy_seconds_only() -> None:
    clock = Clock()
    meter = Meter(clock)
    meter.busy(True)
    assert meter.rate is None
    clock.now += 1
    meter.done(50)
    meter.busy(False)
    clock.now += 1000  # nothing to do
    meter.busy(True)
    clock.now += 1
    meter.done(50)
    assert meter.rate == pytest.approx(50, rel=0.1)
    clock.now += 60
    meter.done(60 * 7)
    assert meter.rate == pytest.approx(7, rel=0.2), "the last seconds count most"


def test_retry_after_is_the_time_until_there_is_room_at_the_measured_rate() -> None:
    clock = Clock()
    door = admission(clock, queue_tokens=1000)
    with door.admitted("A", 8, 900, 60):
        assert refused(door, "B", 1, 200).headers["Retry-After"] == "1", "no rate is known yet"
        clock.now += 10
        door.meter.done(300)
        error = refused(door, "B", 1, 200)
    seconds = (900 + 200 - PROMISED * 1000) / (CAUTION * 300 / 10)
    assert (error.limit, error.headers["Retry-After"]) == ("queue_tokens", str(math.ceil(seconds)))
    with door.admitted("B", 1, 200, 60):
        pass


def test_a_few_small_requests_tell_no_rate() -> None:
    """They are computed one by one: a rate taken from them would refuse what full batches could do."""
    clock = Clock()
    door = admission(clock)
    with door.admitted("A", 1, 3, 60):
        clock.now += 2
        door.meter.done(3)
        assert door.meter.rate is None
    with door.admitted("A", 8, 4000, 60):
        clock.now += 1
        door.meter.done(800)
        assert door.meter.rate == pytest.approx(800)
        with door.admitted("A", 8, 8000, 60):
            pass


def test_a_guess_is_replaced_by_what_preparation_found() -> None:
    door = admission(queue_tokens=1000)
    with door.admitted("A", 1, 900, 60) as ticket:
        ticket.correct(100)
        assert door.held.work == 100
        with door.admitted("B", 1, 800, 60):
            assert door.held.work == 900
    assert (door.held.items, door.held.work) == (0, 0)


def test_one_client_cannot_fill_the_queue_alone() -> None:
    door = admission()
    with ExitStack() as inside:
        for _ in range(6):
            inside.enter_context(door.admitted("flood", 8, 8, 60))
        assert refused(door, "flood", 8, 8).limit == "client_share", "48 of 64 are held"
        for other in range(8):
            inside.enter_context(door.admitted(f"other-{other}", 1, 1, 60))
        assert refused(door, "flood", 8, 8).limit == "client_share"


def test_a_plain_bound_would_refuse_the_others() -> None:
    """What the share is for: with the bound on all items alone, the first client takes every place."""
    door = admission()
    with ExitStack() as inside:
        for number in range(64):
            inside.enter_context(door.admitted(f"flood-{number}", 1, 1, 60))  # as if each request were a client
        assert refused(door, "other", 1, 1).limit == "queue_items"


def test_what_cannot_be_done_in_time_is_refused_at_once_but_not_for_the_work_of_others() -> None:
    clock = Clock()
    door = admission(clock)
    with door.admitted("A", 8, 1000, 60):
        clock.now += 1
        door.meter.done(10)
        error = refused(door, "A", 1, 10, seconds=5)
        assert (error.limit, error.headers["Retry-After"]) == ("deadline", str(math.ceil(1010 / 10 - OPTIMISM * 5)))
        with door.admitted("A", 1, 10, 60), door.admitted("B", 1, 10, 5):
            pass  # B is served beside A, not after it


requests = st.lists(
    st.tuples(st.sampled_from("ABC"), st.integers(1, 8), st.integers(1, 400), st.booleans()), max_size=40
)


@settings(max_examples=50, deadline=None)
@given(requests=requests)
def test_no_bound_is_passed_and_all_is_given_back(requests: list[tuple[str, int, int, bool]]) -> None:
    door, inside = admission(queue_items=16, queue_tokens=1000), []
    with ExitStack() as stack:
        for client, items, work, leaves in requests:
            if leaves and inside:
                inside.pop().close()
            one = stack.enter_context(ExitStack())
            try:
                one.enter_context(door.admitted(client, items, work, 60))
            except RequestError:
                continue
            inside.append(one)
            assert door.held.items <= 16
            assert door.held.work <= 1000
    assert (door.held.items, door.held.work, door._clients) == (0, 0, {})


def test_guesses_come_from_sizes_and_end_at_the_models_limit() -> None:
    assert guess_work([Content.of("four" * 10)], 512) == 12
    assert guess_work([Content.of("x" * 100_000), Content.of(image(b"123"))], 512) == 512 + MEDIA_COST
