"""Make synthetic records from a corpus: a shard for each source of originals, with everything in it."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from data.access import MediaAccess
from data.records import Record
from data.shards import ShardWriter, read_records, shard_paths
from data.synthetic import speech, templates, translations
from data.synthetic.config import SUFFIX, Helper, Speech, SynthesizeConfig, Templates
from data.synthetic.making import Make, Outcome
from data.versions.fetch import source_of
from model.content import Modality
from model.errors import DataError
from model.files import whole_file
from model.progress import progress

FACTS = "synthetic.json"
REFUSED = "quarantine/rows-synthetic.parquet"
WORKERS = 2
CHUNK = 256


@dataclass
class Counts:
    """What one helper made of the originals: those with records, ``skipped`` and ``refused`` ones are all ``given``."""

    helper: str
    given: int = 0
    with_records: int = 0
    records: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def note(self, outcome: Outcome) -> None:
        """Count one outcome."""
        self.given += 1
        self.with_records += bool(outcome.made)
        self.records += len(outcome.made)
        if outcome.skipped:
            self.skipped[outcome.skipped] += 1
        if outcome.refused:
            self.refused[outcome.refused] += 1

    def describe(self) -> dict[str, Any]:
        """All counts, for JSON."""
        return {**vars(self), "skipped": dict(self.skipped), "refused": dict(self.refused)}

    def check(self) -> None:
        """Every original is accounted for.

        Raises:
            DataError: one is not.
        """
        if self.given != self.with_records + self.skipped.total() + self.refused.total():
            raise DataError(f"counts of {self.helper} do not add up: {self.describe()}; our code is at fault")


def synthesize(config: SynthesizeConfig, corpus: Path, output: Path) -> list[Counts]:
    """Make what the document asks for.

    Args:
        config: the document.
        corpus: directory of the originals.
        output: directory for ``<source>-synthetic.parquet``, ``synthetic.json`` and the quarantine.

    Raises:
        DataError: no original fits, a table or a program is missing, or there is something in ``output`` already.
    """
    if output.exists() and any(output.iterdir()):
        raise DataError(
            f"{output} is not empty; give a new directory, so that no synthetic shard of another run is left"
        )
    makers: list[tuple[str, Make]] = [(helper.kind, maker(helper)) for helper in config.helpers]
    counts = [Counts(kind) for kind, _ in makers]
    sources = _sources(config, corpus)
    refused: list[dict[str, Any]] = []
    for source, paths in sources.items():
        _one_source(config, paths, output / f"{source}{SUFFIX}.parquet", makers, counts, refused)
    for count in counts:
        count.check()
    if not any(count.given for count in counts):
        raise DataError(
            f"no record of {corpus} has one of the tasks {', '.join(config.tasks)} and splits "
            f"{', '.join(config.splits)}: correct tasks, splits or sources"
        )
    _write_refused(refused, output / REFUSED)
    facts = {"config": config.model_dump(mode="json"), "counts": [count.describe() for count in counts]}
    with whole_file(output / FACTS) as partial:
        partial.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return counts


def maker(helper: Helper) -> Make:
    """What a helper does with a record."""
    if isinstance(helper, Templates):
        return templates.maker(helper)
    return speech.maker(helper) if isinstance(helper, Speech) else translations.maker(helper)


def _sources(config: SynthesizeConfig, corpus: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in shard_paths(corpus):
        found.setdefault(str(source_of(path.name)), []).append(path)
    # What is synthetic is never an original.
    known = {source: paths for source, paths in found.items() if not source.endswith(SUFFIX)}
    if missing := sorted(set(config.sources) - known.keys()):
        raise DataError(f"{corpus} has no source {', '.join(missing)}; there are {', '.join(sorted(known))}")
    return {source: paths for source, paths in known.items() if not config.sources or source in config.sources}


def _one_source(
    config: SynthesizeConfig,
    paths: list[Path],
    target: Path,
    makers: list[tuple[str, Make]],
    counts: list[Counts],
    refused: list[dict[str, Any]],
) -> None:
    access = MediaAccess()
    originals = [(path, record) for path in paths for record in _originals(config, path)][: config.most]
    with ThreadPoolExecutor(WORKERS) as pool, ShardWriter(target) as writer:
        for (kind, make), count in zip(makers, counts, strict=True):
            done = _in_order(pool, make, originals)
            for (path, record), outcome in progress(
                done, total=len(originals), desc=f"{kind} {target.stem}", unit="record"
            ):
                count.note(outcome)
                if outcome.refused:
                    refused.append(_refused_row(len(refused), kind, record, outcome))
                for made in outcome.made:
                    for digest, (modality, data) in made.media.items():
                        writer.add_media(digest, modality, data)
                    _copy_media(made.record, path, access, writer)
                    writer.add(made.record)
        empty = not writer.records
    if empty:
        target.unlink()


def _originals(config: SynthesizeConfig, path: Path) -> Iterator[Record]:
    return read_records(path, splits=config.splits, tasks=config.tasks)


def _in_order(
    pool: ThreadPoolExecutor, make: Make, originals: Iterable[tuple[Path, Record]]
) -> Iterator[tuple[tuple[Path, Record], Outcome]]:
    """Outcomes in the order of the originals, a few hundred at a time."""
    items = iter(originals)
    while chunk := list(islice(items, CHUNK)):
        yield from zip(chunk, pool.map(make, [record for _, record in chunk]), strict=True)


def _copy_media(record: Record, shard: Path, access: MediaAccess, writer: ShardWriter) -> None:
    for content in (record.query, *record.positives, *record.negatives):
        for part in content:
            if part.media is not None and part.media not in writer.media:
                writer.add_media(part.media, Modality(part.modality), access(shard, part.media))


def _refused_row(row: int, kind: str, record: Record, outcome: Outcome) -> dict[str, Any]:
    raw = {"helper": kind, "id": record.id, "text": record.query[0].text}
    return {
        "row": row,
        "raw": json.dumps(raw, ensure_ascii=False),
        "reasons": [outcome.refused],
        "message": outcome.message,
    }


def _write_refused(rows: list[dict[str, Any]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not rows:
        return
    columns = [("row", pa.int64()), ("raw", pa.string()), ("reasons", pa.list_(pa.string())), ("message", pa.string())]
    with whole_file(path) as partial:
        pq.write_table(pa.Table.from_pylist(rows, pa.schema(columns)), partial)
