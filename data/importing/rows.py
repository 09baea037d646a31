"""What readers give: cuts of a source, and the rows of a cut, of which some cannot be read."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

STORED = "$stored"


@dataclass(frozen=True)
class Cut:
    """A part of a source that is read on its own, the same one whoever asks.

    Attributes:
        first: number of its first row in the source.
        rows: how many numbers it has; blank lines have one and are no rows.
        place: what its reader needs to find it: names and numbers.
        digest: identity of its content, as far as the reader can tell without reading media.
    """

    first: int
    rows: int
    place: dict[str, Any]
    digest: str

    def to_json(self) -> str:
        """One line."""
        return json.dumps(vars(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, line: str) -> "Cut":
        """From such a line."""
        return cls(**json.loads(line))


@dataclass(frozen=True)
class Stored:
    """A medium that lies inside a file of the source.

    Attributes:
        place: where: ``file`` with ``offset`` and ``size``, or with ``row`` and ``column``.
        data: its bytes where the reader has them at hand.
    """

    place: dict[str, Any]
    data: bytes | None = None

    @property
    def size(self) -> int | None:
        """Bytes, if known."""
        return len(self.data) if self.data is not None else self.place.get("size")


@dataclass(frozen=True)
class Row:
    """One row: values by column. ``line`` is the row as it stood in a text file."""

    number: int
    values: dict[str, Any]
    line: str | None = None

    @property
    def raw(self) -> str:
        """The row as JSON; media that lie in the source by their places."""
        return to_json(self.values) if self.line is None else self.line


@dataclass(frozen=True)
class Unreadable:
    """A row, or more, of which no columns can be read."""

    number: int
    raw: str
    reason: str
    message: str


class Reader(Protocol):
    """One form of source."""

    def cuts(self, rows: int) -> Iterator[Cut]:
        """Divide the source into cuts of about so many rows, in order.

        Raises:
            DataError: there is no such source, or it is of another form.
        """

    def read(self, cut: Cut) -> Iterator[Row | Unreadable]:
        """The rows of a cut."""

    @property
    def base(self) -> str:
        """Directory that relative paths in the rows start from."""


def to_json(values: Any) -> str:
    """Values as JSON, whatever is in them."""
    return json.dumps(values, ensure_ascii=False, default=_plain)


def from_json(text: str) -> Any:
    """The opposite of :func:`to_json`.

    Raises:
        ValueError: no JSON.
        RecursionError: nested too deep.
    """
    # A hook makes reading several times slower, and hardly any row needs it.
    return json.loads(text, object_hook=_revived) if STORED in text else json.loads(text)


def _plain(value: Any) -> Any:
    if isinstance(value, Stored):
        return {STORED: value.place}
    if isinstance(value, bytes):
        return {STORED: {"size": len(value)}}
    return str(value)


def _revived(value: dict[str, Any]) -> Any:
    return Stored(value[STORED]) if value.keys() == {STORED} else value
