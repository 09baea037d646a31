"""What is known of the records of one shard, read in pieces: columns of the manifest, and which parts they use."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data.languages import is_language_tag, script_problem
from data.probe_store import ShardProbes, text_table
from data.scan import RECORD_COLUMNS, ROLES, parts_of, record_batches, texts_of
from data.shards import SCHEMA
from data.text_probes import contradicts, probe_texts, text_digest
from model.content import Modality

BITEXT = "bitext"
SEPARATOR = "\x1f"  # between language tags while they are judged: no tag can hold it unnoticed
# A guess is held against a tag only when it is nearly sure.
SURE = 0.9
_NAMES = ("task", "source", "license", "split")


@dataclass(frozen=True)
class RecordFacts:
    """Facts about one shard.

    Attributes:
        columns: a row for each record.
        texts: findings about every distinct text.
        media_uses: pairs of a record and a row of the media table.
        text_uses: pairs of a record and a row of ``texts``.
    """

    columns: pa.Table
    texts: pa.Table
    media_uses: NDArray[np.int32]
    text_uses: NDArray[np.int32]


@dataclass(frozen=True)
class _Parts:
    """Parts of some records: lists of the same length."""

    records: NDArray[np.int32]
    roles: list[str]
    modalities: list[str | None]
    texts: list[str | None]
    media: list[str | None]


def describe_records(found: ShardProbes) -> RecordFacts:
    """Read the records of a shard and relate them to its probes; texts without a probe are probed here."""
    reader = _Reader(found)
    for batch in record_batches(found.shard, RECORD_COLUMNS):
        reader.add(batch)
    if not reader.columns:  # a shard of media alone
        reader.add(SCHEMA.empty_table().select(RECORD_COLUMNS))
    return reader.facts()


class _Reader:
    def __init__(self, found: ShardProbes) -> None:
        self.media: dict[str, int] = {}
        for row, digest in enumerate(found.media["digest"].to_pylist()):
            self.media.setdefault(digest, row)
        self.codes = found.media["code"].cast(pa.string()).to_pylist()
        self.modalities = found.media["modality"].cast(pa.string()).to_pylist()
        self.texts = _TextRows(found.texts)
        self.columns: list[pa.Table] = []
        self.media_uses = [np.zeros((0, 2), np.int32)]
        self.text_uses = [np.zeros((0, 2), np.int32)]
        self.first = 0

    def add(self, records: pa.Table) -> None:
        parts = _parts(records)
        rows = records.num_rows
        joined = pc.fill_null(pc.binary_join(records["languages"].combine_chunks(), SEPARATOR), "")
        tags = [tuple(value.split(SEPARATOR)) if value else () for value in joined.to_pylist()]
        tasks = records["task"].to_pylist()
        number = self.texts.rows_of(texts_of(records))
        states, uses = self._media_states(parts, rows)
        pairs = [(r, number[t]) for r, m, t in zip(parts.records, parts.modalities, parts.texts, strict=True)
                 if m == Modality.TEXT.value and t is not None]  # fmt: skip
        columns: dict[str, Any] = {
            "id": records["id"],
            "group": records["group"],
            **{name: records[name].dictionary_encode() for name in _NAMES},
            "languages": joined.dictionary_encode(),
            "languages_ok": pa.array([bool(own) and all(map(is_language_tag, own)) for own in tags], pa.bool_()),
            "positives": pc.list_value_length(records["positives"]),
            "negatives": pc.list_value_length(records["negatives"]),
            **_structure(parts, rows),
            "media_state": pa.array(states, pa.string()).dictionary_encode(),
            "script": _scripts(parts, tags, tasks),
            "language_guess": self._guesses(parts, number, tags, tasks),
        }
        self.columns.append(pa.table(columns))
        self.media_uses.append(_pairs(uses, self.first))
        self.text_uses.append(_pairs(pairs, self.first))
        self.first += rows

    def facts(self) -> RecordFacts:
        columns = pa.concat_tables(self.columns).unify_dictionaries().combine_chunks()
        return RecordFacts(columns, self.texts.table(), np.concatenate(self.media_uses), np.concatenate(self.text_uses))

    def _media_states(self, parts: _Parts, rows: int) -> tuple[list[str], list[tuple[int, int]]]:
        """State of each record, where the first reason of several stands for it, and its uses of media."""
        states: list[str | None] = [None] * rows
        uses = []
        for record, modality, digest in zip(parts.records, parts.modalities, parts.media, strict=True):
            if digest is None:
                continue
            row = self.media.get(digest)
            if row is None:
                code = "media_missing"
            else:
                uses.append((record, row))
                code = self.codes[row] if modality == self.modalities[row] else "media_modality_mismatch"
            states[record] = states[record] or code
        return [state or "ok" for state in states], uses

    def _guesses(
        self, parts: _Parts, number: dict[str, int], tags: Sequence[tuple[str, ...]], tasks: Sequence[str]
    ) -> pa.Array:
        wrong = ["ok"] * len(tags)
        known: dict[tuple[str, tuple[str, ...]], bool] = {}
        for record, role, text in zip(parts.records, parts.roles, parts.texts, strict=True):
            guess = self.texts.sure[number[text]] if text in number else None
            if guess is None:
                continue
            key = (guess, _tags(tags[record], tasks[record], role))
            if key not in known:
                known[key] = contradicts(*key)
            if known[key]:
                wrong[record] = "mismatch"
        return pa.array(wrong, pa.string()).dictionary_encode()


class _TextRows:
    """Rows of the text table by text; what the stored probes lack is probed and added."""

    def __init__(self, stored: pa.Table) -> None:
        self.tables = [stored]
        # Digests as bytes take half the memory of their hexadecimal form.
        self.places = {bytes.fromhex(digest): row for row, digest in enumerate(stored["digest"].to_pylist())}
        self.sure: list[str | None] = _sure(stored)

    def rows_of(self, texts: pa.Array) -> dict[str, int]:
        """Row of each of some distinct texts."""
        digests = {text: bytes.fromhex(text_digest(text)) for text in texts.to_pylist()}
        missing = [text for text, digest in digests.items() if digest not in self.places]
        if missing:
            added = text_table(probe_texts(missing))
            self.tables.append(added)
            self.sure += _sure(added)
            self.places.update({digests[text]: len(self.places) + at for at, text in enumerate(missing)})
        return {text: self.places[digest] for text, digest in digests.items()}

    def table(self) -> pa.Table:
        return pa.concat_tables(self.tables).unify_dictionaries().combine_chunks()


def _sure(texts: pa.Table) -> list[str | None]:
    sure = pc.fill_null(pc.greater_equal(texts["confidence"], SURE), False)
    found: list[str | None] = pc.if_else(sure, texts["language"].cast(pa.string()), None).to_pylist()
    return found


def _parts(records: pa.Table) -> _Parts:
    """Every part of every content, role by role."""
    rows: list[NDArray[np.int32]] = []
    roles: list[str] = []
    fields: dict[str, list[str | None]] = {"modality": [], "text": [], "media": []}
    for role in ROLES:
        owners, parts = parts_of(records, role)
        rows.append(owners.to_numpy(zero_copy_only=False).astype(np.int32))
        roles += [role] * len(owners)
        for name, values in fields.items():
            values.extend(parts.field(name).to_pylist())
    return _Parts(np.concatenate(rows), roles, fields["modality"], fields["text"], fields["media"])


def _structure(parts: _Parts, rows: int) -> dict[str, NDArray[np.bool_]]:
    """What can be said of the parts without their media: whether they are well formed and there at all."""
    known = {modality.value for modality in Modality}
    columns = ("has_query", "has_positives", "malformed_part", "text_empty")
    found = {name: np.zeros(rows, dtype=np.bool_) for name in columns}
    for record, role, modality, text, media in zip(
        parts.records, parts.roles, parts.modalities, parts.texts, parts.media, strict=True
    ):
        if role != "negatives":
            found[f"has_{role}"][record] = True
        is_text = modality == Modality.TEXT.value
        if is_text and not (text and text.strip()):
            found["text_empty"][record] = True
        if (media is not None) if is_text else (modality not in known or media is None or text is not None):
            found["malformed_part"][record] = True
    return found


def _scripts(parts: _Parts, tags: Sequence[tuple[str, ...]], tasks: Sequence[str]) -> pa.Array:
    """Worst script problem of each record, ``ok`` without one."""
    found = ["ok"] * len(tags)
    known: dict[tuple[str, tuple[str, ...]], str | None] = {}
    for record, role, modality, text in zip(parts.records, parts.roles, parts.modalities, parts.texts, strict=True):
        if modality != Modality.TEXT.value or not text or not text.strip():
            continue
        key = (text, _tags(tags[record], tasks[record], role))
        if key not in known:
            known[key] = script_problem(*key)
        problem = known[key]
        if problem and found[record] != "script_mismatch":
            found[record] = problem
    return pa.array(found, pa.string()).dictionary_encode()


def _tags(languages: tuple[str, ...], task: str, role: str) -> tuple[str, ...]:
    """Tags that a text may be in: of bitext the first is the query's, otherwise a text may fit any of them."""
    if task != BITEXT or len(languages) < 2:
        return languages
    return languages[:1] if role == "query" else languages[1:]


def _pairs(found: list[tuple[int, int]], first: int) -> NDArray[np.int32]:
    pairs = np.array(found, dtype=np.int32).reshape(-1, 2)
    pairs[:, 0] += first
    return pairs
