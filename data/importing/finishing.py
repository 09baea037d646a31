"""The end of an import: duplicates out, shards numbered, everything counted again, moved to its place."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from data.engine import EngineConfig
from data.importing.amending import Drop, refused_rows
from data.importing.duplicates import KEPT, duplicates, write_kept
from data.importing.finished import quarantine_file
from data.importing.pieces import DONE, ROWS, Refusals, Summary, part_path, piece_directory
from data.importing.state import COMMIT, own_shards, write_json
from data.importing.work import Job, spread
from data.probe_store import DIRECTORY
from model.errors import DataError
from model.integrity import file_digest
from model.progress import progress


def without_duplicates(job: Job, items: list[dict[str, Any]], kept: list[Path], engine: EngineConfig) -> None:
    """Amend the pieces that hold records with an id that a row before, or a shard that stays, has.

    Args:
        job: of the import, whose pieces are done.
        items: of all pieces.
        kept: shards that stay.
        engine: where to work.
    """
    rows = sum(item["rows"] for item in items)
    if kept:
        rows += write_kept(kept, job.work / KEPT)
    drops: dict[int, list[Drop]] = {}
    for piece, drop in duplicates(job.work, rows=rows):
        drops.setdefault(piece, []).append(drop)
    again = [{**item, "drops": sorted(drops[item["number"]])} for item in items if item["number"] in drops]
    if again:
        for _ in progress(spread(job, again, engine), total=len(again), desc="rows with an id twice", unit="piece"):
            pass


def settled(work: Path, number: int) -> Path:
    """Directory of a piece as it is to be."""
    amended = work / "amended" / piece_directory(work, number).name
    return amended if (amended / DONE).is_file() else piece_directory(work, number)


def prepare(
    output: Path, job: Job, pieces: int, *, kept: list[Path], before: dict[str, Any] | None, facts: dict[str, Any]
) -> None:
    """Write ``commit.json``: what moves where, and the report.

    Args:
        output: directory of the corpus.
        job: of the import, whose pieces are settled.
        pieces: how many there are.
        kept: shards of the source that stay.
        before: report on the source as it was, when rows of its quarantine were imported.
        facts: for the report: digests and seconds.

    Raises:
        DataError: counts do not add up.
    """
    work, name = job.work, job.config.name
    moves: list[tuple[str, str]] = []
    shards = {path.name: file_digest(path) for path in kept}
    number = 1 + max((int(path.stem.rsplit("-", 1)[-1]) for path in kept), default=-1)
    total = Summary()
    reasons: Counter[str] = Counter()
    whole: dict[str, list[str]] = {}
    with Refusals(work / ROWS) as refusals:
        for piece in range(pieces):
            folder = settled(work, piece)
            found = Summary.read(folder)
            targets = [f"{name}-{number + place:05d}.parquet" for place in range(len(found.parts))]
            number += len(targets)
            if folder == piece_directory(work, piece):
                whole[str(piece)] = targets
            for place, (target, part) in enumerate(zip(targets, found.parts, strict=True)):
                path = part_path(folder, place)
                _count(path, part)
                shards[target] = part["sha256"]
                sidecar = folder / DIRECTORY / path.name
                moves += [(_in(work, sidecar), f"{DIRECTORY}/{target}"), (_in(work, path), target)]
            for row in refused_rows(folder / ROWS):
                refusals.add(row["row"], row["raw"], row["reasons"], row["message"])
            _add(total, found)
            reasons.update(found.reasons)
    if refusals.count != total.refused or total.rows != total.records + total.refused:
        raise DataError(
            f"{total.rows} rows became {total.records} records and {refusals.count} refused rows, {total.refused} by "
            "the pieces; the disk or our code is at fault"
        )
    quarantine = _in(output, quarantine_file(output, name))
    if refusals.count:
        moves.append((ROWS, quarantine))
    moved = {target for _, target in moves}
    old = {path.name for path in own_shards(output, name)} - set(shards)
    gone = [f"{DIRECTORY}/{one}" for one in sorted(old)] + sorted(old) + [quarantine]
    rest = {"removals": [g for g in gone if g not in moved], "entry": _entry(total, reasons, shards, before, facts)}
    if job.config.mapping.has_media:
        rest["kept"] = {"pieces": whole, "quarantine": file_digest(work / ROWS) if refusals.count else None}
    write_json(work / COMMIT, {"moves": moves, "joins": before is not None, **rest})


def _entry(
    total: Summary, reasons: Counter[str], shards: dict[str, str], before: dict[str, Any] | None, facts: dict[str, Any]
) -> dict[str, Any]:
    entry = {
        "rows": total.rows,
        "records": total.records,
        "quarantined": total.refused,
        "reasons": dict(sorted(reasons.items())),
        "media": total.media,
        "bytes": total.media_bytes,
        "digest": shards_digest(shards),
        "shards": dict(sorted(shards.items())),
        **facts,
    }
    if before is None:
        return entry
    for key in ("records", "media", "bytes"):
        entry[key] += before[key]
    # Rows that somebody took out of the quarantine are gone on purpose; they are counted all the same.
    removed = before["quarantined"] - total.rows
    entry |= {"rows": before["rows"], "removed": before.get("removed", 0) + removed}
    entry |= {key: before[key] for key in ("config", "source")}
    if removed < 0 or entry["rows"] != entry["records"] + entry["quarantined"] + entry["removed"]:
        raise DataError(
            f"the quarantine gave {total.rows} rows, of {before['quarantined']} that were put there; counts no longer "
            "add up: import it into a directory of its own"
        )
    return entry


def shards_digest(shards: dict[str, str]) -> str:
    """First 32 hex digits of the SHA-256 over names and digests: the digest of a corpus of just these shards."""
    total = hashlib.sha256()
    for name, digest in sorted(shards.items()):
        total.update(f"{name}\0{digest}\0".encode())
    return total.hexdigest()[:32]


def _count(path: Path, part: dict[str, Any]) -> None:
    """Count the rows that really are in a shard."""
    found = pq.read_metadata(path).num_rows
    if found != part["records"] + part["media"]:
        raise DataError(f"{path} holds {found} rows instead of {part['records'] + part['media']}; the disk is at fault")


def _add(total: Summary, found: Summary) -> None:
    for key in ("rows", "records", "refused", "media", "media_bytes"):
        setattr(total, key, getattr(total, key) + getattr(found, key))


def _in(work: Path, path: Path) -> str:
    return path.relative_to(work).as_posix()


def remaining(items: Iterable[dict[str, Any]], work: Path) -> list[dict[str, Any]]:
    """Items of the pieces that are not done."""
    return [item for item in items if not (piece_directory(work, item["number"]) / DONE).is_file()]
