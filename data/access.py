"""Random access to the media of shards: a group of rows is read when one of its media is wanted, and kept for a while.

So a process needs neither the records nor all the bytes of a corpus to make batches: it needs an index of 36 bytes a
medium, and the groups it used last.
"""

import threading
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data.records import ContentRef, Example, Record
from model.content import Content, Part
from model.errors import DataError

KEPT_BYTES = 256 * 2**20
OPEN_SHARDS = 64


class _Index(NamedTuple):
    """Digests of a shard's media in order, and the row group of each."""

    digests: NDArray[np.bytes_]
    groups: NDArray[np.int32]


class MediaAccess:
    """Media by shard and digest; threads may share one, and a process that is sent one opens the files itself.

    Args:
        kept_bytes: of the row groups used last; one is kept in any case.
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self.kept_bytes = kept_bytes
        self._lock = threading.Lock()
        self._indexes: dict[Path, _Index] = {}
        self._groups: OrderedDict[tuple[Path, int], dict[str, bytes]] = OrderedDict()
        self._held = 0
        self._open = lru_cache(maxsize=OPEN_SHARDS)(_opened)

    def __reduce__(self) -> tuple[type["MediaAccess"], tuple[int]]:
        return MediaAccess, (self.kept_bytes,)

    def __call__(self, shard: Path, digest: str) -> bytes:
        """Encoded bytes of a medium.

        Raises:
            KeyError: the shard has no such medium.
            DataError: the shard cannot be read.
        """
        with self._lock:
            try:
                return self._group(shard, self._group_of(shard, digest))[digest]
            except (pa.ArrowInvalid, OSError) as error:
                raise DataError(f"{shard} is not a readable Omnivec shard: {error}") from error

    def resolve(self, record: Record, shard: Path) -> Example:
        """Attach the media bytes of one record, which lie in ``shard``.

        Raises:
            DataError: the record refers to media that the shard lacks.
        """
        return Example(
            record=record,
            query=self.content(record, record.query, shard),
            positives=tuple(self.content(record, c, shard) for c in record.positives),
            negatives=tuple(self.content(record, c, shard) for c in record.negatives),
        )

    def content(self, record: Record, ref: ContentRef, shard: Path) -> Content:
        """Turn one stored content of ``record`` into a content with bytes."""
        parts = []
        for part in ref:
            if part.media is None:
                parts.append(Part(part.modality, text=part.text))
                continue
            try:
                parts.append(Part(part.modality, data=self(shard, part.media)))
            except KeyError:
                raise DataError(f"record {record.id} refers to media {part.media}, absent from {shard.name}") from None
        return Content(tuple(parts))

    def _group_of(self, shard: Path, digest: str) -> int:
        if shard not in self._indexes:
            self._indexes[shard] = _index(self._open(shard))
        digests, groups = self._indexes[shard]
        wanted = digest.encode()
        place = int(np.searchsorted(digests, wanted))
        if place == len(digests) or digests[place] != wanted:
            raise KeyError(digest)
        return int(groups[place])

    def _group(self, shard: Path, number: int) -> dict[str, bytes]:
        key = (shard, number)
        if key in self._groups:
            self._groups.move_to_end(key)
            return self._groups[key]
        table = self._open(shard).read_row_group(number, columns=["kind", "id", "bytes"])
        rows = zip(table["kind"].to_pylist(), table["id"].to_pylist(), table["bytes"].to_pylist(), strict=True)
        found = {digest: data for kind, digest, data in rows if kind == "media"}
        self._groups[key] = found
        self._held += _size(found)
        while self._held > self.kept_bytes and len(self._groups) > 1:
            _, oldest = self._groups.popitem(last=False)
            self._held -= _size(oldest)
        return found


def _opened(shard: Path) -> pq.ParquetFile:
    return pq.ParquetFile(shard, memory_map=True)


def _index(file: pq.ParquetFile) -> _Index:
    digests: list[str] = []
    groups: list[int] = []
    for number in range(file.num_row_groups):
        kinds = file.read_row_group(number, columns=["kind"])["kind"].to_pylist()
        if "media" not in kinds:
            continue
        ids = file.read_row_group(number, columns=["id"])["id"].to_pylist()
        own = [digest for kind, digest in zip(kinds, ids, strict=True) if kind == "media"]
        digests += own
        groups += [number] * len(own)
    names = np.array(digests, dtype=np.bytes_)
    order = np.argsort(names, kind="stable")
    return _Index(names[order], np.array(groups, dtype=np.int32)[order])


def _size(group: dict[str, bytes]) -> int:
    return sum(map(len, group.values()))
