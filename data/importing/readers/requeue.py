"""Rows that an import refused, read again as they were given, or as somebody mended them."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data.importing.readers.files import digest_of
from data.importing.rows import Cut, Row, Unreadable, from_json
from model.errors import DataError
from model.integrity import file_digest

PATTERN = "rows-*.parquet"
SCHEMA = pa.schema(
    [("row", pa.int64()), ("raw", pa.string()), ("reasons", pa.list_(pa.string())), ("message", pa.string())]
)


class RequeueReader:
    """Rows of the quarantine of one source.

    Args:
        files: of the quarantine.
        base: directory that relative paths in the rows start from: that of the source.
    """

    def __init__(self, files: list[Path], base: str) -> None:
        self.files = files
        self._base = base

    @property
    def base(self) -> str:
        """Directory of the source."""
        return self._base

    def cuts(self, rows: int) -> Iterator[Cut]:
        """Row groups."""
        first = 0
        for path in self.files:
            with pq.ParquetFile(path) as file:
                if not set(SCHEMA.names) <= set(file.schema_arrow.names):
                    raise DataError(f"{path} is no quarantine of an import: it needs the columns {SCHEMA.names}")
                sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
            identity = digest_of(file_digest(path))
            for group, size in enumerate(sizes):
                yield Cut(first, size, {"file": str(path), "group": group}, identity)
                first += size

    def read(self, cut: Cut) -> Iterator[Row | Unreadable]:
        """Rows under the numbers that they have in their source."""
        with pq.ParquetFile(cut.place["file"]) as file:
            for batch in file.iter_batches(256, row_groups=[cut.place["group"]], columns=["row", "raw"]):
                for row in batch.to_pylist():
                    yield _row(row["row"], row["raw"])


def rows_name(name: str) -> str:
    """Name of the file with the refused rows of a source."""
    return f"rows-{name}.parquet"


def quarantine_files(directory: Path, name: str) -> list[Path]:
    """Quarantined rows of a source.

    Raises:
        DataError: there are none.
    """
    for folder in (directory, directory / "quarantine"):
        found = sorted(folder.glob(rows_name(name)))
        if found:
            return found
    raise DataError(f"{directory} holds no {rows_name(name)}: give the quarantine directory of an import of {name!r}")


def _row(number: int | None, raw: str | None) -> Row | Unreadable:
    number = -1 if number is None else number
    try:
        values = from_json(raw or "")
    except (ValueError, RecursionError) as error:
        return Unreadable(number, raw or "", "row_unparsable", f"row {number}: no JSON ({error}); mend its raw text")
    if not isinstance(values, dict):
        return Unreadable(number, raw or "", "row_unparsable", f"row {number}: no object; mend its raw text")
    if values.keys() <= {"_file", "_row"} and "_file" in values:
        message = f"row {number} stands for {values['_file']}: replace that file and import it as a source of its own"
        return Unreadable(number, raw or "", "file_unreadable", message)
    return Row(number, values, raw)
