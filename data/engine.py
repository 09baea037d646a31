"""Where dataframes run: Daft in this process, or on a Ray cluster when a corpus outgrows one machine.

Every module that uses Daft calls :func:`start` first: it turns telemetry off before Daft is imported.
"""

import atexit
import contextlib
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from model.config import Config
from model.errors import ConfigError

Runner = Literal["local", "ray"]


class EngineConfig(Config):
    """Where the work runs.

    Attributes:
        runner: ``local`` for this machine, ``ray`` for a cluster.
        address: of a Ray cluster, such as ``auto`` or ``ray://head:10001``; without one, a cluster on this machine.
        workers: processes at work; without a number, one per core.
    """

    runner: Runner = "local"
    address: str | None = None
    workers: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _address_is_of_a_cluster(self) -> Self:
        if self.address is not None and self.runner != "ray":
            raise ValueError(f"address {self.address!r} is that of a Ray cluster: set runner to ray, or leave it out")
        return self

    @property
    def processes(self) -> int:
        """Workers as a number."""
        return self.workers or len(os.sched_getaffinity(0))


_started: list[EngineConfig] = []


def start(config: EngineConfig | None = None) -> None:
    """Choose the runner of this process. Asking again for what runs already is free.

    Args:
        config: default: this machine.

    Raises:
        ConfigError: another runner runs already, or Ray is wanted and cannot be used.
    """
    config = config or EngineConfig()
    if _started:
        running = _started[0]
        if (running.runner, running.address) != (config.runner, config.address):
            raise ConfigError(
                f"dataframes run on {_name(running)} in this process, which cannot change to {_name(config)}: "
                "use a new process"
            )
        return
    # Read when Daft and Ray are imported, so set before; both send nothing then.
    os.environ.update(DO_NOT_TRACK="1", DAFT_ANALYTICS_ENABLED="0", RAY_USAGE_STATS_ENABLED="0")
    # The bars of Daft show its own operators, which tell a user nothing; we show rows.
    os.environ.setdefault("DAFT_PROGRESS_BAR", "0")
    import daft

    if config.runner == "local":
        daft.set_runner_native(config.processes)
        atexit.register(_wait_until_idle)
    else:
        _start_ray(config)
        daft.set_runner_ray(address=config.address, noop_if_initialized=True)
    _started.append(config)


def _wait_until_idle(limit_s: float = 1.0, pause_s: float = 0.01) -> None:
    """Hold the exit until no other thread of this process runs.

    A thread of Daft lets go of Python objects only after its result is out. When the interpreter ends first, that
    thread is ended in the middle of Rust: the process dies by SIGSEGV after its work is done, and a step counts as
    failed. While this sleeps, such a thread gets the interpreter at once; one that waits for a core counts as running.
    """
    quiet, end = 0, time.monotonic() + limit_s
    while quiet < 2 and time.monotonic() < end:
        time.sleep(pause_s)
        quiet = 0 if _others_run() else quiet + 1


def _others_run() -> bool:
    own = str(threading.get_native_id())
    for thread in Path("/proc/self/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # a thread may end between the two
            if thread.parent.name != own and thread.read_text().rpartition(")")[2].split()[0] == "R":
                return True
    return False


def _start_ray(config: EngineConfig) -> None:
    try:
        import ray
    except ImportError as error:
        raise ConfigError("runner ray needs Ray, which is not installed: pip install 'omnivec[ray]'") from error
    if ray.is_initialized():
        return
    own: dict[str, Any] = {} if config.address else {"num_cpus": config.processes, "include_dashboard": False}
    try:
        ray.init(address=config.address, log_to_driver=False, logging_level=logging.WARNING, **own)
    except (ConnectionError, ValueError) as error:
        raise ConfigError(
            f"no Ray cluster answers at {config.address!r} ({error}): start one, or leave out address"
        ) from error


def _name(config: EngineConfig) -> str:
    return config.runner if config.address is None else f"{config.runner} at {config.address}"
