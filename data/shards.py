"""Parquet shards: one self-contained file per source that holds its media rows and its record rows.

A shard has two kinds of rows. ``media`` rows carry encoded bytes once, under their digest; ``record`` rows refer
to them. Media come first, in row groups of their own, so that reading the records never touches the bytes.
"""

from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
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
_PARTS = ("modality", "text", "media")
LEAVES = (
    *("kind", "id", "task"),
    *(f"query.list.element.{name}" for name in _PARTS),
    *(f"{role}.list.element.list.element.{name}" for role in ("positives", "negatives") for name in _PARTS),
    *("source", "languages.list.element", "license", "group", "split", "modality", "bytes"),
)
# Who wants one medium reads its row group: at most so many rows, and bytes, unless a single one has more.
MEDIA_ROWS_PER_GROUP = 256
MEDIA_BYTES_PER_GROUP = 2**20


@dataclass(frozen=True)
class Packing:
    """How a shard is compressed.

    Attributes:
        level: of zstd. 19 is for a corpus that is written once and kept in a repository; 3 is many times faster.
        media: whether media, which are compressed already, are compressed again.
    """

    level: int = 19
    media: bool = True

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of ``ParquetWriter``."""
        if self.media:
            return {"compression": "zstd", "compression_level": self.level, "use_dictionary": True}
        packed = [leaf for leaf in LEAVES if leaf != "bytes"]
        return {
            "compression": {**dict.fromkeys(packed, "zstd"), "bytes": "none"},
            "compression_level": dict.fromkeys(packed, self.level),
            "use_dictionary": [leaf for leaf in packed if leaf != "id"],
        }


class ShardWriter:
    """Writes one shard as it comes: media at once, in row groups of their own, and at the end the records.

    A block that ends well leaves the whole shard at its place; one that raises leaves nothing.

    Args:
        path: target ``.parquet`` file; replaced atomically.
        packing: how it is compressed.
    """

    def __init__(self, path: Path, packing: Packing | None = None) -> None:
        self.path = path
        self.packing = packing or Packing()
        self.media: dict[str, Modality] = {}
        self.media_bytes = 0
        self.records = 0
        self._rows: list[dict[str, Any]] = []
        self._group: list[dict[str, Any]] = []
        self._held = 0
        self._files = ExitStack()

    def __enter__(self) -> "ShardWriter":
        partial = self._files.enter_context(whole_file(self.path))
        schema = SCHEMA.with_metadata(FORMAT)
        self._writer = self._files.enter_context(pq.ParquetWriter(partial, schema, **self.packing.options))
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            try:
                self._flush()
                self._writer.write_table(pa.Table.from_pylist(self._rows, SCHEMA))
            except BaseException as failure:
                self._files.__exit__(type(failure), failure, failure.__traceback__)
                raise
        self._files.__exit__(*error)

    def add_media(self, digest: str, modality: Modality, data: bytes) -> bool:
        """Store a medium; false when the shard has it already."""
        if digest in self.media:
            return False
        size = len(data)
        if self._group and (len(self._group) == MEDIA_ROWS_PER_GROUP or self._held + size > MEDIA_BYTES_PER_GROUP):
            self._flush()
        self._group.append({"kind": "media", "id": digest, "modality": modality.value, "bytes": data})
        self._held += size
        self.media[digest] = modality
        self.media_bytes += size
        return True

    def add(self, record: Record) -> None:
        """Store a record, whose media have been stored.

        Raises:
            DataError: some have not.
        """
        check_references(record, self.media)
        self._rows.append(_to_row(record))
        self.records += 1

    def _flush(self) -> None:
        if self._group:
            self._writer.write_table(pa.Table.from_pylist(self._group, SCHEMA))
        self._group, self._held = [], 0


def write_shard(
    path: Path,
    records: Iterable[Record],
    media: Mapping[str, tuple[Modality, bytes]],
    packing: Packing | None = None,
) -> None:
    """Write one shard, deterministically: the same input gives the same bytes.

    Args:
        path: target ``.parquet`` file; replaced atomically.
        records: records, whose ``PartRef.media`` must all be keys of ``media``.
        media: digest -> (modality, encoded bytes).
        packing: how it is compressed.

    Raises:
        DataError: a digest does not match its bytes or a record refers to media that are not given.
    """
    wrong = [digest for digest, (_, data) in media.items() if media_digest(data) != digest]
    if wrong:
        raise DataError(f"{len(wrong)} media digests do not match their bytes, first: {wrong[0]}")
    with ShardWriter(path, packing) as shard:
        for digest, (modality, data) in sorted(media.items()):
            shard.add_media(digest, modality, data)
        for record in records:
            shard.add(record)


def check_references(record: Record, media: Container[str]) -> None:
    """Refuse a record whose media are not all there.

    Raises:
        DataError: naming the first that is not.
    """
    for content in (record.query, *record.positives, *record.negatives):
        for part in content:
            if part.media is not None and part.media not in media:
                raise DataError(f"record {record.id} refers to media {part.media} that is not in the shard")


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
