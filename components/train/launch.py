"""Starts a stage: in this process, or in several that torchrun starts, which train together."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.checkpoints import checkpoint_directory
from components.environment import Environment
from components.train.config import TrainConfig
from components.train.run import run
from components.train.worker import FAILED, JOB, RESULT
from model.training.history import History

ROOT = Path(__file__).resolve().parents[2]
LOOK_EVERY_SECONDS = 1.0


def checkpoints_of(config: TrainConfig, *inputs: Path) -> Path:
    """Directory of a stage's checkpoints, wherever and by how many processes it is trained."""
    teacher = () if config.stage.teacher is None else (config.stage.teacher.directory,)
    return checkpoint_directory(Environment.from_env().home, "train", config.stage.model_dump_json(), *inputs, *teacher)


def launch(config: TrainConfig, *, sinks: Sequence[Any] = (), **paths: Path | None) -> dict[str, float]:
    """Train one stage with as many processes as ``config.launch`` says.

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
    if config.launch.processes == 1:
        return run(config, sinks=sinks, **paths)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory(prefix="train-") as scratch:
        job = Path(scratch)
        document = {
            "config": config.model_dump(mode="json"),
            "paths": {name: None if path is None else str(path.resolve()) for name, path in paths.items()},
        }
        (job / JOB).write_text(json.dumps(document), encoding="utf-8")
        checkpoints = paths["checkpoints"]
        assert checkpoints is not None
        code = _torchrun(job, config.launch.processes, History(checkpoints), sinks)
        return _outcome(job, code)


def _torchrun(job: Path, processes: int, history: History, sinks: Sequence[Any]) -> int:
    """Run the processes to their end; what the first one logs goes to the sinks."""
    news = history.follow()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ, "PYTHONPATH": _python_path()}
    group = subprocess.Popen([*command, "-m", "components.train.worker", str(job)], env=environment)
    with _passing_on(group):
        try:
            while True:
                over = _over(group)
                for row in news():
                    scalars = {name: value for name, value in row.items() if name != "step"}
                    for sink in sinks:
                        sink(scalars, int(row["step"]))
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


@contextmanager
def _passing_on(group: subprocess.Popen[bytes]) -> Iterator[None]:
    """SIGTERM goes on to the processes, which save before they end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: group.terminate())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _outcome(job: Path, code: int) -> dict[str, float]:
    from model.training.guard import TrainingError

    if code == 0:
        found: dict[str, float] = json.loads((job / RESULT).read_text(encoding="utf-8"))
        return found
    failed = sorted(job.glob(FAILED.format(rank="*")), key=lambda file: file.stat().st_mtime_ns)
    if failed:
        first = json.loads(failed[0].read_text(encoding="utf-8"))
        rank = failed[0].stem.rpartition("-")[2]
        raise TrainingError(f"process {rank}: {first['message']} ({first['kind']})")
    raise TrainingError(
        f"the processes ended with exit code {code} and without a word, as when one is killed or out of memory; "
        "start the same run again to go on from the newest checkpoint"
    )


def _python_path() -> str:
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
