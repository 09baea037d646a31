"""What media looked like when they were imported, and whether they still do.

A look is a line of text: of a local file its size and times, of a remote one its size and what its file system knows
of its content. Equal looks mean the same medium. Of others the content decides, so one only touched is the same.
"""

import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from data.importing.refusal import Refused
from model.content import media_digest
from model.files import whole_file

LOOKS = "media.parquet"
SCHEMA = pa.schema([("value", pa.string()), ("look", pa.string()), ("digest", pa.string()), ("refused", pa.bool_())])
ABSENT = "absent"
# Begins a look that proves nothing: the file was so young that another change could have the same time, or its server
# tells nothing but a size.
UNSURE = "~"
YOUNG_NS = 2_000_000_000
# What file systems call a checksum, a version or a time of an object, in lower case.
MARKS = ("etag", "content-md5", "digest", "md5hash", "md5", "crc32c", "checksum", "sha", "hex", "generation")
TIMES = ("last-modified", "lastmodified", "last_modified", "mtime", "modified", "updated", "created")
HELD, BATCH, CHUNK, THREADS = 50_000, 4096, 256, 8


class Medium(NamedTuple):
    """One medium as it was read.

    Attributes:
        value: path or URI as it stands in the row.
        look: what it looked like before it was read.
        digest: of its content, where it was read.
        refused: whether it could not be had or used.
    """

    value: str
    look: str
    digest: str | None
    refused: bool


def local_look(path: str | Path) -> str:
    """Size and times of a file; ``ABSENT`` when there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path for each of a million files takes longer than looking at it
    except (OSError, ValueError):
        return ABSENT
    if not stat.S_ISREG(found.st_mode):
        return ABSENT
    # The time of the inode too: a file may be replaced by one of the same size and time.
    newest = max(found.st_mtime_ns, found.st_ctime_ns)
    unsure = UNSURE if time.time_ns() - newest < YOUNG_NS else ""
    return f"{unsure}{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def remote_look(info: Mapping[str, Any]) -> str:
    """Size, checksums and times of what a file system or a server says of an object."""
    said = {str(key).lower(): value for key, value in info.items() if value not in (None, "")}
    marks = {key: said[key] for key in (*MARKS, *TIMES) if key in said}
    size = said.get("size", said.get("content-length"))
    return " ".join(["" if marks else UNSURE, f"size={size}", *(f"{key}={marks[key]}" for key in marks)]).lstrip()


class Looked:
    """Looks of a piece on their way to a file, each medium once while it is held."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: dict[str, Medium] = {}
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> "Looked":
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        if self._writer is not None:
            self._writer.close()

    def add(self, medium: Medium) -> None:
        """One medium."""
        self._held[medium.value] = medium
        if len(self._held) >= HELD:
            self._flush()

    def _flush(self) -> None:
        if self._held:
            self._writer = self._writer or pq.ParquetWriter(self.path, SCHEMA, compression="zstd")
            self._writer.write_table(_table(self._held.values()))
            self._held = {}


def _table(media: Any) -> pa.Table:
    columns = list(zip(*media, strict=True))
    return pa.table([pa.array(column, kind.type) for column, kind in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def media_of(path: Path) -> Iterator[list[Medium]]:
    """Looks of a file, some at a time; of a piece without media there is no file."""
    if path.is_file():
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH):
                yield [Medium(*row) for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)]


class Eyes(NamedTuple):
    """How to look again.

    Attributes:
        look: at a value, as it is now.
        read: its content, or :class:`Refused`.
        name: of it, for people.
    """

    look: Callable[[str], str]
    read: Callable[[str], bytes]
    name: Callable[[str], str]


@dataclass
class Seen:
    """What became of the media of some pieces.

    Attributes:
        looked: media that were usable once.
        missing: those of them that are gone.
        changed: of the pieces with a medium that is another now, the number and the first such medium.
    """

    looked: int = 0
    missing: int = 0
    changed: dict[int, str] = field(default_factory=dict)

    @property
    def mostly_gone(self) -> bool:
        """Whether a disk or an account is missing rather than media."""
        return self.missing * 2 > self.looked


def look_again(path: Path, piece: int, eyes: Eyes, seen: Seen, superseded: frozenset[str] = frozenset()) -> None:
    """Compare the media of a piece with what they were, and note the looks of those that are the same.

    Args:
        path: looks of the piece.
        piece: its number.
        eyes: how to look.
        seen: is added to.
        superseded: values that were refused once and imported later, from quarantine.
    """
    again: list[Medium] = []
    settled = False
    with ThreadPoolExecutor(THREADS) as threads:
        for media in media_of(path):
            chunks = [media[at : at + CHUNK] for at in range(0, len(media), CHUNK)]
            looks = threads.map(lambda chunk: [eyes.look(one.value) for one in chunk], chunks)
            for was, now in zip(media, (look for chunk in looks for look in chunk), strict=True):
                again.append(was)
                seen.looked += not was.refused
                seen.missing += not was.refused and now == ABSENT
                if was.look == now and not now.startswith(UNSURE):
                    continue
                if piece in seen.changed or (was.refused and was.value in superseded):
                    continue
                if not _same(was, now, eyes):
                    seen.changed[piece] = eyes.name(was.value)
                    continue
                again[-1], settled = was._replace(look=now), True
    if settled and piece not in seen.changed:
        with whole_file(path) as partial:
            pq.write_table(_table(again), partial, compression="zstd")


def _same(was: Medium, now: str, eyes: Eyes) -> bool:
    """Whether the content is as it was, though the look is not."""
    if was.digest is None or now == ABSENT:
        return False
    try:
        return media_digest(eyes.read(was.value)) == was.digest
    except Refused:
        return False
