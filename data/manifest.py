"""The manifest: one row for each record of a corpus, with everything that can be checked about it in columns."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.languages import is_language_tag, script_problem
from data.licenses import is_allowed
from data.probes import Probe
from data.shards import SCHEMA, shard_paths
from data.splits import split_of
from model.content import Modality
from model.errors import DataError

if TYPE_CHECKING:
    from pandas import DataFrame, Series

ROLES = ("query", "positives", "negatives")
BITEXT = "bitext"


@dataclass(frozen=True)
class Shard:
    """One shard as tables; ``first`` is the manifest index of its first record."""

    path: Path
    first: int
    records: pa.Table
    media: pa.Table


def read_shards(directory: Path) -> tuple[list[Shard], dict[str, str]]:
    """Read every shard of a corpus.

    Returns:
        The readable shards, and what is wrong with each of the others by file name.

    Raises:
        DataError: there is no shard at all.
    """
    shards: list[Shard] = []
    broken: dict[str, str] = {}
    first = 0
    for path in shard_paths(directory):
        try:
            table = pq.read_table(path)
            is_media = pc.fill_null(pc.equal(table["kind"], "media"), False)
            if table.schema.remove_metadata() != SCHEMA:
                raise DataError(f"columns {table.schema.names} are not those of a shard ({SCHEMA.names})")
        except (pa.ArrowException, OSError, KeyError, DataError) as error:
            broken[path.name] = f"{type(error).__name__}: {error}"
            continue
        records = table.filter(pc.invert(is_media))
        shards.append(Shard(path, first, records, table.filter(is_media)))
        first += records.num_rows
    return shards, broken


def media_items(shards: Iterable[Shard]) -> Iterable[tuple[str, str, bytes]]:
    """(digest, modality, bytes) of every media row, each distinct digest of a shard once."""
    for shard in shards:
        for digest, modality, data in zip(*(shard.media[c] for c in ("id", "modality", "bytes")), strict=True):
            yield str(digest.as_py()), str(modality.as_py()), data.as_py() or b""


def build_manifest(
    shards: Sequence[Shard], probes: Sequence[Probe], *, allowed: Collection[str], evaluation_only: Collection[str]
) -> "DataFrame":
    """Make the manifest.

    Args:
        shards: tables of the corpus.
        probes: findings, in the order of :func:`media_items`.
        allowed: SPDX names that a licence expression may use.
        evaluation_only: sources whose records must all be in the test split.

    Returns:
        One row per record; its index is the record's position over all shards.
    """
    import pandas as pd

    columns = ["id", "task", "source", "languages", "license", "group", "split"]
    frames = [shard.records.select(columns).to_pandas().assign(shard=shard.path.name) for shard in shards]
    frame: DataFrame = pd.concat(frames, ignore_index=True)
    frame["languages"] = [tuple(tags) if tags is not None else () for tags in frame["languages"]]
    parts = pd.concat([_parts(shard) for shard in shards], ignore_index=True)
    _describe_row(frame, allowed, evaluation_only)
    _describe_texts(frame, parts)
    _describe_media(frame, parts, shards, probes)
    return frame


def parts_of(records: pa.Table, role: str) -> tuple[pa.Array, pa.StructArray]:
    """All parts of one role of the records, and for each the position of its record."""
    column = records[role].combine_chunks()
    rows, parts = pc.list_parent_indices(column), pc.list_flatten(column)
    if role != "query":  # a list of contents
        rows, parts = rows.take(pc.list_parent_indices(parts)), pc.list_flatten(parts)
    return rows, parts


def _parts(shard: Shard) -> "DataFrame":
    """Every part of every content of a shard: record (manifest index), role, modality, text, media."""
    import pandas as pd

    found = []
    for role in ROLES:
        rows, parts = parts_of(shard.records, role)
        fields = {name: parts.field(name).to_pandas() for name in ("modality", "text", "media")}
        found.append(pd.DataFrame({"record": rows.to_pandas() + shard.first, "role": role, **fields}))
    # The type is set because a role may be empty.
    return pd.concat(found, ignore_index=True).astype({"record": "int64"})


def _describe_row(frame: "DataFrame", allowed: Collection[str], evaluation_only: Collection[str]) -> None:
    homes = {group: split_of(group) for group in frame["group"].dropna().unique()}
    frame["expected_split"] = frame["group"].map(homes)
    frame["evaluation_only_ok"] = ~frame["source"].isin(list(evaluation_only)) | (frame["split"] == "test")
    frame["source_ok"] = frame["source"] == frame["shard"].str.removesuffix(".parquet")
    verdicts = {expression: _license(expression, allowed) for expression in frame["license"].dropna().unique()}
    frame["license_state"] = frame["license"].map(verdicts)
    spread = frame.groupby("group", dropna=True)["split"].nunique()
    # Of a group in two splits only the rows that are away from home are wrong.
    frame["group_leaks"] = (frame["group"].map(spread) > 1) & (frame["split"] != frame["expected_split"])
    tags = {languages: bool(languages) and all(map(is_language_tag, languages)) for languages in {*frame["languages"]}}
    frame["languages_ok"] = frame["languages"].map(tags.__getitem__)


def _license(expression: str, allowed: Collection[str]) -> str:
    try:
        return "allowed" if is_allowed(expression, allowed) else "refused"
    except DataError:
        return "malformed"


def _describe_texts(frame: "DataFrame", parts: "DataFrame") -> None:
    is_text = parts["modality"] == Modality.TEXT.value
    known = parts["modality"].isin([m.value for m in Modality])
    wrong = ~known | (is_text & parts["media"].notna()) | (~is_text & (parts["text"].notna() | parts["media"].isna()))
    frame["malformed_part"] = frame.index.isin(parts.loc[wrong, "record"])
    for role in ("query", "positives"):
        frame[f"has_{role}"] = frame.index.isin(parts.loc[parts["role"] == role, "record"])
    texts = parts[is_text]
    frame["text_chars"] = texts["text"].str.len().groupby(texts["record"]).max().reindex(frame.index).astype("float64")
    empty = texts["text"].isna() | (texts["text"].str.strip() == "")
    frame["text_empty"] = frame.index.isin(texts.loc[empty, "record"])
    frame["script"] = _script_problems(frame, texts[~empty])


def _script_problems(frame: "DataFrame", texts: "DataFrame") -> "Series[str]":
    """Worst script problem of each record, ``ok`` without one."""
    found: dict[int, str] = {}
    known: dict[tuple[str, tuple[str, ...]], str | None] = {}
    languages, tasks = frame["languages"].to_dict(), frame["task"].to_dict()
    for record, role, text in zip(texts["record"], texts["role"], texts["text"], strict=True):
        key = (text, _tags(languages[record], tasks[record], role))
        if key not in known:
            known[key] = script_problem(*key)
        problem = known[key]
        if problem and found.get(record) != "script_mismatch":
            found[record] = problem
    return frame.index.map(found).fillna("ok").to_series(index=frame.index)


def _tags(languages: tuple[str, ...], task: str, role: str) -> tuple[str, ...]:
    """Tags that a text may be in: of bitext the first is the query's, otherwise a text may fit any of them."""
    if task != BITEXT or len(languages) < 2:
        return languages
    return languages[:1] if role == "query" else languages[1:]


