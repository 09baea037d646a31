"""What changed between a recorded version of a corpus and a directory: records by source, not only files.

Only shards whose digest differs are read, one source at a time.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from data.shards import SCHEMA
from data.versions.fetch import PROBES, fetch, file_md5, source_of
from data.versions.origin import Origin
from model.errors import DataError

FIELDS = tuple(name for name in SCHEMA.names if name not in ("kind", "id", "modality", "bytes"))
EXAMPLES = 5
_WIDTH = 8
_BATCH = 4096


@dataclass(frozen=True)
class SourceChange:
    """How the records of one source differ.

    Attributes:
        source: name of the source, from the names of its shards.
        added: records that are new, by id.
        removed: records that are gone.
        changed: records of the same id that differ.
        fields: in how many changed records each field differs.
        examples: a few ids of each kind.
    """

    source: str
    added: int
    removed: int
    changed: int
    fields: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Changes:
    """All differences between two versions.

    Attributes:
        files: names of files that were ``added``, ``removed`` or ``changed``.
        sources: differences of the records, of every source with a file that differs.
    """

    files: dict[str, list[str]]
    sources: tuple[SourceChange, ...]

    @property
    def any(self) -> bool:
        """Whether a single file differs."""
        return any(self.files.values())

    def describe(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return asdict(self)


def changes(before: Origin, after: Path, cache: Path) -> Changes:
    """Compare a recorded version with a directory.

    Args:
        before: the version, looked up.
        after: directory of shards.
        cache: where shards of the version are kept that have to be read.

    Raises:
        DataError: a shard that differs cannot be fetched or read.
    """
    new = {path.relative_to(after).as_posix(): path for path in sorted(after.rglob("*")) if path.is_file()}
    new = {name: path for name, path in new.items() if not name.startswith(f"{PROBES}/")}
    old = {entry.name: entry for entry in before.entries if not entry.name.startswith(f"{PROBES}/")}
    doubtful = [e for name, e in old.items() if name in new and (e.md5 is None or e.md5 != file_md5(new[name]))]
    gone = [entry for name, entry in old.items() if name not in new]
    fetched = _fetched(replace(before, entries=tuple(doubtful + gone)), cache)
    changed = [e.name for e in doubtful if e.name not in fetched or file_md5(fetched[e.name]) != file_md5(new[e.name])]
    added = [name for name in new if name not in old]
    files = {"added": sorted(added), "removed": sorted(e.name for e in gone), "changed": sorted(changed)}
    touched = {source for names in files.values() for name in names if (source := source_of(name))}
    sides: list[dict[str, list[Path]]] = []
    for places in (fetched, new):
        by_source: dict[str, list[Path]] = {source: [] for source in touched}
        for names in files.values():
            for name in names:
                if name in places and (source := source_of(name)):
                    by_source[source].append(places[name])
        sides.append(by_source)
    return Changes(files, tuple(_compare(source, sides[0][source], sides[1][source]) for source in sorted(touched)))


def _fetched(before: Origin, cache: Path) -> dict[str, Path]:
    """Shards of the version, in the cache; other files need not be read, as their digests tell."""
    shards = tuple(e for e in before.entries if source_of(e.name) or e.md5 is None)
    if not any(source_of(e.name) for e in shards):
        return {}
    directory = fetch(replace(before, entries=shards), cache)
    return {entry.name: directory / entry.name for entry in shards}


def _compare(source: str, before: Iterable[Path], after: Iterable[Path]) -> SourceChange:
    old, new = _digests(before), _digests(after)
    added, removed = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
    changed = sorted(identity for identity in old.keys() & new.keys() if old[identity] != new[identity])
    fields: Counter[str] = Counter()
    for identity in changed:
        fields.update(_differing(old[identity], new[identity]))
    examples = {"added": added[:EXAMPLES], "removed": removed[:EXAMPLES], "changed": changed[:EXAMPLES]}
    named = {kind: ids for kind, ids in examples.items() if ids}
    return SourceChange(source, len(added), len(removed), len(changed), dict(fields.most_common()), named)


def _differing(old: bytes, new: bytes) -> list[str]:
    spans = ((name, slice(i * _WIDTH, (i + 1) * _WIDTH)) for i, name in enumerate(FIELDS))
    return [name for name, span in spans if old[span] != new[span]]


def _digests(paths: Iterable[Path]) -> dict[str, bytes]:
    """For each record id, the digests of its fields in one string."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    found: dict[str, bytes] = {}
    for path in paths:
        try:
            shard = ds.dataset(path, format="parquet")
            wanted = ds.field("kind") == "record"
            for batch in shard.to_batches(columns=["id", *FIELDS], filter=wanted, batch_size=_BATCH):
                for row in batch.to_pylist():
                    found[row["id"]] = b"".join(_digest(row[name]) for name in FIELDS)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} is not a readable Omnivec shard: {error}") from error
    return found


def _digest(value: Any) -> bytes:
    return hashlib.blake2b(json.dumps(value, ensure_ascii=False).encode(), digest_size=_WIDTH).digest()
