"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Recipe = Annotated[str, typer.Option("--recipe", "-r", help="Name of a recipe, or path of a YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override, such as stages.0.steps=5 (repeat as needed).")
]
Image = Annotated[str | None, typer.Option(help="Container image of every step; default: cluster.image.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="File to write; default: standard output.")]
Version = Annotated[str, typer.Option("--model", help="Version number or alias of the registered model.")]
Corpus = Annotated[str | None, typer.Argument(help="Directory or version of a corpus; default: the recipe's corpus.")]


def corpus_of(recipe: str) -> str:
    """The recipe's corpus, read without validating the rest: looking at data needs no other section."""
    from pipelines.recipe import read

    return str(read(recipe).get("corpus", "data/starter"))
