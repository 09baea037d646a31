"""Tars of samples, read in place: a cut begins at the header of a member, and nothing is ever unpacked to a disk.

Tars are read forward only, as compressed ones can be read no other way; places in those count what they unpack to.
"""

import hashlib
import re
import tarfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from data.importing.places import Access
from data.importing.readers.files import expand, name_of, parent
from data.importing.readers.packed import OPENERS, Headers, Unpacked, packing_of
from data.importing.rows import Cut, Row, Stored, Unreadable, from_json, to_json

KEY = re.compile(r"^((?:.*/|)[^./][^.]*)\.([^/]+)$")
TEXTS = ("txt", "text", "cls", "transcript", "caption")
BEHIND = 1 << 15
UNKNOWN = f"it is compressed in a way that is not read: pack it by {' or '.join(OPENERS)}, or leave it a plain .tar"


class _Member(NamedTuple):
    """A file of a sample: its header, and its value or why it has none."""

    info: tarfile.TarInfo
    value: Any = None
    problem: str | None = None


Take = Callable[[tarfile.TarInfo], _Member]


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
        """Runs of samples of one tar; only headers are looked at."""
        first = 0
        for place in expand(self.access, self.path):
            for cut in self._cuts(place, first, rows):
                yield cut
                first += cut.rows

    def read(self, cut: Cut) -> Iterator[Row | Unreadable]:
        """Rows of a cut."""
        place = cut.place["file"]
        if "problem" in cut.place:
            message = f"{place}: {cut.place['problem']}"
            yield Unreadable(cut.first, to_json({"_file": place}), cut.place["reason"], message)
            return
        where: dict[str, Any] = {key: cut.place[key] for key in ("file", "packed") if key in cut.place}
        with self._opened(where) as file:
            file.seek(cut.place["offset"])
            samples = _samples(file, partial(self._taken, file, where))
            for number, (key, members) in zip(range(cut.rows), samples, strict=False):
                yield _row(cut.first + number, where, key, members)

    @contextmanager
    def _opened(self, where: dict[str, Any]) -> Iterator[Any]:
        if "packed" in where:
            # It stays open and where it is: who reads the cuts of a file in order unpacks it once.
            yield self.access.unpacked(where["file"], where["packed"])
            return
        with self.access.open(where["file"]) as file:
            yield file

    def _cuts(self, place: str, first: int, rows: int) -> Iterator[Cut]:
        with self.access.open(place) as file:
            packing = packing_of(file)
        where = {"file": place} if packing is None else {"file": place, "packed": packing}
        if packing not in (None, *OPENERS):
            yield _refused(first, where, "file_compressed", UNKNOWN)
            return
        count, offset, total = 0, 0, hashlib.blake2b(digest_size=16)
        with self._opened(where) as file:
            file.seek(0)
            fault = None
            try:
                for _, members in _samples(file, _Member):
                    if count == rows:
                        yield Cut(first, count, {**where, "offset": offset}, total.hexdigest())
                        first, count, total = first + count, 0, hashlib.blake2b(digest_size=16)
                    offset = offset if count else members[0].info.offset
                    count += 1
                    for one in (member.info for member in members):
                        total.update(f"{one.name}\0{one.size}\0{one.mtime}\n".encode("utf-8", "surrogateescape"))
                if isinstance(file, Unpacked):
                    file.drain()
            except (tarfile.TarError, EOFError, OSError) as error:
                fault = "file_truncated", f"it ends before its end, or is no tar ({error})"
            if isinstance(file, Unpacked):
                fault = file.fault or fault
        if count:
            yield Cut(first, count, {**where, "offset": offset}, total.hexdigest())
        if fault is not None:
            yield _refused(first + count, where, *fault)

    def _taken(self, file: Any, where: dict[str, Any], info: tarfile.TarInfo) -> _Member:
        column, size = _column(info), info.size
        place = {**where, "offset": info.offset_data, "size": size, "name": info.name}
        kind = column.rsplit(".", 1)[-1]
        text = kind == "json" or kind in TEXTS
        try:
            if info.issparse():
                raise ValueError("it is stored as a sparse file; pack it without --sparse")
            if text and size > self.text_bytes:
                raise ValueError(f"{size} bytes; at most {self.text_bytes} of a text are read")
            if not text:
                used = column in self.columns and size <= self.media_bytes
                return _Member(info, Stored(place, _bytes(file, info) if used else None))
            said = _bytes(file, info).decode()
            return _Member(info, from_json(said) if kind == "json" else said)
        except (ValueError, RecursionError) as error:
            return _Member(info, Stored(place), str(error))


