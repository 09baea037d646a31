"""Parquet. Cuts are whole row groups, read in batches, so that memory does not grow with the group."""

import json
from collections.abc import Collection, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.importing.places import Access
from data.importing.readers.files import digest_of, expand, name_of, parent, size_of
from data.importing.rows import Cut, Row, Stored, Unreadable, to_json

TEXT_BATCH, MEDIA_BATCH = 2048, 16
HUB = b"huggingface"


class ColumnarReader:
    """Rows of Parquet files.

    Args:
        access: opens the files.
        path: file or pattern, or the files themselves.
        columns: that the mapping uses; of the others, those with media are not read.
    """

    def __init__(self, access: Access, path: str | list[str], columns: Collection[str]) -> None:
        self.access = access
        self.path = path
        self.columns = columns

    @property
    def base(self) -> str:
        """Directory of the files."""
        return parent(self.path if isinstance(self.path, str) else self.path[0])

    def cuts(self, rows: int) -> Iterator[Cut]:
        """Row groups, as many together as have so many rows."""
        first = 0
        places = expand(self.access, self.path) if isinstance(self.path, str) else self.path
        for place in places:
            for cut in self._cuts(place, first, rows):
                yield cut
                first += cut.rows

    def read(self, cut: Cut) -> Iterator[Row | Unreadable]:
        """Rows of a cut."""
        place = cut.place["file"]
        if "problem" in cut.place:
            yield broken_file(cut)
            return
        with self.access.open(place) as source, _opened(source) as file:
            schema = file.schema_arrow
            wanted, labels = chosen(schema, self.columns), class_labels(schema)
            step = MEDIA_BATCH if any(is_media(schema.field(name).type) for name in wanted) else TEXT_BATCH
            done = 0
            for group in cut.place["groups"]:
                end = done + file.metadata.row_group(group).num_rows
                try:
                    for batch in file.iter_batches(step, row_groups=[group], columns=wanted):
                        yield from rows_of(batch, cut.first + done, place, cut.place["start"] + done, labels)
                        done += batch.num_rows
                except (pa.ArrowException, OSError) as error:
                    yield from unread_rows(cut, done, end, str(error))
                done = end

    def _cuts(self, place: str, first: int, rows: int) -> Iterator[Cut]:
        try:
            with self.access.open(place) as source, _opened(source) as file:
                sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
                footer = pa.BufferOutputStream()
                file.metadata.write_metadata_file(footer)
        except (pa.ArrowException, OSError) as error:
            yield Cut(first, 1, {"file": place, "problem": str(error)}, digest_of(place, str(error)))
            return
        identity = digest_of(name_of(place), size_of(self.access, place), footer.getvalue().to_pybytes())
        groups: list[int] = []
        start = held = 0
        for group, size in enumerate(sizes):
            groups.append(group)
            held += size
            if held >= rows or group == len(sizes) - 1:
                yield Cut(first, held, {"file": place, "groups": groups, "start": start}, identity)
                first, start, held, groups = first + held, start + held, 0, []


def unread_rows(cut: Cut, begin: int, end: int, problem: str) -> Iterator[Unreadable]:
    """Rows of a cut that follow damage, one by one, so that they are counted."""
    place, start = cut.place["file"], int(cut.place["start"])
    for i in range(begin, end):
        raw = to_json({"_file": place, "_row": start + i})
        message = f"{name_of(place)} cannot be read from row {start + begin} to {start + end - 1}: {problem}"
        yield Unreadable(cut.first + i, raw, "file_damaged", message)


def broken_file(cut: Cut) -> Unreadable:
    """A file that stands for its rows, which nobody can count."""
    place = cut.place["file"]
    message = f"{place} cannot be read: {cut.place['problem']}; replace it and import it as a source of its own"
    return Unreadable(cut.first, to_json({"_file": place}), "file_unreadable", message)


def chosen(schema: pa.Schema, columns: Collection[str]) -> list[str]:
    """Columns to read: all that the mapping uses, and of the others those that hold no media."""
    heads = {name.split(".", 1)[0] for name in columns} | set(columns)
    return [field.name for field in schema if field.name in heads or not is_media(field.type)]


def is_media(kind: pa.DataType) -> bool:
    """Whether a column holds bytes somewhere."""
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return True
    if pa.types.is_struct(kind):
        return any(is_media(kind.field(i).type) for i in range(kind.num_fields))
    nested = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return nested and is_media(kind.value_type)


def rows_of(
    batch: pa.RecordBatch, first: int, place: str, inside: int, labels: dict[str, list[str]]
) -> Iterator[Row | Unreadable]:
    """Rows of a batch.

    Args:
        batch: of a file.
        first: number of its first row in the source.
        place: the file.
        inside: number of its first row in the file.
        labels: names of classes by column.
    """
    names = batch.schema.names
    nested = {name for name in names if pa.types.is_nested(kind := batch.schema.field(name).type) or is_media(kind)}
    try:
        columns = [_values(batch.column(name), labels.get(name)) for name in names]
    except (UnicodeDecodeError, pa.ArrowException) as error:
        for i in range(batch.num_rows):
            raw = to_json({"_file": place, "_row": inside + i})
            yield Unreadable(first + i, raw, "row_not_utf8", f"{name_of(place)}, row {inside + i}: {error}")
        return
    for i, row in enumerate(zip(*columns, strict=True)):
        values = dict(zip(names, row, strict=True))
        for name in nested:
            values[name] = revived(values[name], {"file": place, "row": inside + i, "column": name})
        yield Row(first + i, values)


def _values(column: pa.Array, labels: list[str] | None) -> list[Any]:
    values: list[Any] = column.to_pylist()
    if labels is None:
        return values
    return [labels[v] if isinstance(v, int) and 0 <= v < len(labels) else v for v in values]


def revived(value: Any, where: dict[str, Any]) -> Any:
    """Bytes become media that know their place; structs of bytes and path, as ``datasets`` has them, too."""
    if isinstance(value, bytes):
        return Stored({**where, "size": len(value)}, value)
    if isinstance(value, dict) and "bytes" in value and value.keys() <= {"bytes", "path", "sampling_rate"}:
        data = value["bytes"]
        return value.get("path") if data is None else Stored({**where, "size": len(data)}, data)
    if isinstance(value, dict):
        return {key: revived(one, {**where, "column": f"{where['column']}.{key}"}) for key, one in value.items()}
    if isinstance(value, list):
        return [revived(one, {**where, "item": i}) for i, one in enumerate(value)]
    return value


def class_labels(schema: pa.Schema) -> dict[str, list[str]]:
    """Names of classes by column, from what ``datasets`` writes beside the schema."""
    try:
        features = json.loads((schema.metadata or {}).get(HUB, b"{}"))["info"]["features"]
        return {
            name: list(feature["names"])
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def found_in(value: Any, place: dict[str, Any]) -> bytes | None:
    """Bytes of the medium of that place among values."""
    if isinstance(value, Stored):
        return value.data if value.place == place else None
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((data for one in children if (data := found_in(one, place)) is not None), None)


def _opened(source: Any) -> pq.ParquetFile:
    # Buffered: without, pyarrow reads a whole column of a group at once.
    return pq.ParquetFile(source, buffer_size=1 << 20, pre_buffer=False)
