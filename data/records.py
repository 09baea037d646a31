"""Training records: what is a query, what matches it, and everything needed to trust and filter the pair."""

from dataclasses import dataclass
from typing import Literal

from model.content import Content, Modality

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class PartRef:
    """A part as stored: text inline, media by digest into the same shard."""

    modality: Modality
    text: str | None = None
    media: str | None = None


ContentRef = tuple[PartRef, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """One training or evaluation example.

    ``group`` is the leakage key: all records of a group are in one split.
    ``languages`` holds BCP-47 tags of the query and the positives (``und`` when there is no language).
    ``license`` is an SPDX expression; every licence of text and media involved, joined by ``AND``.
    """

    id: str
    task: str
    query: ContentRef
    positives: tuple[ContentRef, ...]
    negatives: tuple[ContentRef, ...]
    source: str
    languages: tuple[str, ...]
    license: str
    group: str
    split: Split


@dataclass(frozen=True, slots=True)
class Example:
    """A record with its media resolved: what an encoder takes."""

    record: Record
    query: Content
    positives: tuple[Content, ...]
    negatives: tuple[Content, ...]