def _row(number: int, where: dict[str, Any], key: str, members: list[_Member]) -> Row | Unreadable:
    values: dict[str, Any] = {"__key__": key}
    name = name_of(where["file"])
    for info, value, problem in members:
        column = _column(info)
        if column in values:
            return Unreadable(number, to_json(values), "row_malformed", f"{name}: {key} has two files .{column}")
        values[column] = value
        if problem is not None:
            message = f"{name}: {info.name} cannot be read: {problem}"
            return Unreadable(number, to_json(values), "row_unparsable", message)
    return Row(number, values)


def _refused(first: int, where: dict[str, Any], reason: str, problem: str) -> Cut:
    """A cut of one row that stands for a file, or for the rest of one."""
    digest = hashlib.blake2b(f"{name_of(where['file'])}{problem}".encode()).hexdigest()[:32]
    return Cut(first, 1, {"file": where["file"], "problem": problem, "reason": reason}, digest)


def _samples(file: Any, take: Take) -> Iterator[tuple[str, list[_Member]]]:
    """Files of one basename that follow each other. What precedes damage is given before the error.

    Args:
        file: stands at the header of a member.
        take: what to keep of a member, asked while the file stands at its content.
    """
    headers = Headers(file)
    held: list[_Member] = []
    key, problem = "", None
    tar: Any = None
    while True:
        headers.renew()
        try:
            # Opening reads the first header.
            tar, member = (tar, tar.next()) if tar is not None else _opened_tar(headers)
        except (tarfile.TarError, EOFError, OSError) as error:
            member, problem = None, error
        if tar is not None:
            tar.members = []  # else every member of the tar stays in memory
        match = KEY.match(member.name) if member is not None and member.isreg() else None
        if held and (member is None or (match is not None and match[1] != key)):
            yield key, held
            held = []
        if member is None:
            problem = problem or _behind(file, tar.offset)
            break
        if match is not None:
            key = match[1]
            held.append(take(member))
    if problem is not None:
        raise problem


def _behind(file: Any, offset: int) -> tarfile.TarError | None:
    """What is wrong with the end of a tar: ``tarfile`` takes a damaged header for one, and reads no second tar."""
    file.seek(offset)
    rest = file.read(BEHIND)
    if not rest.strip(b"\0"):
        return None
    if rest[: tarfile.BLOCKSIZE].strip(b"\0"):
        return tarfile.ReadError(f"no header of a file at byte {offset}")
    return tarfile.ReadError(f"more follows its end mark at byte {offset}, such as another tar; pack them as one")


def _opened_tar(headers: Headers) -> tuple[Any, tarfile.TarInfo | None]:
    tar = tarfile.open(fileobj=headers, mode="r:")  # type: ignore[call-overload]  # noqa: SIM115
    return tar, tar.next()


def _column(info: tarfile.TarInfo) -> str:
    match = KEY.match(info.name)
    assert match is not None
    return match[2].lower()


def _bytes(file: Any, info: tarfile.TarInfo) -> bytes:
    file.seek(info.offset_data)
    data: bytes = file.read(info.size)
    if len(data) < info.size:
        raise ValueError(f"{len(data)} of {info.size} bytes are there")
    return data
