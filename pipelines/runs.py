"""Runs on a cluster: started, followed step by step, listed and cancelled."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from model.errors import ConfigError
from pipelines.access import Access, ClusterError, Connection, asking
from pipelines.compiled import compile_yaml
from pipelines.config import RunConfig

EXPERIMENT = "omnivec"
ENDED = frozenset({"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"})
STOPPED = ENDED | {"CANCELING"}
LOST_LOOKS = 10
NEWEST = "latest"


@dataclass(frozen=True)
class Started:
    """A run that was submitted, now or earlier under the same name."""

    run_id: str
    name: str
    new: bool


@dataclass(frozen=True)
class Task:
    """A step of a run as the server sees it."""

    step: str
    state: str
    error: str = ""
    seconds: float | None = None


def submit(
    connection: Connection,
    access: Access,
    config: RunConfig,
    *,
    image: str | None = None,
    corpus_digest: str = "",
    run_name: str | None = None,
    experiment: str = EXPERIMENT,
    fresh: bool = False,
) -> Started:
    """Start a run, unless one of the same ``run_name`` is there that has not failed.

    Args:
        connection: to the cluster.
        access: for messages.
        config: the run.
        image: overrides the images of the cluster section.
        corpus_digest: identity of the corpus, part of the cache keys.
        run_name: name in the list of runs; makes a second submission of it find the first. Default: a new one.
        experiment: in Kubeflow Pipelines; made where it is missing.
        fresh: take nothing from the cache.

    Raises:
        ClusterError: it was refused.
    """
    with asking(access):
        group = connection.client.create_experiment(experiment, namespace=connection.namespace)
        if run_name and (known := _by_name(connection, run_name, group.experiment_id)):
            return Started(str(known.run_id), run_name, new=False)
        name = run_name or f"{config.name} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
        with package(config, image, fresh=fresh) as path:
            started = connection.client.create_run_from_pipeline_package(
                str(path),
                arguments={"corpus": config.corpus, "corpus_digest": corpus_digest},
                run_name=name,
                experiment_id=group.experiment_id,
                namespace=connection.namespace,
                service_account=config.cluster.service_account,
            )
        return Started(str(started.run_id), name, new=True)


@contextmanager
def package(config: RunConfig, image: str | None, *, fresh: bool) -> Iterator[Path]:
    """A compiled pipeline in a file, for as long as it is needed."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        path.write_text(compile_yaml(config, image, fresh=fresh), encoding="utf-8")
        yield path


def follow(
    connection: Connection, access: Access, run_id: str, *, every: float = 5.0, timeout: float | None = None
) -> Iterator[Task | Any]:
    """Yield each step whenever its state changed, and at last the run itself, once it has ended.

    A server that does not answer for a while is waited for: a run lasts longer than many an outage.

    Raises:
        ClusterError: it does not answer any more.
        TimeoutError: the run has not ended within ``timeout`` seconds; it goes on.
    """
    known: dict[str, str] = {}
    lost, began = 0, time.monotonic()
    while True:
        try:
            with asking(access):
                run = connection.client.get_run(run_id)
            lost = 0
        except ClusterError as error:
            status = getattr(error.__cause__, "status", None)
            lost += 1
            if lost >= LOST_LOOKS or (status is not None and status < 500):
                raise
            time.sleep(every)
            continue
        for task in tasks_of(run):
            if known.get(task.step) != task.state:
                known[task.step] = task.state
                yield task
        if run.state in ENDED:
            yield run
            return
        if timeout is not None and time.monotonic() - began > timeout:
            raise TimeoutError(f"run {run_id} is {run.state or 'PENDING'} after {timeout:g} s; it goes on")
        time.sleep(every)


def tasks_of(run: Any) -> list[Task]:
    """Our steps of a run, in the order in which they started; drivers and groups of the server are left out."""
    names = task_names(run.pipeline_spec)
    details = (run.run_details.task_details or []) if run.run_details else []
    found: dict[str, Any] = {}
    for detail in sorted(details, key=lambda d: d.create_time or d.start_time or datetime.min.replace(tzinfo=UTC)):
        step = names.get(detail.display_name or "")
        if step is not None:
            found[step] = detail
    return [Task(step, d.state or "PENDING", _message(d.error), _seconds(d)) for step, d in found.items()]


def task_names(spec: Any) -> dict[str, str]:
    """Names of steps for people by the names of their tasks, from a compiled pipeline."""
    spec = spec or {}
    spec = spec.get("pipeline_spec", spec)
    dags = [spec.get("root", {}).get("dag", {})]
    dags += [component["dag"] for component in spec.get("components", {}).values() if "dag" in component]
    groups = {name for name, component in spec.get("components", {}).items() if "dag" in component}
    return {
        key: task.get("taskInfo", {}).get("name", key)
        for dag in dags
        for key, task in dag.get("tasks", {}).items()
        if task.get("componentRef", {}).get("name") not in groups
    }


