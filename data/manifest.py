"""The manifest: everything that can be checked about a corpus, in columns of three tables, in little memory.

``records`` has a row for each record, ``media`` for each medium of a shard, ``texts`` for each distinct text of a
shard; ``Uses`` says which records use which media and texts. Shards are read in pieces (:mod:`data.scan`).
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.licenses import is_allowed
from data.probe_store import ShardProbes
from data.record_facts import SEPARATOR, RecordFacts, describe_records
from data.records import SPLITS
from data.scan import UNREADABLE, Shard
from data.splits import split_of
from model.errors import DataError

if TYPE_CHECKING:
    from pandas import DataFrame, Series

# Columns of the media and text tables that rules see, and the probe columns behind them.
MEDIA_COLUMNS = {
    "media_modality": "modality",
    "media_container": "container",
    "media_bytes": "size",
    "media_code": "code",
    "media_blank": "blank",
    "image_width": "width",
    "image_height": "height",
    "image_pixels": "pixels",
    "audio_seconds": "seconds",
    "audio_rate": "rate",
    "audio_channels": "channels",
    "audio_silence": "silence",
    "video_width": "width",
    "video_height": "height",
    "video_seconds": "seconds",
    "video_frames": "frames",
    "document_pages": "frames",
}
TEXT_COLUMNS = {
    "text_chars": "characters",
    "text_letters": "letters",
    "text_script": "script",
    "text_language": "language",
    "text_confidence": "confidence",
    "text_replaced": "replaced",
    "text_controls": "controls",
    "text_mojibake": "mojibake",
}


@dataclass(frozen=True)
class Uses:
    """Which records use what: pairs of a row of ``records`` and a row of another table."""

    records: NDArray[np.int32]
    rows: NDArray[np.int32]

    def of(self, rows: Collection[int]) -> NDArray[np.int32]:
        """The records that use any of ``rows``, each once."""
        return np.unique(self.records[np.isin(self.rows, np.fromiter(rows, np.int32))])


@dataclass(frozen=True)
class Manifest:
    """The tables; the index of ``records`` is a record's position over all shards."""

    records: "DataFrame"
    media: "DataFrame"
    texts: "DataFrame"
    media_uses: Uses
    text_uses: Uses

    def table(self, name: str) -> "DataFrame":
        """A table by name."""
        return {"records": self.records, "media": self.media, "texts": self.texts}[name]

    def affected(self, name: str, rows: Collection[int]) -> Iterable[int]:
        """The records that rows of a table stand for."""
        if name == "records":
            return rows
        uses = self.media_uses if name == "media" else self.text_uses
        return map(int, uses.of(rows))


@dataclass(frozen=True)
class Scanned:
    """One shard as far as it was read: its place, its findings and the facts about its records."""

    shard: Shard
    probes: ShardProbes
    facts: RecordFacts


def scan(found: ShardProbes, first: int) -> Scanned:
    """Read the records of a shard.

    Args:
        found: the probes of the shard.
        first: manifest index of its first record.

    Raises:
        DataError: the shard cannot be read.
    """
    try:
        facts = describe_records(found)
    except UNREADABLE as error:
        raise DataError(f"{type(error).__name__}: {error}") from error
    shard = Shard(found.shard, first, facts.columns.num_rows, found.media.num_rows)
    return Scanned(shard, ShardProbes(found.shard, found.media, facts.texts), facts)


def build_manifest(
    scanned: Sequence[Scanned], *, allowed: Collection[str], evaluation_only: Collection[str]
) -> Manifest:
    """Make the manifest.

    Args:
        scanned: readable shards in order.
        allowed: SPDX names that a licence expression may use.
        evaluation_only: sources whose records must all be in the test split.
    """
    records = _frame([item.facts.columns for item in scanned])
    _describe_rows(records, scanned, allowed, evaluation_only)
    media = _frame([item.probes.media.drop_columns(["hashes"]) for item in scanned])
    texts = _frame([item.facts.texts for item in scanned])
    _name_media(media, scanned)
    texts["shard"] = _shards(scanned, [item.facts.texts.num_rows for item in scanned])
    texts = texts.rename(columns={probe: name for name, probe in TEXT_COLUMNS.items()})
    media_uses = _uses([(i.facts.media_uses, i.shard.media, i.shard.first) for i in scanned])
    text_uses = _uses([(i.facts.text_uses, i.facts.texts.num_rows, i.shard.first) for i in scanned])
    return Manifest(records, media, texts, media_uses, text_uses)


