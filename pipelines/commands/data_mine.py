"""``omnivec data mine``: hard negatives for a corpus, as the step of a run would mine them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.commands.options import Overrides

REGISTRY = "models:/"


def mine(
    corpus: Annotated[str, typer.Argument(help="Directory of shards.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory for the corpus with negatives.")],
    model: Annotated[
        str, typer.Option(help="Directory of an artifact, or a version or alias, such as models:/omnivec@champion.")
    ] = "champion",
    features: Annotated[Path | None, typer.Option(help="Feature store of the model's towers for this corpus.")] = None,
    set_: Overrides = None,
) -> None:
    """Write a corpus again with hard negatives for its train records, and a report beside it."""
    from components.corpora import find_corpus
    from components.mine.config import MineConfig
    from components.mine.run import kept_in, run
    from pipelines.recipe import apply

    document: dict[str, Any] = {}
    for override in set_ or ():
        apply(document, override)
    config, source, directory = MineConfig.parse(document), find_corpus(corpus), _model(model)
    _check_target(source, output)
    report = output.with_name(f"{output.name}-report.html")  # beside it: DVC counts every file in the corpus
    kept = kept_in(directory, features or directory)
    result = run(config, dataset=source, model=directory, features=features, output=output, report=report, kept=kept)
    for name, value in result.items():
        typer.echo(f"{name:30s} {value:g}")
    typer.echo(f"corpus  {output}\nreport  {report}")


def _model(name: str) -> Path:
    from components.environment import Environment
    from components.registry import Registry

    if Path(name).is_dir():
        return Path(name)
    if not name.startswith(REGISTRY):
        return Registry(Environment.from_env()).fetch(name)
    model, _, version = name.removeprefix(REGISTRY).replace("@", "/").partition("/")
    return Registry(Environment.from_env(), model).fetch(version)


def _check_target(source: Path, output: Path) -> None:
    """Refuse a target that holds something else than an earlier result, which is replaced.

    Raises:
        DataError: the corpus itself, or a directory with other shards.
    """
    from model.errors import DataError

    if output.resolve() == source.resolve():
        raise DataError(f"{output} is the corpus itself; give another directory, negatives are a new version of it")
    names = {path.name for path in source.glob("*.parquet")}
    if strange := sorted(path.name for path in output.glob("*.parquet") if path.name not in names):
        raise DataError(f"{output} holds shards that {source} has not ({', '.join(strange[:3])}); give a new directory")
