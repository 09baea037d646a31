"""The exact search is brute force; the graph finds nearly all of it, and the same each time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.mining.search import Searcher
from tests.data.mining.toy import unit


def clusters(count: int, width: int = 32, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((40, width))
    return unit(centres[rng.integers(0, 40, count)] + 0.6 * rng.standard_normal((count, width)))


def brute(query_QD: np.ndarray, pool_PD: np.ndarray, count: int) -> np.ndarray:
    return np.argsort(-(query_QD @ pool_PD.T), axis=1, kind="stable")[:, :count]


@settings(max_examples=25, deadline=None)
@given(pool=st.integers(1, 60), queries=st.integers(0, 5), count=st.integers(1, 80), seed=st.integers(0, 99))
def test_exact_search_is_brute_force(pool: int, queries: int, count: int, seed: int) -> None:
    vectors = clusters(pool + queries, seed=seed)
    places, scores = Searcher(vectors[:pool], exact_below=pool)(vectors[pool:], count)
    expected = brute(vectors[pool:], vectors[:pool], count)
    assert places.shape == (queries, min(pool, count))
    assert (places == expected).all()
    assert np.allclose(scores, np.take_along_axis(vectors[pool:] @ vectors[:pool].T, expected, axis=1))


def recall(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, expected, strict=True)]))


def test_recall_of_the_graph() -> None:
    vectors, count = clusters(4200), 50
    queries, pool = vectors[:200], vectors[200:]
    searcher = Searcher(pool, exact_below=100)
    assert not searcher.exact
    places, scores = searcher(queries, count)
    expected = brute(queries, pool, count)
    assert recall(places, expected) > 0.97
    assert recall(np.roll(places, 1, axis=0), expected) < 0.5, "the measure cannot fail"
    assert np.allclose(scores, np.take_along_axis(queries @ pool.T, places, axis=1), atol=1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()


def test_the_graph_finds_the_same_each_time() -> None:
    vectors = clusters(1500)
    first, second = (Searcher(vectors, exact_below=10)(vectors[:50], 20)[0] for _ in range(2))
    assert (first == second).all()


@pytest.mark.parametrize("exact_below", [0, 100])
def test_of_equal_documents_the_first_comes_first(exact_below: int) -> None:
    vectors = np.repeat(clusters(5), 3, axis=0)
    places, _ = Searcher(vectors, exact_below=exact_below)(vectors[:1], 3)
    assert places.tolist() == [[0, 1, 2]]
