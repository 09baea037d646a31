"""What every component shell wraps its work in: a record of the step, a line on the console, errors kept for the summary."""

import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

from components.environment import Environment
from model.errors import OmnivecError

TERMINAL = "OMNIVEC_TERMINAL"
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

    def add(self, **facts: Any) -> None:
        """Add facts; values must be JSON (paths become strings)."""
        self.facts |= {key: str(value) if isinstance(value, Path) else value for key, value in facts.items()}


@contextmanager
def step(name: str, environment: Environment | None = None) -> Iterator[StepRecord]:
    """Time a step and write its record to ``home/runs/<run_id>/steps/<name>.json``.

    Errors made for people (``OmnivecError``) end the process with their message and code 2; others keep their traceback.
    """
    environment = environment or Environment.from_env()
    _use_terminal(os.environ.get(TERMINAL))
    record = StepRecord(name)
    write(record, environment)
    _say(f"> {name}")
    started = time.monotonic()
    try:
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
        record.peak_mb = _peak_mb()
        write(record, environment)
        _say(f"  {name} {record.status} in {record.seconds:.1f} s")


def record_path(environment: Environment, name: str) -> Path | None:
    """Where the record of a step goes, or None outside a pipeline run."""
    return environment.home / "runs" / environment.run_id / "steps" / f"{name}.json" if environment.run_id else None


def write(record: StepRecord, environment: Environment) -> None:
    """Write a record in one move, so that a reader never sees half of it."""
    path = record_path(environment, record.name)
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(record), indent=2, ensure_ascii=False, default=str), encoding="utf-8")
    partial.replace(path)


def read_records(environment: Environment) -> dict[str, StepRecord]:
    """Every record of the environment's run, by step name."""
    path = record_path(environment, "x")
    files = sorted(path.parent.glob("*.json")) if path else []
    records = [StepRecord(**json.loads(file.read_text(encoding="utf-8"))) for file in files]
    return {record.name: record for record in records}


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


def _say(line: str, stream: TextIO | None = None) -> None:
    (stream or sys.stderr).write(f"{line}\n")
    (stream or sys.stderr).flush()


def _peak_mb() -> float:
    import resource

    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
