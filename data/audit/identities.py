"""Perceptual identities of the media of a corpus, from stored probes or made now, as arrays.

Shape legend: M media, U units, S search words of a unit, B bytes of a signature.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.audit.items import Items
from data.audit.rules import AuditRules
from data.fingerprints.units import SEARCH_WORDS, SIGNATURE_BYTES, split_units
from data.probe_store import ShardProbes, probes_of, write_tables
from data.probing import Unreadable, probe_shards
from model.errors import DataError


@dataclass
class Identities:
    """Media of one kind.

    Attributes:
        item: of each medium, [M].
        units: first unit of each medium, and the end, [M + 1].
        search: words, [U, S].
        signature: a file mapped into memory, [U, B].
    """

    item: NDArray[np.int64]
    units: NDArray[np.int64]
    search: NDArray[np.uint64]
    signature: NDArray[np.uint8]

    @property
    def owner(self) -> NDArray[np.int64]:
        """Medium of each unit, [U]."""
        return np.repeat(np.arange(len(self.item)), np.diff(self.units))


@dataclass
class _Growing:
    path: Path
    item: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    search: list[NDArray[np.uint64]] = field(default_factory=list)

    def finished(self, width: int) -> Identities:
        search = np.concatenate(self.search) if self.search else np.zeros((0, width), dtype=np.uint64)
        shape = (len(search), SIGNATURE_BYTES)
        signature = np.memmap(self.path, np.uint8, "r", shape=shape) if len(search) else np.zeros(shape, np.uint8)
        units = np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])
        return Identities(np.array(self.item, dtype=np.int64), units, search, signature)


def read_identities(
    corpus: Path, items: Items, rules: AuditRules, scratch: Path
) -> tuple[dict[str, Identities], dict[int, Path]]:
    """Identities by kind, and a shard that holds each medium.

    Blank pictures and silent sounds are marked as not comparable in ``items``: they are equal without being the same.
    Media that cannot be decoded have no identity; only their bytes are compared.

    Args:
        corpus: directory of shards, and of probes when it has them.
        items: of the corpus.
        rules: limits of decoding.
        scratch: directory for signatures, and for probes that are made here.
    """
    of = {digest: item for item, digest in items.media.items()}
    growing = {kind: _Growing(scratch / f"signatures-{kind}.u8") for kind in SEARCH_WORDS}
    homes: dict[int, Path] = {}
    for kind in growing.values():
        kind.path.unlink(missing_ok=True)
    for found in probe_shards(corpus, items.records.shards, rules.limits):
        if isinstance(found, Unreadable):
            raise DataError(
                f"{found.shard} is not a readable Omnivec shard: {found.message}; validate the corpus first"
            )
        if probes_of(corpus, found.shard, limits=rules.limits) is None:
            write_tables(scratch, found, limits=rules.limits)
        _add(found, of, items, growing, homes)
    return {kind: grown.finished(SEARCH_WORDS[kind]) for kind, grown in growing.items()}, homes


def _add(
    found: ShardProbes, of: dict[str, int], items: Items, growing: dict[str, _Growing], homes: dict[int, Path]
) -> None:
    columns = ("digest", "modality", "blank", "silent", "hashes")
    rows = zip(*(_plain(found.media[name]) for name in columns), strict=True)
    pieces: dict[str, list[NDArray[np.uint8]]] = {kind: [] for kind in growing}
    for digest, modality, blank, silent, hashes in rows:
        item = of.get(digest)
        if item is None or item in homes:
            continue
        homes[item] = found.shard
        if blank or silent:
            items.comparable[item] = False
        elif hashes:
            units, grown = split_units(modality, hashes), growing[modality]
            grown.item.append(item)
            grown.counts.append(len(units.search_US))
            grown.search.append(units.search_US)
            pieces[modality].append(units.signature_UB)
    for kind, signatures in pieces.items():
        if signatures:
            with growing[kind].path.open("ab") as file:
                file.writelines(part.tobytes() for part in signatures)


def _plain(column: pa.ChunkedArray) -> list[object]:
    values = column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
    found: list[object] = values.to_pylist()
    return found
