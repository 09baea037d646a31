"""Ranks, metrics, chance and intervals against brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.evaluation.bootstrap import bootstrap_mean, paired_difference
from model.evaluation.health import health, mean_similarity
from model.evaluation.metrics import (
    chance_hit_at,
    chance_ndcg_at,
    hit_at,
    ndcg_at,
    rank_queries,
    ranks_of_right,
)


def test_ranks_count_ties_with_wrong_documents_against_the_right_one() -> None:
    scores = np.array([0.9, 0.5, 0.5, 0.1])
    assert ranks_of_right(scores, [0]).tolist() == [1]
    assert ranks_of_right(scores, [1]).tolist() == [3]
    assert ranks_of_right(scores, [1, 2]).tolist() == [2, 3]
    assert ranks_of_right(np.zeros(4), [2]).tolist() == [4], "a collapsed model must not score"


def test_candidates_limit_the_competition() -> None:
    queries = np.array([[1.0, 0.0]], dtype=np.float32)
    documents = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=np.float32)
    assert rank_queries(queries, documents, [[1]])[0].tolist() == [2]
    assert rank_queries(queries, documents, [[1]], [[1, 2]])[0].tolist() == [1]


@given(st.integers(2, 6), st.data())
def test_chance_is_the_mean_over_all_rankings(pool: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(1, pool))
    k = data.draw(st.integers(1, pool + 2))
    rankings = [np.array(sorted(places)) for places in itertools.combinations(range(1, pool + 1), right)]
    assert chance_hit_at(pool, right, k) == pytest.approx(np.mean([hit_at(r, k) for r in rankings]))
    assert chance_ndcg_at(pool, right, k) == pytest.approx(np.mean([ndcg_at(r, k) for r in rankings]))


def test_ndcg_is_one_only_for_the_ideal_ranking() -> None:
    assert ndcg_at(np.array([1, 2]), 10) == pytest.approx(1.0)
    assert ndcg_at(np.array([2]), 10) == pytest.approx(1 / np.log2(3))
    assert ndcg_at(np.array([11]), 10) == 0.0


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        found = bootstrap_mean(rng.random(60) < 0.4, draws=300, seed=seed)
        covered += found.low <= 0.4 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_clusters_widen_the_interval_and_the_seed_fixes_it() -> None:
    values = np.repeat(np.random.default_rng(1).random(20), 10)
    alone = bootstrap_mean(values)
    clustered = bootstrap_mean(values, clusters_Q=np.repeat(np.arange(20), 10))
    assert (clustered.high - clustered.low) > 2 * (alone.high - alone.low)
    assert clustered == bootstrap_mean(values, clusters_Q=np.repeat(np.arange(20), 10))


def test_weights_give_a_mean_over_subsets() -> None:
    values, weights = [1.0, 0.0, 0.0, 0.0], [1.0, 1 / 3, 1 / 3, 1 / 3]
    assert bootstrap_mean(values, weights_Q=weights).value == pytest.approx(0.5)


def test_paired_difference_sees_a_small_but_consistent_gain() -> None:
    champion = np.random.default_rng(2).random(100)
    found = paired_difference(champion + 0.01, champion)
    assert found.low == pytest.approx(0.01)
    assert found.high == pytest.approx(0.01)


def test_health_tells_a_collapsed_space_from_an_isotropic_one() -> None:
    rng = np.random.default_rng(3)
    spread = rng.standard_normal((400, 16))
    spread /= np.linalg.norm(spread, axis=1, keepdims=True)
    collapsed = np.tile(spread[:1], (400, 1)) + 1e-4 * spread
    collapsed /= np.linalg.norm(collapsed, axis=1, keepdims=True)
    good, bad = health(spread.astype(np.float32)), health(collapsed.astype(np.float32))
    assert abs(good["mean_cosine"]) < 0.05
    assert good["effective_rank"] > 14
    assert bad["mean_cosine"] > 0.99
    assert good["norm_error"] < 1e-5


def test_mean_similarity_matches_brute_force() -> None:
    rng = np.random.default_rng(4)
    sides = {name: rng.standard_normal((n, 4)).astype(np.float32) for name, n in (("text", 5), ("image", 3))}
    names, found = mean_similarity(sides)
    assert names == ["image", "text"]
    assert found[0, 1] == pytest.approx((sides["image"] @ sides["text"].T).mean(), abs=1e-6)
    own = sides["text"] @ sides["text"].T
    assert found[1, 1] == pytest.approx((own.sum() - np.trace(own)) / 20, abs=1e-5)
