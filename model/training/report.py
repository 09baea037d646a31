"""Progress of a stage: a line or a bar for people, scalars for the tracking system."""

import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol

import lightning

from model.training.config import StageConfig

LINE_EVERY_SECONDS = 10.0


class ScalarSink(Protocol):
    """Receives scalars of a step."""

    def __call__(self, scalars: Mapping[str, float], step: int, /) -> None:
        """Take the scalars of ``step``."""


class ProgressReport(lightning.Callback):
    """Shows step, loss, rate and time left; hands the logged scalars to the sinks."""

    def __init__(self, stage: StageConfig, sinks: "tuple[ScalarSink, ...] | list[ScalarSink] | Any") -> None:
        self.stage = stage
        self.sinks = tuple(sinks)
        self.first_step = 0
        self._started = self._last = 0.0
        self._bar: Any = None

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Note where the run starts; say so when it resumes."""
        self.first_step = trainer.global_step
        self._started = self._last = time.monotonic()
        if self.first_step:
            sys.stderr.write(f"{self.stage.kind}: resumed at step {self.first_step} of {self.stage.steps}\n")
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=self.stage.steps, initial=self.first_step, desc=self.stage.kind, unit=" step")

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, _: int) -> None:
        """Report after a step."""
        step = trainer.global_step
        scalars = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if self._bar is not None:
            self._bar.update(step - self._bar.n)
            self._bar.set_postfix(loss=f"{scalars.get('loss', float('nan')):.3f}", task=batch.task.name)
        elif time.monotonic() - self._last >= LINE_EVERY_SECONDS or step == self.stage.steps:
            self._line(step, scalars.get("loss", float("nan")), batch.task.name)
        if step % self.stage.log_every_steps == 0 or step == self.stage.steps:
            rates = {f"learning_rate/{i}": g["lr"] for i, g in enumerate(trainer.optimizers[0].param_groups)}
            for sink in self.sinks:
                sink({**scalars, **rates}, step)

    def on_train_end(self, *_: Any) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def _line(self, step: int, loss: float, task: str) -> None:
        self._last = now = time.monotonic()
        rate = (step - self.first_step) / max(now - self._started, 1e-9)
        left = (self.stage.steps - step) / rate if rate else float("nan")
        sys.stderr.write(
            f"{self.stage.kind}: step {step}/{self.stage.steps} loss {loss:.3f} ({task}) "
            f"{rate:.2f} steps/s, {left:.0f} s left\n"
        )
        sys.stderr.flush()
