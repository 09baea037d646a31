"""What a corpus holds, counted without reading a single medium: Daft over the columns of the records, in flat memory.

Sizes of media come from the probes beside the shards where there are any, else from the footers of the files.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.records import SPLITS
from data.shards import shard_paths
from data.versions.fetch import source_of
from model.errors import DataError

if TYPE_CHECKING:
    from daft import DataFrame

RECORD_COLUMNS = ("id", "source", "task", "split", "languages", "license", "group", "query", "positives", "negatives")
LARGEST_GROUPS = 10
Row = dict[str, Any]


@dataclass(frozen=True)
class Stats:
    """Counts of a corpus, each a list of rows.

    Attributes:
        records: by ``source``, ``task`` and ``split``.
        languages: by ``source``, ``task``, ``language`` (the first tag of a record) and ``split``.
        licenses: by ``license`` and ``source``.
        parts: by ``source``, ``role`` and ``modality``.
        texts: parts by ``role`` and length, ``characters`` being the lower end of a doubling range.
        media: by ``source`` and ``modality``: items, and ``bytes``, ``seconds``, ``broken``, ``containers`` if
            known.
        stored: by ``source``: bytes of the shards' files, and of the media in them as compressed.
        durations: sounds and clips by ``modality`` and length, ``seconds`` being the lower end of a doubling range.
        groups: by ``source``: ``groups``, the largest of them (``group``, ``records``, ``share``).
        split_groups: leakage groups that are in more than one split.
    """

    records: list[Row]
    languages: list[Row]
    licenses: list[Row]
    parts: list[Row]
    texts: list[Row]
    media: list[Row]
    stored: list[Row]
    durations: list[Row]
    groups: list[Row]
    split_groups: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Records in all."""
        return sum(row["records"] for row in self.records)

    def by(self, name: str) -> dict[str, int]:
        """Records by source, task, split, license or language."""
        rows = {"license": self.licenses, "language": self.languages}.get(name, self.records)
        found: dict[str, int] = {}
        for row in rows:
            found[row[name]] = found.get(row[name], 0) + row["records"]
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def shares(self, source: str) -> dict[str, float]:
        """Share of the records of a source that each split has."""
        counts = dict.fromkeys(SPLITS, 0)
        for row in self.records:
            if row["source"] == source:
                counts[row["split"]] = counts.get(row["split"], 0) + row["records"]
        whole = sum(counts.values())
        return {split: count / whole for split, count in counts.items()} if whole else {}

    def warnings(self, largest: float) -> list[str]:
        """What is wrong with the splits, in words.

        Args:
            largest: share of a source's records that one group may hold.
        """
        said = [
            f"group {row['group']!r} holds {row['share']:.0%} of {row['source']}, more than {largest:.0%}: wherever it "
            "falls, the shares of the splits follow it"
            for row in self.groups
            if row["share"] > largest
        ]
        if self.split_groups:
            names = ", ".join(repr(name) for name in self.split_groups[:5])
            said.append(f"{len(self.split_groups)} groups are in more than one split, so the test set leaks: {names}")
        return said

    def describe(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {"total": self.total, **asdict(self)}


def corpus_stats(directory: Path) -> Stats:
    """Count a corpus.

    Args:
        directory: shards.

    Raises:
        DataError: there is no shard, or one cannot be read.
    """
    from data.engine import start

    start()
    import daft
    from daft import col
    from daft.exceptions import DaftCoreException

    paths = shard_paths(directory)
    try:
        rows = daft.read_parquet([str(path) for path in paths], file_path_column="file")
        records = rows.where("kind = 'record'").select(*RECORD_COLUMNS)
        found = _of_records(records)
        parts = _parts(records)
        found |= {"parts": _count(parts, "source", "role", "modality"), "texts": _lengths(parts)}
        media = rows.where("kind = 'media'").groupby("file", "modality").agg(col("id").count().alias("items"))
        items = _rows(media)
    except (DaftCoreException, ValueError, OSError) as error:
        raise DataError(
            f"{directory} holds a shard that cannot be read: {error}; `omnivec data validate` names it"
        ) from error
    measured, durations = _measured(directory, paths)
    return Stats(media=_media(items, measured), stored=_stored(paths), durations=durations, **found)


def _of_records(records: "DataFrame") -> dict[str, list[Any]]:
    from daft import col

    first = records.select("source", "task", "split", col("languages").get(0).fill_null("none").alias("language"))
    spread = records.groupby("group").agg(col("split").count_distinct().alias("splits"))
    leaking = spread.where("splits > 1").select("group").sort("group").limit(1000)
    return {
        "records": _count(records, "source", "task", "split"),
        "languages": _count(first, "source", "task", "language", "split"),
        "licenses": _count(records, "license", "source"),
        "groups": _largest(records),
        "split_groups": [row["group"] for row in _rows(leaking)],
    }


def _largest(records: "DataFrame") -> list[Row]:
    """The largest groups of each source; held is one row for each group."""
    from daft import col

    sizes = records.groupby("source", "group").agg(col("id").count().alias("records")).collect()
    wholes = _rows(sizes.groupby("source").agg(col("records").sum().alias("all"), col("group").count().alias("groups")))
    found = []
    for whole in sorted(wholes, key=lambda row: str(row["source"])):
        own = sizes.where(col("source").eq_null_safe(whole["source"])).sort(["records", "group"], desc=[True, False])
        found += [
            {**row, "share": row["records"] / whole["all"], "groups": whole["groups"]}
            for row in _rows(own.limit(LARGEST_GROUPS))
        ]
    return found


def _parts(records: "DataFrame") -> "DataFrame":
    """One row for every part of every content: source, role, modality, characters of a text."""
    import daft
    from daft import col

    sides = []
    for role in ("query", "positives", "negatives"):
        side = records.select("source", col(role).alias("part")).explode("part")
        side = side if role == "query" else side.explode("part")
        side = side.where(col("part").not_null())
        sides.append(
            side.select(
                "source",
                daft.lit(role).alias("role"),
                col("part").get("modality").alias("modality"),
                col("part").get("text").length().alias("characters"),
            )
        )
    return sides[0].concat(sides[1]).concat(sides[2])


def _lengths(parts: "DataFrame") -> list[Row]:
    from daft import col

    texts = parts.where("modality = 'text' and characters > 0")
    ranges = texts.select("role", col("characters").cast("float64").log2().floor().cast("int64").alias("power"))
    rows = _count(ranges, "role", "power", name="parts")
    return [{"role": row["role"], "characters": 2 ** row["power"], "parts": row["parts"]} for row in rows]


def _count(frame: "DataFrame", *by: str, name: str = "") -> list[Row]:
    """Number of rows by columns, in their order; ``records``, or ``parts`` of a frame of parts."""
    import daft

    name = name or ("parts" if "role" in by else "records")
    counted = frame.with_column(name, daft.lit(1)).groupby(*by).agg(daft.col(name).sum())
    return sorted(_rows(counted), key=lambda row: tuple(str(row[column]) for column in by))


def _rows(frame: "DataFrame") -> list[Row]:
    rows: list[Row] = frame.to_arrow().to_pylist()
    return rows


def _measured(directory: Path, paths: Iterable[Path]) -> tuple[dict[tuple[str, str], Row], list[Row]]:
    """What the probes beside the shards say, by source and modality, and durations in doubling ranges."""
    from collections import Counter
    from math import floor, log2

    from data.probe_store import probes_of

    found: dict[tuple[str, str], Row] = {}
    spans: Counter[tuple[str, int]] = Counter()
    for path in paths:
        probes = probes_of(directory, path)
        if probes is None:
            continue
        columns = probes.media.select(["modality", "size", "seconds", "code", "container"]).to_pydict()
        for modality, size, seconds, code, container in zip(*columns.values(), strict=True):
            key = (str(source_of(path.name)), modality)
            row = found.setdefault(
                key, {"measured": 0, "bytes": 0, "seconds": 0.0, "broken": 0, "containers": Counter()}
            )
            row["measured"] += 1
            row["bytes"] += size
            row["broken"] += code is not None
            row["containers"][container or "unknown"] += 1
            if seconds:
                row["seconds"] += seconds
                spans[modality, floor(log2(seconds))] += 1
    durations = [{"modality": m, "seconds": 2.0**power, "items": n} for (m, power), n in sorted(spans.items())]
    return found, durations


def _media(items: Iterable[Row], measured: dict[tuple[str, str], Row]) -> list[Row]:
    counts: dict[tuple[str, str], int] = {}
    for row in items:
        key = (str(source_of(Path(row["file"]).name)), row["modality"])
        counts[key] = counts.get(key, 0) + row["items"]
    return [
        {"source": source, "modality": modality, "items": count, **_known(measured.get((source, modality)), count)}
        for (source, modality), count in sorted(counts.items())
    ]


def _known(row: Row | None, items: int) -> Row:
    """Findings where every item was probed; part of a source would mislead."""
    if row is None or row["measured"] != items:
        return {"bytes": None, "seconds": None, "broken": None, "containers": {}}
    return {**row, "seconds": row["seconds"] or None, "containers": dict(row["containers"].most_common())}


def _stored(paths: Sequence[Path]) -> list[Row]:
    """Sizes from the file system and the footers of the shards."""
    import pyarrow.parquet as pq

    found: dict[str, Row] = {}
    for path in paths:
        row = found.setdefault(str(source_of(path.name)), {"files": 0, "bytes": 0, "media_bytes": 0})
        row["files"] += 1
        row["bytes"] += path.stat().st_size
        footer = pq.read_metadata(path)
        for group in range(footer.num_row_groups):
            columns = (footer.row_group(group).column(i) for i in range(footer.num_columns))
            row["media_bytes"] += sum(c.total_compressed_size for c in columns if c.path_in_schema == "bytes")
    return [{"source": source, **row} for source, row in sorted(found.items())]
