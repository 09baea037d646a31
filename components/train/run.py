"""The work of a training stage: dataset and model in, trained model out, resumable."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.train.config import TrainConfig
from model.errors import ConfigError
from model.training.config import StageConfig
from model.training.world import ALONE, World

if TYPE_CHECKING:
    from components.train.feed import BatchMaker
    from components.train.teacher import Taught
    from model.training.families import TorchEncoder


def run(
    config: TrainConfig,
    *,
    dataset: Path,
    model: Path,
    features: Path | None,
    checkpoints: Path,
    output: Path,
    report: Path | None = None,
    sinks: Sequence[Any] = (),
    world: World = ALONE,
) -> dict[str, float]:
    """Train one stage; where several processes train together, each of them calls this.

    Args:
        config: the stage.
        dataset: accepted shards of the validation step.
        model: artifact to start from.
        features: feature store of the frozen towers, or None to run the towers live.
        checkpoints: directory of this stage's checkpoints, stable over restarts: what makes a killed run resume.
        output: artifact to write; ``snapshots/`` in it holds weights along the run.
        report: page with the curves of the whole stage, earlier attempts included; none when empty.
        sinks: receivers of training scalars, each called with (scalars, step) in the first process.
        world: who trains together; the first process writes ``output`` and ``report``.

    Returns:
        Scalars: steps, step it resumed from, seconds, pooled texts, trainable parameters.

    Raises:
        DataError: a task has no training records, or fewer in a batch than there are processes.
        ConfigError: a trainable prefix matches nothing, or the teacher does not fit.
        TrainingError: loss or gradients are not finite again and again, or memory ran out.
    """
    from model.artifact import load_encoder
    from model.features import FeatureStore
    from model.training.families import TorchEncoder
    from model.training.schedule import freeze_except
    from model.training.stage import run_stage
    from model.unified.encoder import UnifiedEncoder

    started = time.monotonic()
    stage = config.stage
    encoder = load_encoder(model)
    assert isinstance(encoder, TorchEncoder)
    if isinstance(encoder, UnifiedEncoder) and features is not None:
        encoder.use_features(FeatureStore.open(features))
    _adapt(encoder, stage)
    rates = freeze_except(encoder, stage.trainable)
    make_batch = _batches(encoder, stage, dataset, world, keep_bytes=round(config.launch.keep_gb * 1e9))
    batches = make_batch if stage.teacher is None else _taught(make_batch, encoder, stage, checkpoints)
    frozen_trunk = isinstance(encoder, UnifiedEncoder) and not any(n.startswith("trunk.") for n in rates)
    texts = make_batch.pool_texts(range(stage.steps)) if frozen_trunk else 0
    parameters = sum(p.numel() for n, p in encoder.named_parameters() if n in rates)
    try:
        first = run_stage(
            encoder,
            stage,
            batches,
            checkpoints=checkpoints,
            sinks=sinks,
            world=world,
            sharded=config.launch.strategy == "fsdp",
            workers=config.launch.workers,
            prefetch=config.launch.prefetch,
        )
    finally:
        if report is not None and world.first:  # of a stage that failed, too: that is when it is wanted most
            _write_page(stage, checkpoints, report)
    if world.first:
        _write(encoder, stage, checkpoints, output)
    return {
        "steps": stage.steps,
        "resumed_from": first,
        "seconds": round(time.monotonic() - started, 1),
        "pooled_texts": texts,
        "trainable_parameters": parameters,
    }


def _batches(
    encoder: "TorchEncoder", stage: StageConfig, dataset: Path, world: World, *, keep_bytes: int | None = None
) -> "BatchMaker":
    from components.train.feed import BatchMaker
    from data.corpus import Corpus
    from data.sampling import TaskSampler

    corpus = Corpus(dataset, splits=("train",), tasks=[task.name for task in stage.tasks])
    sampler = TaskSampler(
        corpus.records, stage.tasks, steps=stage.steps, seed=stage.seed, size_exponent=stage.size_exponent
    )
    options = {"prefix_dropout": stage.prefix_dropout, "seed": stage.seed, "loss": stage.loss}
    return BatchMaker(corpus, sampler, encoder, world=world, keep_bytes=keep_bytes, **options)  # type: ignore[arg-type]


def _taught(make_batch: "BatchMaker", encoder: "TorchEncoder", stage: StageConfig, checkpoints: Path) -> "Taught":
    from components.train.teacher import taught

    return taught(make_batch, stage, stage.dimensions or encoder.dimensions, checkpoints)


def _write_page(stage: StageConfig, checkpoints: Path, report: Path) -> None:
    from components.train.page import report_page
    from model.training.guard import BAD_STEPS
    from model.training.history import History

    report.parent.mkdir(parents=True, exist_ok=True)
    page = report_page(stage, History(checkpoints).rows(), checkpoints / BAD_STEPS)
    report.write_text(page, encoding="utf-8")


def _adapt(encoder: Any, stage: StageConfig) -> None:
    """Put LoRA adapters into the encoder when the stage asks for them.

    Raises:
        ConfigError: the family has no adapters.
    """
    if stage.lora is None:
        return
    if not hasattr(encoder, "add_lora"):
        raise ConfigError("lora is for the sentence_transformer family; name the unified encoder's parts in trainable")
    encoder.add_lora(stage.lora, stage.seed)


def _write(encoder: Any, stage: StageConfig, checkpoints: Path, output: Path) -> None:
    import shutil

    encoder.save(output)
    (output / "stage.json").write_text(json.dumps(stage.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
    if (snapshots := checkpoints / "snapshots").is_dir():
        shutil.copytree(snapshots, output / "snapshots", dirs_exist_ok=True)
