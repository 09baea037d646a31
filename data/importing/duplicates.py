"""Ids that more than one row has: found by Daft over all pieces, in passes, so that memory stays as it is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.importing.amending import Drop
from data.importing.pieces import ID_SCHEMA, IDS, id_words

ROWS_PER_PASS = 4_000_000
KEPT = "kept-ids.parquet"


def duplicates(work: Path, *, rows: int) -> Iterator[tuple[int, Drop]]:
    """(piece, (row, part, place)) of every record that has the id of one before; the first row of an id keeps it.

    Args:
        work: directory of the import, with the ids of its pieces and, under ``KEPT``, those of shards that stay.
        rows: about how many ids there are.
    """
    import daft

    low, row, first, count = (_column(name) for name in ("low", "row", "first", "rows"))

    files = [str(path) for path in sorted(work.glob(f"pieces/*/{IDS}"))]
    if (work / KEPT).is_file():
        files.append(str(work / KEPT))
    if not files:
        return
    passes = -(-max(rows, 1) // ROWS_PER_PASS)
    for number in range(passes):
        ids = daft.read_parquet(files)
        if passes > 1:
            ids = ids.where(low % passes == number)
        several = ids.groupby("high", "low").agg(row.min().alias("first"), row.count().alias("rows"))
        several = several.where(count > 1)
        found = ids.join(several, on=["high", "low"]).where((row > first) & (row >= 0))
        for one in found.select("piece", "row", "part", "place").iter_rows():
            yield one["piece"], (one["row"], one["part"], one["place"])


def _column(name: str) -> Any:
    """A column, whose operators have no types."""
    from daft import col

    return col(name)


def write_kept(shards: list[Path], target: Path) -> int:
    """Write the ids of shards that stay, as rows before all others; returns how many."""
    count = 0
    with pq.ParquetWriter(target, ID_SCHEMA) as writer:
        for shard in shards:
            with pq.ParquetFile(shard) as file:
                for batch in file.iter_batches(columns=["kind", "id"]):
                    kinds, ids = batch.column("kind").to_pylist(), batch.column("id").to_pylist()
                    words = [id_words(one) for kind, one in zip(kinds, ids, strict=True) if kind == "record"]
                    if words:
                        high, low = zip(*words, strict=True)
                        no = [-1] * len(words)
                        writer.write_table(pa.table([high, low, no, no, no, no], schema=ID_SCHEMA))
                        count += len(words)
    return count
