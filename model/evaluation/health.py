"""Health of an embedding space: norms, anisotropy, effective rank, and how close the modalities are.

Shape legend: N vectors, D dimensions, M modalities.
"""

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


def health(vectors_ND: Vectors) -> dict[str, float]:
    """Facts about a set of vectors.

    Returns:
        ``norm_error`` (largest distance of a norm from 1), ``mean_cosine`` (mean over distinct pairs: 0 is isotropic,
        1 is collapsed) and ``effective_rank`` (exponential of the entropy of the covariance spectrum, at most D;
        Roy and Vetterli 2007).
    """
    vectors = vectors_ND.astype(np.float64)
    count = len(vectors)
    norms_N = np.linalg.norm(vectors, axis=1)
    total_D = vectors.sum(axis=0)
    pairs = max(count * (count - 1), 1)
    variances_D = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False) ** 2
    shares_D = variances_D / max(float(variances_D.sum()), 1e-30)
    shares_D = shares_D[shares_D > 1e-15]
    return {
        "norm_error": float(np.abs(norms_N - 1).max()),
        "mean_cosine": float((total_D @ total_D - (norms_N**2).sum()) / pairs),
        "effective_rank": float(np.exp(-(shares_D * np.log(shares_D)).sum())) if len(shares_D) else 1.0,
    }


def mean_similarity(by_modality: dict[str, Vectors]) -> tuple[list[str], NDArray[np.float64]]:
    """Mean cosine between items of every two modalities (distinct items on the diagonal): names and [M, M]."""
    names = sorted(by_modality)
    totals_MD = np.stack([by_modality[name].astype(np.float64).sum(axis=0) for name in names])
    counts_M = np.array([len(by_modality[name]) for name in names], dtype=np.float64)
    sums_MM = totals_MD @ totals_MD.T
    pairs_MM = np.outer(counts_M, counts_M)
    for i, name in enumerate(names):
        sums_MM[i, i] -= float((by_modality[name].astype(np.float64) ** 2).sum())
        pairs_MM[i, i] = max(counts_M[i] * (counts_M[i] - 1), 1)
    return names, sums_MM / pairs_MM
