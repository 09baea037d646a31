"""Starts a stage: in this process, in several that torchrun starts here, or on nodes of a cluster."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.checkpoints import checkpoint_directory
from components.environment import Environment
from components.train.config import TrainConfig
from components.train.job import Job, on_sigterm, pass_on
from components.train.run import run
from model.training.history import History

ROOT = Path(__file__).resolve().parents[2]
LOOK_EVERY_SECONDS = 1.0


def checkpoints_of(config: TrainConfig, *inputs: Path) -> Path:
    """Directory of a stage's checkpoints, wherever and by how many processes it is trained."""
    teacher = () if config.stage.teacher is None else (config.stage.teacher.directory,)
    return checkpoint_directory(Environment.from_env().home, "train", config.stage.model_dump_json(), *inputs, *teacher)


def launch(config: TrainConfig, *, sinks: Sequence[Any] = (), **paths: Path | None) -> dict[str, float]:
    """Train one stage where and with as many processes as ``config.launch`` says.

    Args:
        config: the stage, and where it trains.
        sinks: receivers of training scalars; they are always called in this process.
        paths: those of :func:`components.train.run.run`.

    Returns:
        What ``run`` returns in the first process.

    Raises:
        TrainingError: processes of their own failed; it says what the first of them said. In this process, whatever
            ``run`` raises.
    """
    if config.launch.backend == "trainjob":
        from components.train.trainjob import train_in_cluster

        return train_in_cluster(config, sinks=sinks, **paths)
    if config.launch.processes == 1:
        return run(config, sinks=sinks, **paths)  # type: ignore[arg-type]
    checkpoints = paths["checkpoints"]
    assert checkpoints is not None
    with tempfile.TemporaryDirectory(prefix="train-") as scratch:
        job = Job(Path(scratch))
        job.write(config, paths)
        code = _torchrun(job.directory, config.launch.processes, History(checkpoints), sinks)
        return _outcome(job, code)


def _torchrun(job: Path, processes: int, history: History, sinks: Sequence[Any]) -> int:
    """Run the processes to their end; what the first one logs goes to the sinks."""
    news = history.follow()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ, "PYTHONPATH": _python_path()}
    group = subprocess.Popen([*command, "-m", "components.train.worker", str(job)], env=environment)
    with on_sigterm(group.terminate):
        try:
            while True:
                over = _over(group)
                pass_on(news(), sinks)
                if over:
                    return group.returncode
        finally:
            if group.poll() is None:
                group.terminate()
                group.wait()


def _over(group: subprocess.Popen[bytes]) -> bool:
    try:
        group.wait(LOOK_EVERY_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def _outcome(job: Job, code: int) -> dict[str, float]:
    from model.training.guard import TrainingError

    if code == 0:
        return job.result()
    if failure := job.failure():
        raise TrainingError(failure[0])
    raise TrainingError(
        f"the processes ended with exit code {code} and without a word, as when one is killed or out of memory; "
        "start the same run again to go on from the newest checkpoint"
    )


def _python_path() -> str:
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
