"""Commands on versions of a corpus: ``omnivec data add``, ``push``, ``pull``, ``diff`` and ``fetch``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import Corpus, Recipe, corpus_of

if TYPE_CHECKING:
    from data.versions.changes import Changes

Remote = Annotated[str | None, typer.Option(help="Name of a configured remote; default: the default one.")]


def add(
    corpus: Annotated[Path, typer.Argument(help="Directory of shards.")],
    no_scm: Annotated[bool, typer.Option("--no-scm", help="Start the DVC repository without git.")] = False,
) -> None:
    """Record the present content of a corpus as a version."""
    from data.versions.repository import add as record

    made = record(corpus, no_scm=no_scm)
    typer.echo(f"{made.md5}  {made.files} files, {made.size / 1e6:.1f} MB")
    if made.commit:
        names = " ".join(made.commit)
        typer.echo(
            f"next    git -C {made.root} add {names} && git -C {made.root} commit; then omnivec data push {corpus}"
        )


def push(
    corpus: Corpus = None,
    recipe: Recipe = "quickstart",
    remote: Remote = None,
    to: Annotated[
        str | None, typer.Option(help="Address of a remote, made the default first (s3://..., a directory).")
    ] = None,
) -> None:
    """Send the recorded version of a corpus to its remote."""
    from data.versions.repository import push as send

    folder = Path(corpus or corpus_of(recipe))
    typer.echo(f"{send(folder, remote=remote, to=to)} files sent")
    _say_reference(folder)


def pull(
    corpus: Corpus = None,
    recipe: Recipe = "quickstart",
    remote: Remote = None,
    force: Annotated[bool, typer.Option("--force", help="Throw away local changes.")] = False,
) -> None:
    """Bring the recorded version of a corpus into its directory."""
    from data.versions.repository import pull as bring

    folder = Path(corpus or corpus_of(recipe))
    typer.echo(f"{bring(folder, remote=remote, force=force)} files fetched; {folder} is the recorded version")


def diff(
    revision: Annotated[
        str | None, typer.Argument(help="Commit, tag, branch, or a digest ending in .dir; default: the last commit.")
    ] = None,
    corpus: Annotated[str | None, typer.Option(help="Directory of shards; default: the recipe's corpus.")] = None,
    recipe: Recipe = "quickstart",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which records differ from a recorded version: added, removed, changed, by source."""
    import json

    from components.corpora import corpus_cache, find_corpus
    from data.versions.changes import changes
    from data.versions.origin import origin
    from data.versions.repository import recorded_reference

    folder = find_corpus(corpus or corpus_of(recipe))
    with origin(recorded_reference(folder, revision)) as before:
        found = changes(before, folder, corpus_cache())
    typer.echo(json.dumps(found.describe(), indent=2, ensure_ascii=False) if as_json else _described(found))


def fetch(
    reference: Annotated[str, typer.Argument(help="dvc://REPOSITORY#PATH@REVISION or dvc+SCHEME://REMOTE#MD5.dir")],
) -> None:
    """Fetch a version into the cache and print its directory, as a run with that ``corpus`` would."""
    from components.corpora import find_corpus

    typer.echo(str(find_corpus(reference)))


def _say_reference(folder: Path) -> None:
    from data.versions.repository import pinned_reference

    typer.echo(f"recipe  corpus: {pinned_reference(folder)}")


def _described(found: "Changes") -> str:
    if not found.any:
        return "no difference"
    lines = [f"{kind} {name}" for kind, names in found.files.items() for name in names]
    for change in found.sources:
        lines.append(f"{change.source}: {change.added:,} added, {change.removed:,} removed, {change.changed:,} changed")
        if change.fields:
            lines.append("  differing  " + ", ".join(f"{name} {count:,}" for name, count in change.fields.items()))
        lines += [f"  {kind:9}  {', '.join(ids)}" for kind, ids in change.examples.items()]
    return "\n".join(lines)
