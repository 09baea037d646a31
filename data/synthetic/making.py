"""What a helper makes of one record, and how the result is labelled."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from data.records import ContentRef, PartRef, Record
from data.synthetic.config import SUFFIX
from model.content import Modality

Media = Mapping[str, tuple[Modality, bytes]]


@dataclass(frozen=True)
class Made:
    """A synthetic record and the media that were made for it; others lie in the original's shard."""

    record: Record
    media: Media = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of one original: records, or why there are none.

    Attributes:
        made: synthetic records.
        skipped: why the helper does not apply to it, such as ``no_template_for_language``.
        refused: why what should have been made was not; goes to the quarantine.
        message: the refusal in words.
    """

    made: tuple[Made, ...] = ()
    skipped: str | None = None
    refused: str | None = None
    message: str = ""


Make = Callable[[Record], Outcome]


def label_of(record: Record) -> str | None:
    """The text of a query that is one text; ``None`` of any other query."""
    if len(record.query) != 1 or record.query[0].modality is not Modality.TEXT:
        return None
    return (record.query[0].text or "").strip() or None


def text_content(text: str) -> ContentRef:
    """A content of one text."""
    return (PartRef(Modality.TEXT, text=text),)


def synthetic(record: Record, how: str, **changes: object) -> Record:
    """A record made from another: source and id say so, group and split are those of the original.

    Args:
        record: the original.
        how: helper, language and number, unique among the records made of one original.
        changes: fields that differ.
    """
    source = f"{record.source}{SUFFIX}"
    return replace(record, id=f"{source}/{record.id}/{how}", source=source, **changes)  # type: ignore[arg-type]
