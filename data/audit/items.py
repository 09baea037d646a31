"""A corpus as items and their users: which distinct text, medium, whole content or pair which record holds, and where.

Only numbers are held: 64 bits name an item. Normal texts that can be compared for likeness lie in a file that is mapped
into memory.

Shape legend: R records, I items, P parts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data.audit.rules import KINDS, RANKS, AuditRules
from data.fingerprints.text import normal_text, text_hash
from data.scan import record_batches
from data.shards import shard_paths
from model.content import Modality
from model.errors import DataError

COLUMNS = ("id", "query", "positives", "negatives", "group", "split")
ROLES = ("query", "positives", "negatives")
NEGATIVES = ROLES.index("negatives")
CODES: dict[str, int] = {kind: code for code, kind in enumerate(KINDS)}
MODALITIES = tuple(m.value for m in Modality)
TEXTS = "texts.arrow"
TEXT_SCHEMA = pa.schema([("key", pa.uint64()), ("normal", pa.string())])
PART = np.dtype([("record", "i4"), ("role", "i1"), ("content", "i8"), ("place", "i4"), ("kind", "i1"), ("key", "u8")])


@dataclass
class Records:
    """The records of a corpus: shard and row, name, group and split of each; R long."""

    shards: list[Path]
    shard: NDArray[np.int32]
    row: NDArray[np.int64]
    ids: pa.ChunkedArray
    group: NDArray[np.int64]
    group_names: list[str]
    split: NDArray[np.int8]

    def name(self, record: int) -> str:
        """Its id."""
        return str(self.ids[record].as_py())


@dataclass
class Items:
    """Distinct items, and the parts that hold them.

    Attributes:
        records: who holds them.
        kind: code of each item's kind (``CODES``), [I].
        key: 64 bits that name it among those of its kind, [I].
        comparable: whether it counts by itself: not a short text, not a blank picture, [I].
        parts: every part of every content, with ``item`` in place of the key; [P].
        media: digest of each item that is a medium.
        texts: file of the normal texts that may be compared for likeness.
    """

    records: Records
    kind: NDArray[np.int8]
    key: NDArray[np.uint64]
    comparable: NDArray[np.bool_]
    parts: NDArray[Any]
    item: NDArray[np.int64]
    media: dict[int, str]
    texts: Path

    @cached_property
    def splits(self) -> NDArray[np.uint8]:
        """Splits in which each item is: of each the bit of its rank, [I]."""
        found = np.zeros(len(self.kind), dtype=np.uint8)
        bits = np.left_shift(1, self.records.split[self.parts["record"]]).astype(np.uint8)
        np.bitwise_or.at(found, self.item, bits)
        return found

    def between_places(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether two items lie in more than one split or group together; else they are of one thing by right."""
        place = self.records.group[self.parts["record"]] * len(RANKS) + self.records.split[self.parts["record"]]
        low, high = np.full(len(self.kind), np.iinfo(np.int64).max), np.full(len(self.kind), -1)
        np.minimum.at(low, self.item, place)
        np.maximum.at(high, self.item, place)
        spread: NDArray[np.bool_] = np.minimum(low[first], low[second]) != np.maximum(high[first], high[second])
        return spread

    def of_kind(self, kind: str) -> NDArray[np.int64]:
        """Items of a kind, in the order of their keys."""
        return np.flatnonzero(self.kind == CODES[kind])


@dataclass
class _Reading:
    rules: AuditRules
    parts: list[NDArray[Any]] = field(default_factory=list)
    shard: list[NDArray[np.int32]] = field(default_factory=list)
    row: list[NDArray[np.int64]] = field(default_factory=list)
    ids: list[pa.ChunkedArray] = field(default_factory=list)
    group: list[NDArray[np.int64]] = field(default_factory=list)
    split: list[NDArray[np.int8]] = field(default_factory=list)
    group_codes: dict[str, int] = field(default_factory=dict)
    digests: dict[int, str] = field(default_factory=dict)
    labels: set[int] = field(default_factory=set)
    written: set[int] = field(default_factory=set)
    records: int = 0
    contents: int = 0


