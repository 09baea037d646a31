"""A small stage for several processes, and what to compare of it."""

from pathlib import Path

import torch

from components.train.config import TrainConfig
from components.train.launch import launch
from components.train.run import run
from model.training.world import World


def config(processes: int, strategy: str = "ddp", **changes: object) -> TrainConfig:
    """A stage of five steps in which projectors, the last layer of the trunk, head and temperature learn."""
    stage = {
        "kind": "align",
        "steps": 5,
        "tasks": [{"name": "text_to_image", "batch_size": 4, "query_task": "query"}],
        "loss": {"temperature_rate": 1e-2},
        "temperature": 0.5,
        "trainable": {"projectors": 1e-3, "trunk.encoder.layer.1": 1e-3, "head": 1e-3},
        "prefix_dropout": 0.5,
        "checkpoint_every_steps": 2,
        "log_every_steps": 1,
        "warmup_steps": 0,
        **changes,
    }
    return TrainConfig.parse({"stage": stage, "launch": {"processes": processes, "strategy": strategy}})


def train(wanted: TrainConfig, dataset: Path, model: Path, where: Path, sinks: tuple = ()) -> dict[str, float]:
    """Launch it; checkpoints, page and artifact are in ``where``."""
    paths = {"dataset": dataset, "model": model, "features": None, "report": where / "page.html"}
    return launch(wanted, sinks=sinks, checkpoints=where / "checkpoints", output=where / "model", **paths)


def gradients(where: Path) -> dict[int, torch.Tensor]:
    """Those of the first step by parameter: a tenth of each is in AdamW's state, which has none of unused ones."""
    saved = torch.load(where / "checkpoints/step-00000001.ckpt", weights_only=True)
    return {number: state["exp_avg"] for number, state in saved["optimizer_states"][0]["state"].items()}


def train_together(rank: int, wanted: TrainConfig, dataset: Path, model: Path, where: Path) -> None:
    """The part of one process; for ``side_by_side``."""
    world = World(rank, wanted.launch.processes, 1)
    paths = {"dataset": dataset, "model": model, "features": None, "report": where / "page.html"}
    run(wanted, world=world, checkpoints=where / "checkpoints", output=where / "model", **paths)
