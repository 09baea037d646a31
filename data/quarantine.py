"""Divide a corpus into accepted and refused rows; nothing is dropped, and what was written is counted again.

Shards are rewritten in pieces, so that memory does not grow with them.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data.manifest import Scanned
from data.probe_store import ShardProbes, write_tables
from data.scan import count_rows, media_batches, record_batches
from data.shards import FORMAT, SCHEMA
from model.encoder import Limits
from model.errors import DataError

REASONS = "reasons.jsonl"


@dataclass(frozen=True)
class Divided:
    """One shard with its verdicts: reasons by record position."""

    scanned: Scanned
    refused: Mapping[int, list[str]]

    @property
    def path(self) -> Path:
        """The shard."""
        return self.scanned.shard.path

    @property
    def records(self) -> int:
        """Records that came in."""
        return self.scanned.shard.records

    @property
    def untouched(self) -> bool:
        """Whether everything in the shard is accepted."""
        return not self.refused and not len(self.bad)

    @cached_property
    def bad(self) -> NDArray[np.int64]:
        """Rows of the refused media."""
        return np.flatnonzero(self.scanned.probes.media["code"].is_valid().to_numpy())

    def media(self, *, accepted: bool) -> NDArray[np.int64]:
        """Rows of the media that go with the accepted records, or with the refused ones, where all bad ones go too."""
        uses = self.scanned.facts.media_uses
        rows = uses[self._are_refused(uses[:, 0]) != accepted, 1]
        return np.setdiff1d(rows, self.bad) if accepted else np.union1d(rows, self.bad)

    def accepted_probes(self) -> ShardProbes:
        """What is known of the accepted media and texts."""
        found = self.scanned.probes
        if self.untouched:
            return found
        uses = self.scanned.facts.text_uses
        texts = np.unique(uses[~self._are_refused(uses[:, 0]), 1])
        media = self.media(accepted=True)
        return ShardProbes(self.path, found.media.take(pa.array(media)), found.texts.take(pa.array(texts)))

    def _are_refused(self, records: NDArray[np.int32]) -> NDArray[np.bool_]:
        return np.isin(records, np.fromiter(self.refused, np.int32))


def divide(scanned: Sequence[Scanned], refused: Mapping[int, list[str]]) -> list[Divided]:
    """Assign verdicts, which are reasons by manifest index, to shards."""
    divided = []
    for item in scanned:
        rows = range(item.shard.first, item.shard.first + item.shard.records)
        divided.append(Divided(item, {row - item.shard.first: refused[row] for row in rows if row in refused}))
    return divided


def write_accepted(divided: Iterable[Divided], directory: Path, *, limits: Limits) -> int:
    """Write the accepted rows as shards with their probes; untouched shards are copied byte for byte.

    Returns:
        The records written.

    Raises:
        DataError: accepted and refused records do not add up to those that came in.
    """
    directory.mkdir(parents=True, exist_ok=True)
    total = 0
    for item in divided:
        target = directory / item.path.name
        expected = item.records - len(item.refused)
        if item.untouched:
            shutil.copyfile(item.path, target)
        elif expected:
            _write(target, item, accepted=True)
        if target.exists():
            found = item.accepted_probes()
            write_tables(directory, ShardProbes(target, found.media, found.texts), limits=limits)
        total += _check(target, expected)
    return total


def write_quarantine(divided: Iterable[Divided], broken: Mapping[str, str], directory: Path) -> int:
    """Write refused rows as shards of the same form, and ``reasons.jsonl``. Returns the records written.

    Each line of ``reasons.jsonl`` names ``shard``, ``kind`` (record, media or shard), ``id``, ``reasons``, ``message``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    total = 0
    with (directory / REASONS).open("w", encoding="utf-8") as reasons:
        reasons.writelines(
            _line(name, "shard", name, ["shard_unreadable"], message) for name, message in broken.items()
        )
        for item in divided:
            if item.untouched:
                continue
            target = directory / item.path.name
            _write(target, item, accepted=False)
            total += _check(target, len(item.refused))
            reasons.writelines(_reasons(item))
    return total


def _reasons(item: Divided) -> Iterator[str]:
    name, ids = item.path.name, item.scanned.facts.columns["id"]
    for row, reasons in sorted(item.refused.items()):
        yield _line(name, "record", ids[row].as_py(), reasons, "")
    bad = item.scanned.probes.media.take(pa.array(item.bad)).select(["digest", "code", "message"])
    for found in sorted(bad.to_pylist(), key=lambda row: str(row["digest"])):
        yield _line(name, "media", found["digest"], [found["code"]], found["message"])


def _line(shard: str, kind: str, identity: str, reasons: list[str], message: str) -> str:
    fields = {"shard": shard, "kind": kind, "id": identity, "reasons": reasons, "message": message}
    return json.dumps(fields, ensure_ascii=False) + "\n"


def _write(path: Path, item: Divided, *, accepted: bool) -> None:
    wanted = item.media(accepted=accepted)
    with pq.ParquetWriter(path, SCHEMA.with_metadata(FORMAT), compression="zstd") as writer:
        for rows in _chosen(media_batches(item.path, SCHEMA.names), lambda at: np.isin(at, wanted)):
            writer.write_table(rows)
        refused = np.fromiter(item.refused, np.int64)
        for rows in _chosen(record_batches(item.path, SCHEMA.names), lambda at: np.isin(at, refused) != accepted):
            writer.write_table(rows)


def _chosen(batches: Iterator[pa.Table], choose: Callable[[NDArray[Any]], NDArray[np.bool_]]) -> Iterator[pa.Table]:
    """Rows of batches for whose positions ``choose`` says yes."""
    first = 0
    for batch in batches:
        kept = batch.filter(pa.array(choose(np.arange(first, first + batch.num_rows))))
        first += batch.num_rows
        if kept.num_rows:
            yield kept.replace_schema_metadata(FORMAT)


def _check(path: Path, expected: int) -> int:
    """Count the records that really are in a written shard."""
    found = count_rows(path)[0] if path.exists() else 0
    if found != expected:
        raise DataError(f"{path} holds {found} records instead of {expected}; the disk or our code is at fault")
    return found
