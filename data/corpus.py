"""A corpus in memory: records of a directory of shards, with their media resolved on demand."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from data.records import ContentRef, Example, Record, Split
from data.shards import read_media, read_records, shard_paths
from model.content import Content, Modality, Part
from model.errors import DataError


class Corpus:
    """Records plus the encoded media they refer to.

    Media bytes are read shard by shard when first needed and kept, so text-only use never loads them.

    Args:
        directory: shards.
        splits: records of these splits only; all when empty.
        tasks: records of these tasks only; all when empty.
    """

    def __init__(self, directory: Path, *, splits: Collection[str] = (), tasks: Collection[str] = ()) -> None:
        self.directory = directory
        self.paths = shard_paths(directory)
        self.records: list[Record] = []
        self._shard_of: dict[str, Path] = {}
        for path in self.paths:
            for record in read_records(path, splits=splits, tasks=tasks):
                self.records.append(record)
                self._shard_of[record.id] = path
        self._media: dict[Path, dict[str, tuple[Modality, bytes]]] = {}

    def select(self, *, split: Split | None = None, where: Callable[[Record], bool] = lambda _: True) -> list[Record]:
        """Records of a split that satisfy a predicate, in stored order."""
        return [r for r in self.records if (split is None or r.split == split) and where(r)]

    def resolve(self, record: Record) -> Example:
        """Attach the media bytes of one record."""
        return Example(
            record=record,
            query=self.content(record, record.query),
            positives=tuple(self.content(record, c) for c in record.positives),
            negatives=tuple(self.content(record, c) for c in record.negatives),
        )

    def content(self, record: Record, ref: ContentRef) -> Content:
        """Turn one stored content of ``record`` into a content with bytes."""
        shard = self._shard_of[record.id]
        return Content(tuple(self._part(shard, record, p.modality, p.text, p.media) for p in ref))

    def _shard_media(self, path: Path) -> dict[str, tuple[Modality, bytes]]:
        if path not in self._media:
            self._media[path] = read_media(path)
        return self._media[path]

    def _part(self, shard: Path, record: Record, modality: Modality, text: str | None, media: str | None) -> Part:
        if media is None:
            return Part(modality, text=text)
        try:
            return Part(modality, data=self._shard_media(shard)[media][1])
        except KeyError:
            raise DataError(f"record {record.id} refers to media {media}, absent from {shard.name}") from None


def distinct_media(directory: Path) -> Iterator[Part]:
    """Every distinct media item of a corpus directory as a part, shard by shard; no record is read."""
    seen: set[str] = set()
    for path in shard_paths(directory):
        for digest, (modality, data) in read_media(path).items():
            if digest not in seen:
                seen.add(digest)
                yield Part(modality, data=data)
