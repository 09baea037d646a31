"""``omnivec reindex``: a file of vectors brought up to date with its inputs and with the model."""

from pathlib import Path
from typing import Annotated

import typer


def reindex(
    output: Annotated[Path, typer.Argument(help="File that `omnivec embed` has written.")],
    model: Annotated[
        str, typer.Option(help="Version or alias of the registered model, or an artifact's directory.")
    ] = ("champion"),
    check: Annotated[bool, typer.Option("--check", help="Only say what there is to do; code 1 if anything.")] = False,
) -> None:
    """Embed what is new or changed, or everything when the model has another vector space.

    The file stays as it is until the new one is complete; interrupted, the same command goes on where it stopped.
    """
    from components.embed.reindex import compare, reindex
    from components.environment import Environment
    from components.registry import fetch_version

    directory = Path(model) if Path(model).is_dir() else fetch_version(model, Environment.from_env())
    standing = compare(output, directory)
    typer.echo(f"{output} {standing}")
    if check or standing.is_current:
        raise typer.Exit(0 if standing.is_current else 1)
    counts = reindex(output, directory, standing)
    fresh = counts["embedded"] - counts["reused"]
    typer.echo(f"{output}: {counts['embedded']} vectors in space {standing.space}, {fresh} of them new")
    if counts["skipped"]:
        typer.echo(f"{counts['skipped']} skipped, see {output}.skipped.jsonl", err=True)
