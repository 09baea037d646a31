"""What is measured: one row is ours against a peer, same weights and inputs, taken in turn in one process."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.errors import OmnivecError

Encode = Callable[[], NDArray[np.float32]]


class MissingPeerError(OmnivecError):
    """What a row needs is not there."""


class BenchmarkError(OmnivecError):
    """The two sides of a row do not do the same work."""


@dataclass(frozen=True)
class Row:
    """One line of the result; ``ratio`` above 1 means that ours is better."""

    name: str
    ours: float
    peer: str
    peer_value: float
    ratio: float
    unit: str
    hardware: str
    note: str


@dataclass(frozen=True)
class Duel:
    """Seconds of each round of both sides, and the least cosine between their vectors."""

    ours: list[float]
    peer: list[float]
    cosine: float

    @property
    def ratio(self) -> float:
        """Median over the rounds of peer seconds over ours: rounds are pairs, so a drifting machine cancels out."""
        return statistics.median(p / o for p, o in zip(self.peer, self.ours, strict=True))


def duel(ours: Encode, peer: Encode, *, rounds: int, min_cosine: float) -> Duel:
    """Run both sides in turn, after one uncounted run each whose vectors are compared.

    Raises:
        BenchmarkError: the vectors differ by more than ``min_cosine`` allows, so the comparison would mean nothing.
    """
    cosine = float((_unit(ours()) * _unit(peer())).sum(1).min())
    if cosine < min_cosine:
        raise BenchmarkError(f"both sides must give the same vectors: least cosine {cosine:.6f}, wanted {min_cosine}")
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds):
        # Who goes first changes each round, so that neither always finds the other's warm caches.
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            start = time.perf_counter()
            (ours, peer)[side]()
            seconds[side].append(time.perf_counter() - start)
    return Duel(*seconds, cosine)


def _unit(vectors_ND: NDArray[np.float32]) -> NDArray[np.float32]:
    unit_ND: NDArray[np.float32] = vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return unit_ND
