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
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, Protocol, runtime_checkable

import torch
from torch.utils.data import DataLoader, Dataset

from model.errors import ConfigError
from model.training.batch import StepBatch
from model.training.guard import TrainingError
from model.training.sending import send_by_memory


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


class WorkerTraceback(Exception):  # noqa: N818 - the cause of an error, never raised alone
    """Where in a worker an error came up."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@dataclass(frozen=True)
class _Failure:
    """An error on its way to the trainer: what it says and knows, without what cannot travel."""

    kind: type[Exception]
    args: tuple[Any, ...]
    state: dict[str, Any]
    story: str

    @classmethod
    def of(cls, error: Exception) -> "_Failure":
        found = cls(type(error), error.args, dict(vars(error)), traceback.format_exc())
        try:
            ForkingPickler.dumps(found)
        except Exception:
            return cls(TrainingError, (f"{type(error).__name__}: {error}",), {}, found.story)
        return found

    def error(self) -> Exception:
        """The same error; made without its ``__init__``, whose arguments nobody knows any more."""
        made = self.kind.__new__(self.kind, *self.args)
        made.args = self.args
        vars(made).update(self.state)
        made.__cause__ = WorkerTraceback(self.story)
        return made


class _Orders:
    """Orders of the steps from the trainer's current one on."""

    def __init__(self, order: Callable[[int], Any], steps: int, start: Callable[[], int]) -> None:
        self.order = order
        self.steps = steps
        self.start = start

    def __iter__(self) -> Iterator[Any]:
        return map(self.order, range(self.start(), self.steps))


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
            return _Failure.of(error)


class Loading:
    """The batches of a stage, from the trainer's current step on: a resume continues instead of repeating.

    Args:
        make: makes the batch of a step; with workers it has to be :class:`Splittable`, or picklable.
        steps: of the stage.
        start: tells the current step when the iteration begins.
        workers: processes that make batches; with 0 the trainer makes each when it wants it.
        prefetch: batches that each worker makes ahead.
        pin: page-lock the batches, so that they are copied to an accelerator while it computes.

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
    ) -> None:
        self.make = make
        self.steps = steps
        self.start = start
        self.workers = workers
        self.prefetch = prefetch
        self.pin = torch.cuda.is_available() if pin is None else pin
        self._running: Any = None
        self._ending = threading.Event()

    def __iter__(self) -> Iterator[StepBatch]:
        make = self.make
        finish: Callable[[Any], StepBatch] = make.finish if isinstance(make, Splittable) else _as_it_is
        self._ending = threading.Event()
        self._running = running = iter(self._loader())
        if self.workers:
            threading.Thread(target=_watch, args=(running, self._ending), daemon=True).start()
        try:
            while True:
                try:
                    made = next(running)
                except StopIteration:
                    return
                except RuntimeError as error:
                    raise (self._verdict(error) or error) from error
                if isinstance(made, _Failure):
                    raise made.error()
                yield finish(made)
        finally:
            self.close()

    def close(self) -> None:
        """End the workers."""
        self._ending.set()
        running, self._running = self._running, None
        if running is not None and self.workers:
            running._shutdown_workers()  # its destructor does it too late

    def _loader(self) -> DataLoader[Any]:
        make = self.make
        order, work = (make.order, make.work) if isinstance(make, Splittable) else (_as_it_is, make)
        options: dict[str, Any] = {}
        if self.workers:
            _check(work)
            options = {
                "num_workers": self.workers,
                "prefetch_factor": self.prefetch,
                "multiprocessing_context": _fork_server(type(make).__module__),
                "worker_init_fn": partial(_begin, trainer=os.getpid()),
            }
        return DataLoader(
            _Work(work, catch=self.workers > 0),
            sampler=_Orders(order, self.steps, self.start),
            batch_size=None,
            collate_fn=_as_it_is,
            pin_memory=self.pin,
            **options,
        )

    def _verdict(self, error: RuntimeError) -> TrainingError | None:
        """What it means that a worker is gone."""
        if not self.workers or "DataLoader worker" not in str(error):
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
