"""Matryoshka truncation: the one place where a vector is shortened, always renormalised.

Shape legend: N items, D full and d shortened dimensions. Source: Kusupati et al. 2022, arXiv 2205.13147.
"""

import numpy as np
from numpy.typing import NDArray

from model.errors import ConfigError


def check_dimension(dimension: int, available: tuple[int, ...]) -> int:
    """Return ``dimension`` if it is between the smallest trained prefix and D.

    Raises:
        ConfigError: naming the trained dimensions.
    """
    if not min(available) <= dimension <= max(available):
        raise ConfigError(
            f"dimensions={dimension} is outside {min(available)}..{max(available)}; "
            f"trained prefixes: {sorted(available)}"
        )
    return dimension


def truncate(vectors_ND: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    """Keep the first ``dimension`` columns and renormalise each row; shape [N, d]."""
    head_Nd = vectors_ND[:, :dimension]
    norms_N1 = np.linalg.norm(head_Nd, axis=1, keepdims=True)
    unit_Nd: NDArray[np.float32] = (head_Nd / np.maximum(norms_N1, 1e-12)).astype(np.float32)
    return unit_Nd
