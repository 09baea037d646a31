"""Ranking metrics from the ranks of the right documents, and what a random ranking would score.

Shape legend: Q queries, P documents in the pool, D dimensions.
"""

from collections.abc import Sequence
from math import comb, log2

import numpy as np
from numpy.typing import NDArray

Ranks = NDArray[np.int64]


def ranks_of_right(scores_P: NDArray[np.floating], right: Sequence[int]) -> Ranks:
    """Ranks (from 1, ascending) of the right documents of one query.

    A tie with a wrong document counts against the right one, so a collapsed model cannot score by luck.
    """
    right_scores = np.sort(scores_P[list(right)])[::-1]
    wrong = np.sort(np.delete(scores_P, list(right)))
    better = len(wrong) - np.searchsorted(wrong, right_scores, side="left")
    return (better + np.arange(1, len(right_scores) + 1)).astype(np.int64)


def rank_queries(
    queries_QD: NDArray[np.float32],
    documents_PD: NDArray[np.float32],
    right: Sequence[Sequence[int]],
    candidates: Sequence[Sequence[int]] | None = None,
) -> list[Ranks]:
    """Ranks of the right documents of every query by cosine of unit vectors.

    Args:
        queries_QD: unit query vectors.
        documents_PD: unit document vectors.
        right: per query the indices of its right documents (at least one).
        candidates: per query the only documents that compete (right ones included); the whole pool by default.
    """
    found: list[Ranks] = []
    for start in range(0, len(queries_QD), 1024):
        scores_QP = queries_QD[start : start + 1024] @ documents_PD.T
        for offset, scores_P in enumerate(scores_QP):
            wanted = list(right[start + offset])
            if candidates is not None:
                pool = list(candidates[start + offset])
                place = {document: i for i, document in enumerate(pool)}
                scores_P, wanted = scores_P[pool], [place[document] for document in wanted]  # noqa: PLW2901
            found.append(ranks_of_right(scores_P, wanted))
    return found


def hit_at(ranks: Ranks, k: int) -> float:
    """1.0 when a right document is among the first ``k``, else 0.0."""
    return float(ranks[0] <= k)


def ndcg_at(ranks: Ranks, k: int) -> float:
    """Normalised discounted cumulative gain at ``k`` with equal gains."""
    gain = float((1.0 / np.log2(1.0 + ranks[ranks <= k])).sum())
    return gain / _ideal(len(ranks), k)


def chance_hit_at(pool: int, right: int, k: int) -> float:
    """Expected hit@k of a random ranking: 1 - C(pool - right, k) / C(pool, k)."""
    k = min(k, pool)
    return 1.0 - comb(pool - right, k) / comb(pool, k)


def chance_ndcg_at(pool: int, right: int, k: int) -> float:
    """Expected nDCG@k of a random ranking: every place holds a right document with probability right / pool."""
    return right / pool * _ideal(min(k, pool), k) / _ideal(right, k)


def _ideal(right: int, k: int) -> float:
    return sum(1.0 / log2(1.0 + place) for place in range(1, min(right, k) + 1))
