"""The corpus after the audit: shards without what was set aside, moved records in their new split, counted again."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data.audit.decide import Verdicts
from data.audit.items import Records
from data.audit.pairs import SPLITS
from data.probe_store import ShardProbes, probes_of, write_tables
from data.quarantine import REASONS
from data.scan import RECORD_COLUMNS, count_rows, media_batches, record_batches, references
from data.shards import FORMAT, MEDIA_ROWS_PER_GROUP, SCHEMA
from model.encoder import Limits
from model.errors import DataError
from model.files import whole_file


@dataclass(frozen=True)
class Written:
    """Records in each place."""

    kept: int
    quarantined: int
    moved: int


Keep = Callable[[int, pa.Table], pa.Table]


def write_audited(
    records: Records, verdicts: Verdicts, dataset: Path, quarantine: Path, *, stored: tuple[Path, ...], limits: Limits
) -> Written:
    """Write the accepted records to ``dataset`` and the others, with ``reasons.jsonl``, to ``quarantine``.

    A shard in which nothing changes is copied byte for byte. Probes of media go along, to ``dataset/probes``.

    Args:
        records: of the corpus.
        verdicts: what happens to them.
        dataset: directory to write.
        quarantine: directory to write.
        stored: directories whose probes are used, the first that has them.
        limits: under which the probes were made.

    Raises:
        DataError: what was written does not add up to what came in.
    """
    for directory in (dataset, quarantine):
        directory.mkdir(parents=True, exist_ok=True)
    refused = np.zeros(len(records.split), dtype=np.bool_)
    refused[list(verdicts.refused)] = True
    moved = (verdicts.split != records.split) & ~refused
    kept = sum(_write_shard(records, verdicts, number, refused, dataset) for number in range(len(records.shards)))
    aside = sum(_write_refused(records, number, refused, quarantine) for number in range(len(records.shards)))
    _write_reasons(records, verdicts, quarantine)
    if kept + aside != len(records.split) or aside != len(verdicts.refused):
        raise DataError(f"{len(records.split)} records came in, {kept} were kept and {aside} set aside: our fault")
    for shard in records.shards:
        _write_probes(shard, dataset, stored, limits)
    return Written(kept, aside, int(moved.sum()))


def _write_shard(records: Records, verdicts: Verdicts, number: int, refused: NDArray[np.bool_], directory: Path) -> int:
    own = np.flatnonzero(records.shard == number)
    source, target = records.shards[number], directory / records.shards[number].name
    changed = verdicts.split[own] != records.split[own]
    if not refused[own].any() and not changed.any():
        shutil.copyfile(source, target)
        return _checked(target, len(own))
    keep, split = ~refused[own], verdicts.split[own]

    def kept(first: int, table: pa.Table) -> pa.Table:
        rows = slice(first, first + table.num_rows)
        names = pa.array([SPLITS[code] for code in split[rows]], pa.string())
        table = table.set_column(table.schema.get_field_index("split"), "split", names)
        return table.filter(pa.array(keep[rows]))

    return _filtered(source, target, kept, int(keep.sum()))


def _write_refused(records: Records, number: int, refused: NDArray[np.bool_], directory: Path) -> int:
    own = refused[records.shard == number]
    if not own.any():
        return 0
    source = records.shards[number]

    def kept(first: int, table: pa.Table) -> pa.Table:
        return table.filter(pa.array(own[first : first + table.num_rows]))

    return _filtered(source, directory / source.name, kept, int(own.sum()))


def _filtered(source: Path, target: Path, keep: Keep, expected: int) -> int:
    """Copy the records that ``keep`` leaves and the media that they refer to; a shard of none is not written."""
    if not expected:
        return 0
    wanted: set[str] = set()
    for table in _kept(source, keep, ("query", "positives", "negatives", "split")):
        wanted |= references(table)
    chosen = pa.array(sorted(wanted), pa.string())
    schema = SCHEMA.with_metadata(FORMAT)
    with whole_file(target) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for media in media_batches(source):
            _append(writer, media.filter(pc.is_in(media["id"], chosen)), "media", MEDIA_ROWS_PER_GROUP)
        for table in _kept(source, keep, RECORD_COLUMNS):
            _append(writer, table, "record", None)
    return _checked(target, expected)


def _kept(source: Path, keep: Keep, columns: tuple[str, ...] | list[str]) -> Iterator[pa.Table]:
    first = 0
    for table in record_batches(source, columns):
        yield keep(first, table)
        first += table.num_rows


def _append(writer: pq.ParquetWriter, table: pa.Table, kind: str, rows: int | None) -> None:
    if not table.num_rows:
        return
    kinds = pa.array([kind] * table.num_rows, pa.string())
    given = {"kind": kinds, **{name: table[name] for name in table.column_names if name != "kind"}}
    columns = [given.get(f.name, pa.nulls(table.num_rows, f.type)) for f in SCHEMA]
    whole = pa.table(columns, schema=SCHEMA).replace_schema_metadata(FORMAT)
    writer.write_table(whole, row_group_size=rows)


def _checked(path: Path, expected: int) -> int:
    found, _ = count_rows(path)
    if found != expected:
        raise DataError(f"{path} holds {found} records instead of {expected}; the disk or our code is at fault")
    return found


def _write_reasons(records: Records, verdicts: Verdicts, directory: Path) -> None:
    with (directory / REASONS).open("w", encoding="utf-8") as file:
        for record, refusal in sorted(verdicts.refused.items()):
            line = {
                "shard": records.shards[records.shard[record]].name,
                "kind": "record",
                "id": records.name(record),
                "reasons": list(refusal.reasons),
                "message": refusal.message,
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _write_probes(shard: Path, dataset: Path, stored: tuple[Path, ...], limits: Limits) -> None:
    target = dataset / shard.name
    found = next((p for place in stored if (p := probes_of(place, shard, limits=limits)) is not None), None)
    if found is None or not target.exists():
        return
    media = [batch["id"] for batch in media_batches(target, ["id"])]
    kept = (
        pa.concat_arrays([chunk for column in media for chunk in column.chunks]) if media else pa.array([], pa.string())
    )
    # Texts of records that were set aside stay: who looks a text up finds it, and nobody counts them here.
    chosen = found.media.filter(pc.is_in(found.media["digest"], kept))
    write_tables(dataset, ShardProbes(target, chosen, found.texts), limits=limits)
