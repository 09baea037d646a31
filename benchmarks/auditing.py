"""The search of the audit against comparing all pairs: words of 64 bits near each other, and texts that are alike.

Both sides find the same pairs, which is checked. The peer of the words is numpy over blocks of all pairs; that of the
texts compares the shingles of all pairs of a small sample, for all pairs of the whole would take days.
"""

import resource
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.rows import BenchmarkError, Row
from benchmarks.setting import Setting
from data.audit.banding import near_words
from data.audit.rules import AuditRules
from data.audit.texts import TEXT_BLOCK, band_keys, candidate_pairs
from data.fingerprints.text import shingles

WORDS, PEER_WORDS = 200_000, 20_000
TEXTS, PEER_TEXTS = 200_000, 1_000
BITS = 11
PLANTED = 0.05
BLOCK = 500
LENGTH = 30


def words(count: int, seed: int = 0) -> NDArray[np.uint64]:
    """Distinct random words, some of which have a neighbour a few bits away."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 2**64, round(count * (1 - PLANTED)), dtype=np.uint64)
    near = base[: count - len(base)].copy()
    for _ in range(6):
        near ^= np.uint64(1) << rng.integers(0, 64, len(near)).astype(np.uint64)
    return np.unique(np.concatenate([base, near]))


def all_pairs(given: NDArray[np.uint64], bits: int) -> int:
    """Pairs that near each other, by comparing all."""
    found = 0
    for start in range(0, len(given), BLOCK):
        apart = np.bitwise_count(given[start : start + BLOCK, None] ^ given[None, start + 1 :])
        found += sum(int((row[place:] <= bits).sum()) for place, row in enumerate(apart))
    return found


def banded(given: NDArray[np.uint64], bits: int) -> int:
    """The same by banding."""
    return sum(len(first) for first, _, _ in near_words(given, bits))


def texts(count: int, seed: int = 0) -> pa.Table:
    """Random texts in normal form, some of which differ from another in one word."""
    rng = np.random.default_rng(seed)
    names = np.array([f"w{n}" for n in range(50_000)])
    chosen = rng.integers(0, len(names), (round(count * (1 - PLANTED)), LENGTH))
    near = chosen[: count - len(chosen)].copy()
    near[:, LENGTH // 2] = rng.integers(0, len(names), len(near))
    normal = [" ".join(row) for row in names[np.concatenate([chosen, near])]]
    return pa.table({"key": pa.array(range(count), pa.uint64()), "normal": normal})


def _like(table: pa.Table) -> int:
    rules = AuditRules()
    normals = table["normal"].combine_chunks()
    found = 0
    pairs, _ = candidate_pairs(table, np.zeros(table.num_rows, dtype=np.int8), rules)
    for a, b in pairs:
        first, second = shingles(normals[a].as_py()), shingles(normals[b].as_py())
        found += len(first & second) >= rules.text.similarity * len(first | second)
    return found


def _like_by_force(table: pa.Table) -> int:
    own = [shingles(text) for text in table["normal"].to_pylist()]
    least = AuditRules().text.similarity
    return sum(len(a & b) >= least * len(a | b) for place, a in enumerate(own) for b in own[place + 1 :])


def _row(setting: Setting, name: str, ours: Callable[[], int], peer: Callable[[], int], sizes: tuple[int, int]) -> Row:
    """Rates of items; the peer gets few, for its time grows with their square."""
    seconds, _ = _timed(ours)
    peer_seconds, _ = _timed(peer)
    size, peer_size = sizes
    rate, peer_rate = size / seconds, peer_size / (peer_seconds * size / peer_size)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    note = (
        f"{size:,} items in {seconds:.1f} s; the peer measured on {peer_size:,} and scaled to as many by the square; "
        f"peak memory of the process {peak:,.0f} MB"
    )
    return Row(name, rate, "all pairs", peer_rate, rate / peer_rate, "items/s", setting.hardware, note)


def _timed(work: Callable[[], int]) -> tuple[float, int]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def audit_words(setting: Setting) -> Row:
    """Words at most 11 bits apart."""
    large, small = words(WORDS), words(PEER_WORDS, seed=1)
    if banded(small, BITS) != all_pairs(small, BITS):
        raise BenchmarkError("banding and comparing all pairs must find the same pairs")
    return _row(
        setting,
        "audit: near words of 64 bits",
        lambda: banded(large, BITS),
        lambda: all_pairs(small, BITS),
        (len(large), len(small)),
    )


def audit_texts(setting: Setting) -> Row:
    """Texts alike by their pairs of words."""
    large, small = texts(TEXTS), texts(PEER_TEXTS, seed=1)
    if _like(small) != _like_by_force(small):
        raise BenchmarkError("MinHash and comparing all pairs must find the same pairs")
    band_keys(small.slice(0, TEXT_BLOCK), AuditRules())  # Daft has started before the clock does
    return _row(setting, "audit: near texts", lambda: _like(large), lambda: _like_by_force(small), (TEXTS, PEER_TEXTS))


ROWS = {"audit-words": audit_words, "audit-texts": audit_texts}
