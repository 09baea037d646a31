"""Evidently's page for one window: the only module that imports Evidently, and never the serving process.

The alarm is not decided here: Evidently tests each column by itself with default thresholds.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from serving.drift.window import COUNTS, Window

if TYPE_CHECKING:
    from pandas import DataFrame


def evidently_html(reference: Window, window: Window, *, rows: int, components: int, seed: int = 0) -> str:
    """Render ``DataDriftPreset`` over the cheap features and a few embedding directions.

    Args:
        reference: rows of the champion's reference.
        window: captured rows.
        rows: at most so many rows of each side are used.
        components: embedding directions (principal ones of the reference) that become columns.
        seed: which rows are taken.

    Returns:
        One self-contained HTML document.
    """
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    rng = np.random.default_rng(seed)
    ours, theirs = (w.take(rng.permutation(len(w))[:rows]) for w in (reference, window))
    _, _, right_ND = np.linalg.svd(ours.vectors_ND, full_matrices=False)
    directions_DK = right_ND[:components].T
    before, after = (_frame(w, w.vectors_ND @ directions_DK) for w in (ours, theirs))
    # A column that is empty on one side, or one value on both, says nothing, and Evidently stumbles over it.
    both = pd.concat([before, after])
    kept = both.notna().all() & (both.nunique() > 1)
    numeric = [name for name in both.columns.drop(["kind", "script"]) if kept[name]]
    definition = DataDefinition(numerical_columns=numeric, categorical_columns=["kind", "script"])
    columns = [*numeric, "kind", "script"]
    current, known = (Dataset.from_pandas(side[columns], data_definition=definition) for side in (after, before))
    # A column may be constant on one side; Evidently divides by its deviation for plots that nobody asked for.
    with np.errstate(divide="ignore", invalid="ignore"):
        snapshot = Report([DataDriftPreset()]).run(current, known)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "evidently.html"
        snapshot.save_html(str(path))
        return path.read_text(encoding="utf-8")


def _frame(window: Window, projected_NK: "np.ndarray[tuple[int, int], np.dtype[np.float32]]") -> "DataFrame":
    import pandas as pd

    columns = dict(zip(COUNTS, np.expm1(window.features_NF).T, strict=True))
    columns |= {f"embedding direction {i + 1}": values for i, values in enumerate(projected_NK.T)}
    return pd.DataFrame({"kind": window.kinds_N, "script": window.scripts_N, **columns})
