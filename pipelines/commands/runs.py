"""``omnivec submit | runs | logs | cancel``: runs on a cluster."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.commands.connection import (
    Authority,
    CookieFile,
    Experiment,
    Host,
    Json,
    Namespace,
    TokenFile,
    access_of,
    pin,
    reach,
    refusing,
)
from pipelines.commands.options import Image, Overrides, Recipe

if TYPE_CHECKING:
    from pipelines.access import Access, Connection

FAILED = 1
STILL_RUNNING = 4
INTERRUPTED = 130
Run = Annotated[str, typer.Argument(help="Id or name of a run, or 'latest'.")]
COLUMNS = ("name", "state", "created", "took", "run_id")


def submit(
    host: Host = None,
    recipe: Recipe = "quickstart",
    set_: Overrides = None,
    image: Image = None,
    run_name: Annotated[
        str | None, typer.Option(help="Name of the run. Submitted again, a run that has not failed is found by it.")
    ] = None,
    experiment: Experiment = "omnivec",
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run; the exit status is its outcome.")] = False,
    timeout_minutes: Annotated[float | None, typer.Option(min=0, help="How long to wait; exit status 4.")] = None,
    poll_seconds: Annotated[float, typer.Option(min=0.05, help="How often to look.")] = 5.0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Take nothing from the cache.")] = False,
    namespace: Namespace = None,
    token_file: TokenFile = None,
    cookie_file: CookieFile = None,
    ca: Authority = None,
) -> None:
    """Start the training pipeline on a cluster.

    Exit status: 0 started (with --wait: succeeded), 1 failed or cancelled, 2 wrong recipe, 3 no cluster answers or it
    refused, 4 still running when --timeout-minutes were over, 130 interrupted (the run goes on).
    """
    from pipelines.recipe import load
    from pipelines.runs import submit as start

    config = load(recipe, set_ or ())
    access = access_of(host, namespace or config.cluster.namespace, token_file, cookie_file, ca)
    config, digest = pin(config, image)
    connection = reach(access)
    with refusing():
        options = {"image": image, "corpus_digest": digest, "run_name": run_name, "experiment": experiment}
        started = start(connection, access, config, fresh=fresh, **options)  # type: ignore[arg-type]
    if not started.new:
        typer.echo(f"{started.name!r} was submitted before and is not started again", err=True)
    typer.echo(connection.link(started.run_id))
    if wait:
        _wait(connection, access, started.run_id, poll_seconds, timeout_minutes)


def runs(
    host: Host = None,
    experiment: Annotated[str, typer.Option(help="Experiment; 'all' for every one.")] = "omnivec",
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    as_json: Json = False,
    namespace: Namespace = None,
    token_file: TokenFile = None,
    cookie_file: CookieFile = None,
    ca: Authority = None,
) -> None:
    """List runs on a cluster, newest first."""
    from pipelines.runs import listed, row

    access = access_of(host, namespace, token_file, cookie_file, ca)
    connection = reach(access)
    with refusing():
        found = listed(connection, access, experiment=None if experiment == "all" else experiment, limit=limit)
    rows = [row(run) for run in found]
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        where = f"in namespace {connection.namespace!r}" if connection.namespace else f"at {access.host}"
        wanted = "" if experiment == "all" else f" of the experiment {experiment!r} (--experiment all for every one)"
        lines = [{**values, "took": duration(values["seconds"])} for values in rows]
        show(COLUMNS, lines, none=f"no runs {where}{wanted}")


def cancel(
    run: Run,
    host: Host = None,
    namespace: Namespace = None,
    token_file: TokenFile = None,
    cookie_file: CookieFile = None,
    ca: Authority = None,
) -> None:
    """End a run on a cluster. Its pods get a signal; training saves a checkpoint before it ends."""
    from pipelines.runs import cancel as end
    from pipelines.runs import find

    access = access_of(host, namespace, token_file, cookie_file, ca)
    connection = reach(access)
    with refusing():
        found = find(connection, access, run)
        before, after = found.state, end(connection, access, found.run_id)
    typer.echo(f"{found.display_name} ({found.run_id}): {'was already' if before == after else 'is now'} {after}")


def logs(
    run: Run,
    step: Annotated[str | None, typer.Argument(help="Step, such as train-finetune; default: one that failed.")] = None,
    tail: Annotated[int | None, typer.Option(min=1, help="Only the last lines.")] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    host: Host = None,
    namespace: Namespace = None,
    token_file: TokenFile = None,
    cookie_file: CookieFile = None,
    ca: Authority = None,
) -> None:
    """Print what the pod of a step wrote. Needs the Kubernetes API, and the pod to be there still."""
    from pipelines.pods import step_logs
    from pipelines.runs import failed_step, find, tasks_of

    access = access_of(host, namespace, token_file, cookie_file, ca)
    connection = reach(access)
    with refusing():
        found = find(connection, access, run)
        broken = failed_step(found)
        wanted = step or (broken.step if broken else None)
        if wanted is None:
            typer.echo("no step failed; name one: " + ", ".join(task.step for task in tasks_of(found)), err=True)
            raise typer.Exit(2)
        for line in step_logs(found, wanted, namespace=access.namespace, context=context, tail=tail):
            typer.echo(line)


def _wait(connection: "Connection", access: "Access", run_id: str, every: float, minutes: float | None) -> None:
    from pipelines.runs import failed_step, follow, watch

    timeout = None if minutes is None else 60 * minutes
    try:
        with refusing():
            events = follow(connection, access, run_id, every=every, timeout=timeout)
            run = watch(events, lambda change: typer.echo(_change(change), err=True))
    except TimeoutError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(STILL_RUNNING) from error
    except KeyboardInterrupt as error:
        typer.echo(f"the run goes on; 'omnivec cancel {run_id}' ends it", err=True)
        raise typer.Exit(INTERRUPTED) from error
    typer.echo(f"{run.display_name}: {run.state}")
    if run.state in ("SUCCEEDED", "SKIPPED"):
        return
    if broken := failed_step(run):
        typer.echo(f"failed in {broken.step}: {broken.error or 'no message'}", err=True)
        typer.echo(f"what it wrote: omnivec logs {run_id} {broken.step}", err=True)
    elif run.error is not None and run.error.message:
        typer.echo(run.error.message, err=True)
    raise typer.Exit(FAILED)


def _change(task: Mapping[str, Any]) -> str:
    took = f" in {duration(task['seconds'])}" if task["seconds"] is not None else ""
    return f"{task['step']}: {task['state']}{took}" + (f": {task['error']}" if task["error"] else "")


def duration(seconds: float | None) -> str:
    """Seconds as people read them: ``2 h 05 min``."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def show(columns: tuple[str, ...], rows: list[dict[str, Any]], *, none: str) -> None:
    """A table on a terminal; tab-separated lines without one, for other programs; on stderr ``none`` for no row."""
    import sys

    if not rows:
        typer.echo(none, err=True)
        return
    if not sys.stdout.isatty():
        for row in rows:
            typer.echo("\t".join(str(row[column] if row[column] is not None else "") for column in columns))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns)
    for row in rows:
        table.add_row(*(str(row[column] if row[column] is not None else "") for column in columns))
    Console().print(table)
