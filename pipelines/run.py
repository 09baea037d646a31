"""One run on this machine from a configuration to its summary."""

import time
from collections.abc import Callable
from dataclasses import replace

from components.corpora import pin_corpus
from components.environment import Environment
from components.report.outcome import Outcome, collect, save
from components.report.run import MLFLOW, Status, track
from components.tracking import end_parent, start_parent
from model.errors import ConfigError
from pipelines.config import RunConfig, check_directories
from pipelines.graph import build
from pipelines.local import Processes, RunError, Runner, execute, new_run_id
from pipelines.plan import PlannedStep


def run_here(
    config: RunConfig,
    environment: Environment,
    *,
    announce: Callable[[list[PlannedStep]], None] = lambda _: None,
    runner: Runner | None = None,
) -> Outcome:
    """Run the whole chain and write its summary, however it ends.

    Args:
        config: the run.
        environment: local state; ids of the run and of its MLflow parent are made here.
        announce: told the planned steps before the first one starts.
        runner: what executes the steps; default: processes of this Python.

    Raises:
        DataError: there is no corpus.
        ConfigError: a teacher or an ingredient of a soup is not here.
        BusyError: another run uses the same local state.
    """
    check_directories(config)
    corpus = pin_corpus(config.corpus)
    runner = runner or Processes()
    graph = build(config, runner.image)
    environment = replace(environment, run_id=environment.run_id or new_run_id(config.name))
    parent = start_parent(environment, config.name, {"config_digest": config.digest(), "corpus_digest": corpus.digest})
    environment = replace(environment, parent_run=parent)
    announce(graph.steps)
    started = time.monotonic()
    status: Status = "interrupted"
    error: str | None = None
    try:
        execute(graph, {"corpus": corpus.name, "corpus_digest": corpus.digest}, environment, runner)
        status = "ok"
    except RunError as failure:
        status, error = "failed", str(failure)
    except KeyboardInterrupt:
        error = "interrupted by the user"
    finally:
        end_parent(environment, parent, status=MLFLOW[status])
    names = [step.name for step in graph.steps]
    outcome = collect(environment, names, status=status, seconds=time.monotonic() - started, error=error)
    save(outcome, environment.home)
    track(config.name, outcome, environment)
    return outcome


def in_containers(
    runner: str, config: RunConfig, environment: Environment, *, image: str | None, pull: bool
) -> tuple[RunConfig, Runner | None]:
    """The run, and what executes its steps, by the name that the command line gives it.

    Raises:
        ConfigError: another name; containers that cannot be had.
    """
    if runner == "docker":
        from pipelines.containers import containers

        return containers(config, environment, image=image, pull=pull)
    if runner != "process" or image is not None or pull:
        raise ConfigError(f"--runner is process or docker, and --image and --pull go with docker; got {runner}")
    return config, None
