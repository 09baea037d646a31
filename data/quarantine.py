"""Divide a corpus into accepted and refused rows; nothing is dropped, and what was written is counted again."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data.manifest import ROLES, Shard, parts_of
from data.probes import Probe
from data.shards import FORMAT, MEDIA_ROWS_PER_GROUP, SCHEMA
from model.errors import DataError

REASONS = "reasons.jsonl"


@dataclass(frozen=True)
class Divided:
    """One shard with its verdicts: reasons by record position, and the refused media."""

    shard: Shard
    refused: Mapping[int, list[str]]
    bad_media: Mapping[str, Probe]

    @property
    def untouched(self) -> bool:
        """Whether everything in the shard is accepted."""
        return not self.refused and not self.bad_media

    def records(self, *, accepted: bool) -> pa.Table:
        """Accepted or refused record rows."""
        table = self.shard.records
        return table.filter(pa.array([(row in self.refused) != accepted for row in range(table.num_rows)]))


def divide(shards: Sequence[Shard], refused: Mapping[int, list[str]], probes: Sequence[Probe]) -> list[Divided]:
    """Assign verdicts to shards.

    Args:
        shards: all readable shards.
        refused: reasons by manifest index.
        probes: findings in stored order of the media of all shards.
    """
    divided, at = [], 0
    for shard in shards:
        found = probes[at : at + shard.media.num_rows]
        at += shard.media.num_rows
        rows = range(shard.first, shard.first + shard.records.num_rows)
        own = {row - shard.first: refused[row] for row in rows if row in refused}
        divided.append(Divided(shard, own, {probe.digest: probe for probe in found if probe.code}))
    return divided


def write_accepted(divided: Iterable[Divided], directory: Path) -> int:
    """Write the accepted rows as shards; untouched shards are copied byte for byte. Returns the records written.

    Raises:
        DataError: accepted and refused records do not add up to those that came in.
    """
    directory.mkdir(parents=True, exist_ok=True)
    total = 0
    for item in divided:
        target = directory / item.shard.path.name
        expected = item.shard.records.num_rows - len(item.refused)
        if item.untouched:
            shutil.copyfile(item.shard.path, target)
        elif expected:
            records = item.records(accepted=True)
            _write(target, _media(item, _references(records), bad=False), records)
        total += _check(target, expected)
    return total


def write_quarantine(divided: Iterable[Divided], broken: Mapping[str, str], directory: Path) -> int:
    """Write refused rows as shards of the same form, and ``reasons.jsonl``. Returns the records written.

    Each line of ``reasons.jsonl`` names ``shard``, ``kind`` (record, media or shard), ``id``, ``reasons``, ``message``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lines = [_line(name, "shard", name, ["shard_unreadable"], message) for name, message in broken.items()]
    total = 0
    for item in divided:
        if item.untouched:
            continue
        target = directory / item.shard.path.name
        records = item.records(accepted=False)
        _write(target, _media(item, _references(records) | item.bad_media.keys(), bad=True), records)
        total += _check(target, len(item.refused))
        lines += _reasons(item)
    (directory / REASONS).write_text("".join(lines), encoding="utf-8")
    return total


def _reasons(item: Divided) -> list[str]:
    name, ids = item.shard.path.name, item.shard.records["id"]
    lines = [_line(name, "record", ids[row].as_py(), reasons, "") for row, reasons in sorted(item.refused.items())]
    media = sorted(item.bad_media.items())
    return lines + [_line(name, "media", digest, [str(p.code)], p.message) for digest, p in media]


def _line(shard: str, kind: str, identity: str, reasons: list[str], message: str) -> str:
    fields = {"shard": shard, "kind": kind, "id": identity, "reasons": reasons, "message": message}
    return json.dumps(fields, ensure_ascii=False) + "\n"


def _references(records: pa.Table) -> set[str]:
    """Digests of the media that records refer to."""
    found: set[str] = set()
    for role in ROLES:
        _, parts = parts_of(records, role)
        found.update(parts.field("media").drop_null().to_pylist())
    return found


def _media(item: Divided, wanted: Iterable[str], *, bad: bool) -> pa.Table:
    table = item.shard.media
    chosen = set(wanted) if bad else set(wanted) - item.bad_media.keys()
    return table.filter(pa.array([digest in chosen for digest in table["id"].to_pylist()], pa.bool_()))


def _write(path: Path, media: pa.Table, records: pa.Table) -> None:
    with pq.ParquetWriter(path, SCHEMA.with_metadata(FORMAT), compression="zstd") as writer:
        for part, rows in ((media, MEDIA_ROWS_PER_GROUP), (records, None)):
            if part.num_rows:
                writer.write_table(part.replace_schema_metadata(FORMAT), row_group_size=rows)


def _check(path: Path, expected: int) -> int:
    """Count the records that really are in a written shard."""
    found = 0
    if path.exists():
        kinds = pq.read_table(path, columns=["kind"])["kind"].to_pylist()
        found = sum(kind != "media" for kind in kinds)
    if found != expected:
        raise DataError(f"{path} holds {found} records instead of {expected}; the disk or our code is at fault")
    return found
