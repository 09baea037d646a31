"""A sample that shows every part of a corpus: stratified, the same every time, and found in one pass over few columns.

Strata are source x task x language x split. Records are ordered by a hash of their id, so that a sample of another size
holds the same first records, and adding records changes little.
"""

import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.scan import RECORD_COLUMNS, UNREADABLE, record_batches
from data.shards import shard_paths
from model.errors import DataError

REASONS = "reasons.jsonl"  # that of data.quarantine, whose reading of manifests is not needed here
ROWS = "rows-*.parquet"
Stratum = tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """One record to look at, as stored: a quarantined one need not make sense.

    Attributes:
        row: the record's columns, or of a row that never became a record ``raw``, its text as given.
        shard: file that holds it.
        reasons: why it was refused; empty in a corpus.
        message: the reason in words.
    """

    row: dict[str, Any]
    shard: Path
    reasons: tuple[str, ...] = ()
    message: str = ""


@dataclass(frozen=True)
class Drawn:
    """A sample and what it was drawn from.

    Attributes:
        samples: the records, sorted by source, task, split and language.
        total: records that there are.
        strata: strata that there are.
        shown: strata of which a record is shown.
        refused: whether it is a quarantine.
        media: by shard and digest, why a medium was refused (of a quarantine).
        broken: shards that cannot be read, with the reason.
    """

    samples: tuple[Sample, ...]
    total: int
    strata: int
    shown: int
    refused: bool = False
    media: dict[tuple[str, str], str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


def is_quarantine(directory: Path) -> bool:
    """Whether a directory holds refused records or rows."""
    return (directory / REASONS).is_file() or any(directory.glob(ROWS))


def draw(directory: Path, count: int) -> Drawn:
    """Draw a sample of a corpus or of a quarantine.

    Args:
        directory: shards, or a quarantine directory.
        count: records at most.

    Raises:
        DataError: there is nothing to draw from.
    """
    if is_quarantine(directory):
        return _draw_refused(directory, count)
    paths = shard_paths(directory)
    best: dict[Stratum, list[tuple[int, str, int]]] = {}
    total, broken = 0, {}
    for number, path in enumerate(paths):
        try:
            for stratum, identity in _strata(path):
                total += 1
                _offer(best.setdefault(stratum, []), identity, number, count)
        except UNREADABLE as error:
            broken[path.name] = str(error)
    if not total:
        raise DataError(f"{directory} holds no readable record; {'; '.join(broken.values()) or 'all shards are empty'}")
    chosen = allocate({stratum: _ordered(heap) for stratum, heap in best.items()}, count)
    wanted: dict[int, set[str]] = {}
    for identity, number in (item for items in chosen.values() for item in items):
        wanted.setdefault(number, set()).add(identity)
    samples = [Sample(row, paths[n]) for n, ids in sorted(wanted.items()) for row in _rows(paths[n], ids)]
    return Drawn(tuple(sorted(samples, key=_place)), total, len(best), len(chosen), broken=broken)


def allocate(strata: Mapping[Stratum, Sequence[Any]], count: int) -> dict[Stratum, list[Any]]:
    """Share ``count`` places: first evenly among pairs of source and task, then in turn among the strata of each.

    Args:
        strata: candidates of each stratum (source, task, split, language), best first.
        count: places.
    """
    homes: dict[Stratum, list[tuple[int, int, Stratum, Any]]] = {}
    for stratum, items in strata.items():
        for turn, item in enumerate(items):
            homes.setdefault(stratum[:2], []).append((turn, _rank(*stratum), stratum, item))
    queues = [sorted(queue, key=lambda entry: entry[:3]) for _, queue in sorted(homes.items())]
    chosen: dict[Stratum, list[Any]] = {}
    taken = 0
    for turn in range(max(map(len, queues), default=0)):
        for queue in queues:
            if turn < len(queue) and taken < count:
                _, _, stratum, item = queue[turn]
                chosen.setdefault(stratum, []).append(item)
                taken += 1
    return chosen


def _strata(path: Path) -> Iterator[tuple[Stratum, str]]:
    for batch in record_batches(path, ["id", "source", "task", "languages", "split"]):
        columns = batch.to_pydict()
        for identity, source, task, languages, split in zip(*columns.values(), strict=True):
            yield (str(source), str(task), str(split), str((languages or ["none"])[0])), str(identity)


def _offer(heap: list[tuple[int, str, int]], identity: str, number: int, most: int) -> None:
    """Keep the records whose hash is smallest, no more than could be shown."""
    entry = (-_rank(identity), identity, number)
    if len(heap) < most:
        heapq.heappush(heap, entry)
    elif entry[0] > heap[0][0]:
        heapq.heapreplace(heap, entry)


def _ordered(heap: Iterable[tuple[int, str, int]]) -> list[tuple[str, int]]:
    return [(identity, number) for _, identity, number in sorted(heap, key=lambda entry: (-entry[0], entry[1]))]


def _rank(*words: str) -> int:
    return int.from_bytes(hashlib.blake2b("\0".join(words).encode(), digest_size=8).digest())


def _rows(path: Path, ids: set[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for batch in record_batches(path, RECORD_COLUMNS):
        mask = pa.compute.is_in(batch["id"], pa.array(sorted(ids)))
        found += batch.filter(mask).to_pylist()
    return found


def _place(sample: Sample) -> tuple[str, ...]:
    row = sample.row
    keys = (row.get("source"), row.get("task"), row.get("split"), (row.get("languages") or [""])[0], row.get("id"))
    return tuple(str(key) for key in keys)


def _draw_refused(directory: Path, count: int) -> Drawn:
    """Records and rows of a quarantine, spread over source and reason."""
    said, media, broken = _reasons(directory)
    candidates: dict[Stratum, list[tuple[int, Sample]]] = {}
    total = 0
    for sample in _refused(directory, said):
        total += 1
        stratum = (str(sample.row.get("source", "rows")), ",".join(sample.reasons) or "with a refused medium")
        heap = candidates.setdefault(stratum, [])
        heap.append((_rank(str(sample.row.get("id")), str(sample.row.get("raw"))), sample))
        if len(heap) > 2 * count:
            heap.sort(key=lambda entry: entry[0])
            del heap[count:]
    ordered = {
        stratum: [sample for _, sample in sorted(heap, key=lambda entry: entry[0])]
        for stratum, heap in candidates.items()
    }
    chosen = allocate(ordered, count)
    samples = tuple(sample for stratum in sorted(chosen) for sample in chosen[stratum])
    if not samples and not broken:
        raise DataError(f"{directory} is an empty quarantine: nothing was refused")
    return Drawn(samples, total, len(candidates), len(chosen), True, media, broken)


def _reasons(directory: Path) -> tuple[dict[tuple[str, str], list[str]], dict[tuple[str, str], str], dict[str, str]]:
    """What ``reasons.jsonl`` says of records, media and shards."""
    records: dict[tuple[str, str], list[str]] = {}
    media: dict[tuple[str, str], str] = {}
    broken: dict[str, str] = {}
    path = directory / REASONS
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        item = json.loads(line)
        key = (str(item["shard"]), str(item["id"]))
        if item["kind"] == "record":
            records.setdefault(key, []).extend(item["reasons"])
        elif item["kind"] == "media":
            media[key] = f"{', '.join(item['reasons'])}: {item['message']}"
        else:
            broken[str(item["shard"])] = str(item["message"])
    return records, media, broken


def _refused(directory: Path, said: dict[tuple[str, str], list[str]]) -> Iterator[Sample]:
    for path in sorted(directory.glob("*.parquet")):
        if path.match(ROWS):
            for batch in pq.ParquetFile(path).iter_batches():
                for row in batch.to_pylist():
                    yield Sample(row, path, tuple(row["reasons"] or ()), row["message"] or "")
            continue
        for table in record_batches(path, RECORD_COLUMNS):
            for row in table.to_pylist():
                yield Sample(row, path, tuple(dict.fromkeys(said.get((path.name, str(row["id"])), ()))))