def read_items(corpus: Path, rules: AuditRules, scratch: Path) -> Items:
    """Read the records of a corpus, not its media.

    Args:
        corpus: directory of shards.
        rules: which texts are compared.
        scratch: directory for the file of texts.

    Raises:
        DataError: a shard cannot be read, or there is no record.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    shards, state = shard_paths(corpus), _Reading(rules)
    with pa.OSFile(str(scratch / TEXTS), "wb") as file, pa.ipc.new_file(file, TEXT_SCHEMA) as texts:
        for number, shard in enumerate(shards):
            try:
                _read_shard(state, number, shard, texts)
            except (pa.ArrowException, OSError, KeyError) as error:
                raise DataError(f"{shard} is not a readable Omnivec shard ({error}); validate the corpus") from error
    if not state.records:
        raise DataError(f"{corpus} holds no record, so there is nothing to audit; build or import it again")
    records = Records(
        shards,
        np.concatenate(state.shard),
        np.concatenate(state.row),
        pa.chunked_array([chunk for ids in state.ids for chunk in ids.chunks], pa.string()),
        np.concatenate(state.group),
        list(state.group_codes),
        np.concatenate(state.split),
    )
    return _numbered(state, records, scratch / TEXTS)


def _numbered(state: _Reading, records: Records, texts: Path) -> Items:
    parts = np.concatenate(state.parts)
    both = np.empty(len(parts), dtype=[("kind", "i1"), ("key", "u8")])
    both["kind"], both["key"] = parts["kind"], parts["key"]
    items, item = np.unique(both, return_inverse=True)
    kind, key = items["kind"].copy(), items["key"].copy()
    is_text = kind == CODES["text"]
    labels = np.fromiter(state.labels, dtype=np.uint64, count=len(state.labels))
    media = {int(i): state.digests[int(key[i])] for i in np.flatnonzero(~is_text)}
    return Items(records, kind, key, ~(is_text & np.isin(key, labels)), parts, item.astype(np.int64), media, texts)


def _read_shard(state: _Reading, number: int, shard: Path, texts: Any) -> None:
    row = 0
    for table in record_batches(shard, COLUMNS):
        rows = table.num_rows
        for role in range(len(ROLES)):
            state.parts.append(_parts(state, table, role, texts))
        state.shard.append(np.full(rows, number, dtype=np.int32))
        state.row.append(np.arange(row, row + rows))
        state.ids.append(table["id"].cast(pa.string()))
        # A record without a group is a group of its own.
        names = zip(table["group"].to_pylist(), table["id"].to_pylist(), strict=True)
        groups = [f"record {name}" if group is None else group for group, name in names]
        state.group.append(np.array([state.group_codes.setdefault(g, len(state.group_codes)) for g in groups]))
        state.split.append(np.array([_rank(split, shard) for split in table["split"].to_pylist()], dtype=np.int8))
        state.records += rows
        row += rows


def _rank(split: str, shard: Path) -> int:
    if split not in RANKS:
        raise DataError(f"{shard} holds a record of split {split!r}; known are {', '.join(RANKS)}: validate the corpus")
    return RANKS[split]


def _parts(state: _Reading, table: pa.Table, role: int, texts: Any) -> NDArray[Any]:
    """Parts of one role, in order."""
    record, content, part = _flat(table[ROLES[role]].combine_chunks(), nested=ROLES[role] != "query")
    found = np.zeros(len(part), dtype=PART)
    found["record"] = record + state.records
    found["role"] = role
    found["content"] = content + state.contents
    if len(content):
        state.contents += int(content[-1]) + 1
        starts = np.flatnonzero(np.concatenate([[True], content[1:] != content[:-1]]))
        found["place"] = np.arange(len(content)) - np.repeat(starts, np.diff([*starts, len(content)]))
    modality = part.field("modality").to_pylist()
    unknown = {*modality} - {*MODALITIES}
    if unknown:
        raise DataError(f"a record holds a part of modality {unknown.pop()!r}; validate the corpus before the audit")
    found["kind"] = [CODES[m] for m in modality]
    is_text = np.array([m == Modality.TEXT.value for m in modality], dtype=np.bool_)
    found["key"][is_text] = _text_keys(state, part.field("text").filter(pa.array(is_text)), texts)
    found["key"][~is_text] = _media_keys(state, part.field("media").filter(pa.array(~is_text)))
    return found


def _flat(column: Any, *, nested: bool) -> tuple[NDArray[np.int64], NDArray[np.int64], Any]:
    """Record and content of each part, and the parts; contents are numbered from 0."""
    record, parts = pc.list_parent_indices(column), pc.list_flatten(column)
    if not nested:
        numbers = record.to_numpy(zero_copy_only=False).astype(np.int64)
        return numbers, numbers, parts
    content = pc.list_parent_indices(parts)
    record = record.take(content)
    return (*(a.to_numpy(zero_copy_only=False).astype(np.int64) for a in (record, content)), pc.list_flatten(parts))


def _text_keys(state: _Reading, column: Any, texts: Any) -> NDArray[np.uint64]:
    coded = pc.fill_null(column, "").dictionary_encode()
    rules, keys, normals = state.rules.text, [], []
    for text in coded.dictionary.to_pylist():
        normal = normal_text(text)
        # What has no words, such as "!?", is told apart by its characters.
        key = text_hash(normal or f"\0{text.strip()}")
        keys.append(key)
        if len(normal) < rules.characters:
            state.labels.add(key)
        elif key not in state.written and normal.count(" ") + 1 >= rules.words:
            state.written.add(key)
            normals.append((key, normal))
    for batch in _batches(normals):
        texts.write_batch(batch)
    return np.array(keys, dtype=np.uint64)[coded.indices.to_numpy(zero_copy_only=False)] if len(column) else _NONE


def _batches(normals: list[tuple[int, str]]) -> Iterator[pa.RecordBatch]:
    if normals:
        keys, texts = zip(*normals, strict=True)
        yield pa.record_batch([pa.array(keys, pa.uint64()), pa.array(texts, pa.string())], schema=TEXT_SCHEMA)


def _media_keys(state: _Reading, column: Any) -> NDArray[np.uint64]:
    keys = []
    for digest in column.to_pylist():
        key = int(str(digest)[:16], 16)
        state.digests.setdefault(key, str(digest))
        keys.append(key)
    return np.array(keys, dtype=np.uint64)


_NONE = np.zeros(0, dtype=np.uint64)
