"""When a stage saves: every so many steps, every so many minutes, at its end, and when it is asked to stop."""

import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
from lightning.pytorch.callbacks import Checkpoint
from safetensors.torch import save

from model.training.checkpoints import CheckpointStore, write_durably
from model.training.config import StageConfig
from model.training.module import trainable_state

STOPPED = 128 + signal.SIGTERM


class StageStopped(SystemExit):
    """The stage was asked to stop and has saved; the process exits with the code that SIGTERM stands for."""

    def __init__(self, step: int) -> None:
        super().__init__(STOPPED)
        self.step = step

    def __str__(self) -> str:
        return f"stopped by SIGTERM after step {self.step}, which is saved: start the same run again to go on"


class Saving(Checkpoint):
    """Writes checkpoints; Lightning calls it after all other callbacks, so they are part of what is saved.

    It takes SIGTERM over from Lightning, whose handler ends the process without saving, with exit code 0, and talks to
    the other processes from within the signal handler. Here a signal is only noted; all processes agree on it at the
    end of a step.
    """

    def __init__(self, store: CheckpointStore, stage: StageConfig) -> None:
        self.store = store
        self.stage = stage
        self._saved_at = 0.0
        self._asked_to_stop = False
        self._handler: Any = None

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Start the clock; listen for SIGTERM, which only the main thread can."""
        self._saved_at = time.monotonic()
        self._asked_to_stop = False
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGTERM, self._note)

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, *_: Any) -> None:
        """Save when it is time.

        Raises:
            StageStopped: after saving, when any process got SIGTERM.
        """
        step = trainer.global_step
        due = step % self.stage.checkpoint_every_steps == 0 or step == self.stage.steps
        asked = _any(trainer, self._asked_to_stop or self._late())
        if due or asked:
            self._save(trainer, step)
        if asked and _any(trainer, self._asked_to_stop):
            raise StageStopped(step)

    def teardown(self, trainer: lightning.Trainer, pl_module: Any, stage: str) -> None:
        """Give the signal back."""
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)
            self._handler = None

    def _save(self, trainer: lightning.Trainer, step: int) -> None:
        if trainer.is_global_zero:
            self.store.prepare(step)
        trainer.strategy.barrier("checkpoint prepared")
        trainer.save_checkpoint(self.store.partial(step))
        if trainer.is_global_zero:
            self.store.commit(step, processes=trainer.world_size)
        trainer.strategy.barrier("checkpoint committed")
        self._saved_at = time.monotonic()

    def _late(self) -> bool:
        return time.monotonic() - self._saved_at >= 60 * self.stage.checkpoint_every_minutes

    def _note(self, *_: int | FrameType | None) -> None:
        self._asked_to_stop = True
        sys.stderr.write(f"{self.stage.kind}: SIGTERM, saving after this step\n")


class Snapshots(lightning.Callback):
    """Keeps trainable weights at even distances along the run, as ingredients of a soup."""

    def __init__(self, directory: Path, stage: StageConfig) -> None:
        every = stage.steps / (stage.snapshots + 1)
        self.at = {round(every * (i + 1)) for i in range(stage.snapshots)}
        self.directory = directory

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, *_: Any) -> None:
        """Write a snapshot when its step is reached (again after a resume: the same file)."""
        if trainer.global_step not in self.at or not (trainer.is_global_zero or module.shards is not None):
            return
        with module.as_handed_on():
            state = trainable_state(module.encoder)  # of shards, all processes together
        if trainer.is_global_zero:
            self.directory.mkdir(parents=True, exist_ok=True)
            write_durably(self.directory / f"{trainer.global_step:06d}.safetensors", save(state))


def _any(trainer: lightning.Trainer, decision: bool) -> bool:
    """Whether any process decided so; every process gets the same answer."""
    return decision if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(decision, all=False)
