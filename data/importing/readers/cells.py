"""One medium out of a row of Parquet or Arrow, by its place: for rows that are imported again."""

from typing import Any

import pyarrow as pa

from data.importing.places import Access
from data.importing.readers.arrow import ArrowReader
from data.importing.readers.columnar import ColumnarReader, found_in
from data.importing.refusal import Refused
from data.importing.rows import Cut, Row

ALL = 1 << 62


def cell(access: Access, place: dict[str, Any]) -> bytes:
    """Bytes of a medium.

    Raises:
        Refused: it is not there any more.
    """
    file, row, column = place["file"], int(place["row"]), str(place["column"])
    reader = ArrowReader([file], [column]) if file.endswith(".arrow") else ColumnarReader(access, [file], [column])
    try:
        # A cut for each group or batch: only the one of the row is read.
        cut = next((c for c in reader.cuts(1) if _start(c) <= row < _start(c) + c.rows), None)
        data = None if cut is None else _search(reader, cut, place)
    except (pa.ArrowException, OSError) as error:
        raise Refused("media_unreachable", f"{place}: {error}") from error
    if data is None:
        raise Refused("media_unreachable", f"{file} has no medium at row {row}, column {column} any more")
    return data


def _start(cut: Cut) -> int:
    return int(cut.place.get("start", ALL))


def _search(reader: ArrowReader | ColumnarReader, cut: Cut, place: dict[str, Any]) -> bytes | None:
    for row in reader.read(cut):
        if isinstance(row, Row) and _start(cut) + row.number - cut.first == int(place["row"]):
            return found_in(row.values, place)
    return None
