"""Nearest documents of queries: exact for a pool that fits in one product, by a graph of usearch for a larger one.

Shape legend: Q queries, P documents, D dimensions, K found.
"""

import numpy as np
from numpy.typing import NDArray

BLOCK = 512
# Candidates that the graph looks at for each one wanted, and at least.
EFFORT, LEAST_EFFORT = 2, 128


class Searcher:
    """Finds the K nearest of P unit vectors, by cosine.

    The graph is built by one thread: with several, what is found would depend on which of them came first.

    Args:
        pool_PD: unit vectors.
        exact_below: pools up to this size are searched exactly.
    """

    def __init__(self, pool_PD: NDArray[np.float32], *, exact_below: int) -> None:
        self.pool_PD = pool_PD
        self._index = None if len(pool_PD) <= exact_below else _index(pool_PD)

    @property
    def exact(self) -> bool:
        """Whether nothing can be missed."""
        return self._index is None

    def __call__(self, query_QD: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Places [Q, K] in the pool, best first (of equal scores the first in the pool), and their cosines [Q, K]."""
        count = min(count, len(self.pool_PD))
        places, scores = [], []
        for start in range(0, len(query_QD), BLOCK):
            found_QK, score_QK = self._block(query_QD[start : start + BLOCK], count)
            places.append(found_QK)
            scores.append(score_QK)
        if not places:
            return np.zeros((0, count), np.int64), np.zeros((0, count), np.float32)
        return np.concatenate(places), np.concatenate(scores)

    def _block(self, query_QD: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if self._index is None:
            score_QP = query_QD @ self.pool_PD.T
            found_QK = np.arange(count)[None].repeat(len(query_QD), axis=0)
            if count < score_QP.shape[1]:
                found_QK = np.sort(np.argpartition(-score_QP, count, axis=1)[:, :count], axis=1)
            return _ranked(found_QK, np.take_along_axis(score_QP, found_QK, axis=1), count)
        wanted = max(EFFORT * count, LEAST_EFFORT)
        self._index.expansion_search = wanted
        matches = self._index.search(query_QD, min(wanted, len(self.pool_PD)))
        # The graph holds rounded vectors; what it found is ranked by the real ones.
        found_QK = np.sort(np.atleast_2d(matches.keys).astype(np.int64), axis=1)
        score_QK = np.einsum("qd,qkd->qk", query_QD, self.pool_PD[found_QK])
        return _ranked(found_QK, score_QK, count)


def _ranked(
    found_QK: NDArray[np.int64], score_QK: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    order_QK = np.argsort(-score_QK, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(found_QK, order_QK, axis=1), np.take_along_axis(score_QK, order_QK, axis=1)


def _index(pool_PD: NDArray[np.float32]):  # type: ignore[no-untyped-def] # usearch has no types
    from usearch.index import Index

    index = Index(ndim=pool_PD.shape[1], metric="ip", dtype="bf16")
    index.add(np.arange(len(pool_PD)), pool_PD, threads=1)
    return index
