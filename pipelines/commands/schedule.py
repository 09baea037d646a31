"""``omnivec schedule``: runs that start by themselves."""

import json
from typing import Annotated, Any

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

app = typer.Typer(
    help="Runs that a cluster starts by itself: add, list, enable, disable, delete.", no_args_is_help=True
)
Name = Annotated[str, typer.Argument(help="Name of the schedule.")]
COLUMNS = ("name", "status", "when", "concurrent", "recipe", "id")


@app.command()
def add(
    name: Name,
    cron: Annotated[str | None, typer.Option(help="Five fields, or six with seconds first: '0 2 * * *'.")] = None,
    every: Annotated[str | None, typer.Option(help="Interval: 45m, 6h, 7d.")] = None,
    host: Host = None,
    recipe: Recipe = "quickstart",
    set_: Overrides = None,
    image: Image = None,
    max_concurrency: Annotated[int, typer.Option(min=1, max=10, help="Runs at the same time.")] = 1,
    catch_up: Annotated[bool, typer.Option("--catch-up", help="After an outage start also the runs missed.")] = False,
    start: Annotated[str | None, typer.Option(help="Not before, such as 2026-01-31T00:00:00Z.")] = None,
    end: Annotated[str | None, typer.Option(help="Not after.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Each run takes nothing from the cache.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a schedule of this name that differs.")] = False,
    experiment: Experiment = "omnivec",
    namespace: Namespace = None,
    token_file: TokenFile = None,
    cookie_file: CookieFile = None,
    ca: Authority = None,
) -> None:
    """Start a recipe again and again. The same command a second time changes nothing."""
    from pipelines.recipe import load
    from pipelines.schedules import Wanted, schedule, timing

    config = load(recipe, set_ or ())
    when = timing(cron, every, start, end)
    access = access_of(host, namespace or config.cluster.namespace, token_file, cookie_file, ca)
    config, digest = pin(config, image)
    wanted = Wanted(
        name, when, max_concurrency=max_concurrency, no_catchup=not catch_up, fresh=fresh, experiment=experiment
    )
    with refusing():
        done = schedule(reach(access), access, config, wanted, image=image, corpus_digest=digest, replace=replace)
    typer.echo(f"schedule {name!r} {done.what}: {done.schedule_id}")


@app.command("list")
def list_(
    host: Host = None,
    as_json: Json = False,
    namespace: Namespace = None,
    token_file: TokenFile = None,
    cookie_file: CookieFile = None,
    ca: Authority = None,
) -> None:
    """List schedules."""
    from pipelines.commands.runs import show
    from pipelines.schedules import row, schedules

    access = access_of(host, namespace, token_file, cookie_file, ca)
    with refusing():
        rows = [row(found) for found in schedules(reach(access), access)]
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        show(COLUMNS, rows, none=f"no schedules in namespace {access.namespace!r}: 'omnivec schedule add' makes one")


def _acts(verb: str) -> Any:
    def command(
        name: Name,
        host: Host = None,
        namespace: Namespace = None,
        token_file: TokenFile = None,
        cookie_file: CookieFile = None,
        ca: Authority = None,
    ) -> None:
        from pipelines.schedules import act

        access = access_of(host, namespace, token_file, cookie_file, ca)
        with refusing():
            act(reach(access), access, name, verb)
        typer.echo(f"schedule {name!r}: {verb}d")

    return command


app.command("enable", help="Let a schedule start runs again.")(_acts("enable"))
app.command("disable", help="Keep a schedule from starting runs; those that run go on.")(_acts("disable"))
app.command("delete", help="Remove a schedule; its runs stay.")(_acts("delete"))
