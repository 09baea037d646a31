"""Texts that are alike: MinHash in bands by Daft, verified by the words themselves."""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.audit.banding import Crossing, chained, runs
from data.audit.edges import Edges
from data.audit.items import Items
from data.audit.rules import AuditRules
from data.engine import start
from data.fingerprints.text import shingles

# At a likeness of 0.7 a pair shares one of 24 bands of four values at 99.8 %, at 0.76 at 99.99 %.
BANDS, ROWS = 24, 4
GRAM = 2
SEED = 1
KEPT_TEXTS = 4096
TEXT_BLOCK = 50_000


def near_texts(items: Items, rules: AuditRules) -> Edges:
    """Pairs of texts whose pairs of neighbouring words overlap enough; the distance is one minus the Jaccard index.

    Equal texts (in normal form) are one item, so they are not here.
    """
    with pa.memory_map(str(items.texts)) as file:
        table = pa.ipc.open_file(file).read_all()
        if not table.num_rows:
            return Edges.of([])
        own = items.of_kind("text")
        item = own[np.searchsorted(items.key[own], table["key"].to_numpy())]
        likeness = _Likeness(table["normal"])
        pairs, left_out = candidate_pairs(table, items.splits[item], rules)
        found = (
            (int(item[a]), int(item[b]), 1 - score)
            for a, b in pairs
            if (score := likeness(a, b)) >= rules.text.similarity
        )
        return replace(Edges.of(found), left_out=left_out)


class _Likeness:
    def __init__(self, normals: pa.ChunkedArray) -> None:
        self._shingles = lru_cache(maxsize=KEPT_TEXTS)(lambda place: shingles(normals[place].as_py()))

    def __call__(self, a: int, b: int) -> float:
        first, second = self._shingles(a), self._shingles(b)
        return len(first & second) / len(first | second)


def candidate_pairs(
    table: pa.Table, splits: NDArray[np.integer], rules: AuditRules
) -> tuple[Iterator[tuple[int, int]], int]:
    """Places of texts that share a band, each pair once and in order, so that neighbours share what is kept.

    Also how many pairs between splits were left out; one may count in several bands.
    """
    bands, crossing = band_keys(table, rules), Crossing(splits, rules.text.crossing)
    found: set[int] = set()
    for band in range(BANDS):
        for a, b in chained(*runs(bands[band], splits), rules.text.bucket, crossing):
            found.add(min(a, b) << 32 | max(a, b))
    codes = np.sort(np.fromiter(found, dtype=np.int64, count=len(found))).tolist()
    return ((code >> 32, code & 0xFFFFFFFF) for code in codes), crossing.left_out


def band_keys(table: pa.Table, rules: AuditRules) -> NDArray[np.uint64]:
    """Key of each text in each band: [BANDS, texts]."""
    start(rules.engine)
    import daft
    from daft.functions import minhash

    found = np.empty((BANDS, table.num_rows), dtype=np.uint64)
    for first in range(0, table.num_rows, TEXT_BLOCK):
        part = table.slice(first, TEXT_BLOCK)
        frame = daft.from_arrow(part.append_column("place", pa.array(range(part.num_rows), pa.int64())))
        hashes = minhash(daft.col("normal"), num_hashes=BANDS * ROWS, ngram_size=GRAM, seed=SEED)
        answer = frame.select("place", hashes.alias("hashes")).to_arrow()
        values = answer["hashes"].combine_chunks().flatten().to_numpy().reshape(-1, BANDS, ROWS).astype(np.uint64)
        key = values[..., 0]
        for row in range(1, ROWS):
            key = mixed(key) ^ values[..., row]
        found[:, first + answer["place"].to_numpy()] = mixed(key).T
    return found


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Well spread words of 64 bits, one for each value (SplitMix)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
