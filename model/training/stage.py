"""Runs one stage: from an encoder and a stream of batches to a trained encoder, resumable at any step."""

from collections.abc import Callable, Sequence
from pathlib import Path

import lightning
import torch

from model.training.batch import StepBatch
from model.training.checkpoints import CheckpointStore
from model.training.config import StageConfig
from model.training.families import TorchEncoder
from model.training.flops import TrunkFlops, peak_of
from model.training.guard import Guard, out_of_memory
from model.training.history import History
from model.training.loading import Loading
from model.training.meter import Meter, WaitClock
from model.training.module import ContrastiveModule
from model.training.recompute import stop_recomputing
from model.training.report import ProgressReport, ScalarSink
from model.training.saving import Saving, Snapshots
from model.training.strategy import shards_of, strategy_of
from model.training.world import ALONE, World
from model.unified.encoder import UnifiedEncoder


def run_stage(
    encoder: TorchEncoder,
    stage: StageConfig,
    make_batch: Callable[[int], StepBatch],
    *,
    checkpoints: Path,
    sinks: Sequence[ScalarSink] = (),
    world: World = ALONE,
    sharded: bool = False,
    workers: int = 0,
    prefetch: int = 2,
) -> int:
    """Train ``encoder`` in place, together with the other processes of ``world``.

    Args:
        encoder: starts the stage; ends it with the trained weights.
        stage: what to do.
        make_batch: this process's share of the batch of a step, a pure function of the step.
        checkpoints: directory of this very stage; what is in it is continued.
        sinks: receivers of logged scalars, called in the first process only.
        world: who trains together.
        sharded: share the trunk out among the processes where it learns; each holds the whole model otherwise.
        workers: processes that make batches ahead, see :class:`model.training.loading.Loading`.
        prefetch: batches that each of them makes ahead.

    Returns:
        The step from which the run started: 0, or more when it resumed.

    Raises:
        TrainingError: loss or gradients are not finite again and again, or memory ran out; it says what to change.
        StageStopped: SIGTERM; the step is saved.
    """
    shards = shards_of(encoder, stage, world) if sharded else None
    module = ContrastiveModule(encoder, stage, shards)
    store = CheckpointStore(checkpoints)
    first, resume = store.newest() or (0, None)
    guard, clock = Guard(stage, checkpoints), WaitClock()
    meter = _meter(module, clock, stage, world)
    callbacks = [
        guard,
        Snapshots(checkpoints / "snapshots", stage),
        ProgressReport(stage, sinks, guard=guard, meter=meter, history=History(checkpoints)),
        Saving(store, stage),
    ]
    trainer = _trainer(stage, world, sharded=shards is not None, clock=clock, callbacks=callbacks)
    loading = Loading(
        make_batch,
        stage.steps,
        lambda: trainer.global_step,
        workers=workers,
        prefetch=prefetch,
        lazy=stage.micro_batch_tokens is not None,
        waited=clock.add,
    )
    try:
        trainer.fit(module, loading, ckpt_path=resume, weights_only=True)
    except (MemoryError, RuntimeError) as error:
        raise out_of_memory(error, stage, guard.batch) or error from error
    finally:
        loading.close()
    if shards is not None:
        shards.undo()
        if stage.activation_checkpointing:
            stop_recomputing(encoder)  # what comes back is as it was before
    encoder.requires_grad_(False).eval()
    return first


def _trainer(
    stage: StageConfig, world: World, *, sharded: bool, clock: WaitClock, callbacks: list[lightning.Callback]
) -> lightning.Trainer:
    return lightning.Trainer(
        max_steps=stage.steps,
        max_epochs=1,
        accelerator="auto",
        devices=world.processes_per_node,
        num_nodes=world.nodes,
        strategy=strategy_of(world, sharded=sharded),
        use_distributed_sampler=False,  # the sampler draws for all processes, each takes its share
        precision=stage.precision,
        gradient_clip_val=stage.gradient_clip,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=stage.log_every_steps,
        profiler=clock,
        callbacks=callbacks,
    )


def _meter(module: ContrastiveModule, clock: WaitClock, stage: StageConfig, world: World) -> Meter:
    """Knows the arithmetic of unified encoders, and the peak of the hardware where that is in our table."""
    encoder = module.encoder
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    flops = TrunkFlops(encoder, module.rates) if isinstance(encoder, UnifiedEncoder) else None
    return Meter(clock, flops, peak_of(device, stage.precision), processes=world.processes)
