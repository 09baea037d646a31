"""A shard under construction: collects records and media of one source and drops exact duplicates."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from data.records import ContentRef, PartRef, Record, Split
from data.splits import split_of
from model.content import Modality, media_digest


def text_part(value: str) -> PartRef:
    """A text part as stored."""
    return PartRef(Modality.TEXT, text=value)


def order_key(*values: str) -> str:
    """Key for a fixed pseudo-random order that does not depend on names or versions of anything else."""
    return hashlib.sha1("\0".join(values).encode(), usedforsecurity=False).hexdigest()


@dataclass
class Draft:
    """Records and media of one shard.

    Attributes:
        source: name of the source, also the stem of the shard file.
        license: SPDX expression of everything in the source.
    """

    source: str
    license: str
    records: dict[str, Record] = field(default_factory=dict)
    media: dict[str, tuple[Modality, bytes]] = field(default_factory=dict)
    _seen: dict[tuple[str, ContentRef, tuple[ContentRef, ...]], str] = field(default_factory=dict)

    def add_media(self, modality: Modality, data: bytes) -> PartRef:
        """Store encoded media once and return the part that refers to it."""
        digest = media_digest(data)
        self.media[digest] = (modality, data)
        return PartRef(modality, media=digest)

    def add(
        self,
        record_id: str,
        task: str,
        query: Sequence[PartRef],
        positive: Sequence[PartRef],
        *,
        group: str,
        languages: Iterable[str],
        negatives: Sequence[Sequence[PartRef]] = (),
        split: Split | None = None,
    ) -> None:
        """Add one pair, or add its languages to the record that has the same query and positive already.

        A name can be the same word in several languages ("ananas"): that is one record with several languages.
        """
        key = (task, tuple(query), (tuple(positive),))
        if key in self._seen:
            known = self.records[self._seen[key]]
            merged = tuple(dict.fromkeys((*known.languages, *languages)))
            self.records[known.id] = replace(known, languages=merged)
            return
        full_id = f"{self.source}/{record_id}"
        if full_id in self.records:
            raise ValueError(f"two records have the id {full_id}; ids must be unique within a source")
        self._seen[key] = full_id
        self.records[full_id] = Record(
            id=full_id,
            task=task,
            query=tuple(query),
            positives=(tuple(positive),),
            negatives=tuple(tuple(n) for n in negatives),
            source=self.source,
            languages=tuple(languages),
            license=self.license,
            group=group,
            split=split or split_of(group),
        )

    def used_media(self) -> dict[str, tuple[Modality, bytes]]:
        """The media that a record refers to."""
        used = {
            part.media
            for record in self.records.values()
            for content in (record.query, *record.positives, *record.negatives)
            for part in content
        }
        return {digest: item for digest, item in self.media.items() if digest in used}