def find(connection: Connection, access: Access, named: str, experiment: str = EXPERIMENT) -> Any:
    """A run by its id, its name (the newest of several), or ``latest``.

    Raises:
        ConfigError: there is none.
    """
    with asking(access):
        if named == NEWEST:
            if newest := listed(connection, access, experiment=experiment, limit=1):
                return connection.client.get_run(newest[0].run_id)
        elif found := _get(connection, named) or _by_name(connection, named, None, ended=True):
            return connection.client.get_run(found.run_id)
    where = f"in namespace {connection.namespace!r}" if connection.namespace else f"at {connection.host}"
    if named == NEWEST:
        raise ConfigError(f"there is no run yet {where} in the experiment {experiment!r}; 'omnivec submit' starts one")
    raise ConfigError(
        f"there is no run {named!r} {where}; 'omnivec runs' lists those there are, --namespace changes it"
    )


def listed(
    connection: Connection, access: Access, *, experiment: str | None = EXPERIMENT, limit: int = 20
) -> list[Any]:
    """Runs, newest first; of all experiments when none is named."""
    with asking(access):
        group = None
        if experiment is not None:
            try:
                found = connection.client.get_experiment(experiment_name=experiment, namespace=connection.namespace)
            except ValueError:  # no such experiment: nothing was ever submitted
                return []
            group = found.experiment_id
        runs: list[Any] = []
        token = ""
        while len(runs) < limit:
            page = connection.client.list_runs(
                page_token=token,
                page_size=min(100, limit - len(runs)),
                sort_by="created_at desc",
                experiment_id=group,
                namespace=connection.namespace,
            )
            runs += page.runs or []
            token = page.next_page_token or ""
            if not token:
                break
        return runs[:limit]


def cancel(connection: Connection, access: Access, run_id: str, *, patience: float = 60.0, every: float = 2.0) -> str:
    """End a run, and the state it is in then: ``CANCELING`` when the pods take longer than ``patience`` seconds."""
    with asking(access):
        run = connection.client.get_run(run_id)
        if run.state in ENDED:
            return str(run.state)
        connection.client.terminate_run(run_id)
        until = time.monotonic() + patience
        while True:
            state = str(connection.client.get_run(run_id).state)
            if state in ENDED or time.monotonic() > until:
                return state
            time.sleep(every)


def row(run: Any) -> dict[str, Any]:
    """A run as a table and JSON show it."""
    return {
        "name": run.display_name,
        "state": run.state or "PENDING",
        "created": run.created_at.isoformat(timespec="seconds") if run.created_at else None,
        "seconds": _seconds(run),
        "run_id": run.run_id,
        "error": _message(run.error),
        "steps": [vars(task) for task in tasks_of(run)],
    }


def failed_step(run: Any) -> Task | None:
    """The first step that failed, other than the report."""
    return next((task for task in tasks_of(run) if task.state == "FAILED" and task.step != "report"), None)


def watch(events: Iterator[Any], say: Callable[[Mapping[str, Any]], None]) -> Any:
    """Pass on changes of steps; the run at the end."""
    run = None
    for event in events:
        if isinstance(event, Task):
            say(vars(event))
        else:
            run = event
    return run


def _get(connection: Connection, run_id: str) -> Any:
    from kfp_server_api.exceptions import ApiException

    try:
        return connection.client.get_run(run_id)
    except ApiException as error:
        if error.status in (400, 404):
            return None
        raise


def _by_name(connection: Connection, name: str, experiment: str | None, *, ended: bool = False) -> Any:
    """The newest run of a name; one that failed or was cancelled only with ``ended``."""
    import json

    wanted = {"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]}
    page = connection.client.list_runs(
        page_size=50,
        sort_by="created_at desc",
        experiment_id=experiment,
        namespace=connection.namespace,
        filter=json.dumps(wanted),
    )
    runs = [run for run in page.runs or [] if ended or run.state not in {"FAILED", "CANCELED", "CANCELING"}]
    return runs[0] if runs else None


def _message(error: Any) -> str:
    return str(error.message or "").strip() if error is not None else ""


def _seconds(item: Any) -> float | None:
    started = getattr(item, "start_time", None) or getattr(item, "created_at", None)
    ended = getattr(item, "end_time", None) or getattr(item, "finished_at", None)
    if started is None or ended is None or ended.year < 1980:  # the server writes 1970 for "not yet"
        return None
    return float(round(max(0.0, (ended - started).total_seconds()), 1))
