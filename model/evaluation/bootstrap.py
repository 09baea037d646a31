"""Percentile bootstrap over clusters of queries, seeded.

Queries about one concept (several artists, languages, clips) are not independent, so whole clusters are drawn.

Shape legend: Q queries, C clusters, B draws.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Estimate:
    """A mean with its percentile interval."""

    value: float
    low: float
    high: float


def bootstrap_mean(
    values_Q: ArrayLike,
    *,
    clusters_Q: ArrayLike | None = None,
    weights_Q: ArrayLike | None = None,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Weighted mean and its percentile interval.

    Args:
        values_Q: one value per query.
        clusters_Q: label of the cluster each query belongs to; every query is its own cluster by default.
        weights_Q: weight per query; equal by default (give 1 / subset size for a mean over subsets).
        level: coverage of the interval.
        draws: number of resamples.
        seed: seed of the resampling; the same input and seed give the same interval.
    """
    values = np.asarray(values_Q, dtype=np.float64)
    weights = np.ones(len(values)) if weights_Q is None else np.asarray(weights_Q, dtype=np.float64)
    means_B = _resampled_means(values, weights, clusters_Q, draws, seed)
    low, high = np.percentile(means_B, [50 * (1 - level), 50 * (1 + level)])
    return Estimate(float(np.average(values, weights=weights)), float(low), float(high))


def paired_difference(
    candidate_Q: ArrayLike,
    champion_Q: ArrayLike,
    *,
    clusters_Q: ArrayLike | None = None,
    weights_Q: ArrayLike | None = None,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Mean of candidate minus champion on the same queries, with the interval of the paired bootstrap."""
    difference_Q = np.asarray(candidate_Q, dtype=np.float64) - np.asarray(champion_Q, dtype=np.float64)
    return bootstrap_mean(difference_Q, clusters_Q=clusters_Q, weights_Q=weights_Q, level=level, draws=draws, seed=seed)


def _resampled_means(
    values_Q: NDArray[np.float64], weights_Q: NDArray[np.float64], clusters_Q: ArrayLike | None, draws: int, seed: int
) -> NDArray[np.float64]:
    if clusters_Q is None:
        members_Q = np.arange(len(values_Q))
    else:
        members_Q = np.unique(np.asarray(clusters_Q), return_inverse=True)[1]
    sums_C = np.bincount(members_Q, weights=values_Q * weights_Q)
    masses_C = np.bincount(members_Q, weights=weights_Q)
    generator = np.random.default_rng(seed)
    count = len(sums_C)
    counts_BC = generator.multinomial(count, np.full(count, 1.0 / count), size=draws).astype(np.float64)
    return np.asarray((counts_BC @ sums_C) / (counts_BC @ masses_C))
