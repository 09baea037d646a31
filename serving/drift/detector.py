"""Decide whether a window of captured requests differs from the champion's reference.

For each kind of content the statistic is the domain-classifier AUC. Its threshold is not a guess: reference rows are
split against each other again and again, in the sizes of the real comparison, and the threshold is the value that such
drift-free comparisons exceed at the stated rate, divided by the number of kinds.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.errors import DataError
from serving.drift.config import DriftConfig
from serving.drift.statistic import Space, separability
from serving.drift.window import Window

State = Literal["stable", "drift", "new", "not_enough_data"]


@dataclass(frozen=True)
class KindVerdict:
    """Outcome for one kind of content; ``auc``, ``threshold`` and ``p_value`` are ``None`` where nothing was tested."""

    state: State
    n: int
    reference_n: int
    failed: int
    note: str
    auc: float | None = None
    threshold: float | None = None
    p_value: float | None = None


@dataclass(frozen=True)
class WindowVerdict:
    """Outcome for one window; ``alarm`` when any kind drifted or enough rows are of a kind without reference."""

    alarm: bool
    kinds: dict[str, KindVerdict]


@dataclass(frozen=True)
class _Reference:
    space: Space
    coordinates_NX: NDArray[np.float64]


class Detector:
    """Compares windows with one reference; calibrations are kept per kind and size."""

    def __init__(self, reference: Window, config: DriftConfig) -> None:
        self.config = config
        self.reference = reference
        self._rng = np.random.default_rng(config.seed)
        self._prepared: dict[str, _Reference] = {}
        self._null: dict[tuple[str, int], NDArray[np.float64]] = {}

    def compare(self, window: Window) -> WindowVerdict:
        """Test every kind of a window.

        Raises:
            DataError: window and reference embeddings are of different dimensions (another model made them).
        """
        ours, theirs = self.reference.vectors_ND.shape[1], window.vectors_ND.shape[1]
        if ours != theirs:
            raise DataError(
                f"the reference holds {ours}-dimensional vectors and the window {theirs}-dimensional ones: vectors of "
                "different models cannot be compared; use the reference stored with the version that was captured"
            )
        rows = {kind: window.of_kind(kind) for kind in sorted({*self.reference.kinds, *window.kinds})}
        untested = {kind: self._untested(kind, found, window) for kind, found in rows.items()}
        tested = [kind for kind, verdict in untested.items() if verdict is None]
        kinds = {
            kind: verdict or self._test(kind, rows[kind], window.failed.get(kind, 0), len(tested))
            for kind, verdict in untested.items()
        }
        return WindowVerdict(alarm=any(v.state in ("drift", "new") for v in kinds.values()), kinds=kinds)

    def _untested(self, kind: str, rows: Window, window: Window) -> KindVerdict | None:
        known = int((self.reference.kinds_N == kind).sum())
        failed = window.failed.get(kind, 0)
        least = self.config.minimum_rows
        if len(rows) < least:
            note = f"{len(rows)} rows, {least} are needed"
            return KindVerdict("not_enough_data", len(rows), known, failed, note)
        if known == 0:
            return KindVerdict("new", len(rows), 0, failed, "the reference holds no content of this kind")
        if known < self.config.reference_minimum:
            note = f"the reference holds {known} rows, {self.config.reference_minimum} are needed"
            return KindVerdict("not_enough_data", len(rows), known, failed, note)
        return None

    def _test(self, kind: str, rows: Window, failed: int, tests: int) -> KindVerdict:
        reference = self._prepare(kind)
        available = len(reference.coordinates_NX)
        size = min(len(rows), self.config.maximum_rows, available // 2)
        null_B = self._calibrate(kind, size, tests)
        window_NX = reference.space(rows)[self._rng.permutation(len(rows))[:size]]
        reference_NX = reference.coordinates_NX[self._rng.permutation(available)[size:]]
        auc = separability(reference_NX, window_NX, self.config.folds, self.config.seed)
        p_value = (1 + int((null_B >= auc).sum())) / (1 + len(null_B))
        # The test "p <= level" is the same as "AUC above the allowed-th largest null value".
        allowed = math.floor(self.config.false_alarm_rate / tests * (1 + len(null_B)) + 1e-9)
        threshold = float(np.sort(null_B)[-allowed])
        state: State = "drift" if auc > threshold else "stable"
        note = f"{size} window rows against {available - size} reference rows, level {allowed / (1 + len(null_B)):.3g}"
        return KindVerdict(state, len(rows), self._known(kind), failed, note, auc, threshold, p_value)

    def _known(self, kind: str) -> int:
        return int((self.reference.kinds_N == kind).sum())

    def _prepare(self, kind: str) -> _Reference:
        if kind not in self._prepared:
            rows = self.reference.of_kind(kind)
            order = self._rng.permutation(len(rows))[: 3 * self.config.maximum_rows]
            third = len(order) // 3
            space = Space.fit(rows.take(order[:third]), self.config.components)
            self._prepared[kind] = _Reference(space, space(rows.take(order[third:])))
        return self._prepared[kind]

    def _calibrate(self, kind: str, size: int, tests: int) -> NDArray[np.float64]:
        needed = max(self.config.resamples, math.ceil(tests / self.config.false_alarm_rate) - 1)
        known = self._null.get((kind, size), np.empty(0))
        if len(known) < needed:
            rows_NX = self._prepare(kind).coordinates_NX
            drawn = [self._split(rows_NX, size) for _ in range(needed - len(known))]
            self._null[kind, size] = np.concatenate([known, drawn])
        return self._null[kind, size]

    def _split(self, rows_NX: NDArray[np.float64], size: int) -> float:
        order = self._rng.permutation(len(rows_NX))
        seed = int(self._rng.integers(2**31))
        return separability(rows_NX[order[size:]], rows_NX[order[:size]], self.config.folds, seed)
