"""Take the records whose ids another row has already out of a piece that is done, and quarantine their rows."""

import heapq
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.importing.config import ImportConfig
from data.importing.pieces import ROWS, Refusals, Summary, finish_part, part_path
from data.importing.rows import Cut, Reader
from data.probe_store import DIRECTORY, MEDIA, probes_of
from data.records import Record
from data.shards import Packing, ShardWriter, read_records
from model.content import Modality
from model.errors import DataError
from model.files import link_or_copy

REASON = "duplicate_id"
Drop = tuple[int, int, int]


def amend_piece(
    config: ImportConfig, reader: Reader, cut: Cut, source: Path, target: Path, drops: list[Drop]
) -> Summary:
    """Write a piece again without some of its records.

    Args:
        config: of the import.
        reader: of the source, which is read again for the rows as they were given.
        cut: the rows of the piece.
        source: directory of the piece.
        target: directory of the amended piece.
        drops: (row, part, place in the part) of the records to drop.
    """
    before = Summary.read(source)
    attempt = target.parent.parent / "attempts" / f"{target.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    attempt.mkdir(parents=True)
    try:
        parts: list[dict[str, Any]] = []
        for number, facts in enumerate(before.parts):
            places = {place for _, part, place in drops if part == number}
            if not places:
                _copy(source, number, attempt, len(parts))
                parts.append(facts)
            elif len(places) < facts["records"]:
                parts.append(_without(config, source, number, attempt, len(parts), places))
        reasons = Counter(before.reasons) + Counter({REASON: len(drops)})
        _quarantine(reader, cut, source, attempt, {row for row, _, _ in drops})
        after = Summary(
            rows=before.rows,
            records=sum(part["records"] for part in parts),
            refused=before.refused + len(drops),
            reasons=dict(reasons),
            media=sum(part["media"] for part in parts),
            media_bytes=sum(part["media_bytes"] for part in parts),
            parts=parts,
        )
        after.check(target.name)
        after.write(attempt)
        target.parent.mkdir(parents=True, exist_ok=True)
        attempt.rename(target)
        return after
    finally:
        shutil.rmtree(attempt, ignore_errors=True)


def _copy(source: Path, number: int, attempt: Path, new: int) -> None:
    """A shard that stays as it is; by a link where the file system has them."""
    old, path = part_path(source, number), part_path(attempt, new)
    sidecars = attempt / DIRECTORY
    sidecars.mkdir(exist_ok=True)
    for one, other in ((old, path), (source / DIRECTORY / old.name, sidecars / path.name)):
        link_or_copy(one, other)


def _without(
    config: ImportConfig, source: Path, number: int, attempt: Path, new: int, places: set[int]
) -> dict[str, Any]:
    path = part_path(source, number)
    records = [record for place, record in enumerate(read_records(path)) if place not in places]
    wanted = {digest for record in records for digest in _media(record)}
    with ShardWriter(part_path(attempt, new), Packing(level=config.sizes.level, media=False)) as writer:
        for digest, modality, data in _stored(path):
            if digest in wanted:
                writer.add_media(digest, modality, data)
        for record in records:
            writer.add(record)
    found = probes_of(source, path)
    table = MEDIA.empty_table() if found is None else found.media
    kept = table.filter(pc.is_in(table["digest"], pa.array(sorted(wanted), pa.string())))
    return finish_part(attempt, new, writer, kept, config)


def _stored(path: Path) -> Iterator[tuple[str, Modality, bytes]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(16, columns=["kind", "id", "modality", "bytes"]):
            for row in batch.to_pylist():
                if row["kind"] == "media":
                    yield row["id"], Modality(row["modality"]), row["bytes"]


def _media(record: Record) -> Iterator[str]:
    for content in (record.query, *record.positives, *record.negatives):
        yield from (part.media for part in content if part.media is not None)


def _quarantine(reader: Reader, cut: Cut, source: Path, attempt: Path, dropped: set[int]) -> None:
    message = "another row before has this id; give each its own, or leave mapping.id out"
    again = (
        {"row": row.number, "raw": row.raw, "reasons": [REASON], "message": message}
        for row in reader.read(cut)
        if row.number in dropped
    )
    count = 0
    with Refusals(attempt / ROWS) as refusals:
        for row in heapq.merge(refused_rows(source / ROWS), again, key=lambda row: row["row"]):
            refusals.add(row["row"], row["raw"], row["reasons"], row["message"])
            count += row["reasons"] == [REASON]
    if count != len(dropped):
        raise DataError(f"{len(dropped) - count} rows are not in the source any more: it changed during the import")


def refused_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Refused rows of a file, if there is one."""
    if path.is_file():
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(256):
                yield from batch.to_pylist()
