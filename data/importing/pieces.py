"""One piece of an import, done whole or not at all: rows in, shards, probes and refused rows out.

A piece writes into a directory of its own and moves it to its place in one step, so a worker that is killed, or one
that outlives its import, leaves nothing half done and nothing that differs.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.importing.config import ImportConfig
from data.importing.containers import Contents
from data.importing.looks import LOOKS, Looked
from data.importing.making import Made, Maker
from data.importing.readers.requeue import SCHEMA as REFUSED
from data.importing.refusal import Refused
from data.importing.rows import Cut, Reader, Row, Unreadable
from data.probe_store import ShardProbes, media_table, text_table, write_tables
from data.probes import Probe
from data.records import Record
from data.shards import Packing, ShardWriter
from model.errors import DataError
from model.integrity import file_digest

DONE = "done.json"
# In a piece that refused rows of a host that had given nothing yet: perhaps it is away.
UNPROVEN = "unproven"
ROWS = "rows.parquet"
IDS = "ids.parquet"
_WORD, _COUNT = pa.uint64(), pa.int32()
ID_SCHEMA = pa.schema(
    [("high", _WORD), ("low", _WORD), ("piece", _COUNT), ("row", pa.int64()), ("part", _COUNT), ("place", _COUNT)]
)
HELD_BYTES = 8 << 20
TEXT_BYTES = 64 << 20


@dataclass
class Summary:
    """What became of the rows of a piece; counts add up: ``rows = records + refused``."""

    rows: int = 0
    records: int = 0
    refused: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    media: int = 0
    media_bytes: int = 0
    parts: list[dict[str, Any]] = field(default_factory=list)

    def check(self, name: str) -> None:
        """Count again.

        Raises:
            DataError: rows were lost, or made.
        """
        if self.rows != self.records + self.refused:
            raise DataError(f"piece {name}: {self.rows} rows became {self.records} records and {self.refused} refused")

    def write(self, directory: Path) -> None:
        """Keep it beside the piece."""
        (directory / DONE).write_text(json.dumps(vars(self), sort_keys=True), encoding="utf-8")

    @classmethod
    def read(cls, directory: Path) -> "Summary":
        """Of a piece that is done."""
        return cls(**json.loads((directory / DONE).read_text(encoding="utf-8")))


def piece_directory(work: Path, number: int) -> Path:
    """Where a piece is, once it is done."""
    return work / "pieces" / f"{number:06d}"


def import_piece(config: ImportConfig, reader: Reader, maker: Maker, cut: Cut, target: Path, *, ids: bool) -> Summary:
    """Do one piece.

    Args:
        config: of the import.
        reader: of the source.
        maker: makes records of its rows.
        cut: the rows.
        target: directory of the piece.
        ids: whether ids have to be compared with those of other pieces.

    Raises:
        DataError: the source, or a host that rows point to, cannot be reached; nothing is left of the piece.
    """
    attempt = target.parent.parent / "attempts" / f"{target.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    attempt.mkdir(parents=True)
    try:
        with (
            Refusals(attempt / ROWS) as refusals,
            Looked(attempt / LOOKS) as looked,
            Parts(attempt, config, int(target.name), ids=ids) as parts,
        ):
            maker.note = looked.add
            rows, contents = 0, Contents(config, cut)
            for row in reader.read(cut):
                rows += 1
                contents.add(row)
                if isinstance(row, Unreadable):
                    refusals.add(row.number, row.raw, [row.reason], row.message)
                    continue
                try:
                    parts.add(maker(row), row)
                except Refused as refused:
                    refusals.add(row.number, row.raw, [refused.reason], refused.message)
            if contents.medium is not None:
                looked.add(contents.medium)
        if not maker.access.hosts.settle():
            (attempt / UNPROVEN).touch()
        summary = parts.summary()
        summary.refused, summary.reasons = refusals.count, dict(refusals.reasons)
        summary.rows = rows
        summary.check(target.name)
        summary.write(attempt)
        return _settle(attempt, target)
    finally:
        shutil.rmtree(attempt, ignore_errors=True)


def _settle(attempt: Path, target: Path) -> Summary:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        attempt.rename(target)
    except OSError:
        if not (target / DONE).is_file():
            raise
        # Another worker, of an import that was ended, was as far: it wrote the same.
    return Summary.read(target)


def forget_unproven(work: Path) -> None:
    """Drop the pieces that an import which has ended may have refused rows of for nothing but a network that failed."""
    for mark in sorted((work / "pieces").glob(f"[0-9]*/{UNPROVEN}")):
        drop_piece(mark.parent, work)


def drop_piece(piece: Path, work: Path) -> None:
    """Undo a piece in one step; it is left to do."""
    gone = work / "attempts" / f"gone-{uuid.uuid4().hex}"
    gone.parent.mkdir(exist_ok=True)
    piece.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


class Refusals:
    """Refused rows on their way to a file, a few held at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.reasons: Counter[str] = Counter()
        self._rows: list[dict[str, Any]] = []
        self._held = 0
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> "Refusals":
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        if self._writer is not None:
            self._writer.close()

    def add(self, row: int, raw: str, reasons: list[str], message: str) -> None:
        """One row."""
        raw, message = _storable(raw), _storable(message)
        self._rows.append({"row": row, "raw": raw, "reasons": reasons, "message": message})
        self.count += 1
        self.reasons.update(reasons)
        self._held += len(raw) + len(message) + 64
        if self._held > HELD_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, REFUSED, compression="zstd")
        self._writer.write_table(pa.Table.from_pylist(self._rows, REFUSED))
        self._rows, self._held = [], 0


