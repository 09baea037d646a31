"""Commands to look at a corpus: ``omnivec data stats`` and ``omnivec data sheet``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import Corpus, Recipe, corpus_of

if TYPE_CHECKING:
    from rich.table import Column, Table

    from data.stats import Stats


def stats(
    corpus: Corpus = None,
    recipe: Recipe = "quickstart",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write an HTML page with plots.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    largest_group: Annotated[
        float, typer.Option(min=0, max=1, help="Warn of a group that holds more than this share of a source.")
    ] = 0.1,
) -> None:
    """Count a corpus by source, task, split, language, licence and modality; check the splits."""
    import json

    from components.corpora import corpus_digest, find_corpus
    from data.stats import corpus_stats

    folder = find_corpus(corpus or corpus_of(recipe))
    found = corpus_stats(folder)
    if output is not None:
        from components.sheet.stats import stats_page
        from data.versioning import corpus_version
        from model.files import whole_file

        with whole_file(output) as partial:
            partial.write_text(
                stats_page(found, folder.name, corpus_version(folder).sentence(), largest_group), encoding="utf-8"
            )
    if as_json:
        typer.echo(json.dumps(found.describe(), ensure_ascii=False))
        return
    _print(found, f"{folder} {corpus_digest(folder)[:12]}")
    for warning in found.warnings(largest_group):
        typer.echo(f"warning: {warning}", err=True)
    if output is not None:
        typer.echo(f"page  {output}")


def _print(found: "Stats", title: str) -> None:
    from rich.console import Console

    console = Console()
    for table in (_records(found, title), _splits(found), _parts(found), _licenses(found)):
        console.print(table)


def _records(found: "Stats", title: str) -> "Table":
    from rich.table import Table

    from data.records import SPLITS

    rows: dict[tuple[str, str], dict[str, int]] = {}
    for row in found.records:
        rows.setdefault((row["source"], row["task"]), {})[row["split"]] = row["records"]
    spoken = {key: {r["language"] for r in found.languages if (r["source"], r["task"]) == key} for key in rows}
    table = Table(_whole("source"), _whole("task"), *SPLITS, "languages", title=title)
    for key, counts in rows.items():
        table.add_row(*key, *(str(counts.get(split, 0)) for split in SPLITS), str(len(spoken[key])))
    table.add_section()
    total = found.by("split")
    table.add_row("all", "", *(str(total.get(split, 0)) for split in SPLITS), str(len(found.by("language"))))
    return table


def _whole(name: str) -> "Column":
    """A column of names, which are useless when cut."""
    from rich.table import Column

    return Column(name, overflow="fold", no_wrap=True)


def _splits(found: "Stats") -> "Table":
    from rich.table import Table

    from data.records import SPLITS

    heads = ("train / val. / test", "groups", "largest group", "records", "share")
    table = Table(_whole("source"), *heads, title="splits by group hash")
    largest = {row["source"]: row for row in reversed(found.groups)}
    for source in sorted(found.by("source")):
        shares, row = found.shares(source), largest[source]
        named = (f"{row['groups']:,}", str(row["group"])[:24], f"{row['records']:,}", f"{row['share']:.1%}")
        table.add_row(source, " / ".join(f"{100 * shares[split]:3.0f}" for split in SPLITS), *named)
    return table


def _parts(found: "Stats") -> "Table":
    from rich.table import Table

    table = Table(
        "modality", "query", "positives", "negatives", "distinct media", "MB", "minutes", title="parts and media"
    )
    names = dict.fromkeys(row["modality"] for row in (*found.parts, *found.media))
    for name in names:
        parts = {row["role"]: 0 for row in found.parts}
        for row in found.parts:
            parts[row["role"]] += row["parts"] if row["modality"] == name else 0
        media = [row for row in found.media if row["modality"] == name]
        items = sum(row["items"] for row in media)
        known = media and all(row["bytes"] is not None for row in media)
        size = f"{sum(row['bytes'] for row in media) / 1e6:,.1f}" if known else ""
        minutes = f"{sum(row['seconds'] or 0 for row in media) / 60:,.1f}" if known else ""
        counts = (f"{parts.get(role, 0):,}" for role in ("query", "positives", "negatives"))
        table.add_row(name, *counts, f"{items:,}" if media else "", size, minutes if minutes != "0.0" else "")
    return table


def _licenses(found: "Stats") -> "Table":
    from rich.table import Table

    table = Table("license", "records", "sources")
    for name, count in found.by("license").items():
        sources = sorted({row["source"] for row in found.licenses if row["license"] == name})
        table.add_row(str(name), f"{count:,}", ", ".join(sources))
    return table


def sheet(
    corpus: Annotated[
        str | None, typer.Argument(help="Corpus, or a quarantine directory; default: the recipe's corpus.")
    ] = None,
    recipe: Recipe = "quickstart",
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file.")] = Path("sheet.html"),
    records: Annotated[int, typer.Option(min=1, help="Records shown at most.")] = 300,
    megabytes: Annotated[float, typer.Option(min=0, help="Room for media; what does not fit is left out.")] = 12.0,
) -> None:
    """Write a page with samples of a corpus, or of what was refused: look before you train."""
    from components.corpora import find_corpus
    from components.sheet.page import sheet_page
    from data.sheet.sample import draw, is_quarantine
    from model.encoder import Limits
    from model.files import whole_file

    given = Path(corpus or corpus_of(recipe))
    folder = given if is_quarantine(given) else find_corpus(str(given) if corpus is None else corpus)
    drawn = draw(folder, records)
    # The directories of a quarantine are all called so.
    name = "/".join(folder.absolute().parts[-2:]) if drawn.refused else folder.name
    with whole_file(output) as partial:
        partial.write_text(sheet_page(drawn, name, limits=Limits(), megabytes=megabytes), encoding="utf-8")
    size = output.stat().st_size / 1e6
    typer.echo(f"{len(drawn.samples)} of {drawn.total} records, {size:.1f} MB\npage  {output}")
