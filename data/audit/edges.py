"""Which two items are alike, and how far apart."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Edges:
    """Pairs of distinct items, ``first < second``, each once; E long.

    Attributes:
        first: item.
        second: item.
        distance: 0 for the same, in the unit of the kind.
        left_out: pairs between splits that share a key and were not compared, as that key has too many.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.float32]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.first)

    @classmethod
    def of(cls, found: Iterable[tuple[int, int, float]]) -> Self:
        """From triples of either order."""
        rows = sorted({(min(a, b), max(a, b)): d for a, b, d in found if a != b}.items())
        pairs = np.array([pair for pair, _ in rows], dtype=np.int64).reshape(-1, 2)
        return cls(pairs[:, 0], pairs[:, 1], np.array([d for _, d in rows], dtype=np.float32))

    @classmethod
    def together(cls, several: Iterable["Edges"]) -> Self:
        """All of several."""
        found: list[Edges] = [cls.of([]), *several]
        first, second = (np.concatenate([getattr(e, name) for e in found]) for name in ("first", "second"))
        distance = np.concatenate([e.distance for e in found])
        return cls(first, second, distance, sum(e.left_out for e in found))


def components(first: NDArray[np.int64], second: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The least member of each one's connected component, [count].

    Args:
        first: one end of each link.
        second: the other end.
        count: how many members there are.
    """
    root = np.arange(count, dtype=np.int64)
    while True:
        low = np.minimum(root[first], root[second])
        new = root.copy()
        np.minimum.at(new, root[first], low)
        np.minimum.at(new, root[second], low)
        new = new[new]
        if (new == root).all():
            return root
        root = new