def _storable(text: str) -> str:
    """The text; halves of surrogate pairs as they would stand in JSON."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


class Parts:
    """The shards of a piece: a new one begins when media, or texts, are many."""

    def __init__(self, directory: Path, config: ImportConfig, piece: int, *, ids: bool) -> None:
        self.directory = directory
        self.piece = piece
        self.config = config
        self.found: list[dict[str, Any]] = []
        self._ids: list[tuple[int, ...]] | None = [] if ids else None
        self._writer: ShardWriter | None = None
        self._probes: list[Probe] = []
        self._texts = 0

    def __enter__(self) -> "Parts":
        return self

    def __exit__(self, *error: Any) -> None:
        if self._writer is not None and error[0] is not None:
            self._writer.__exit__(*error)
        elif error[0] is None:
            self._close()
            if self._ids:
                rows = [dict(zip(ID_SCHEMA.names, row, strict=True)) for row in self._ids]
                pq.write_table(pa.Table.from_pylist(rows, ID_SCHEMA), self.directory / IDS)

    def add(self, made: Made, row: Row) -> None:
        """A record and its media.

        Raises:
            Refused: one of them is in the shard already, called something else.
        """
        texts = _text_bytes(made.record)
        more = sum(len(medium.data) for medium in made.media.values())
        writer = self._writer
        if writer is not None and writer.records:
            full = writer.media_bytes + more > self.config.sizes.shard_bytes or self._texts + texts > TEXT_BYTES
            if full:
                self._close()
        if self._writer is None:
            self._open()
        writer = self._writer
        assert writer is not None
        for digest, medium in made.media.items():
            if writer.media.get(digest, medium.modality) is not medium.modality:
                raise Refused(
                    "media_of_two_modalities",
                    f"a medium is called {medium.modality} here and {writer.media[digest]} in a row before; import the "
                    "two kinds of rows under different names",
                )
        for digest, medium in made.media.items():
            if writer.add_media(digest, medium.modality, medium.data):
                self._probes.append(medium.probe)
        if self._ids is not None:
            self._ids.append((*id_words(made.record.id), self.piece, row.number, len(self.found), writer.records))
        writer.add(made.record)
        self._texts += texts

    def summary(self) -> Summary:
        """Counts of all shards."""
        return Summary(
            records=sum(part["records"] for part in self.found),
            media=sum(part["media"] for part in self.found),
            media_bytes=sum(part["media_bytes"] for part in self.found),
            parts=self.found,
        )

    def _open(self) -> None:
        path = part_path(self.directory, len(self.found))
        self._writer = ShardWriter(path, Packing(level=self.config.sizes.level, media=False)).__enter__()
        self._probes, self._texts = [], 0

    def _close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.__exit__(None, None, None)
        if not writer.records:
            writer.path.unlink()
            return
        self.found.append(finish_part(self.directory, len(self.found), writer, media_table(self._probes), self.config))


def part_path(directory: Path, number: int) -> Path:
    """A shard of a piece."""
    return directory / f"part-{number:03d}.parquet"


def finish_part(
    directory: Path, number: int, writer: ShardWriter, probes: pa.Table, config: ImportConfig
) -> dict[str, Any]:
    """Write the sidecar of a shard, and say what is in it."""
    path = part_path(directory, number)
    digest = file_digest(path)
    found = ShardProbes(path, probes, text_table(()))
    write_tables(directory, found, limits=config.limits, digest=digest)
    counts = {"records": writer.records, "media": len(writer.media), "media_bytes": writer.media_bytes}
    return {"sha256": digest, **counts}


def id_words(value: str) -> tuple[int, int]:
    """An id as two words, which take less room than the id and are as good for comparing."""
    digest = hashlib.blake2b(value.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def _text_bytes(record: Record) -> int:
    contents = (record.query, *record.positives, *record.negatives)
    return sum(len(part.text or "") for content in contents for part in content)
