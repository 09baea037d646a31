"""Finding a corpus, fetching the version that a recipe names, and naming its content."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from components.environment import Environment
from components.source import checkout
from data.versions.reference import is_reference, parse_reference
from model.errors import DataError
from model.integrity import file_digest

CACHE = ("cache", "corpora")


@dataclass(frozen=True)
class PinnedCorpus:
    """A recipe's corpus, tied to content.

    Attributes:
        name: what steps are given: a directory, or a reference with its revision pinned to a commit.
        digest: identity of the shards, part of the steps' cache keys.
    """

    name: str
    digest: str


def find_corpus(path: str, home: Path | None = None) -> Path:
    """Resolve a recipe's ``corpus`` to a directory of shards, which is fetched when it is a reference.

    Args:
        path: a directory, or a reference such as ``dvc://REPOSITORY#PATH@REVISION`` (see ``data.versions.reference``).
        home: local state that holds the cache of fetched versions; default: the process environment's.

    Raises:
        DataError: no such directory or version, or no shard in it.
    """
    if is_reference(path):
        from data.versions.fetch import fetch
        from data.versions.origin import origin

        with origin(parse_reference(path)) as found:
            return fetch(found, corpus_cache(home))
    for candidate in (Path(path).expanduser(), checkout() / path):
        if candidate.is_dir():
            if not any(candidate.glob("*.parquet")):
                raise DataError(f"{candidate} has no *.parquet shard; 'corpus' must be a directory of shards")
            return candidate.resolve()
    raise DataError(
        f"no corpus at {path!r} (looked in {Path.cwd()} and {checkout()}); set 'corpus' in the recipe to a directory "
        "of shards, or to a version of one (dvc://REPOSITORY#PATH@REVISION)"
    )


def pin_corpus(path: str, *, elsewhere: bool = False) -> PinnedCorpus:
    """Tie a recipe's ``corpus`` to its content, without fetching what is elsewhere.

    A branch or tag becomes the commit that it names now, so that every step of a run, and a later look at it, gets the
    same data.

    Args:
        path: a directory or a reference.
        elsewhere: the steps run on other machines, which need not have git: a version in a shared remote is named by
            its digest there.

    Raises:
        DataError: no such directory or version.
    """
    if not is_reference(path):
        return PinnedCorpus(path, corpus_digest(find_corpus(path)))
    from data.versions.fetch import identity
    from data.versions.origin import origin, portable

    with origin(parse_reference(path)) as found:
        return PinnedCorpus(str(portable(found) if elsewhere else found.reference), identity(found))


def corpus_cache(home: Path | None = None) -> Path:
    """Where fetched versions are kept."""
    return (home or Environment.from_env().home).joinpath(*CACHE)


def corpus_digest(directory: Path) -> str:
    """First 32 hex digits of the SHA-256 over the names and bytes of the shards."""
    total = hashlib.sha256()
    for shard in sorted(directory.glob("*.parquet")):
        total.update(f"{shard.name}\0{file_digest(shard)}\0".encode())
    return total.hexdigest()[:32]
