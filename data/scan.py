"""Shards read in pieces: records a few thousand at a time, media a row group at a time, so memory does not grow."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.shards import MEDIA_ROWS_PER_GROUP, SCHEMA
from model.errors import DataError

ROLES = ("query", "positives", "negatives")
RECORD_ROWS = 16_384
RECORD_COLUMNS = [name for name in SCHEMA.names if name not in ("bytes", "modality")]
MEDIA_COLUMNS = ["id", "modality", "bytes"]
# What a shard that cannot be read raises.
UNREADABLE = (pa.ArrowException, OSError, KeyError, DataError, UnicodeDecodeError)


@dataclass(frozen=True)
class Shard:
    """One readable shard; ``first`` is the manifest index of its first record."""

    path: Path
    first: int
    records: int
    media: int


def open_shard(path: Path) -> pq.ParquetFile:
    """Open a shard without reading it.

    Raises:
        DataError: its columns are not those of a shard.
    """
    file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    if file.schema_arrow.remove_metadata() != SCHEMA:
        names = file.schema_arrow.names
        file.close()
        raise DataError(f"columns {names} are not those of a shard ({SCHEMA.names})")
    return file


def count_rows(path: Path) -> tuple[int, int]:
    """Records and media of a shard."""
    records = media = 0
    with open_shard(path) as file:
        for batch in file.iter_batches(RECORD_ROWS * 4, columns=["kind"]):
            found = pc.sum(_is_media(batch["kind"])).as_py() or 0
            media += found
            records += batch.num_rows - found
    return records, media


def record_batches(path: Path, columns: Sequence[str] = RECORD_COLUMNS) -> Iterator[pa.Table]:
    """Record rows of a shard in stored order; bytes of media are not read."""
    with open_shard(path) as file:
        for batch in file.iter_batches(RECORD_ROWS, columns=sorted({"kind", *columns})):
            rows = batch.filter(pc.invert(_is_media(batch["kind"])))
            if rows.num_rows:
                yield pa.Table.from_batches([rows]).select(list(columns))


def media_batches(path: Path, columns: Sequence[str] = MEDIA_COLUMNS) -> Iterator[pa.Table]:
    """Media rows of a shard in stored order, at most a row group at a time."""
    with open_shard(path) as file:
        for group in range(file.num_row_groups):
            if not pc.any(_is_media(file.read_row_group(group, columns=["kind"])["kind"])).as_py():
                continue
            wanted = sorted({"kind", *columns})
            for batch in file.iter_batches(MEDIA_ROWS_PER_GROUP, row_groups=[group], columns=wanted):
                rows = batch.filter(_is_media(batch["kind"]))
                if rows.num_rows:
                    yield pa.Table.from_batches([rows]).select(list(columns))


def parts_of(records: pa.Table, role: str) -> tuple[pa.Array, pa.StructArray]:
    """All parts of one role of the records, and for each the position of its record."""
    column = records[role].combine_chunks()
    rows, parts = pc.list_parent_indices(column), pc.list_flatten(column)
    if role != "query":  # a list of contents
        rows, parts = rows.take(pc.list_parent_indices(parts)), pc.list_flatten(parts)
    return rows, parts


def texts_of(records: pa.Table) -> pa.Array:
    """The distinct texts of records, of every role, in order of appearance."""
    found = []
    for role in ROLES:
        _, parts = parts_of(records, role)
        found.append(parts.field("text").filter(pc.equal(parts.field("modality"), "text")))
    return pc.unique(pa.chunked_array(found, pa.string())).drop_null()


def references(records: pa.Table) -> set[str]:
    """Digests of the media that records refer to."""
    found: set[str] = set()
    for role in ROLES:
        _, parts = parts_of(records, role)
        found.update(parts.field("media").drop_null().to_pylist())
    return found


def _is_media(kinds: Any) -> Any:
    return pc.fill_null(pc.equal(kinds, "media"), False)
