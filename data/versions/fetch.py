"""Fetch a version into a cache that is addressed by content: only what is asked for, checked, and only once.

Layout below the cache directory: ``files/md5/<2>/<30>`` (DVC's own), and ``trees/<identity>/<name>/`` with the files of
one version under their names, linked to the former, beside ``origin.json``.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from data.versions.origin import Entry, Origin
from model.errors import DataError
from model.files import link_or_copy
from model.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterator

ORIGIN = "origin.json"
PROBES = "probes"  # findings about the shards, made again where they lack: no part of a version
_CHUNK = 4 * 2**20


def fetch(found: Origin, cache: Path) -> Path:
    """Make the files of a version available.

    Files that are here already are checked against their digest, an interrupted download goes on where it ended, and
    the directory appears only when it is complete.

    Args:
        found: the version.
        cache: where files are kept; processes may share it.

    Returns:
        A directory with the shards of the wanted sources, and every other file when all sources are wanted.

    Raises:
        DataError: a wanted source is not among the files, or a file is not what its digest says.
    """
    entries = wanted(found)
    tree = cache / "trees" / identity(found)
    directory = tree / found.name
    if (tree / ORIGIN).is_file() and all((directory / entry.name).is_file() for entry in entries):
        return directory
    tree.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=tree.parent, prefix=".making-") as making:
        place = Path(making) / tree.name
        for entry in progress(entries, total=len(entries), desc="fetch", unit="file"):
            _place(found, entry, cache, place / found.name / entry.name)
        _check_whole(found, entries, place / found.name)
        facts = describe(found)
        if facts["md5"] is None:  # git carries the files; that they stay as they came is checked like all others
            facts["md5"] = directory_digest([Entry(e.name, file_md5(place / found.name / e.name)) for e in entries])
        (place / ORIGIN).write_text(json.dumps(facts, indent=2), encoding="utf-8")
        _publish(place, tree)
    return directory


def describe(found: Origin) -> dict[str, Any]:
    """What a version is and where it came from, for ``origin.json``, tags and reports."""
    return {
        "reference": str(found.reference),
        "remote": found.remote,
        "whole_md5": found.md5,
        "md5": directory_digest(wanted(found)),
        "revision": found.revision,
        "sources": list(found.reference.sources),
        "files": {entry.name: entry.md5 for entry in wanted(found)},
    }


def identity(found: Origin) -> str:
    """Identity of the wanted files, the same wherever they come from: 32 hex digits."""
    named = {entry.name: entry.md5 for entry in wanted(found)}
    # What git carries has no digest before it is read; its commit stands for it.
    at = None if all(named.values()) else found.revision
    return hashlib.sha256(json.dumps([named, at], sort_keys=True).encode()).hexdigest()[:32]


def directory_digest(entries: Sequence[Entry]) -> str | None:
    """DVC's digest of a directory that holds these files; ``None`` when git carries them."""
    listed = [{"md5": entry.md5, "relpath": entry.name} for entry in sorted(entries, key=lambda e: e.name)]
    if any(item["md5"] is None for item in listed):
        return None
    return f"{hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest()}.dir"


def wanted(found: Origin) -> tuple[Entry, ...]:
    """The files that the reference asks for.

    Raises:
        DataError: a source has no shard, or there is no shard at all.
    """
    sources = found.reference.sources
    if not any(source_of(entry.name) for entry in found.entries):
        raise DataError(f"{found.reference} holds no *.parquet shard; name a directory of shards")
    if not sources:
        return tuple(entry for entry in found.entries if not entry.name.startswith(f"{PROBES}/"))
    chosen = [(source, entry) for entry in found.entries if (source := source_of(entry.name)) in sources]
    if missing := sorted(set(sources) - {source for source, _ in chosen}):
        known = sorted({source for entry in found.entries if (source := source_of(entry.name))})
        raise DataError(f"{found.reference}: no shard of {', '.join(missing)}; there are {', '.join(known)}")
    return tuple(entry for _, entry in chosen)


def source_of(name: str) -> str | None:
    """Source of a shard by its file name, ``None`` for any other file.

    >>> source_of("stamps.parquet"), source_of("web-00012.parquet"), source_of("README.md")
    ('stamps', 'web', None)
    """
    if "/" in name or not name.endswith(".parquet"):
        return None
    stem = name.removesuffix(".parquet")
    head, dash, number = stem.rpartition("-")
    return head if dash and len(number) == 5 and number.isdecimal() else stem


def _place(found: Origin, entry: Entry, cache: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if entry.md5 is None:
        with found.open(entry) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, _CHUNK)
        return
    kept = cache / "files" / "md5" / entry.md5[:2] / entry.md5[2:]
    _keep(found, entry, kept)
    link_or_copy(kept, target)


def _keep(found: Origin, entry: Entry, kept: Path) -> None:
    """Have a file in the cache with the right content."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with _only_one(kept.with_name(f"{kept.name}.lock")):
        if kept.is_file():
            if file_md5(kept) == entry.md5:
                return
            kept.unlink()  # damaged since
        partial = kept.with_name(f"{kept.name}.partial")
        _download(found, entry, partial)
        if (digest := file_md5(partial)) != entry.md5:
            partial.unlink()
            raise DataError(
                f"{entry.name} from {found.remote} has the MD5 {digest} instead of {entry.md5}: damaged there"
            )
        partial.chmod(0o444)
        partial.replace(kept)


def _download(found: Origin, entry: Entry, partial: Path) -> None:
    with found.open(entry) as source, partial.open("ab") as copy:
        if copy.tell():
            source.seek(copy.tell())
        while chunk := source.read(_CHUNK):
            copy.write(chunk)
        copy.flush()
        os.fsync(copy.fileno())


def file_md5(path: Path) -> str:
    """MD5 of a file in hex, DVC's digest of it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@contextmanager
def _only_one(lock: Path) -> "Iterator[IO[bytes]]":
    """Hold a lock between processes; the system lets go of it when a process dies."""
    with lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _check_whole(found: Origin, entries: Sequence[Entry], directory: Path) -> None:
    """What git carries has no digest of its own; git checked it, here only that nothing is missing."""
    lost = [entry.name for entry in entries if not (directory / entry.name).is_file()]
    if lost:
        raise DataError(f"{found.reference}: {', '.join(lost)} did not arrive; fetch again")


def _publish(place: Path, tree: Path) -> None:
    """Show the finished directory in one move, unless another process was faster."""
    try:
        place.rename(tree)
    except OSError:
        if not (tree / ORIGIN).is_file():  # left over from a crash, or a file of it was deleted
            shutil.rmtree(tree)
            place.rename(tree)


def read_origin(directory: Path) -> dict[str, Any] | None:
    """What :func:`fetch` recorded beside a directory that it made; ``None`` for any other."""
    path = directory.parent / ORIGIN
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
