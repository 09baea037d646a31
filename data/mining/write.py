"""A corpus with its negatives filled in: every shard again, every record again, media of the negatives beside them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from data.access import MediaAccess
from data.mining.select import Negative
from data.records import ContentRef, Record
from data.shards import read_media, read_records, shard_paths, write_shard
from model.content import Modality
from model.errors import DataError


def write_mined(
    source: Path,
    target: Path,
    mined: Mapping[str, Sequence[Negative]],
    shard_of: Mapping[str, Path],
    *,
    existing: str = "first",
) -> int:
    """Write all shards of ``source`` to ``target`` with the negatives of records that were mined for.

    Args:
        source: directory of shards.
        target: directory to write.
        mined: negatives by record id; other records stay as they are.
        shard_of: shard of each record that a negative comes from, by record id.
        existing: see ``Rules.existing``.

    Returns:
        Number of records written.

    Raises:
        DataError: not as many records were written as there were, or as were to get negatives.
    """
    access = MediaAccess()
    total = met = 0
    for path in shard_paths(source):
        records = list(read_records(path))
        media = read_media(path)
        made = [_with(record, mined[record.id], existing) if record.id in mined else record for record in records]
        for record in records:
            for negative in mined.get(record.id, ()):
                _bring(negative, media, access, shard_of)
        write_shard(target / path.name, made, media)
        total += len(made)
        met += sum(record.id in mined for record in records)
    if met != len(mined):
        raise DataError(f"negatives were mined for {len(mined)} records, but {source} has {met} of them")
    return total


def _with(record: Record, negatives: Sequence[Negative], existing: str) -> Record:
    found = tuple(negative.document.ref for negative in negatives)
    order: dict[str, tuple[ContentRef, ...]] = {
        "first": (*record.negatives, *found),
        "last": (*found, *record.negatives),
        "replace": found,
    }
    # The licence of a record is that of all that it holds.
    licenses = [record.license, *(negative.document.records[0].license for negative in negatives)]
    return replace(record, negatives=order[existing], license=join_licenses(licenses))


def _bring(
    negative: Negative,
    media: dict[str, tuple[Modality, bytes]],
    access: MediaAccess,
    shard_of: Mapping[str, Path],
) -> None:
    """Put the media of a negative from another shard among those of this one."""
    document = negative.document
    for part in document.ref:
        if part.media is not None and part.media not in media:
            media[part.media] = (part.modality, access(shard_of[document.records[0].id], part.media))


def join_licenses(expressions: Iterable[str]) -> str:
    """SPDX expression that all of ``expressions`` together ask for, each name once."""
    distinct = list(dict.fromkeys(expressions))
    if len(distinct) == 1:
        return distinct[0]
    terms: dict[str, None] = {}
    for expression in distinct:
        plain = " OR " not in expression and "(" not in expression
        terms |= dict.fromkeys(expression.split(" AND ") if plain else [f"({expression})"])
    return " AND ".join(terms)
