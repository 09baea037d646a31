"""Single steps on registered versions and directories: evaluate, export, embed, drift."""

import shutil
import time
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import Overrides, Recipe, Version

DRIFT = 4  # exit code of a scheduled drift check that found drift
Folder = Annotated[Path, typer.Option("--output", "-o", help="Directory for results.")]
Dataset = Annotated[str | None, typer.Option(help="Directory of shards; default: the recipe's corpus.")]


def evaluate(
    model: Version = "champion",
    baseline: Annotated[str | None, typer.Option(help="Version to compare with; default: the model itself.")] = None,
    dataset: Dataset = None,
    recipe: Recipe = "quickstart",
    set_: Overrides = None,
    output: Folder = Path("evaluation"),
) -> None:
    """Evaluate a registered version on the test split of a corpus."""
    from components.corpora import find_corpus
    from components.environment import Environment
    from components.evaluate.run import run
    from components.registry import fetch_version
    from pipelines.recipe import load

    config, environment = load(recipe, set_ or ()), Environment.from_env()
    result = run(
        config.evaluation,
        dataset=find_corpus(dataset or config.corpus),
        model=fetch_version(model, environment),
        baseline=fetch_version(baseline or model, environment),
        features=None,
        results=output / "results",
        report=output / "report.html",
    )
    for name, value in result.headline.items():
        typer.echo(f"{name:45s} {value:.4f}")
    typer.echo(f"report  {output / 'report.html'}")


def export(
    model: Annotated[Path, typer.Argument(help="Directory of a model artifact.")],
    dataset: Dataset = None,
    recipe: Recipe = "quickstart",
    set_: Overrides = None,
    output: Folder = Path("exported"),
) -> None:
    """Export a model artifact to ONNX and check it against torch."""
    from components.corpora import find_corpus
    from components.export.run import run
    from pipelines.recipe import load

    config = load(recipe, set_ or ())
    corpus = find_corpus(dataset or config.corpus)
    for name, value in run(config.export, model=model, dataset=corpus, output=output).items():
        typer.echo(f"{name:45s} {value}")
    typer.echo(f"model   {output}")


def embed(
    inputs: Annotated[list[Path], typer.Argument(help="Files, folders, and .jsonl files with one input a line.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File ending in .parquet, .jsonl or .npy.")],
    model: Annotated[
        str, typer.Option(help="Version or alias of the registered model, or an artifact's directory.")
    ] = ("champion"),
    task: Annotated[str | None, typer.Option(help="Prefix of texts, such as query or document.")] = None,
    dimension: Annotated[int | None, typer.Option(help="Matryoshka prefix to keep; default: all.")] = None,
    output_dtype: Annotated[str, typer.Option(help="float, int8, uint8, binary or ubinary.")] = "float",
    backend: Annotated[str, typer.Option(help="torch or onnx.")] = "torch",
    max_batch_tokens: Annotated[int, typer.Option(help="Padded tokens per forward.")] = 512,
) -> None:
    """Embed many files or lines; interrupted, the same command goes on where it stopped."""
    from components.embed.config import EmbedConfig
    from components.embed.run import run
    from components.environment import Environment
    from components.registry import fetch_version

    given = {"task": task, "dimension": dimension, "output_dtype": output_dtype}
    config = EmbedConfig.parse({**given, "backend": backend, "max_batch_tokens": max_batch_tokens})
    directory = Path(model) if Path(model).is_dir() else fetch_version(model, Environment.from_env())
    counts = run(config, inputs=inputs, model=directory, output=output)
    typer.echo(f"{output}: {counts['embedded']} vectors of {counts['inputs']} inputs")
    if counts["resumed"]:
        typer.echo(f"{counts['resumed']} inputs had been done by an interrupted run")
    if counts["skipped"]:
        typer.echo(f"{counts['skipped']} skipped, see {output}.skipped.jsonl", err=True)


def drift(
    captures: Annotated[Path, typer.Argument(help="Directory with one folder of captures for each window.")],
    window: Annotated[list[str] | None, typer.Option(help="Folder to test (repeat as needed); default: all.")] = None,
    model: Version = "champion",
    recipe: Recipe = "quickstart",
    set_: Overrides = None,
    output: Folder = Path("drift"),
    hours: Annotated[
        float | None,
        typer.Option(
            help="Only captures of the last so many hours; the folder is the version's, and 4 the exit code "
            "when there is drift."
        ),
    ] = None,
) -> None:
    """Compare captured requests with the reference of a registered version."""
    from components.drift.run import run
    from components.environment import Environment
    from components.registry import Registry
    from pipelines.recipe import load

    registry = Registry(Environment.from_env())
    if hours is not None:
        window = [str(registry.resolve(model).version)]
        captures = recent(captures / window[0], hours, output / "windows" / window[0]).parent
    windows = tuple(window or sorted(folder.name for folder in captures.iterdir() if folder.is_dir()))
    config = load(recipe, set_ or ()).drift.model_copy(update={"windows": windows})
    reference = registry.fetch(model) / "reference.parquet"
    report = output / "report.html"
    scalars = run(config, reference=reference, captures=captures, report=report, result=output / "result.json")
    for name, value in scalars.items():
        typer.echo(f"{name:45s} {value:.4f}")
    typer.echo(f"report  {report}")
    if hours is not None and any(value for name, value in scalars.items() if name.endswith("/alarm")):
        raise typer.Exit(DRIFT)


def recent(captures: Path, hours: float, window: Path) -> Path:
    """Make ``window`` a folder with links to the captures of the last ``hours``.

    Raises:
        DataError: there are none.
    """
    from model.errors import DataError

    since = time.time() - hours * 3600
    found = [path for path in sorted(captures.glob("*.parquet")) if path.stat().st_mtime >= since]
    if not found:
        raise DataError(
            f"{captures} has no capture of the last {hours:g} h: is the version served, and captured there?"
        )
    shutil.rmtree(window, ignore_errors=True)
    window.mkdir(parents=True)
    for path in found:
        (window / path.name).symlink_to(path.resolve())
    return window
