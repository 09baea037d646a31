"""The command line. Errors made for people print one message and end with code 2; others keep their traceback."""

import sys
from typing import Annotated

import typer

from model.errors import OmnivecError
from pipelines.commands import data, fetch, keys, pipeline, registry, serve, steps

app = typer.Typer(
    name="omnivec",
    help="Train, evaluate, register, serve and watch a multimodal embedding model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(pipeline.run)
app.command("compile")(pipeline.compile_)
app.command("submit")(pipeline.submit)
app.command("config")(pipeline.config)
app.command("evaluate")(steps.evaluate)
app.command("export")(steps.export)
app.command("embed")(steps.embed)
app.command("drift")(steps.drift)
app.command("serve")(serve.serve)
app.command("fetch")(fetch.fetch)
app.command("promote")(registry.promote)
app.command("rollback")(registry.rollback)
app.add_typer(data.app, name="data")
app.add_typer(keys.app, name="keys")

USER_ERROR = 2


@app.command("doctor")
def doctor(port: Annotated[int, typer.Option(envvar="PORT", help="Port that the service would use.")] = 3000) -> None:
    """Check that this machine is ready, and say what to do where it is not."""
    from components.environment import Environment
    from pipelines.commands.doctor import examine, report

    if not report(examine(Environment.from_env().home, port), typer.echo):
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except OmnivecError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(USER_ERROR)


if __name__ == "__main__":
    main()
