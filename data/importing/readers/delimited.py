"""CSV and its kin. One generator walks the rows for cutting and for reading, so that both see the same ones."""

import csv
import hashlib
from collections import deque
from collections.abc import Iterator
from typing import IO, Any

from data.importing.places import Access
from data.importing.readers.files import expand, name_of, parent
from data.importing.readers.lines import BOM, bounded_lines, line_ranges, too_long
from data.importing.rows import Cut, Row, Unreadable, to_json
from model.errors import DataError

EXTRA = "_extra"
FIELD_CHARS = 1 << 20
NOT_CSV = (
    "a quote is not closed, or stands inside a quoted field; where quotes are plain text, set source.quotes to false"
)
_Found = tuple[list[bytes | int], list[str] | None, tuple[str, str] | None]


class DelimitedReader:
    """Rows of fields.

    Args:
        access: opens the files.
        path: file or pattern.
        row_bytes: the longest row that is read.
        delimiter: between fields.
        quotes: whether a field in double quotes may hold delimiters and newlines.
        names: of the columns; of the first line of each file without.
    """

    def __init__(
        self,
        access: Access,
        path: str,
        row_bytes: int,
        *,
        delimiter: str = ",",
        quotes: bool = True,
        names: tuple[str, ...] | None = None,
    ) -> None:
        self.access = access
        self.path = path
        self.row_bytes = row_bytes
        self.quotes = quotes
        self.names = names
        quoting: Any = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
        self.dialect: dict[str, Any] = {"delimiter": delimiter, "quoting": quoting}

    @property
    def base(self) -> str:
        """Directory of the files."""
        return parent(self.path)

    def cuts(self, rows: int) -> Iterator[Cut]:
        """Ranges of rows; the names of the columns travel with each."""
        first = 0
        for place in expand(self.access, self.path):
            with self.access.open(place) as file:
                names, start = self._header(file, place)
                file.seek(start)
                for begin, end, count, digest in self._ranges(file, start, rows):
                    found = {"file": place, "start": begin, "end": end, "names": names}
                    yield Cut(first, count, found, digest)
                    first += count

    def read(self, cut: Cut) -> Iterator[Row | Unreadable]:
        """Rows of a range."""
        name, names = name_of(cut.place["file"]), cut.place["names"]
        with self.access.open(cut.place["file"]) as file:
            file.seek(cut.place["start"])
            found = self._rows(file, cut.place["end"] - cut.place["start"])
            for number, (lines, fields, problem) in enumerate(found, cut.first):
                if isinstance(lines[0], int):
                    yield too_long(number, self.row_bytes, name)
                    continue
                raw = b"".join(line for line in lines if isinstance(line, bytes))
                if raw.strip():
                    yield _row(number, raw, fields, problem, names, name)

    def _header(self, file: IO[bytes], place: str) -> tuple[list[str], int]:
        start = len(BOM) if file.read(len(BOM)) == BOM else 0
        if self.names is not None:
            return list(self.names), start
        file.seek(start)
        for lines, fields, problem in self._rows(file, None):
            names = [field.strip() for field in fields or ()]
            if problem or len(set(names)) < len(names) or not all(names):
                raise DataError(
                    f"the first line of {place} names no columns, or one twice ({problem or names}): give source.names "
                    f"if the file has no header, and look at source.delimiter, now {self.dialect['delimiter']!r}"
                )
            return names, start + _length(lines)
        return [], start  # an empty file has no rows

    def _ranges(self, file: IO[bytes], start: int, rows: int) -> Iterator[tuple[int, int, int, str]]:
        if not self.quotes:  # a row is a line
            for begin, end, count, digest in line_ranges(file, rows):
                yield begin + start, end + start, count, digest
            return
        begin = at = start
        count, total = 0, hashlib.blake2b(digest_size=16)
        for lines, _, _ in self._rows(file, None):
            for line in lines:
                total.update(line if isinstance(line, bytes) else f"{line} bytes".encode())
            at += _length(lines)
            count += 1
            if count == rows:
                yield begin, at, count, total.hexdigest()
                begin, count, total = at, 0, hashlib.blake2b(digest_size=16)
        if count:
            yield begin, at, count, total.hexdigest()

    def _rows(self, file: IO[bytes], size: int | None) -> Iterator[_Found]:
        """Rows, each with its lines. After one that breaks the rules, reading goes on at the line after its first.

        So a quote that is never closed costs one row, and not the rest of the file.
        """
        feed = _Feed(bounded_lines(file, self.row_bytes, size))
        csv.field_size_limit(FIELD_CHARS)
        rows = csv.reader(feed, strict=True, **self.dialect)
        while True:
            try:
                fields = next(rows)
                problem = feed.problem
            except StopIteration:
                return
            except (csv.Error, _TooLong):
                # What the parser says depends on how far it could look ahead, thus on the cut; this does not.
                fields, problem = None, ("row_malformed", NOT_CSV)
                feed.give_back()
                rows = csv.reader(feed, strict=True, **self.dialect)
            yield feed.take(), fields, problem


class _TooLong(Exception):  # noqa: N818 - caught right above
    """A line that was not held."""


class _Feed(Iterator[str]):
    """Lines as text for the parser, which takes no more than it needs; remembers those of the row at hand."""

    def __init__(self, lines: Iterator[bytes | int]) -> None:
        self.lines = lines
        self.waiting: deque[bytes | int] = deque()
        self.taken: list[bytes | int] = []
        self.problem: tuple[str, str] | None = None

    def __next__(self) -> str:
        line = self.waiting.popleft() if self.waiting else next(self.lines)
        self.taken.append(line)
        if isinstance(line, int):
            raise _TooLong("a line is too long")
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            self.problem = ("row_not_utf8", f"{error}; convert the file to UTF-8")
            return line.decode("utf-8", "backslashreplace")

    def give_back(self) -> None:
        """Keep the first line only."""
        self.waiting.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]

    def take(self) -> list[bytes | int]:
        """The lines of the row, which is over."""
        taken, self.taken, self.problem = self.taken, [], None
        return taken


def _row(
    number: int, raw: bytes, fields: list[str] | None, problem: tuple[str, str] | None, names: list[str], name: str
) -> Row | Unreadable:
    if problem is None and fields is not None and len(fields) != len(names):
        problem = ("row_malformed", f"{len(fields)} fields instead of {len(names)}")
    if problem is None and fields is not None:
        return Row(number, dict(zip(names, fields, strict=True)))
    reason, message = problem or ("row_malformed", "no fields")
    where = f"{name}, row {number}: {message}; columns are {names}"
    if fields is None:
        return Unreadable(number, to_json({EXTRA: raw.decode("utf-8", "backslashreplace")}), reason, where)
    values: dict[str, Any] = dict(zip(names, fields, strict=False))
    if len(fields) > len(names):
        values[EXTRA] = fields[len(names) :]
    return Unreadable(number, to_json(values), reason, where)


def _length(lines: list[bytes | int]) -> int:
    return sum(line if isinstance(line, int) else len(line) for line in lines)
