"""Who comes back as told is let in, whatever others do; nobody waits for those who stay away."""

from statistics import quantiles

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving import admission
from serving import line as line_module
from serving.admission import Admission
from serving.config import RequestLimits
from serving.errors import RequestError
from serving.line import GRACE_SECONDS, MOST_EQUAL, MOST_PLACES, Line, Place, seconds_to_room
from tests.serving.simulation import Before, Clock, Kind, Seen, Simulation

LIMITS = RequestLimits(queue_items=64, items_per_request=64)
WARM_SECONDS, SECONDS = 8, 18
OBEDIENT, RUDE = Kind(), Kind(obeys=None)
FICKLE = Kind(gives_up=0.2)
GONE = Kind(client="F", obeys=None, gives_up=1.0)
CROWDS: dict[str, dict[Kind, int]] = {
    "all obey": {OBEDIENT: 48},
    "half ask all the time": {OBEDIENT: 40, RUDE: 6},
    "a fifth is never sent again": {FICKLE: 40, Kind(obeys=None, gives_up=0.2): 4},
    "two clients": {OBEDIENT: 30, Kind(client="B"): 30},
    "many clients": {Kind(client=f"client-{number}"): 1 for number in range(60)},
}


def seen_of(simulation: Simulation, crowd: dict[Kind, int], warm: float = WARM_SECONDS) -> Seen:
    """What happens to all who obey, once rates have been measured for some seconds."""
    for kind, count in crowd.items():
        simulation.add(kind, count)
    simulation.run(warm)
    total = Seen()
    for kind in simulation.seen:
        simulation.seen[kind].clear()
    simulation.run(SECONDS)
    for kind, seen in simulation.seen.items():
        if kind.obeys is not None:
            total.as_told += seen.as_told
            total.told += seen.told
            total.waited += seen.waited
    return total


@pytest.mark.parametrize("crowd", CROWDS)
def test_who_comes_as_told_is_let_in(crowd: str) -> None:
    simulation = Simulation(LIMITS)
    seen = seen_of(simulation, CROWDS[crowd])
    assert seen.as_told.total() > 100
    assert seen.kept >= 0.9
    assert max(seen.waited) <= 1.5 * max(seen.told)
    assert simulation.busy >= 0.95, "compute waits for nobody"


@pytest.mark.parametrize("crowd", CROWDS)
def test_the_time_of_what_is_held_alone_is_no_promise(crowd: str) -> None:
    """The rule before: newcomers, and those who ask all the time, take the room of those who wait."""
    assert seen_of(Simulation(LIMITS, Before), CROWDS[crowd]).kept < 0.5


def test_who_stays_away_does_not_let_others_wait() -> None:
    """A flood of requests that are refused and never sent again, by a client of its own and by one of ours."""
    crowd = CROWDS["many clients"]
    alone = seen_of(Simulation(LIMITS), crowd)
    for absent in (GONE, Kind(client="client-1", obeys=None, gives_up=1.0)):
        simulation = Simulation(LIMITS)
        simulation.add(absent, 1)
        seen = seen_of(simulation, crowd, warm=20)
        assert seen.kept >= 0.9
        assert quantiles(seen.told, n=10)[-1] <= 2 * max(alone.told)
        assert sum(seen.waited) / len(seen.waited) <= 2 * sum(alone.waited) / len(alone.waited)
        assert simulation.busy >= 0.95


def test_who_holds_little_comes_in_beside_a_flood_that_obeys() -> None:
    simulation = Simulation(LIMITS)
    simulation.add(Kind(client="flood", most_items=8), 40)
    simulation.run(5)
    single = Kind(client="single", most_items=1)
    simulation.add(single, 1)
    simulation.run(20)
    assert simulation.seen[single].first[False] == 0
    assert simulation.seen[single].done > 10


def test_the_times_that_are_told_end_somewhere() -> None:
    """However many are refused; and nothing of them is left when they stay away."""
    clock = Clock()
    door = Admission(LIMITS, clock)
    with door.admitted("A", 48, 480, 60):
        for _ in range(10):
            with door.admitted("B", 8, 80, 60):
                clock.now += 1
        told = [refused(door, f"client-{number % 200}", 20, 80, number) for number in range(1000)]
        assert door.held.leaving.rate == pytest.approx(8, rel=0.05)
        assert max(told) <= (admission.QUEUES + 1) * 64 / (admission.CAUTION * 8) + 3
        assert sorted(told[:15]) == told[:15]
        assert 15 <= len(door._line) <= MOST_PLACES
        clock.now += max(told) + GRACE_SECONDS + 1
        refused(door, "A", 20, 200, "after them")
    assert door._line.clients == {"A"}


def refused(door: Admission, client: str, items: int, work: float, identity: object) -> int:
    with pytest.raises(RequestError) as caught, door.admitted(client, items, work, 60, identity):
        pass
    return int(caught.value.headers["Retry-After"])


def pass_time(door: Admission, clock: Clock, seconds: int = 1) -> None:
    """Let eight items leave in each of some seconds."""
    for _ in range(seconds):
        with door.admitted("measure", 8, 80, 60):
            clock.now += 1


def test_asking_all_the_time_earns_nothing() -> None:
    clock = Clock()
    door = Admission(LIMITS, clock)
    with door.admitted("A", 48, 480, 60):
        pass_time(door, clock, 10)
        told = refused(door, "B", 48, 480, "early")
        assert told == 8, "48 more than there is room for, at 85 % of eight items a second"
        for second in range(1, told):
            pass_time(door, clock)
            assert refused(door, "B", 48, 480, "early") >= told - second
        refused(door, "A", 20, 200, "late")
        pass_time(door, clock)
        assert refused(door, "B", 48, 480, "early") == told, "it comes as told and goes first: too much is still here"
    with door.admitted("B", 16, 160, 60):
        refused(door, "C", 48, 480, "new")
        clock.now += told
        with door.admitted("B", 48, 480, 60, "early"):
            assert door.held.items == 64


