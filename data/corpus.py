"""A corpus in memory: records of a directory of shards, with their media resolved on demand."""

from collections.abc import Callable, Iterator
from pathlib import Path

from data.records import ContentRef, Example, Record, Split
from data.shards import read_media, read_records, shard_paths
from model.content import Content, Modality, Part
from model.errors import DataError


class Corpus:
    """Records plus the encoded media they refer to.

    Media bytes are read shard by shard when first needed and kept, so text-only use never loads them.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.paths = shard_paths(directory)
        self.records: list[Record] = []
        self._shard_of: dict[str, Path] = {}
        for path in self.paths:
            for record in read_records(path):
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

    def media(self) -> Iterator[tuple[str, Modality, bytes]]:
        """Every distinct media item of the corpus: (digest, modality, bytes)."""
        seen: set[str] = set()
        for path in self.paths:
            for digest, (modality, data) in self._shard_media(path).items():
                if digest not in seen:
                    seen.add(digest)
                    yield digest, modality, data

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
