"""Order, errors and waiting of batches that workers make."""

import multiprocessing
import os
import signal
import threading
import time
from typing import Any

import lightning
import pytest
import torch

from model.errors import ConfigError, ContentError
from model.training.guard import TrainingError
from model.training.loading import Loading
from model.training.meter import WaitClock

pytestmark = pytest.mark.timeout(300)


MORE_THAN_A_PIPE = 2**22


class Odd(Exception):  # noqa: N818
    """An error that cannot travel."""

    def __init__(self, lock: Any) -> None:
        super().__init__("an odd thing")
        self.lock = lock


def work(order: tuple[str, int]) -> tuple[int, int, bytes]:
    """What ``order`` says: sleep, fail, or take so long that workers overtake each other."""
    kind, step = order
    if kind == "fail" and step == 3:
        raise ContentError("picture 3 is broken", code="image_undecodable", limit="max_image_pixels")
    if kind == "odd":
        raise Odd(threading.Lock())
    if kind == "large":
        return step, os.getpid(), bytes(step) + bytes(MORE_THAN_A_PIPE)
    time.sleep({"slow": 0.05, "mixed": 0.05 * (step % 2)}.get(kind, 0.0))
    return step, os.getpid(), bytes(step)


class Maker:
    """Batches of the toy work."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.work = work

    def order(self, step: int) -> tuple[str, int]:
        return self.kind, step

    def finish(self, made: tuple[int, int, bytes]) -> tuple[int, int]:
        assert made[2] == bytes(made[0])
        return made[0], made[1]

    def __call__(self, step: int) -> tuple[int, int]:
        return self.finish(self.work(self.order(step)))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_come_in_order_from_the_step_that_is_due(workers: int) -> None:
    at = [5]
    found: Any = list(Loading(Maker("mixed"), 12, lambda: at[0], workers=workers, prefetch=3))
    assert [step for step, _ in found] == list(range(5, 12))
    pids = {pid for _, pid in found}
    assert len(pids) == max(1, workers)
    assert (os.getpid() in pids) == (workers == 0)


def test_a_plain_function_will_do_and_what_cannot_be_sent_is_refused() -> None:
    plain: Any = Loading(lambda step: (step, 2 * step), 3, lambda: 0)  # type: ignore[arg-type,return-value]
    assert list(plain) == [(0, 0), (1, 2), (2, 4)]
    with pytest.raises(ConfigError, match=r"cannot be sent to a worker.*launch\.workers to 0"):
        list(Loading(lambda step: step, 3, lambda: 0, workers=1))  # type: ignore[arg-type,return-value]


def test_errors_keep_type_message_and_facts_and_come_at_their_step() -> None:
    running = iter(Loading(Maker("fail"), 9, lambda: 0, workers=2))
    assert [next(running)[0] for _ in range(3)] == [0, 1, 2]  # type: ignore[index]
    with pytest.raises(ContentError, match=r"^picture 3 is broken$") as caught:
        next(running)
    assert (caught.value.code, caught.value.limit) == ("image_undecodable", "max_image_pixels")
    assert "in work" in str(caught.value.__cause__)
    with pytest.raises(TrainingError, match="Odd: an odd thing"):
        next(iter(Loading(Maker("odd"), 9, lambda: 0, workers=1)))


class Large(Maker):
    """Batches that do not fit into a pipe, so that a worker always waits in the middle of sending one."""

    def finish(self, made: tuple[int, int, bytes]) -> tuple[int, int]:
        return made[0], made[1]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_dies_while_it_sends_is_an_error_rather_than_a_wait_for_ever(workers: int) -> None:
    loading = Loading(Large("large"), 99, lambda: 0, workers=workers)
    running: Any = iter(loading)
    _, pid = next(running)
    time.sleep(0.5)  # by now the next batch is on its way
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(TrainingError, match=f"lower launch.workers \\(now {workers}\\)"):
        list(running)
    assert multiprocessing.active_children() == []


class Sleeper(lightning.LightningModule):
    """A step that takes 50 ms and learns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        time.sleep(0.05)
        return self.weight.sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def waiting(workers: int, kind: str) -> float:
    """Share of the time in which the trainer waits, without the start of the workers."""
    clock, marks = WaitClock(), []

    class Mark(lightning.Callback):
        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            marks.append((time.perf_counter(), clock.seconds))

    trainer = lightning.Trainer(
        max_steps=20,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        profiler=clock,
        callbacks=[Mark()],
    )
    trainer.fit(Sleeper(), Loading(Maker(kind), 20, lambda: trainer.global_step, workers=workers))
    (began, before), (ended, after) = marks[4], marks[-1]
    return (after - before) / (ended - began)


def test_the_clock_tells_waiting_from_work_that_workers_do_meanwhile() -> None:
    """Batches that take as long as steps cost half the time, or next to none when two workers make them."""
    assert 0.3 < waiting(0, "slow") < 0.7
    assert waiting(2, "slow") < 0.25
    assert waiting(0, "fast") < 0.1