def test_asking_all_the_time_soon_gets_no_places_that_are_not_used() -> None:
    """At first it looks like equal requests; then it is known that nobody comes for their places."""
    clock = Clock()
    line = Line(1000, clock)

    def ask(identity: object) -> Place:
        place = line.find("A", identity) or Place("A", identity, 1, 1)
        if not place.number:
            line.put(place, clock.now + 2)
        return place

    for _ in range(100):
        ask("first")
    assert len(line) == MOST_EQUAL
    clock.now += 2
    line.came(ask("first"))
    clock.now += GRACE_SECONDS + 1
    assert (line.find("A", "first"), len(line)) == (None, 0)
    assert len({id(ask("second")) for _ in range(100)}) == 1
    for number in range(100):
        place = ask(number)
        clock.now = place.at
        line.came(place)
    assert len({id(ask("third")) for _ in range(100)}) == MOST_EQUAL, "who comes for all places is trusted again"


@settings(max_examples=50, deadline=None)
@given(callers=st.lists(st.tuples(st.floats(0, 30), st.floats(0, 0.9 * GRACE_SECONDS)), max_size=MOST_EQUAL))
def test_each_of_equal_requests_that_comes_as_told_finds_a_place(callers: list[tuple[float, float]]) -> None:
    clock = Clock()
    line, began = Line(1000, clock), clock.now
    for told, _ in callers:
        assert line.find("A", "equal") is None, "it is another one"
        line.put(Place("A", "equal", 1, 1), began + 1 + told)
    assert len(line) == line.items("A") == len(callers)
    for clock.now in sorted(began + 1 + told + late for told, late in callers):
        place = line.find("A", "equal")
        assert place is not None
        assert place.at <= clock.now
        line.came(place)
    assert len(line) == 0
    assert line.find("A", "equal") is None


def test_of_equal_requests_each_comes_in_when_it_was_told() -> None:
    clock = Clock()
    door = Admission(LIMITS, clock)
    with door.admitted("A", 48, 480, 60):
        told = [refused(door, "B", 20, 200, "equal") for _ in range(3)]
        assert told == [1, 1, 2], "not all at the same time"
    with door.admitted("C", 16, 160, 60):
        refused(door, "D", 32, 320, "another")
        clock.now += 1
        with door.admitted("B", 20, 200, 60, "equal"), door.admitted("B", 20, 200, 60, "equal"):
            assert door.held.items == 56
        refused(door, "D", 32, 320, "yet another")
        clock.now += 1
        with door.admitted("B", 20, 200, 60, "equal"):
            assert len(door._line) == 2, "those of D"


def test_equal_requests_of_many_callers_are_let_in_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = {Kind(different=30): 48}
    assert seen_of(Simulation(LIMITS), crowd).kept >= 0.9
    monkeypatch.setattr(line_module, "MOST_EQUAL", 1)
    assert seen_of(Simulation(LIMITS), crowd).kept < 0.5, "one place for all of them, which the first takes"


def test_a_place_is_known_by_its_client_and_contents() -> None:
    clock = Clock()
    door = Admission(LIMITS, clock)
    with door.admitted("A", 48, 480, 60):
        clock.now += refused(door, "A", 4, 40, "mine")
        assert refused(door, "A", 4, 40, "another") >= 1
        with door.admitted("A", 4, 40, 60, "mine"):
            assert door.held.items == 52, "more than may come unasked"


sizes = st.floats(0.5, 10)
arrivals = st.lists(st.tuples(st.floats(-2, 12), sizes), max_size=12).map(sorted)


@settings(max_examples=200, deadline=None)
@given(size=sizes, level=st.floats(0, 30), rate=st.floats(0.5, 20), coming=arrivals)
def test_the_time_that_is_told_is_the_first_that_takes_nothing_from_others(
    size: float, level: float, rate: float, coming: list[tuple[float, float]]
) -> None:
    most = 20.0

    def highest(extra: list[tuple[float, float]], since: float) -> float:
        """What is inside at most at or after a time, when all come as told."""
        now, inside, found = 0.0, level, 0.0
        for at, other in sorted((max(0.0, at), other) for at, other in coming + extra):
            inside, now = max(0.0, inside - rate * (at - now)) + other, at
            found = max(found, inside) if at >= since else found
        return found

    found = seconds_to_room(size, level=level, most=most, rate=rate, coming=coming)
    assert highest([(found, size)], found) <= most + 1e-6
    if found:
        before = found - 1
        late = [one for one in coming if one[0] > before]
        assert highest([(before, size)], before) > most or late, "nobody is told a longer time than needed"


def test_a_client_has_some_places_and_leaves_the_others() -> None:
    line = Line(100, Clock())
    for number in range(100):
        line.put(Place("A", number, 5, 50), 101.0)
    assert line.items("A") == 75
    line.put(Place("B", 0, 5, 50), 101.0)
    assert line.clients == {"A", "B"}


def test_a_client_that_stays_away_counts_for_less_and_comes_back_into_favour() -> None:
    clock = Clock()
    line = Line(1000, clock)
    for number in range(40):
        line.put(Place("A", number, 1, 1), clock.now + 1)
    clock.now += 10
    assert line.find("A", 1) is None
    line.put(Place("A", 0, 8, 8), clock.now + 1)
    assert line.items("A") < 1
    for number in range(100):
        line.put(place := Place("A", f"kept-{number}", 1, 1), clock.now)
        line.came(place)
    assert line.items("A") > 7
