"""``omnivec data import``: a user's rows and media into shards."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.commands.options import Overrides

HELP = """
Import rows and media into shards, with nothing lost.

CONFIG names a source and says what its columns mean:

\b
    name: pets
    source: {kind: jsonl, path: pets.jsonl}
    mapping:
      query: [{modality: text, column: caption}]
      positives: [[{modality: image, column: file}]]
      task: text_to_image
      languages: \\[en]
      license: CC-BY-4.0

Kinds of source: jsonl, csv, parquet, folder, webdataset, huggingface, imagefolder, coco, ljspeech, common_voice.
Relative paths start from the directory of CONFIG.

Every row becomes a record, or lands in OUTPUT/quarantine/rows-NAME.parquet with its reason; OUTPUT/import.json has the
counts. Interrupted, the same command goes on where it was. Once you have mended the files or CONFIG, import the refused
rows again with --from-quarantine OUTPUT/quarantine.
"""


def import_(
    config: Annotated[Path, typer.Argument(help="YAML file; see docs/guides/import.md for examples.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the corpus; sources may share one.")],
    set_: Overrides = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes at work; default: one per core.")] = None,
    runner: Annotated[str, typer.Option(help="local, or ray for a cluster that sees the same files.")] = "local",
    address: Annotated[str | None, typer.Option(help="Of a Ray cluster, such as auto; default: one here.")] = None,
    from_quarantine: Annotated[
        Path | None, typer.Option(help="Import the refused rows of this directory instead of the source.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Replace what an import of this name has left.")] = False,
) -> None:
    """Import a source; what ``--help`` says is HELP."""
    from data.engine import EngineConfig
    from data.importing.config import ImportConfig
    from data.importing.run import run_import
    from pipelines.recipe import apply, read

    document = read(str(config))
    for override in set_ or ():
        apply(document, override)
    engine = EngineConfig.parse({"runner": runner, "address": address, "workers": workers})
    done = run_import(
        ImportConfig.parse(document),
        home=config.parent,
        output=output,
        engine=engine,
        quarantine=from_quarantine,
        fresh=fresh,
    )
    for line in describe(done.report, output, before=done.before):
        typer.echo(line)


def describe(report: dict[str, Any], output: Path, *, before: bool) -> list[str]:
    """The report in a few lines."""
    lines = [f"{output} had all of this already; nothing was done"] if before else []
    lines += [
        f"rows         {report['rows']:>12,}",
        f"records      {report['records']:>12,}  in {len(report['shards'])} shard(s)",
        f"media        {report['media']:>12,}  {report['bytes'] / 1e6:,.1f} MB",
        f"quarantined  {report['quarantined']:>12,}",
        *(f"  {count:>12,}  {reason}" for reason, count in sorted(report["reasons"].items(), key=lambda r: -r[1])),
    ]
    if report.get("removed"):
        lines.append(f"removed      {report['removed']:>12,}  from the quarantine, by somebody")
    lines.append(f"digest       {report['digest']}")
    if report["quarantined"]:
        lines.append(f"look at {output / 'quarantine'}; once mended, import again with --from-quarantine")
    return lines
