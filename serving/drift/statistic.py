"""The statistic: how well a classifier tells window rows from reference rows of the same kind.

Shape legend: N rows, D embedding dimensions, K kept directions, F cheap features, S scripts, X = K + 1 + F + S.
Source: classifier two-sample tests, Lopez-Paz and Oquab 2017, arXiv 1610.06545.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.drift.window import Window


@dataclass(frozen=True)
class Space:
    """Coordinates in which two sets of rows are compared, fitted on reference rows that are compared with nothing.

    Were the directions fitted on compared rows, reference rows would lie in them a little better than window rows,
    and that difference alone would look like drift.
    """

    directions_DK: NDArray[np.float32]
    scripts_S: NDArray[np.str_]
    fill_F: NDArray[np.float64]
    center_X: NDArray[np.float64]
    scale_X: NDArray[np.float64]

    @classmethod
    def fit(cls, rows: Window, components: int) -> "Space":
        """Fit on reference rows of one kind.

        The decomposition is not centred, so the first direction is the kind's mean: traffic in a direction that the
        reference never uses shows as a loss along it.
        """
        count = min(components, *rows.vectors_ND.shape)
        _, _, right_ND = np.linalg.svd(rows.vectors_ND, full_matrices=False)
        recorded_F = ~np.isnan(rows.features_NF).any(axis=0)
        fill_F = np.where(recorded_F, np.nan_to_num(rows.features_NF).mean(axis=0), np.nan)
        scripts_S = np.unique(rows.scripts_N)
        width = count + 1 + len(fill_F) + len(scripts_S)
        raw = cls(right_ND[:count].T, scripts_S, fill_F, np.zeros(width), np.ones(width))
        coordinates_NX = raw(rows)
        scale_X = coordinates_NX.std(axis=0)
        # A feature that never varied keeps its own unit, so a change of it still counts.
        scale_X = np.where(scale_X > 1e-6, scale_X, 1.0)
        return cls(raw.directions_DK, scripts_S, fill_F, coordinates_NX.mean(axis=0), scale_X)

    def __call__(self, rows: Window) -> NDArray[np.float64]:
        """Coordinates of rows, shape [N, X]; features that the reference lacks are left out (constant zero)."""
        features_NF = np.where(np.isnan(self.fill_F), 0.0, rows.features_NF)
        features_NF = np.where(np.isnan(features_NF), self.fill_F, features_NF)
        scripts_NS = (rows.scripts_N[:, None] == self.scripts_S[None, :]).astype(np.float64)
        kept_NK = rows.vectors_ND @ self.directions_DK
        # What the kept directions do not explain grows when traffic moves in a direction of its own.
        rest_N1 = np.linalg.norm(rows.vectors_ND - kept_NK @ self.directions_DK.T, axis=1, keepdims=True)
        raw_NX = np.hstack([kept_NK, rest_N1, features_NF, scripts_NS])
        return np.asarray((raw_NX - self.center_X) / self.scale_X)


def separability(reference_NX: NDArray[np.float64], window_NX: NDArray[np.float64], folds: int, seed: int) -> float:
    """Cross-validated ROC-AUC of a logistic regression between two sets of rows.

    Args:
        reference_NX: coordinates of reference rows.
        window_NX: coordinates of window rows.
        folds: folds; the result is the mean of their AUCs (pooling scores of different fits would bias it down).
        seed: order of the rows.

    Returns:
        About 0.5 when the two cannot be told apart, 1 when they always can.
    """
    from scipy.stats import rankdata
    from sklearn.linear_model import LogisticRegression

    rows_NX = np.vstack([reference_NX, window_NX])
    labels_N = np.r_[np.zeros(len(reference_NX), bool), np.ones(len(window_NX), bool)]
    rng = np.random.default_rng(seed)
    fold_N = np.r_[rng.permutation(len(reference_NX)), rng.permutation(len(window_NX))] % folds
    aucs = []
    for fold in range(folds):
        held_N = fold_N == fold
        model = LogisticRegression(C=0.1, class_weight="balanced", solver="liblinear", tol=1e-3)
        model.fit(rows_NX[~held_N], labels_N[~held_N])
        ranks_N = rankdata(model.decision_function(rows_NX[held_N]))
        positives_N = labels_N[held_N]
        wins = ranks_N[positives_N].sum() - positives_N.sum() * (positives_N.sum() + 1) / 2
        aucs.append(wins / (positives_N.sum() * (~positives_N).sum()))
    return float(np.mean(aucs))