def _frame(tables: list[pa.Table]) -> "DataFrame":
    """Tables below one another as a frame: categories for dictionaries, Arrow's strings instead of objects."""
    import pandas as pd

    whole = pa.concat_tables(tables).unify_dictionaries()
    text = pd.StringDtype("pyarrow", na_value=np.nan)
    frame: DataFrame = whole.to_pandas(types_mapper=lambda kind: text if kind == pa.string() else None)
    return frame


def _shards(scanned: Sequence[Scanned], rows: list[int]) -> Any:
    import pandas as pd

    names = [item.shard.path.name for item in scanned]
    return pd.Categorical.from_codes(np.repeat(np.arange(len(names)), rows), dtype=pd.CategoricalDtype(names))


def _uses(found: list[tuple[NDArray[np.int32], int, int]]) -> Uses:
    """Number the pairs of each shard on over all of them."""
    records, rows, start = [], [], 0
    for pairs, count, first in found:
        records.append(pairs[:, 0] + np.int32(first))
        rows.append(pairs[:, 1] + np.int32(start))
        start += count
    return Uses(np.concatenate(records), np.concatenate(rows))


def _describe_rows(
    frame: "DataFrame", scanned: Sequence[Scanned], allowed: Collection[str], evaluation_only: Collection[str]
) -> None:
    frame["shard"] = _shards(scanned, [item.shard.records for item in scanned])
    frame["split"], frame["expected_split"] = _splits(frame)
    frame["evaluation_only_ok"] = ~frame["source"].isin(list(evaluation_only)) | (frame["split"] == "test")
    frame["source_ok"] = _source_ok(frame)
    frame["license_state"] = _by_category(frame["license"], lambda expression: _license(expression, allowed))
    frame["group_leaks"] = _leaks(frame)
    frame["languages"] = _by_category(frame["languages"], lambda joined: joined.replace(SEPARATOR, " "))


def _splits(frame: "DataFrame") -> tuple["Series[Any]", "Series[Any]"]:
    """The split of each record and the one its group belongs to, as categories that can be compared."""
    import pandas as pd

    codes, groups = pd.factorize(frame["group"])
    names = pd.CategoricalDtype(sorted({*frame["split"].cat.categories, *SPLITS}))
    homes = np.array([SPLITS.index(split_of(group)) for group in groups] + [-1], dtype=np.int8)
    expected = pd.Categorical.from_codes(homes[codes], dtype=pd.CategoricalDtype(list(SPLITS))).astype(names)
    return frame["split"].astype(names), pd.Series(expected, index=frame.index)


def _source_ok(frame: "DataFrame") -> NDArray[np.bool_]:
    """Whether a record lies in a shard of its source."""
    sources, shards = frame["source"].cat, frame["shard"].cat
    legal = [
        i * len(shards.categories) + j
        for i, source in enumerate(sources.categories)
        for j, shard in enumerate(shards.categories)
        if is_shard_of(shard, source)
    ]
    pairs = sources.codes.to_numpy(np.int64) * len(shards.categories) + shards.codes.to_numpy()
    return np.isin(pairs, np.array(legal, dtype=np.int64))


def is_shard_of(shard: str, source: Any) -> bool:
    """Whether a shard of this name may hold records of a source: ``<source>.parquet`` or ``<source>-00000.parquet``."""
    stem = Path(shard).stem
    head, _, number = stem.rpartition("-")
    return stem == source or (head == source and len(number) == 5 and number.isdecimal())


def _license(expression: str, allowed: Collection[str]) -> str:
    try:
        return "allowed" if is_allowed(expression, allowed) else "refused"
    except DataError:
        return "malformed"


def _by_category(column: "Series[Any]", verdict: Any) -> "Series[Any]":
    """Judge each category once."""
    verdicts = {value: verdict(value) for value in column.cat.categories}
    return column.map(verdicts).astype("category")


def _leaks(frame: "DataFrame") -> "Series[bool]":
    """Of a group in two splits only the rows that are away from home are wrong."""
    pairs = frame[["group", "split"]].dropna().drop_duplicates()
    spread = pairs.loc[pairs["group"].duplicated(keep=False), "group"]
    return frame["group"].isin(spread) & (frame["split"] != frame["expected_split"])


def _name_media(frame: "DataFrame", scanned: Sequence[Scanned]) -> None:
    """Columns by what they are of: ``image_width`` is empty for a clip, ``video_width`` for a picture."""
    frame["pixels"] = frame["width"].astype("float64") * frame["height"]
    for name, probe in MEDIA_COLUMNS.items():
        of = name.partition("_")[0]
        frame[name] = frame[probe] if of == "media" else frame[probe].where(frame["modality"] == of)
    frame["shard"] = _shards(scanned, [item.shard.media for item in scanned])
    frame.drop(columns=sorted({*MEDIA_COLUMNS.values(), "silent", "finite"} - {"message"}), inplace=True)
