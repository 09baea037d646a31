"""Tars of samples, read in place: a cut begins at the header of a member, and nothing is ever unpacked."""

import hashlib
import re
import tarfile
from collections.abc import Collection, Iterator
from typing import IO, Any

from data.importing.places import Access
from data.importing.readers.files import expand, name_of, parent
from data.importing.rows import Cut, Row, Stored, Unreadable, from_json, to_json

KEY = re.compile(r"^((?:.*/|)[^./][^.]*)\.([^/]+)$")
TEXTS = ("txt", "text", "cls", "transcript", "caption")
GZIP, ZSTD, BZIP2, XZ = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ"


class WebDatasetReader:
    """Rows of tars.

    Args:
        access: opens the files.
        path: file or pattern.
        columns: that the mapping uses; media of other columns are not read.
        text_bytes: the longest text member that is read.
        media_bytes: the longest medium that is read.
    """

    def __init__(self, access: Access, path: str, columns: Collection[str], text_bytes: int, media_bytes: int) -> None:
        self.access = access
        self.path = path
        self.columns = columns
        self.text_bytes = text_bytes
        self.media_bytes = media_bytes

    @property
    def base(self) -> str:
        """Directory of the files."""
        return parent(self.path)

    def cuts(self, rows: int) -> Iterator[Cut]:
        """Runs of samples of one tar; only headers are read."""
        first = 0
        for place in expand(self.access, self.path):
            with self.access.open(place) as file:
                for cut in self._cuts(file, place, first, rows):
                    yield cut
                    first += cut.rows

    def read(self, cut: Cut) -> Iterator[Row | Unreadable]:
        """Rows of a cut."""
        place = cut.place["file"]
        if "problem" in cut.place:
            message = f"{place}: {cut.place['problem']}"
            yield Unreadable(cut.first, to_json({"_file": place}), cut.place["reason"], message)
            return
        with self.access.open(place) as file:
            file.seek(cut.place["offset"])
            tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 - it is the file that is closed
            for number, (key, members) in zip(range(cut.rows), _samples(tar), strict=False):
                yield self._row(cut.first + number, place, file, key, members)

    def _cuts(self, file: IO[bytes], place: str, first: int, rows: int) -> Iterator[Cut]:
        offset = count = 0
        total = hashlib.blake2b(digest_size=16)
        problem, reason = _compressed(file), "file_compressed"
        if problem is None:
            try:
                tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115
                for _, members in _samples(tar):
                    if count == rows:
                        yield Cut(first, count, {"file": place, "offset": offset}, total.hexdigest())
                        first, count, offset, total = (
                            first + count,
                            0,
                            members[0].offset,
                            hashlib.blake2b(digest_size=16),
                        )
                    offset = offset if count else members[0].offset
                    count += 1
                    for one in members:
                        total.update(f"{one.name}\0{one.size}\0{one.mtime}\n".encode("utf-8", "surrogateescape"))
            except (tarfile.TarError, EOFError, OSError) as error:
                problem, reason = f"it ends before its end, or is no tar ({error})", "file_truncated"
        if count:
            yield Cut(first, count, {"file": place, "offset": offset}, total.hexdigest())
            first += count
        if problem is not None:
            found = {"file": place, "problem": problem, "reason": reason}
            yield Cut(first, 1, found, hashlib.blake2b(f"{name_of(place)}{problem}".encode()).hexdigest()[:32])

    def _row(
        self, number: int, place: str, file: IO[bytes], key: str, members: list[tarfile.TarInfo]
    ) -> Row | Unreadable:
        values: dict[str, Any] = {"__key__": key}
        for member in members:
            column = _column(member)
            where = {"file": place, "offset": member.offset_data, "size": member.size, "name": member.name}
            if column in values:
                raw = to_json(values)
                return Unreadable(number, raw, "row_malformed", f"{name_of(place)}: {key} has two files .{column}")
            try:
                values[column] = self._value(file, column, member, where)
            except (ValueError, RecursionError) as error:
                values[column] = Stored(where)
                message = f"{name_of(place)}: {member.name} cannot be read: {error}"
                return Unreadable(number, to_json(values), "row_unparsable", message)
        return Row(number, values)

    def _value(self, file: IO[bytes], column: str, member: tarfile.TarInfo, where: dict[str, Any]) -> Any:
        kind = column.rsplit(".", 1)[-1]
        if kind == "json" or kind in TEXTS:
            if member.size > self.text_bytes:
                raise ValueError(f"{member.size} bytes; at most {self.text_bytes} of a text are read")
            text = _bytes(file, member).decode()
            return from_json(text) if kind == "json" else text
        used = column in self.columns and member.size <= self.media_bytes
        return Stored(where, _bytes(file, member) if used else None)


def _samples(tar: Any) -> Iterator[tuple[str, list[tarfile.TarInfo]]]:
    """Files of one basename that follow each other. What precedes damage is given before the error."""
    held: list[tarfile.TarInfo] = []
    key, problem = "", None
    while True:
        try:
            member = tar.next()
        except (tarfile.TarError, EOFError, OSError) as error:
            member, problem = None, error
        tar.members = []  # else every member of the tar stays in memory
        match = KEY.match(member.name) if member is not None and member.isreg() else None
        if held and (member is None or (match is not None and match[1] != key)):
            yield key, held
            held = []
        if member is None:
            break
        if match is not None:
            key = match[1]
            held.append(member)
    if problem is not None:
        raise problem


def _column(member: tarfile.TarInfo) -> str:
    match = KEY.match(member.name)
    assert match is not None
    return match[2].lower()


def _bytes(file: IO[bytes], member: tarfile.TarInfo) -> bytes:
    file.seek(member.offset_data)
    data = file.read(member.size)
    if len(data) < member.size:
        raise ValueError(f"{len(data)} of {member.size} bytes are there")
    return data


def _compressed(file: IO[bytes]) -> str | None:
    start = file.read(6)
    file.seek(0)
    if start.startswith((GZIP, ZSTD, BZIP2, XZ)):
        return "it is compressed, so a sample cannot be read in place: unpack it to a plain .tar"
    return None
