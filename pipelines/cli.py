"""The command line. Errors made for people print one message and end with code 2; others keep their traceback."""

import sys

import typer

from model.errors import OmnivecError
from pipelines.commands import (
    bento,
    data,
    doctor,
    fetch,
    keys,
    pipeline,
    registry,
    reindex,
    runs,
    schedule,
    serve,
    steps,
)

app = typer.Typer(
    name="omnivec",
    help="Train, evaluate, register, serve and watch a multimodal embedding model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(pipeline.run)
app.command("compile")(pipeline.compile_)
app.command("submit")(runs.submit)
app.command("runs")(runs.runs)
app.command("logs")(runs.logs)
app.command("cancel")(runs.cancel)
app.command("config")(pipeline.config)
app.command("evaluate")(steps.evaluate)
app.command("export")(steps.export)
app.command("embed")(steps.embed)
app.command("reindex")(reindex.reindex)
app.command("drift")(steps.drift)
app.command("serve")(serve.serve)
app.command("bento")(bento.bento)
app.command("fetch")(fetch.fetch)
app.command("promote")(registry.promote)
app.command("doctor")(doctor.doctor)
app.command("rollback")(registry.rollback)
app.add_typer(schedule.app, name="schedule")
app.add_typer(data.app, name="data")
app.add_typer(keys.app, name="keys")

USER_ERROR = 2


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except OmnivecError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(USER_ERROR)


if __name__ == "__main__":
    main()
