"""What every component shell wraps its work in: a record for the summary, a console line, errors kept."""

import atexit
import gc
import json
import os
import select
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from components.environment import Environment
from components.tracking import Run, step_run
from model.errors import OmnivecError
from model.files import whole_file
from model.memory import peak_bytes

TERMINAL = "OMNIVEC_TERMINAL"
RUNNER = "OMNIVEC_RUNNER_PID"
BESIDE = "step.json"
Status = Literal["running", "ok", "failed", "cached"]


@dataclass
class StepRecord:
    """What a step leaves for the run's summary.

    Attributes:
        name: step name, such as ``validate`` or ``train-align``.
        status: ``running`` until the work ends; a record that stays so belongs to a killed process.
        seconds: wall-clock seconds of the work (process start excluded).
        peak_mb: largest resident memory of the process in MB.
        error: message of the exception that ended the step.
        facts: scalars and paths worth showing, such as ``{"rows": 9120, "report": ".../report.html"}``.
    """

    name: str
    status: Status = "running"
    seconds: float = 0.0
    peak_mb: float = 0.0
    error: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    tracked: Run | None = field(default=None, repr=False, compare=False)

    def log(self, scalars: Mapping[str, float]) -> None:
        """Keep the scalars that the work returned as facts, and as MLflow metrics of the step's run."""
        self.add(**scalars)
        if self.tracked:
            self.tracked.metrics(scalars)

    def sink(self, scalars: Mapping[str, float], at: int) -> None:
        """Receive scalars along the work, such as the loss at a training step."""
        if self.tracked:
            self.tracked.metrics(scalars, step=at)

    def keep(self, **files: Path) -> None:
        """Add output files or directories as facts, and as MLflow artifacts of the step's run."""
        self.add(**files)
        for path in files.values():
            if self.tracked:
                self.tracked.artifact(path)

    def add(self, **facts: Any) -> None:
        """Add facts; values must be JSON (paths become strings)."""
        self.facts |= {key: str(value) if isinstance(value, Path) else value for key, value in facts.items()}


@contextmanager
def step(
    name: str,
    output: str | Path | None = None,
    *,
    config: str | None = None,
    environment: Environment | None = None,
) -> Iterator[StepRecord]:
    """Time a step and write its record to ``home/runs/<run_id>/steps/<name>.json``.

    Args:
        name: step name.
        output: any output path of the step; a copy of the record goes beside it, so that a later run that takes
            the output from the cache also finds the facts.
        config: JSON document of the step. When given, a nested MLflow run is open during the work, with the
            configuration as its parameters; leave it out when the work opens its own.
        environment: defaults to the process environment.

    Errors made for people (``OmnivecError``) end the process with their message and code 2; others keep their
    traceback. The process also ends when the runner that started it is gone: nobody would use its result, and a
    second run would write to the same checkpoints.
    """
    environment = environment or Environment.from_env()
    _use_terminal(os.environ.get(TERMINAL))
    _end_with(os.environ.get(RUNNER))
    if RUNNER in os.environ:  # a process for this step alone: to end it needs no collection, which takes seconds
        atexit.register(gc.freeze)
    record = StepRecord(name)
    write(record, environment)
    _say(f"> {name}")
    started = time.monotonic()
    try:
        with step_run(name, environment, config) if config else nullcontext() as record.tracked:
            yield record
        record.status = "ok"
    except BaseException as error:
        record.status, record.error = "failed", f"{type(error).__name__}: {error}"
        if isinstance(error, OmnivecError):
            _say(f"{name}: {error}")
            raise SystemExit(2) from error
        traceback.print_exc()
        raise
    finally:
        record.seconds = round(time.monotonic() - started, 2)
        record.peak_mb = round(peak_bytes() / 2**20, 1)
        write(record, environment)
        if output is not None and record.status == "ok":
            dump(record, Path(output).parent / BESIDE)
        _say(f"  {name} {record.status} in {record.seconds:.1f} s")


def record_path(environment: Environment, name: str) -> Path | None:
    """Where the record of a step goes, or None outside a pipeline run."""
    return environment.home / "runs" / environment.run_id / "steps" / f"{name}.json" if environment.run_id else None


def write(record: StepRecord, environment: Environment) -> None:
    """Write a record under the environment's run; outside a pipeline run there is nowhere to write."""
    path = record_path(environment, record.name)
    if path is not None:
        dump(record, path)


def dump(record: StepRecord, path: Path) -> None:
    """Write a record in one move, so that a reader never sees half of it."""
    values = {name.name: getattr(record, name.name) for name in fields(record) if name.name != "tracked"}
    with whole_file(path) as partial:
        partial.write_text(json.dumps(values, indent=2, ensure_ascii=False, default=str), encoding="utf-8")


def read_records(environment: Environment) -> dict[str, StepRecord]:
    """Every record of the environment's run, by step name."""
    path = record_path(environment, "x")
    files = sorted(path.parent.glob("*.json")) if path else []
    return {record.name: record for record in map(load, files)}


def load(path: Path) -> StepRecord:
    """Read one record."""
    return StepRecord(**json.loads(path.read_text(encoding="utf-8")))


def _use_terminal(device: str | None) -> None:
    """Send stderr straight to the user's terminal: through kfp's pipe a progress bar would be one line per update."""
    if device is None or sys.stderr.isatty():
        return
    try:
        terminal = os.open(device, os.O_WRONLY | os.O_NOCTTY)
    except OSError:  # the terminal went away: the pipe still works
        return
    os.dup2(terminal, 2)
    os.close(terminal)


def _end_with(runner: str | None) -> None:
    if runner is None or int(runner) == os.getpid():
        return

    def watch(pid: int) -> None:
        with suppress(ProcessLookupError):
            select.select([os.pidfd_open(pid)], [], [])  # readable once the process has ended
        os._exit(143)

    threading.Thread(target=watch, args=(int(runner),), name="runner-watch", daemon=True).start()


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
