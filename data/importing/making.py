"""From a draft to a record with its media: fetched within limits, probed, named by content."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from data.importing.config import ImportConfig
from data.importing.drafts import DraftContent, DraftPart, draft
from data.importing.looks import Medium as Look
from data.importing.places import Access, Fetched, stored
from data.importing.refusal import Refused
from data.importing.rows import Row, Stored
from data.probes import Probe, probe_media
from data.records import ContentRef, PartRef, Record
from data.splits import split_of
from model.content import Modality, content_digest, media_digest

RECENT, RECENT_BYTES = 64, 4 << 20


@dataclass(frozen=True)
class Medium:
    """One medium of a record."""

    modality: Modality
    data: bytes
    probe: Probe


@dataclass(frozen=True)
class Made:
    """A record and its media by digest."""

    record: Record
    media: dict[str, Medium]


class Maker:
    """Makes records of one import. Rows that follow each other and share a medium fetch and probe it once.

    Attributes:
        note: is told what each fetched medium looked like.
    """

    def __init__(self, config: ImportConfig, access: Access) -> None:
        self.config = config
        self.access = access
        self.note: Callable[[Look], None] = lambda _: None
        self._recent: OrderedDict[tuple[Modality, str], tuple[str, Medium, Look | None]] = OrderedDict()

    def __call__(self, row: Row) -> Made:
        """The record of a row.

        Raises:
            Refused: it cannot become one, or one of its media cannot be had or decoded.
        """
        config = self.config
        found = draft(config.mapping, row, text_chars=config.sizes.text_chars, max_parts=config.limits.max_parts)
        media: dict[str, Medium] = {}
        query = self._content(found.query, media)
        positives = tuple(self._content(content, media) for content in found.positives)
        negatives = tuple(self._content(content, media) for content in found.negatives)
        group = found.group if found.group is not None else _digest(positives[0])
        record = Record(
            id=f"{config.name}/{found.id if found.id is not None else _identity((query, *positives, *negatives), row)}",
            task=found.task,
            query=query,
            positives=positives,
            negatives=negatives,
            source=config.name,
            languages=found.languages,
            license=found.license,
            group=group,
            split=split_of(group),
        )
        return Made(record, media)

    def _content(self, content: DraftContent, media: dict[str, Medium]) -> ContentRef:
        return tuple(self._part(part, media) for part in content)

    def _part(self, part: DraftPart, media: dict[str, Medium]) -> PartRef:
        if part.modality is Modality.TEXT:
            assert isinstance(part.value, str)
            return PartRef(part.modality, text=part.value)
        digest, medium = self._medium(part)
        other = media.get(digest)
        if other is not None and other.modality is not part.modality:
            raise Refused(
                "media_of_two_modalities", f"one medium is called {other.modality} and {part.modality} in one row"
            )
        media[digest] = medium
        return PartRef(part.modality, media=digest)

    def _medium(self, part: DraftPart) -> tuple[str, Medium]:
        value = part.value
        key = (part.modality, str(value.place) if isinstance(value, Stored) else value)
        if key in self._recent:
            digest, medium, look = self._recent[key]
            self._noted(look)
            return digest, medium
        data, seen = self._fetched(part)
        digest = media_digest(data)
        look = None if seen is None else Look(key[1], seen, digest, refused=True)
        try:
            if not data:
                raise Refused("media_empty", f"{key[1]!r} has no bytes")
            probe = probe_media(digest, part.modality.value, data, self.config.limits)
            if probe.code is not None:
                raise Refused(probe.code, f"{key[1]!r}: {probe.message}")
            look = None if look is None else look._replace(refused=False)
        finally:
            self._noted(look)
        medium = Medium(part.modality, data, probe)
        if len(data) <= RECENT_BYTES:
            self._recent[key] = (digest, medium, look)
            if len(self._recent) > RECENT:
                self._recent.popitem(last=False)
        return digest, medium

    def _noted(self, look: Look | None) -> None:
        if look is not None:
            self.note(look)

    def _fetched(self, part: DraftPart) -> Fetched:
        most, value = self.config.limits.max_media_bytes, part.value
        try:
            if isinstance(value, Stored):
                return Fetched(stored(self.access, value, most), None)
            return self.access.fetch(value, most)
        except Refused as refused:
            if refused.look is not None and isinstance(value, str):
                self.note(Look(value, refused.look, None, refused=True))
            if refused.reason == "too_large":
                raise Refused(f"{part.modality}_too_large", refused.message) from refused
            raise


def _digest(content: ContentRef) -> str:
    parts = ((part.modality, part.media or media_digest((part.text or "").encode())) for part in content)
    return content_digest(parts, None)


def _identity(contents: Iterable[ContentRef], row: Row) -> str:
    total = hashlib.blake2b(str(row.number).encode(), digest_size=8)
    for content in contents:
        total.update(f"\0{_digest(content)}".encode())
    return total.hexdigest()
