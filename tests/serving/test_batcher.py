"""Every caller gets exactly its own result, whatever the others do."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.batcher import PADDING, BatchStats, MicroBatcher

BUDGET, MOST = 24, 5


class BadItemError(ValueError):
    pass


@pytest.fixture(scope="module")
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


class Recorder:
    """Compute that doubles numbers, fails as a whole when a bad one is among them, and remembers what it saw."""

    def __init__(self, bad: frozenset[int] = frozenset(), seconds: float = 0.0) -> None:
        self.bad, self.seconds = bad, seconds
        self.batches: list[list[int]] = []
        self.running = threading.Lock()

    def __call__(self, items: list[int]) -> list[int]:
        assert self.running.acquire(blocking=False), "two computes at once"
        try:
            self.batches.append(items)
            time.sleep(self.seconds)
            if self.bad & set(items):
                raise BadItemError(str(items))
            return [2 * item for item in items]
        finally:
            self.running.release()


def run(
    compute: Callable[[list[int]], list[int]],
    executor: ThreadPoolExecutor,
    work: Callable[[MicroBatcher[int, int]], Awaitable[object]],
    seen: list[BatchStats[int]] | None = None,
) -> object:
    async def main() -> object:
        observe = seen.append if seen is not None else lambda _: None
        batcher = MicroBatcher(compute, executor, batch_tokens=BUDGET, batch_items=MOST, observe=observe)
        try:
            return await work(batcher)
        finally:
            await batcher.close()

    return asyncio.run(main())


fates = st.sampled_from(["wait", "cancel_now", "cancel_later"])
arrivals = st.lists(
    st.tuples(st.integers(1, 30), st.integers(0, 4), fates, st.sampled_from("ABC")), min_size=1, max_size=24
)


def test_an_item_that_comes_while_a_worker_ends_is_served(executor) -> None:
    async def work(batcher: MicroBatcher[int, int]) -> list[int]:
        found = []
        for turns in range(6):
            batcher.submit(0, 1).cancel()  # its worker finds nothing to do, some turns later
            for _ in range(turns):
                await asyncio.sleep(0)
            found.append(await asyncio.wait_for(batcher.submit(turns, 1), 20))
        return found

    assert run(Recorder(), executor, work) == [0, 2, 4, 6, 8, 10]


@settings(max_examples=60, deadline=None)
@given(arrivals=arrivals, bad=st.frozensets(st.integers(0, 23), max_size=4))
def test_each_item_gets_its_own_result(
    arrivals: list[tuple[int, int, str, str]], bad: frozenset[int], executor: ThreadPoolExecutor
) -> None:
    compute, seen = Recorder(bad), []

    async def work(batcher: MicroBatcher[int, int]) -> list[object]:
        async def one(item: int, length: int, turns: int, client: str) -> int:
            for _ in range(turns):
                await asyncio.sleep(0)
            return await batcher.submit(item, length, client=client)

        tasks = []
        for item, (length, turns, fate, client) in enumerate(arrivals):
            task = asyncio.ensure_future(one(item, length, turns, client))
            tasks.append(task)
            if fate == "cancel_now":
                task.cancel()
            elif fate == "cancel_later":
                asyncio.get_running_loop().call_later(0.0005, task.cancel)
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = run(compute, executor, work, seen)
    assert isinstance(outcomes, list)
    for item, (outcome, (_, _, fate, _)) in enumerate(zip(outcomes, arrivals, strict=True)):
        if isinstance(outcome, asyncio.CancelledError):
            assert fate != "wait"
        elif item in bad:
            assert isinstance(outcome, BadItemError)
        else:
            assert outcome == 2 * item
    lengths = [length for length, _, _, _ in arrivals]
    for batch in seen:
        assert len(batch.items) <= MOST
        sizes = [lengths[i] for i in batch.items]
        assert len(sizes) == 1 or len(sizes) * max(sizes) <= BUDGET
        assert len(sizes) * max(sizes) - sum(sizes) <= PADDING
        assert (batch.tokens, batch.padded_tokens) == (sum(sizes), len(sizes) * max(sizes))
    good_runs = [item for batch in compute.batches if not bad & set(batch) for item in batch]
    assert len(good_runs) == len(set(good_runs)), "a good item was computed twice with success"


def test_waiting_items_share_a_batch_with_their_nearest_in_length(executor: ThreadPoolExecutor) -> None:
    compute = Recorder()
    lengths = {0: 6, 1: 24, 2: 5, 3: 6, 4: 20, 5: 6}

    async def work(batcher: MicroBatcher[int, int]) -> object:
        return await asyncio.gather(*(batcher.submit(item, length) for item, length in lengths.items()))

    assert run(compute, executor, work) == [0, 2, 4, 6, 8, 10]
    assert compute.batches == [[0, 3, 5, 2], [1], [4]]


def test_a_flood_does_not_hold_up_another_client(executor: ThreadPoolExecutor) -> None:
    compute = Recorder()

    async def work(batcher: MicroBatcher[int, int]) -> object:
        flood = [batcher.submit(item, 20, client="flood") for item in range(100)]
        single = batcher.submit(1000, 5, client="single")
        return await asyncio.gather(*flood, single)

    run(compute, executor, work)
    turn = next(number for number, batch in enumerate(compute.batches) if 1000 in batch)
    assert turn <= 1, "a plain queue would have served it after a hundred batches"


def test_long_and_short_items_are_not_padded_into_one_batch(executor: ThreadPoolExecutor) -> None:
    compute, lengths = Recorder(), {0: 1, 1: 24, 2: 1, 3: 1}

    async def main() -> None:
        batcher = MicroBatcher(compute, executor, batch_tokens=1000, batch_items=10)
        await asyncio.gather(*(batcher.submit(item, length) for item, length in lengths.items()))

    asyncio.run(main())
    assert compute.batches == [[0, 2, 3], [1]]


def test_several_workers_compute_several_batches_at_a_time() -> None:
    together = threading.Barrier(2, timeout=10)

    def compute(items: list[int]) -> list[int]:
        together.wait()  # passes only where two batches are computed at a time
        return items

    async def main() -> None:
        with ThreadPoolExecutor(2) as pool:
            batcher = MicroBatcher(compute, pool, batch_tokens=10, batch_items=10, workers=2)
            assert await asyncio.gather(*(batcher.submit(item, 10) for item in range(4))) == [0, 1, 2, 3]
            assert (batcher.waiting, batcher.waiting_tokens) == (0, 0)

    asyncio.run(main())


def test_one_bad_item_costs_its_neighbours_nothing(executor: ThreadPoolExecutor) -> None:
    compute = Recorder(bad=frozenset({2}))

    async def work(batcher: MicroBatcher[int, int]) -> object:
        return await asyncio.gather(*(batcher.submit(item, 1) for item in range(5)), return_exceptions=True)

    outcomes = run(compute, executor, work)
    assert isinstance(outcomes, list)
    assert [o for o in outcomes if not isinstance(o, BadItemError)] == [0, 2, 6, 8]
    assert len(compute.batches[0]) == 5, "the test is vacuous unless they shared a batch"


def test_a_cancelled_item_never_reaches_compute(executor: ThreadPoolExecutor) -> None:
    compute = Recorder(seconds=0.05)

    async def work(batcher: MicroBatcher[int, int]) -> object:
        first = asyncio.ensure_future(batcher.submit(0, 1))
        await asyncio.sleep(0.01)  # compute is busy with item 0
        second, third = (asyncio.ensure_future(batcher.submit(i, 1)) for i in (1, 2))
        await asyncio.sleep(0.01)
        assert batcher.waiting == 2
        second.cancel()
        await asyncio.sleep(0)
        assert batcher.waiting == 1
        return await first, await third

    assert run(compute, executor, work) == (0, 4)
    assert compute.batches == [[0], [2]]


def test_a_compute_that_loses_items_fails_them_instead_of_mixing_them_up(executor: ThreadPoolExecutor) -> None:
    async def work(batcher: MicroBatcher[int, int]) -> object:
        return await asyncio.gather(*(batcher.submit(i, 1) for i in range(3)), return_exceptions=True)

    outcomes = run(lambda items: items[:-1], executor, work)
    assert isinstance(outcomes, list)
    assert all(isinstance(outcome, RuntimeError) for outcome in outcomes)


def test_close_cancels_what_waits(executor: ThreadPoolExecutor) -> None:
    async def work(batcher: MicroBatcher[int, int]) -> object:
        tasks = [asyncio.ensure_future(batcher.submit(i, 20)) for i in range(3)]
        await asyncio.sleep(0.01)
        await batcher.close()
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = run(Recorder(seconds=0.05), executor, work)
    assert isinstance(outcomes, list)
    assert outcomes[0] == 0
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[1:])
