"""Stops a stage from being ruined: by a loss or gradient that is not finite, or without a word by lack of memory."""

import json
import sys
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor

from model.errors import OmnivecError
from model.training.batch import StepBatch
from model.training.config import StageConfig
from model.training.figures import gradient_norms
from model.training.schedule import by_prefix
from model.training.sharding import local

NAMED = 5
BAD_STEPS = "bad-steps.jsonl"
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")


class TrainingError(OmnivecError, RuntimeError):
    """A stage cannot go on; the message says where it was and what to change."""


class Guard(lightning.Callback):
    """Looks at every gradient before it is used.

    A step with a loss or gradient that is not finite is left out: no weight and no optimizer state changes. It is
    described on stderr and in the file ``BAD_STEPS``; ``max_bad_steps`` of them in a row end the stage.

    Attributes:
        norms: gradient norm by group of parameters, of the present step.
        batch: the present batch.
    """

    def __init__(self, stage: StageConfig, directory: Path) -> None:
        self.stage = stage
        self.directory = directory
        self.norms: dict[str, Tensor] = {}
        self.batch: StepBatch | None = None
        self.in_a_row = 0

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Note which parameters belong together."""
        self.groups = by_prefix(module.encoder, module.rates, self.stage.trainable)

    def on_train_batch_start(self, trainer: lightning.Trainer, module: Any, batch: StepBatch, _: int) -> None:
        """Note the batch, for what goes wrong in it."""
        self.batch = batch

    def on_before_optimizer_step(self, trainer: lightning.Trainer, module: Any, optimizer: Any) -> None:
        """Let a step through, or leave it out by dropping its gradients.

        Raises:
            TrainingError: after ``max_bad_steps`` in a row.
        """
        self.norms = gradient_norms(self.groups)
        total = torch.stack([norm.float() for norm in self.norms.values()]).sum() + 0 * module.parts["loss"]
        bad = not bool(torch.isfinite(total))  # the one wait for the device in a step
        if trainer.world_size > 1:
            bad = trainer.strategy.reduce_boolean_decision(bad, all=False)
        if not bad:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        self._describe(trainer, module)
        optimizer.zero_grad(set_to_none=True)  # AdamW passes over parameters without a gradient
        if self.in_a_row >= self.stage.max_bad_steps:
            raise TrainingError(self._verdict(trainer.global_step))

    def state_dict(self) -> dict[str, Any]:
        """The count goes into the checkpoint, so a resumed stage stops where it would have stopped."""
        return {"in_a_row": self.in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the count back."""
        self.in_a_row = state_dict["in_a_row"]

    def _describe(self, trainer: lightning.Trainer, module: Any) -> None:
        assert self.batch is not None
        names = [n for n, p in module.encoder.named_parameters() if p.grad is not None and not _finite(p.grad)]
        facts = {
            "step": trainer.global_step,
            "task": self.batch.task.name,
            "loss_parts": [name for name, value in module.parts.items() if not _finite(value)],
            "gradient_groups": [name for name, norm in self.norms.items() if not _finite(norm)],
            "gradients": names[:NAMED],
            "gradients_in_all": len(names),
            "process": trainer.global_rank,
            "ids": list(self.batch.ids),
        }
        sys.stderr.write(
            f"{self.stage.kind}: step {facts['step']} ({facts['task']}) left out, not finite: "
            f"loss parts {facts['loss_parts'] or 'none'}, {len(names)} gradients {facts['gradients'] or ''}; "
            f"records {_first(self.batch.ids)}\n"
        )
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / BAD_STEPS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(facts, ensure_ascii=False) + "\n")

    def _verdict(self, step: int) -> str:
        assert self.batch is not None
        return (
            f"{self.stage.kind}: loss or gradient was not finite in {self.in_a_row} steps in a row, up to step {step} "
            f"(task {self.batch.task.name}, records {_first(self.batch.ids)}). The weights are those before them, and "
            f"{self.directory / BAD_STEPS} tells what was not finite. If the loss parts are: raise the "
            "temperature or look at the records; if only gradients are: lower the rates in trainable or raise "
            f"warmup_steps; with precision {self.stage.precision!r} other than 32-true try that"
        )


def out_of_memory(error: BaseException, stage: StageConfig, batch: StepBatch | None) -> TrainingError | None:
    """What to change when ``error`` means that memory ran out; None when it means something else."""
    kinds = (MemoryError, torch.OutOfMemoryError)
    known = isinstance(error, kinds) or (
        isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY)
    )
    if not known:
        return None
    if batch is None:
        return TrainingError(f"{stage.kind}: out of memory before the first step: the model itself is too large")
    task = batch.task
    micro = stage.micro_batch_tokens
    knobs = [f"micro_batch_tokens ({'not set' if micro is None else f'now {micro}'}), which changes no result"]
    if not stage.activation_checkpointing:
        knobs.append("activation_checkpointing: true, which changes none either")
    knobs += [f"tasks.{task.name}.batch_size (now {task.batch_size})"]
    if task.hard_negatives:
        knobs.append(f"tasks.{task.name}.hard_negatives (now {task.hard_negatives})")
    if stage.precision == "32-true":
        knobs.append("precision: bf16-mixed")
    knobs.append(f"fewer layers in trainable (now {sorted(stage.trainable)})")
    return TrainingError(
        f"{stage.kind}: out of memory at step {batch.step}, a batch of task {task.name}. What helps, first the one "
        f"that helps most: {'; '.join(knobs)}. The last checkpoint is kept. ({error})"
    )


def _finite(value: Tensor) -> bool:
    return bool(torch.isfinite(local(value)).all())


def _first(ids: tuple[str, ...]) -> str:
    return f"{', '.join(ids[:NAMED])}{f' and {len(ids) - NAMED} more' if len(ids) > NAMED else ''}"
