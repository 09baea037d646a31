"""JSON Lines. Cuts are ranges of bytes that begin and end with lines, so that a cut is read without what is before."""

import hashlib
from collections.abc import Iterator
from typing import IO

from data.importing.places import Access
from data.importing.readers.files import BLOCK, expand, name_of, parent
from data.importing.rows import Cut, Row, Unreadable, from_json

BOM = b"\xef\xbb\xbf"


class LinesReader:
    """Rows of JSON objects.

    Args:
        access: opens the files.
        path: file or pattern.
        row_bytes: the longest line that is read.
    """

    def __init__(self, access: Access, path: str, row_bytes: int) -> None:
        self.access = access
        self.path = path
        self.row_bytes = row_bytes

    @property
    def base(self) -> str:
        """Directory of the files."""
        return parent(self.path)

    def cuts(self, rows: int) -> Iterator[Cut]:
        """Ranges of lines."""
        first = 0
        for place in expand(self.access, self.path):
            with self.access.open(place) as file:
                for start, end, lines, digest in line_ranges(file, rows):
                    yield Cut(first, lines, {"file": place, "start": start, "end": end}, digest)
                    first += lines

    def read(self, cut: Cut) -> Iterator[Row | Unreadable]:
        """Rows of a range."""
        name = name_of(cut.place["file"])
        with self.access.open(cut.place["file"]) as file:
            file.seek(cut.place["start"])
            size = cut.place["end"] - cut.place["start"]
            for i, line in enumerate(bounded_lines(file, self.row_bytes, size)):
                if isinstance(line, int):
                    yield too_long(cut.first + i, self.row_bytes, name)
                    continue
                begins = i == cut.place["start"] == 0
                if stripped := (line.removeprefix(BOM) if begins else line).strip():
                    yield parsed(cut.first + i, stripped, name)


def parsed(number: int, line: bytes, name: str) -> Row | Unreadable:
    """A line as a row."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raw = line.decode("utf-8", "backslashreplace")
        return Unreadable(number, raw, "row_not_utf8", f"{name}, row {number}: {error}; convert the file to UTF-8")
    try:
        values = from_json(text)
    except (ValueError, RecursionError) as error:
        return Unreadable(number, text, "row_unparsable", f"{name}, row {number}: no JSON ({error})")
    if not isinstance(values, dict):
        found = type(values).__name__
        return Unreadable(number, text, "row_unparsable", f"{name}, row {number}: {found} instead of an object")
    return Row(number, values, text)


def too_long(number: int, row_bytes: int, name: str) -> Unreadable:
    """A row of which nothing was read."""
    message = f"{name}, row {number} has more than {row_bytes} bytes; raise sizes.row_bytes, or shorten it"
    return Unreadable(number, "", "row_too_long", message)


def line_ranges(file: IO[bytes], lines: int) -> Iterator[tuple[int, int, int, str]]:
    """(start, end, lines, digest) of ranges of so many lines each, counted from where the file stands."""
    start = at = count = 0
    ended = True
    total = hashlib.blake2b(digest_size=16)
    while block := file.read(BLOCK):
        begin = 0
        while (more := block.count(b"\n", begin)) + count >= lines:
            cut = _after_newlines(block, begin, lines - count)
            total.update(block[begin:cut])
            yield start, at + cut, lines, total.hexdigest()
            start, begin, count, total = at + cut, cut, 0, hashlib.blake2b(digest_size=16)
        count += more
        total.update(block[begin:])
        at += len(block)
        ended = block.endswith(b"\n")
    if at > start:
        yield start, at, count + (not ended), total.hexdigest()


def _after_newlines(block: bytes, begin: int, count: int) -> int:
    for _ in range(count):
        begin = block.index(b"\n", begin) + 1
    return begin


def bounded_lines(file: IO[bytes], most: int, size: int | None = None) -> Iterator[bytes | int]:
    """Lines of the next ``size`` bytes, or of the rest; of one longer than ``most``, which is not held, its length."""
    left = float("inf") if size is None else size
    while left > 0 and (line := file.readline(int(min(left, most + 1)))):
        left -= len(line)
        if len(line) <= most or line.endswith(b"\n"):
            yield line
            continue
        skipped = len(line)
        while left > 0 and (rest := file.readline(int(min(left, BLOCK)))):
            left -= len(rest)
            skipped += len(rest)
            if rest.endswith(b"\n"):
                break
        yield skipped
