"""The unit of data: a content is an ordered list of parts and becomes one vector."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from model.errors import ContentError


class Modality(StrEnum):
    """What a part holds."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    DOCUMENT = "document"


def media_digest(data: bytes) -> str:
    """Identity of encoded media: 32 hex digits of BLAKE2b over the bytes."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


@dataclass(frozen=True)
class Part:
    """One piece of a content: ``text`` for text, encoded ``data`` (PNG, Ogg, MP4, ...) for media."""

    modality: Modality
    text: str | None = None
    data: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        is_text = self.modality is Modality.TEXT
        if (self.text is not None) != is_text or (self.data is not None) == is_text:
            raise ContentError(
                f"a {self.modality} part needs {'text and no data' if is_text else 'data and no text'}",
                code="malformed_part",
            )
        _check_unicode(self.text)

    @cached_property
    def digest(self) -> str:
        """Identity of the part's payload, the key of every cache."""
        return media_digest(self.data if self.data is not None else (self.text or "").encode())


def _check_unicode(value: str | None) -> None:
    """Refuse halves of surrogate pairs, which JSON may hold and UTF-8, thus tokenizers and digests, may not."""
    if value is not None and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ContentError(f"a text is no valid Unicode: {error}; send UTF-8", code="malformed_part") from error


def text(value: str) -> Part:
    """Make a text part."""
    return Part(Modality.TEXT, text=value)


def image(data: bytes) -> Part:
    """Make an image part from encoded bytes (PNG, JPEG, WebP, GIF)."""
    return Part(Modality.IMAGE, data=data)


def audio(data: bytes) -> Part:
    """Make an audio part from encoded bytes (WAV, FLAC, Ogg, MP3)."""
    return Part(Modality.AUDIO, data=data)


def video(data: bytes) -> Part:
    """Make a video part from encoded bytes (MP4, WebM, GIF)."""
    return Part(Modality.VIDEO, data=data)


def document(data: bytes) -> Part:
    """Make a document part from the bytes of a PDF."""
    return Part(Modality.DOCUMENT, data=data)


def content_digest(parts: Iterable[tuple[Modality, str]], task: str | None, title: str | None = None) -> str:
    """Identity of a content, from the modality and digest of each part."""
    titled = [] if title is None else [f"title:{media_digest(title.encode())}"]
    joined = "|".join([task or "", *titled, *(f"{modality}:{digest}" for modality, digest in parts)])
    return hashlib.blake2b(joined.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Content:
    """Ordered parts that yield one vector.

    ``task`` names the prefix that the model puts before the text (``query``, ``document``, ...); ``title`` fills the
    place that some prefixes have for the title of a document (see ``model.prompts``).
    """

    parts: tuple[Part, ...]
    task: str | None = None
    title: str | None = None

    def __post_init__(self) -> None:
        if not self.parts:
            raise ContentError("a content needs at least one part", code="empty_content")
        _check_unicode(self.title)

    @classmethod
    def of(cls, *parts: Part | str, task: str | None = None, title: str | None = None) -> "Content":
        """Build a content from parts; a plain string stands for a text part."""
        return cls(tuple(text(p) if isinstance(p, str) else p for p in parts), task=task, title=title)

    @cached_property
    def modalities(self) -> frozenset[Modality]:
        """The set of modalities that occur in the parts."""
        return frozenset(p.modality for p in self.parts)

    @cached_property
    def kind(self) -> str:
        """``text``, ``image``, ..., or ``interleaved`` for a mixture: the label used in reports and drift."""
        kinds = self.modalities
        return next(iter(kinds)).value if len(kinds) == 1 else "interleaved"

    @cached_property
    def digest(self) -> str:
        """Identity of the content: task, title and parts in order."""
        return content_digest([(p.modality, p.digest) for p in self.parts], self.task, self.title)
