"""A corpus: its records in memory, their media resolved on demand."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from data.access import MediaAccess
from data.records import ContentRef, Example, Record, Split
from data.shards import read_media, read_records, shard_paths
from model.content import Content, Part


class Corpus:
    """Records plus access to the encoded media they refer to, so text-only use never reads media.

    Args:
        directory: shards.
        splits: records of these splits only; all when empty.
        tasks: records of these tasks only; all when empty.
    """

    def __init__(self, directory: Path, *, splits: Collection[str] = (), tasks: Collection[str] = ()) -> None:
        self.directory = directory
        self.paths = shard_paths(directory)
        self.media = MediaAccess()
        self.records: list[Record] = []
        self._shard_of: dict[str, Path] = {}
        for path in self.paths:
            for record in read_records(path, splits=splits, tasks=tasks):
                self.records.append(record)
                self._shard_of[record.id] = path

    def select(self, *, split: Split | None = None, where: Callable[[Record], bool] = lambda _: True) -> list[Record]:
        """Records of a split that satisfy a predicate, in stored order."""
        return [r for r in self.records if (split is None or r.split == split) and where(r)]

    def shard_of(self, record: Record) -> Path:
        """The shard that holds a record and its media."""
        return self._shard_of[record.id]

    def resolve(self, record: Record) -> Example:
        """Attach the media bytes of one record."""
        return self.media.resolve(record, self.shard_of(record))

    def content(self, record: Record, ref: ContentRef) -> Content:
        """Turn one stored content of ``record`` into a content with bytes."""
        return self.media.content(record, ref, self.shard_of(record))


def distinct_media(directory: Path) -> Iterator[Part]:
    """Every distinct media item of a corpus directory as a part, shard by shard; no record is read."""
    seen: set[str] = set()
    for path in shard_paths(directory):
        for digest, (modality, data) in read_media(path).items():
            if digest not in seen:
                seen.add(digest)
                yield Part(modality, data=data)
