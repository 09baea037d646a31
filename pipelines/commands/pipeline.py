"""Commands on whole runs: run, compile, config."""

import json
from typing import Annotated

import typer

from pipelines.commands.options import Image, Output, Overrides, Recipe

INTERRUPTED = 130


def run(
    recipe: Recipe = "quickstart",
    set_: Overrides = None,
    runner: Annotated[str, typer.Option(help="What executes the steps: process or docker.")] = "process",
    image: Image = None,
    pull: Annotated[bool, typer.Option("--pull", help="Fetch the images of the steps first (docker).")] = False,
) -> None:
    """Run the whole chain on this machine and print its summary."""
    from components.environment import Environment
    from components.report.outcome import SUMMARY
    from pipelines.plan import PlannedStep
    from pipelines.recipe import load
    from pipelines.run import in_containers, run_here
    from pipelines.table import show

    config = load(recipe, set_ or ())
    environment = Environment.from_env()
    config, steps_in = in_containers(runner, config, environment, image=image, pull=pull)

    def announce(steps: list[PlannedStep]) -> None:
        typer.echo(f"{config.name}: {' -> '.join(step.name for step in steps)}", err=True)

    outcome = run_here(config, environment, announce=announce, runner=steps_in)
    show(outcome)
    typer.echo(f"summary  {environment.home / 'runs' / outcome.run_id / SUMMARY}")
    if outcome.status != "ok":
        raise typer.Exit(INTERRUPTED if outcome.status == "interrupted" else 1)


def compile_(recipe: Recipe = "quickstart", set_: Overrides = None, image: Image = None, output: Output = None) -> None:
    """Compile the training pipeline to the YAML of Kubeflow Pipelines."""
    from pipelines.advice import advice
    from pipelines.compiled import compile_yaml
    from pipelines.recipe import load

    wanted = load(recipe, set_ or ())
    for sentence in advice(wanted, image):
        typer.echo(f"warning: {sentence}", err=True)
    text = compile_yaml(wanted, image)
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
        typer.echo(f"wrote {output}", err=True)


def config(
    recipe: Recipe = "quickstart",
    set_: Overrides = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of a recipe instead.")] = False,
) -> None:
    """Check a recipe and print it with every default filled in."""
    from pipelines.config import RunConfig
    from pipelines.recipe import load

    document = RunConfig.model_json_schema() if schema else load(recipe, set_ or ()).model_dump(mode="json")
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
