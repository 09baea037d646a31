"""The command ``omnivec data synthesize``."""

from pathlib import Path
from typing import Annotated

import typer


def synthesize(
    document: Annotated[Path, typer.Argument(help="YAML document: the originals and the helpers.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="New directory for the shards.")],
) -> None:
    """Make labelled synthetic records from a corpus: captions by templates, names from tables, speech by espeak-ng."""
    from components.corpora import find_corpus
    from data.synthetic.config import SynthesizeConfig
    from data.synthetic.run import synthesize as make

    config = SynthesizeConfig.read(document)
    counts = make(config, find_corpus(config.corpus), output)
    for count in counts:
        typer.echo(
            f"{count.helper}: {count.records:,} records from {count.with_records:,} of {count.given:,} originals"
        )
        for what, found in (("skipped", count.skipped), ("refused", count.refused)):
            for reason, number in found.most_common():
                typer.echo(f"  {what}  {reason} {number:,}")
    typer.echo(f"shards  {output}")
