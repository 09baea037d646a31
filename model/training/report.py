"""Progress of a stage: a line or a bar for people, the same scalars for the tracking system and the step's page."""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import lightning
import torch
from torch import Tensor

from model.losses.gather import processes, sum_over_processes
from model.training.batch import StepBatch
from model.training.config import StageConfig
from model.training.figures import embedding_figures
from model.training.guard import Guard
from model.training.history import History
from model.training.meter import Meter

LINE_EVERY_SECONDS = 10.0


class ScalarSink(Protocol):
    """Receives scalars of a step."""

    def __call__(self, scalars: Mapping[str, float], step: int, /) -> None:
        """Take the scalars of ``step``."""


class Window:
    """Means of scalars since the last reading, by name; kept on the device, so that adding does not wait for it."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add the scalars of a step."""
        for name, value in values.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.float()
            self._counts[name] = self._counts.get(name, 0) + 1

    def read(self) -> dict[str, float]:
        """The means, over all processes, in one transfer from the device; then start afresh.

        Every process has the same names, as all have the same task in a step. What is not finite is left out.
        """
        if not self._sums:
            return {}
        means = torch.stack([total / self._counts[name] for name, total in self._sums.items()])
        values = (sum_over_processes(means) / processes()).tolist()
        found = {name: value for name, value in zip(self._sums, values, strict=True) if math.isfinite(value)}
        self._sums, self._counts = {}, {}
        return found


class ProgressReport(lightning.Callback):
    """Shows step, loss, rates and time left; hands the scalars of every ``log_every_steps`` steps to the sinks.

    Loss parts and figures of the embeddings are means over the steps since the last report, by task.
    """

    def __init__(
        self, stage: StageConfig, sinks: Sequence[ScalarSink], *, guard: Guard, meter: Meter, history: History
    ) -> None:
        self.stage = stage
        self.guard = guard
        self.meter = meter
        self.sinks = (history.add, *sinks)
        self.first_step = 0
        self.window = Window()
        self.shown: dict[str, float] = {}
        self._started = self._last = 0.0
        self._bar: Any = None

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Note where the run starts; say so when it resumes."""
        self.first_step = trainer.global_step
        self._started = self._last = time.monotonic()
        if self.first_step and trainer.is_global_zero:
            sys.stderr.write(f"{self.stage.kind}: resumed at step {self.first_step} of {self.stage.steps}\n")
        if sys.stderr.isatty() and trainer.is_global_zero:
            from tqdm import tqdm

            self._bar = tqdm(total=self.stage.steps, initial=self.first_step, desc=self.stage.kind, unit=" step")

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: StepBatch, batch_idx: int
    ) -> None:
        """Take the figures of a step; report when it is time. Its own time is among the figures."""
        began = time.perf_counter()
        step = trainer.global_step
        self.meter.add(batch)
        self.window.add(self._figures(module, batch))
        if step % self.stage.log_every_steps == 0 or step == self.stage.steps:
            self.shown = {**self._fixed_temperatures(), **self.window.read()}
            self.shown |= {**self.meter.read(module.device), **self._rates(trainer)}
            if trainer.is_global_zero:
                for sink in self.sinks:
                    sink(self.shown, step)
        if trainer.is_global_zero:
            self._show(step, batch.task.name)
        self.meter.observing += time.perf_counter() - began

    def on_train_end(self, *_: Any) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def _figures(self, module: Any, batch: StepBatch) -> dict[str, Tensor]:
        task = batch.task.name
        values = {f"{task}/{name}": value for name, value in module.parts.items()}
        values |= {f"{task}/{name}": value for name, value in embedding_figures(*module.embeddings).items()}
        values |= {f"gradient_norm/{name}": norm for name, norm in self.guard.norms.items()}
        return {"loss": module.parts["loss"], **values}

    def _fixed_temperatures(self) -> dict[str, float]:
        """Temperatures of the stage's tasks as the recipe says; those that learn come with the loss."""
        return {f"{task.name}/temperature": task.temperature or self.stage.temperature for task in self.stage.tasks}

    def _rates(self, trainer: lightning.Trainer) -> dict[str, float]:
        """Learning rate of each group of parameters, by the name that the recipe gives it."""
        found = {id(p): group["lr"] for group in trainer.optimizers[0].param_groups for p in group["params"]}
        return {f"learning_rate/{name}": found[id(members[0])] for name, members in self.guard.groups.items()}

    def _show(self, step: int, task: str) -> None:
        if self._bar is not None:
            self._bar.update(step - self._bar.n)
            self._bar.set_postfix_str(", ".join((task, *describe(self.shown))))
        elif time.monotonic() - self._last >= LINE_EVERY_SECONDS or step == self.stage.steps:
            self._last = now = time.monotonic()
            rate = (step - self.first_step) / max(now - self._started, 1e-9)
            left = f"{(self.stage.steps - step) / rate:.0f} s left"
            facts = (f"{self.stage.kind}: step {step}/{self.stage.steps}", *describe(self.shown), left)
            sys.stderr.write(", ".join(facts) + "\n")
            sys.stderr.flush()


def describe(scalars: Mapping[str, float]) -> list[str]:
    """The scalars that fit on a line, each with its name; those that are not known are left out."""
    accuracies = [value for name, value in scalars.items() if name.endswith("/in_batch_accuracy")]
    mean = {"accuracy": sum(accuracies) / len(accuracies)} if accuracies else {}
    known = {**scalars, **mean, "memory": scalars.get("memory/device_gb", scalars.get("memory/process_gb", math.nan))}
    forms = (
        ("loss", "loss {:.3f}"),
        ("accuracy", "in-batch accuracy {:.2f}"),
        ("pairs_per_second", "{:,.0f} pairs/s"),
        ("tokens_per_second", "{:,.0f} tokens/s"),
        ("mfu", "MFU {:.0%}"),
        ("data_wait_share", "data wait {:.0%}"),
        ("memory", "{:.1f} GB"),
    )
    return [form.format(known[name]) for name, form in forms if math.isfinite(known.get(name, math.nan))]
