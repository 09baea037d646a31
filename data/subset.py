"""A small part of a corpus, for a first look or a quick run."""

import hashlib
from pathlib import Path

from data.records import Record
from data.shards import read_media, read_records, shard_paths, write_shard


def write_subset(corpus: Path, target: Path, *, groups: int) -> int:
    """Write shards with the records of a few groups of every task and split.

    Which groups are kept depends on their names only, so a group that is kept in one source is kept in the others too
    where it is among theirs, and the result is the same every time. Splits stay as they were.

    Args:
        corpus: directory of shards.
        target: directory to write; shards of the same names.
        groups: groups kept of each source, task and split.

    Returns:
        Number of records written.
    """
    total = 0
    for path in shard_paths(corpus):
        kept = _keep(list(read_records(path)), groups)
        wanted = {
            part.media
            for r in kept
            for content in (r.query, *r.positives, *r.negatives)
            for part in content
            if part.media
        }
        media = {digest: item for digest, item in read_media(path).items() if digest in wanted}
        write_shard(target / path.name, kept, media)
        total += len(kept)
    return total


def _keep(records: list[Record], groups: int) -> list[Record]:
    known: dict[tuple[str, str], set[str]] = {}
    for record in records:
        known.setdefault((record.task, record.split), set()).add(record.group)
    chosen = {key: set(sorted(names, key=_order)[:groups]) for key, names in known.items()}
    return [record for record in records if record.group in chosen[record.task, record.split]]


def _order(group: str) -> str:
    return hashlib.sha256(group.encode()).hexdigest()
