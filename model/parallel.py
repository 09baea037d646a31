"""Batches side by side: on a processor, one small batch per core beats one big batch spread over the cores."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield ``work(item)`` in the order of ``items``, as many at a time as torch has threads, each on one of them.

    ``items`` is read only a little ahead, so a generator may stand for data that doesn't fit in memory. What ``work``
    raises is raised here. Gradient modes are per thread: ``work`` has to enter its own ``inference_mode``.
    """
    import torch

    threads = torch.get_num_threads()
    if threads == 1:
        yield from map(work, items)
        return
    ahead: deque[Future[R]] = deque()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for item in items:
                ahead.append(pool.submit(work, item))
                if len(ahead) > 2 * threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
    finally:
        # A thread's choice is also the default of threads to come, such as the one of the backward pass.
        torch.set_num_threads(threads)
