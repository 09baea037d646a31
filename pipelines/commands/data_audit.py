"""``omnivec data audit``: leaks and duplicates of a corpus."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.commands.options import Corpus, Recipe, corpus_of

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Setting of the audit, such as policies.image.across=fail (repeat as needed)."),
]


def audit(
    corpus: Corpus = None,
    recipe: Recipe = "quickstart",
    set_: Settings = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory for results.")] = Path("audit"),
    model: Annotated[Path | None, typer.Option(help="Artifact whose vectors are compared too.")] = None,
) -> None:
    """Find leaks and duplicates; write a corpus after the policies, what was set aside, the pairs and a report."""
    from components.audit.config import AuditConfig
    from components.audit.run import run
    from components.corpora import find_corpus
    from pipelines.recipe import apply, read

    values: dict[str, Any] = dict(read(recipe).get("audit") or {})
    for override in set_ or ():
        apply(values, override)
    if model is not None:
        values.setdefault("embedding", {}).setdefault("enabled", True)
    places = {name: output / name for name in ("audited", "quarantine", "pairs")}
    config = AuditConfig.parse(values)
    result = run(
        config, dataset=find_corpus(corpus or corpus_of(recipe)), report=output / "report.html", model=model, **places
    )
    for name, value in result.items():
        typer.echo(f"{name:12s} {value:,}")
    typer.echo(f"report       {output / 'report.html'}")
