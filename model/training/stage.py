"""Runs one stage: from an encoder and a stream of batches to a trained encoder, resumable at any step."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors.torch import save_file
from torch.utils.data import DataLoader, IterableDataset

from model.training.batch import StepBatch
from model.training.config import StageConfig
from model.training.module import ContrastiveModule, trainable_state
from model.training.report import ProgressReport, ScalarSink
from model.unified.encoder import UnifiedEncoder

LAST = "last.ckpt"


class StepStream(IterableDataset[StepBatch]):
    """Batches from the trainer's current step on: that is what makes a resume continue instead of repeat."""

    def __init__(self, make: Callable[[int], StepBatch], steps: int, start: Callable[[], int]) -> None:
        self.make = make
        self.steps = steps
        self.start = start

    def __iter__(self) -> Iterator[StepBatch]:
        for step in range(self.start(), self.steps):
            yield self.make(step)


class Snapshots(lightning.Callback):
    """Keeps trainable weights at even distances along the run, as ingredients of a soup."""

    def __init__(self, directory: Path, stage: StageConfig) -> None:
        every = stage.steps / (stage.snapshots + 1)
        self.at = {round(every * (i + 1)) for i in range(stage.snapshots)}
        self.directory = directory

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, *_: Any) -> None:
        """Write a snapshot when its step is reached (again after a resume: the same file)."""
        if trainer.global_step in self.at:
            self.directory.mkdir(parents=True, exist_ok=True)
            path = self.directory / f"{trainer.global_step:06d}.safetensors"
            save_file(trainable_state(module.encoder), path.with_suffix(".partial"))
            path.with_suffix(".partial").replace(path)


def run_stage(
    encoder: UnifiedEncoder,
    stage: StageConfig,
    make_batch: Callable[[int], StepBatch],
    *,
    checkpoints: Path,
    sinks: Sequence[ScalarSink] = (),
) -> int:
    """Train ``encoder`` in place.

    Args:
        encoder: starts the stage; ends it with the trained weights.
        stage: what to do.
        make_batch: the batch of a step, a pure function of the step.
        checkpoints: directory of this very stage; a ``last.ckpt`` in it is continued.
        sinks: receivers of logged scalars.

    Returns:
        The step from which the run started: 0, or more when it resumed.
    """
    module = ContrastiveModule(encoder, stage)
    last = checkpoints / LAST
    resume = str(last) if last.is_file() else None
    trainer = lightning.Trainer(
        max_steps=stage.steps,
        max_epochs=1,
        accelerator="auto",
        devices=1,
        precision=stage.precision,
        gradient_clip_val=stage.gradient_clip,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=stage.log_every_steps,
        callbacks=[
            ModelCheckpoint(
                dirpath=checkpoints,
                filename="step",
                save_last=True,
                save_top_k=0,
                every_n_train_steps=stage.checkpoint_every_steps,
                enable_version_counter=False,
            ),
            Snapshots(checkpoints / "snapshots", stage),
            report := ProgressReport(stage, sinks),
        ],
    )
    stream = StepStream(make_batch, stage.steps, lambda: trainer.global_step)
    trainer.fit(module, DataLoader(stream, batch_size=None), ckpt_path=resume, weights_only=True)
    encoder.requires_grad_(False).eval()
    return report.first_step
