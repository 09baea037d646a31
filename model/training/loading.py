"""Batches made ahead of the step by worker processes, in order, and page-locked for an accelerator.

The work is split in three. The *order* of a batch (which records) is made in the trainer's process, which alone knows
all records; a worker makes the batch of an order; the trainer's process finishes it with what only it holds. Each is a
pure function of the step: batches are the same with any number of workers, and a resumed stage starts at another step.

Workers are processes rather than threads because the trainer needs the interpreter for itself: it is Python that feeds
an accelerator. They come from a fork server, a process that has imported our modules and done nothing else. Forking
the trainer would copy locks that its threads (OpenMP, CUDA, pyarrow) may hold; a fresh interpreter for each worker
costs seconds and its own copy of every library.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from multiprocessing.connection import wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, Protocol, runtime_checkable

import torch
from torch.utils.data import DataLoader, Dataset

from model.errors import ConfigError
from model.training.batch import StepBatch
from model.training.failure import Failure
from model.training.guard import TrainingError
from model.training.parts import Cuttable, Made, PartOrder, opened
from model.training.sending import send_by_memory

DEAD_WORKER = ("DataLoader worker", "Pin memory thread exited")
"""How torch says that one is gone; the second where the thread that page-locks batches sees it first."""


@runtime_checkable
class Splittable(Protocol):
    """Makes batches in three parts, of which the middle one may run in another process."""

    def order(self, step: int) -> Any:
        """What the batch of a step is made of: small and picklable."""

    @property
    def work(self) -> Callable[[Any], Any]:
        """From an order to a batch, or nearly one: picklable, without weights and without the table of records."""

    def finish(self, made: Any) -> StepBatch:
        """The batch, from what ``work`` made."""


class _Work(Dataset[Any]):
    """What a worker does."""

    def __init__(self, work: Callable[[Any], Any], *, catch: bool) -> None:
        self.work = work
        self.catch = catch

    def __getitem__(self, order: Any) -> Any:
        try:
            return self.work(order)
        except Exception as error:
            if not self.catch:
                raise
            return Failure.of(error)


class Loading:
    """The batches of a stage, from the trainer's current step on: a resume continues instead of repeating.

    Args:
        make: makes the batch of a step; with workers it has to be :class:`Splittable`, or picklable.
        steps: of the stage.
        start: tells the current step when the iteration begins.
        workers: processes that make batches; with 0 the trainer makes each when it wants it.
        prefetch: batches that each worker makes ahead.
        pin: page-lock the batches, so that they are copied to an accelerator while it computes.
        lazy: decode large batches part by part while they are embedded (see :mod:`model.training.parts`), where
            ``make`` can do that.
        waited: told the seconds that a step waited for each part.

    Raises:
        TrainingError: (when iterating) a worker died.
        ConfigError: (when iterating) ``make`` cannot be sent to a worker.
    """

    def __init__(
        self,
        make: Callable[[int], StepBatch],
        steps: int,
        start: Callable[[], int],
        *,
        workers: int = 0,
        prefetch: int = 2,
        pin: bool | None = None,
        lazy: bool = False,
        waited: Callable[[float], None] | None = None,
    ) -> None:
        self.make = make
        self.steps = steps
        self.start = start
        self.workers = workers
        self.prefetch = prefetch
        self.pin = torch.cuda.is_available() if pin is None else pin
        self.lazy = lazy
        self.waited = waited
        self._running: Any = None
        self._ending = threading.Event()

    def __iter__(self) -> Iterator[StepBatch]:
        make: Any = self.make
        if self.lazy and isinstance(make, Cuttable):
            yield from self._in_parts(make)
            return
        steps = range(self.start(), self.steps)
        if not isinstance(make, Splittable):
            yield from self._stream(steps, make)
            return
        for made in self._stream(map(make.order, steps), make.work):
            yield make.finish(made)

    def _in_parts(self, make: Cuttable) -> Iterator[StepBatch]:
        """Batches whose sides take their parts from one stream, which workers make ahead over the ends of steps."""
        steps = range(self.start(), self.steps)
        plan = lru_cache(maxsize=self.workers * self.prefetch + 4)(make.plan)
        stream = self._stream((order for step in steps for order in plan(step).wanted()), make.part_work)
        for step in steps:  # Lightning asks for the end before the last step has run, so workers go on beyond it
            yield opened(plan(step), make.finish, partial(self._pull, stream))

    def _pull(self, stream: Iterator[Made], order: PartOrder) -> Any:
        began = time.perf_counter()
        made = next((made for made in stream if made.key >= order.key), None)  # before: of a pass that was left early
        if made is None or made.key != order.key:
            raise TrainingError(f"part {order.key} of a batch was asked for when {made and made.key} was due")
        if self.waited is not None:
            self.waited(time.perf_counter() - began)
        return made.part

    def _stream(self, orders: Iterable[Any], work: Callable[[Any], Any]) -> Iterator[Any]:
        """What ``work`` makes of each order, in order; workers start at once, as that draws random numbers."""
        self._ending = threading.Event()
        self._running = running = iter(self._loader(orders, work))
        if self.workers:
            threading.Thread(target=_watch, args=(running, self._ending), daemon=True).start()
        return self._each(running)

    def _each(self, running: Iterator[Any]) -> Iterator[Any]:
        try:
            while True:
                try:
                    made = next(running)
                except StopIteration:
                    return
                except RuntimeError as error:
                    raise (self._verdict(error) or error) from error
                if isinstance(made, Failure):
                    raise made.error()
                yield made
        finally:
            self.close()

    def close(self) -> None:
        """End the workers."""
        self._ending.set()
        running, self._running = self._running, None
        if running is not None and self.workers:
            running._shutdown_workers()  # its destructor does it too late

    def _loader(self, orders: Iterable[Any], work: Callable[[Any], Any]) -> DataLoader[Any]:
        options: dict[str, Any] = {}
        if self.workers:
            _check(work)
            options = {
                "num_workers": self.workers,
                "prefetch_factor": self.prefetch,
                "multiprocessing_context": _fork_server(type(self.make).__module__),
                "worker_init_fn": partial(_begin, trainer=os.getpid()),
            }
        return DataLoader(
            _Work(work, catch=self.workers > 0),
            sampler=orders,
            batch_size=None,
            collate_fn=_as_it_is,
            pin_memory=self.pin,
            **options,
        )

    def _verdict(self, error: RuntimeError) -> TrainingError | None:
        """What it means that a worker is gone."""
        if not self.workers or not any(words in str(error) for words in DEAD_WORKER):
            return None
        return TrainingError(
            f"a worker that makes batches died, as when the system kills it for want of memory: lower launch.workers "
            f"(now {self.workers}) or launch.prefetch (now {self.prefetch}); the last checkpoint is kept. ({error})"
        )


def _as_it_is(value: Any) -> Any:
    return value


def _check(work: Any) -> None:
    try:
        ForkingPickler.dumps(work)
    except Exception as error:
        raise ConfigError(
            f"{type(work).__name__} cannot be sent to a worker process ({error}): set launch.workers to 0"
        ) from error


def _fork_server(maker: str) -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, maker])
    return context


def _watch(running: Any, ending: threading.Event) -> None:
    """When a worker dies, end the others, and with them the wait of the trainer.

    One that dies in the middle of sending a batch, which is larger than a pipe, would leave the trainer waiting for the
    rest of it, and the others for their turn, for ever.
    """
    workers = list(running._workers)
    wait([worker.sentinel for worker in workers])
    if ending.is_set():
        return
    for worker in workers:
        worker.kill()
    running._worker_result_queue._writer.close()  # the last open end, so that the trainer's read comes to its end


def _begin(_: int, *, trainer: int) -> None:
    """Prepare a worker: it hears no signal meant for the trainer, ends with it, and uses one core."""
    from threadpoolctl import threadpool_limits

    os.setpgid(0, 0)  # a signal to the trainer's group is the trainer's, which saves before it ends its workers
    threading.Thread(target=_end_with, args=(trainer,), daemon=True).start()
    threadpool_limits(1, user_api="blas")  # numpy's; torch sees to its own
    send_by_memory()


def _end_with(trainer: int) -> None:
    """Wait for the end of the trainer. The parent of this process is the fork server, which outlives it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    assert parent.pid == trainer
    parent.join()
    os._exit(1)