def _describe_media(frame: "DataFrame", parts: "DataFrame", shards: Sequence[Shard], probes: Sequence[Probe]) -> None:
    import pandas as pd

    owners = [shard.path.name for shard in shards for _ in range(shard.media.num_rows)]
    names = ("code", "blank", "size", "pixels", "seconds")
    fields: dict[str, Any] = {name: [getattr(probe, name) for probe in probes] for name in names}
    # Without a type, a column of None only is of objects, which pandas aggregates row by row.
    numbers = {name: pd.Series(fields.pop(name), dtype="float64") for name in ("size", "pixels", "seconds")}
    digests, modalities = [p.digest for p in probes], [p.modality for p in probes]
    findings = pd.DataFrame({"shard": owners, "media": digests, "is": modalities, **fields, **numbers})
    used = parts[parts["media"].notna()].assign(shard=lambda t: frame["shard"].to_numpy()[t["record"]])
    joined = used.merge(findings.drop_duplicates(["shard", "media"]), on=["shard", "media"], how="left")
    joined.loc[joined["is"].notna() & (joined["is"] != joined["modality"]), "code"] = "media_modality_mismatch"
    joined.loc[joined["is"].isna(), "code"] = "media_missing"
    # Several items of a record may be wrong: the first reason stands for the record.
    codes = joined[joined["code"].notna()].drop_duplicates("record").set_index("record")["code"]
    frame["media_state"] = codes.reindex(frame.index).fillna("ok")
    frame["media_blank"] = frame.index.isin(joined.loc[joined["blank"].eq(True), "record"])
    by_record = joined.groupby("record")
    for column, source in (("media_bytes", "size"), ("image_pixels", "pixels"), ("audio_seconds", "seconds")):
        frame[column] = by_record[source].max().reindex(frame.index)
