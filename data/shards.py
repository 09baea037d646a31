"""Parquet shards: one self-contained file per source that holds its media rows and its record rows.

A shard has two kinds of rows. ``media`` rows carry encoded bytes once, under their digest; ``record`` rows refer
to them. Media come first, in row groups of their own, so that reading the records never touches the bytes.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.records import ContentRef, PartRef, Record
from model.content import Modality, media_digest
from model.errors import DataError
from model.files import whole_file

PART = pa.struct([("modality", pa.string()), ("text", pa.string()), ("media", pa.string())])
CONTENT = pa.list_(PART)
SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("id", pa.string()),
        ("task", pa.string()),
        ("query", CONTENT),
        ("positives", pa.list_(CONTENT)),
        ("negatives", pa.list_(CONTENT)),
        ("source", pa.string()),
        ("languages", pa.list_(pa.string())),
        ("license", pa.string()),
        ("group", pa.string()),
        ("split", pa.string()),
        ("modality", pa.string()),
        ("bytes", pa.binary()),
    ]
)
FORMAT = {b"omnivec": b"shard/1"}
# Who wants one medium reads its row group: at most so many rows, and bytes, unless a single one has more.
MEDIA_ROWS_PER_GROUP = 256
MEDIA_BYTES_PER_GROUP = 2**20


def write_shard(path: Path, records: Iterable[Record], media: Mapping[str, tuple[Modality, bytes]]) -> None:
    """Write one shard, deterministically: the same input gives the same bytes.

    Args:
        path: target ``.parquet`` file; replaced atomically.
        records: records, whose ``PartRef.media`` must all be keys of ``media``.
        media: digest -> (modality, encoded bytes).

    Raises:
        DataError: a digest does not match its bytes or a record refers to media that are not given.
    """
    rows = list(records)
    _check(rows, media)
    media_rows = [
        {"kind": "media", "id": digest, "modality": modality.value, "bytes": data}
        for digest, (modality, data) in sorted(media.items())
    ]
    record_rows = [_to_row(record) for record in rows]
    schema = SCHEMA.with_metadata(FORMAT)
    options: dict[str, Any] = {"compression": "zstd", "compression_level": 19, "use_dictionary": True}
    with whole_file(path) as partial, pq.ParquetWriter(partial, schema, **options) as writer:
        for group in _groups(media_rows):
            writer.write_table(pa.Table.from_pylist(group, SCHEMA))
        writer.write_table(pa.Table.from_pylist(record_rows, SCHEMA))


def _groups(media_rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    held = 0
    for row in media_rows:
        size = len(row["bytes"])
        if group and (len(group) == MEDIA_ROWS_PER_GROUP or held + size > MEDIA_BYTES_PER_GROUP):
            yield group
            group, held = [], 0
        group.append(row)
        held += size
    if group:
        yield group


def read_records(path: Path, *, splits: Collection[str] = (), tasks: Collection[str] = ()) -> Iterator[Record]:
    """Yield the records of a shard without reading any media bytes.

    Args:
        path: the shard.
        splits: only these; all when empty. Filtering here is far cheaper than making records and dropping them.
        tasks: only these; all when empty.
    """
    columns = [name for name in SCHEMA.names if name not in ("bytes", "modality")]
    table = _read(path, columns, "record", split=splits, task=tasks)
    for row in table.to_pylist():
        yield _from_row(row)


def read_media(path: Path) -> dict[str, tuple[Modality, bytes]]:
    """Read all media of a shard: digest -> (modality, encoded bytes)."""
    table = _read(path, ["kind", "id", "modality", "bytes"], "media")
    return {row["id"]: (Modality(row["modality"]), row["bytes"]) for row in table.to_pylist()}


def shard_paths(directory: Path) -> list[Path]:
    """All shards of a corpus directory in name order.

    Raises:
        DataError: the directory holds none.
    """
    paths = sorted(directory.glob("*.parquet"))
    if not paths:
        raise DataError(f"{directory} holds no *.parquet shard; give a corpus directory such as data/starter")
    return paths


def _read(path: Path, columns: list[str], kind: str, **among: Collection[str]) -> pa.Table:
    filters = [("kind", "=", kind), *((name, "in", list(values)) for name, values in among.items() if values)]
    try:
        return pq.read_table(path, columns=columns, filters=filters)
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise DataError(f"{path} is not a readable Omnivec shard: {error}") from error


def _check(records: list[Record], media: Mapping[str, tuple[Modality, bytes]]) -> None:
    wrong = [digest for digest, (_, data) in media.items() if media_digest(data) != digest]
    if wrong:
        raise DataError(f"{len(wrong)} media digests do not match their bytes, first: {wrong[0]}")
    for record in records:
        for content in (record.query, *record.positives, *record.negatives):
            for part in content:
                if part.media is not None and part.media not in media:
                    raise DataError(f"record {record.id} refers to media {part.media} that is not in the shard")


def _to_row(record: Record) -> dict[str, Any]:
    return {
        "kind": "record",
        "id": record.id,
        "task": record.task,
        "query": _content_row(record.query),
        "positives": [_content_row(c) for c in record.positives],
        "negatives": [_content_row(c) for c in record.negatives],
        "source": record.source,
        "languages": list(record.languages),
        "license": record.license,
        "group": record.group,
        "split": record.split,
    }


def _content_row(content: ContentRef) -> list[dict[str, str | None]]:
    return [{"modality": p.modality.value, "text": p.text, "media": p.media} for p in content]


def _from_row(row: dict[str, Any]) -> Record:
    return Record(
        id=row["id"],
        task=row["task"],
        query=_content(row["query"]),
        positives=tuple(_content(c) for c in row["positives"]),
        negatives=tuple(_content(c) for c in row["negatives"] or ()),
        source=row["source"],
        languages=tuple(row["languages"]),
        license=row["license"],
        group=row["group"],
        split=row["split"],
    )


def _content(parts: list[dict[str, Any]]) -> ContentRef:
    return tuple(PartRef(Modality(p["modality"]), text=p["text"], media=p["media"]) for p in parts)
