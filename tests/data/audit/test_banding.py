"""Banded search finds what comparing all pairs finds, and no more."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.audit.banding import HUBS, Crossing, chained, near_words, runs


def found(words: np.ndarray, bits: int) -> list[tuple[int, int, int]]:
    return sorted((int(a), int(b), int(d)) for block in near_words(words, bits) for a, b, d in zip(*block, strict=True))


def by_force(words: np.ndarray, bits: int) -> list[tuple[int, int, int]]:
    apart = np.bitwise_count(words[:, None] ^ words[None, :])
    return [
        (i, j, int(apart[i, j])) for i in range(len(words)) for j in range(i + 1, len(words)) if apart[i, j] <= bits
    ]


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.sampled_from([0, 1, 3, 4, 6, 7, 8, 10, 11]),
    flips=st.integers(0, 14),
    ones=st.sampled_from([0.5, 0.1]),
)
def test_banded_search_equals_brute_force(seed: int, bits: int, flips: int, ones: float) -> None:
    rng = np.random.default_rng(seed)
    base = np.packbits(rng.random((40, 64)) < ones, axis=1).view(np.uint64)[:, 0]
    near = base.copy()
    for place in range(len(near)):
        for bit in rng.choice(64, flips, replace=False):
            near[place] ^= np.uint64(1) << np.uint64(bit)
    words = np.unique(np.concatenate([base, near, np.array([0, 2**64 - 1], np.uint64)]))
    assert found(words, bits) == by_force(words, bits)


def test_a_search_with_too_narrow_a_radius_would_be_seen() -> None:
    words = np.array([0, 0x0001_0001_0001_0001], np.uint64)  # one bit in each band: no band is equal
    assert found(words, 4) == [(0, 1, 4)] == by_force(words, 4)
    assert found(words, 3) == []


@pytest.mark.parametrize("count", [0, 1])
def test_few_words_are_no_pairs(count: int) -> None:
    assert found(np.arange(count, dtype=np.uint64), 7) == []


def test_runs_and_chains_are_capped() -> None:
    keys = np.array([5, 1, 5, 5, 2, 1, 9] + [7] * 1000, np.uint64)
    splits = np.ones(len(keys), np.uint8)
    splits[500] = 4
    order, starts = runs(keys, splits)
    pairs = set(chained(order, starts, 8, Crossing(splits, 1000)))
    assert {(0, 2), (0, 3), (2, 3), (1, 5)} <= set(pairs)
    assert sum(500 in pair for pair in pairs) == 999, "what ranks highest is compared with all"
    assert len(pairs) < 4 + (HUBS + 1) * 1000
    assert runs(np.array([1, 2, 3], np.uint64), np.zeros(3))[0].tolist() == []
