"""Commands on a corpus: looking at it, checking it, and the commands of the modules beside this one."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands import data_audit, data_import, data_mine, data_sheet, data_synthetic, data_versions
from pipelines.commands.options import Corpus, Overrides, Recipe, corpus_of

app = typer.Typer(help="Make a corpus, look at it, check it and keep its versions.", no_args_is_help=True)


@app.command()
def validate(
    corpus: Corpus = None,
    recipe: Recipe = "quickstart",
    set_: Overrides = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory for results.")] = Path("validation"),
) -> None:
    """Check a corpus as the first step of a run would, without running the rest."""
    from components.corpora import find_corpus
    from components.validate.run import run
    from pipelines.recipe import load

    config = load(recipe, set_ or ())
    places = {name: output / name for name in ("dataset", "quarantine")}
    result = run(config.data, corpus=find_corpus(corpus or config.corpus), report=output / "report.html", **places)
    typer.echo(f"{result}\nreport  {output / 'report.html'}")


@app.command()
def sample(
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory for the shards.")],
    corpus: Corpus = None,
    recipe: Recipe = "quickstart",
    groups: Annotated[int, typer.Option(min=1, help="Groups kept of each source, task and split.")] = 20,
) -> None:
    """Write a small part of a corpus, for a quick run: ``omnivec run --set corpus=DIRECTORY``."""
    from components.corpora import find_corpus
    from data.subset import write_subset

    written = write_subset(find_corpus(corpus or corpus_of(recipe)), output, groups=groups)
    typer.echo(f"{written} records in {output}")


app.command("import", help=data_import.HELP)(data_import.import_)
app.command("audit")(data_audit.audit)
app.command("mine")(data_mine.mine)
app.command("stats")(data_sheet.stats)
app.command("sheet")(data_sheet.sheet)
app.command("synthesize")(data_synthetic.synthesize)
app.command("add")(data_versions.add)
app.command("push")(data_versions.push)
app.command("pull")(data_versions.pull)
app.command("diff")(data_versions.diff)
app.command("fetch")(data_versions.fetch)
