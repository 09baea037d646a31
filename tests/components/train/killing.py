"""A training stage in a process of its own, to be killed. The fork server has imported everything already."""

import multiprocessing
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.side_by_side import fork_server

STEPS = 40


def start(dataset: Path, model: Path, where: Path, pause: float = 0.0, every: int = 1, workers: int = 0) -> BaseProcess:
    """Start the stage, with a checkpoint ``every`` so many steps and ``pause`` seconds after each step."""
    where.mkdir(parents=True, exist_ok=True)
    process = fork_server().Process(target=train, args=(dataset, model, where, pause, every, workers))
    process.start()
    return process


def train(dataset: Path, model: Path, where: Path, pause: float, every: int, workers: int) -> None:
    """Train; the step reached is in the file ``at``, the processes that make batches in ``workers``."""
    import time

    import torch

    from components.train.config import TrainConfig
    from components.train.run import run

    torch.set_num_threads(1)
    stage = {
        "kind": "align",
        "steps": STEPS,
        "tasks": [{"name": "text_to_image", "batch_size": 4}],
        "trainable": {"projectors": 1e-2, "trunk.encoder.layer.1": 1e-3, "head": 1e-3},
        "checkpoint_every_steps": every,
        "log_every_steps": 1,
        "snapshots": 3,
    }

    def note(_: object, step: int) -> None:
        if workers and not (where / "at").exists():
            pids = [str(child.pid) for child in multiprocessing.active_children()]
            (where / "workers").write_text(" ".join(pids))
        (where / "at").write_text(str(step))
        time.sleep(pause)

    run(
        TrainConfig.parse({"stage": stage, "launch": {"workers": workers}}),
        dataset=dataset,
        model=model,
        features=None,
        checkpoints=where / "checkpoints",
        output=where / "model",
        sinks=[note],
    )
