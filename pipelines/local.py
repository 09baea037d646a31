"""Run the training pipeline on this machine: the same definition, by kfp.local, one process a step."""

import fcntl
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from components.environment import Environment
from components.source import source_digest
from components.step import BESIDE, RUNNER, TERMINAL, StepRecord, load, write
from model.errors import OmnivecError
from pipelines.console import COLOUR, CacheListener, StepFilter
from pipelines.plan import Graph


class RunError(OmnivecError):
    """A step failed; the message names it and says why."""


class BusyError(OmnivecError):
    """Another run uses the same local state."""


def new_run_id(name: str) -> str:
    """Identity of a run: UTC time to the second and its name."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}"


def local_image(component: str) -> str:
    """Stand-in for an image: kfp.local runs steps in this Python, but its cache key holds the image's name.

    With the code's digest in it, a step is computed again exactly when its own code changed.
    """
    return f"omnivec-python:{source_digest(component)}"


class Runner(Protocol):
    """What the steps of a run on this machine are executed by."""

    def image(self, component: str) -> str:
        """Image that a component is planned with; part of its cache key."""
        ...

    def session(self, environment: Environment) -> AbstractContextManager[tuple[Any, list[str]]]:
        """Gives kfp's runner, and a list that gets the reasons of failed steps as far as they are known."""
        ...


class Processes:
    """Each step is a process of this Python."""

    def image(self, component: str) -> str:
        """See :func:`local_image`."""
        return local_image(component)

    @contextmanager
    def session(self, environment: Environment) -> Iterator[tuple[Any, list[str]]]:
        """Set the variables that the processes inherit."""
        from kfp import local

        with variables_set(environment.variables() | _console_variables()):
            yield local.SubprocessRunner(use_venv=False), []


def execute(graph: Graph, arguments: Mapping[str, Any], environment: Environment, runner: Runner | None = None) -> None:
    """Run a built graph.

    Args:
        graph: built with the images of the runner.
        arguments: parameters of the pipeline.
        environment: local state, tracking address and ids; handed to the steps through their environment variables,
            because a value in the pipeline itself would enter the cache keys.
        runner: what executes the steps; default: processes of this Python.

    Raises:
        BusyError: another run uses ``environment.home``.
        RunError: a step failed.
    """
    from kfp import local

    names = {planned.task: planned.name for planned in graph.steps}
    root, cache = environment.home / "pipeline", environment.home / "cache" / "steps"

    def on_cached(task: str, key: str) -> None:
        _record_cached(names.get(task, task), cache, key, environment)

    with ExitStack() as stack:
        stack.enter_context(_only_run(environment.home))
        stack.enter_context(_listening(CacheListener(on_cached)))
        stack.enter_context(_terminable())
        stack.enter_context(warnings.catch_warnings())
        # Display names, images and resources mean something on a cluster only; kfp.local warns about each.
        warnings.simplefilter("ignore")
        stack.enter_context(redirect_stdout(StepFilter(sys.stderr)))
        steps, reasons = stack.enter_context((runner or Processes()).session(environment))
        local.init(steps, pipeline_root=str(root), enable_caching=True, cache_root=str(cache), raise_on_error=True)
        try:
            graph.pipeline(**arguments)
        except RuntimeError as error:
            raise RunError("; ".join(reasons) or COLOUR.sub("", str(error))) from error


def _record_cached(name: str, cache: Path, key: str, environment: Environment) -> None:
    """Keep what the step that made the cached outputs had recorded, as cached in this run."""
    import json

    sys.stderr.write(f"= {name} (cached)\n")
    earlier = StepRecord(name)
    for entry in cache.glob(f"{key}*.json"):
        outputs = json.loads(entry.read_text(encoding="utf-8")).values()
        uris = [value["uri"] for value in outputs if isinstance(value, dict) and "uri" in value]
        beside = [Path(uri).parent / BESIDE for uri in uris if (Path(uri).parent / BESIDE).is_file()]
        earlier = load(beside[0]) if beside else earlier
    earlier.add(seconds_when_made=earlier.seconds)
    write(replace(earlier, name=name, status="cached", seconds=0.0), environment)


def _console_variables() -> dict[str, str]:
    variables = {RUNNER: str(os.getpid()), "PYTHONUNBUFFERED": "1"}
    if sys.stderr.isatty():
        variables[TERMINAL] = os.ttyname(sys.stderr.fileno())
    return variables


@contextmanager
def variables_set(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the children and put the old ones back."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _listening(handler: logging.Handler) -> Iterator[None]:
    """Attach a handler to the root logger; kfp.local reports cache hits there at level INFO."""
    root = logging.getLogger()
    level, others = root.level, root.handlers[:]
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers[:] = others
        root.setLevel(level)


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does, so that it still writes its summary."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _only_run(home: Path) -> Iterator[None]:
    """Hold the lock of a home directory; the system releases it when the process ends, however it ends."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "run.lock").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                f"another run is using {home}; wait for it, end it, or set OMNIVEC_HOME to another directory"
            ) from None
        yield
