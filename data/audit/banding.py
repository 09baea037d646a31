"""Words of 64 bits that differ in a few bits, found without comparing all pairs.

A word is four bands of 16 bits. Words that differ in at most ``bits`` bits differ in at most ``bits // 4`` of some band
(were it more in each of the four, it would be more in all). So each word looks up, in each band, all values so near its
own; what it finds is verified by counting the bits of the whole word. Nothing is missed, and blocks bound the memory.
"""

from collections.abc import Iterable, Iterator
from itertools import combinations, pairwise, product

import numpy as np
from numpy.typing import NDArray

BANDS = 4
BAND_BITS = 16
VALUES = 1 << BAND_BITS
BLOCK_PAIRS = 1_000_000
# Of a run too large for all pairs, so many are compared with everything in it.
HUBS = 8

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]


def near_words(words: NDArray[np.uint64], bits: int) -> Iterator[Pairs]:
    """Pairs of positions of distinct words, and in how many bits they differ: at most ``bits``.

    Args:
        words: distinct, [N].
        bits: greatest difference.

    Yields:
        Blocks of (first, second, difference); each pair comes once, with first < second.
    """
    bands = [(words >> np.uint64(BAND_BITS * band)).astype(np.uint16) for band in range(BANDS)]
    for band in range(BANDS):
        order = np.argsort(bands[band], kind="stable")
        ordered = words[order]
        starts = np.searchsorted(bands[band][order], np.arange(VALUES + 1))
        for mask in _masks(bits // BANDS):
            # Of two values that the mask turns into each other, the one without its lowest bit looks for the other.
            asking = np.flatnonzero((bands[band] & np.uint16(mask & -mask)) == 0)
            probed = (bands[band][asking] ^ np.uint16(mask)).astype(np.int64)
            for rows, places, counts in _blocks(starts[probed], starts[probed + 1]):
                own = asking[rows]
                apart = np.bitwise_count(ordered[places] ^ np.repeat(words[own], counts))
                near = np.flatnonzero(apart <= bits)
                first, second = np.repeat(own, counts)[near] if len(near) else own[:0], order[places[near]]
                new = _first_time(bands, bits // BANDS, band, first, second)
                if not mask:  # equal values: each pair is met from both sides
                    new &= first < second
                if new.any():
                    first, second = first[new], second[new]
                    yield np.minimum(first, second), np.maximum(first, second), apart[near][new]


def _masks(radius: int) -> list[int]:
    """Every change of at most ``radius`` bits of a band."""
    sets = (places for size in range(radius + 1) for places in combinations(range(BAND_BITS), size))
    return [sum(1 << place for place in places) for places in sets]


def _blocks(
    low: NDArray[np.int64], high: NDArray[np.int64]
) -> Iterator[tuple[slice, NDArray[np.int64], NDArray[np.int64]]]:
    """Rows, the places from each row's ``low`` to its ``high`` one after the other, and how many each row has."""
    counts = high - low
    passed = np.concatenate([[0], np.cumsum(counts)])
    row = 0
    while row < len(counts):
        # At least one row, whatever it holds.
        end = max(row + 1, int(np.searchsorted(passed, passed[row] + BLOCK_PAIRS, side="right")) - 1)
        part, base = counts[row:end], low[row:end] - (passed[row:end] - passed[row])
        yield slice(row, end), np.arange(passed[end] - passed[row]) + np.repeat(base, part), part
        row = end


def _first_time(
    bands: list[NDArray[np.uint16]], radius: int, band: int, first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether no earlier band has found a pair; within a band only one mask leads from one word to the other."""
    new = np.ones(len(first), dtype=np.bool_)
    for earlier in range(band):
        new &= np.bitwise_count(bands[earlier][first] ^ bands[earlier][second]) > radius
    return new


class Crossing:
    """Pairs that can be leaks: all but those whose two sides lie in one and the same split alone.

    Args:
        splits: in which each position lies, as bits.
        most: pairs of one key. Of a key with more none are given, and they are counted instead.

    Attributes:
        left_out: pairs that were not given, of all keys so far.
    """

    def __init__(self, splits: NDArray[np.integer], most: int) -> None:
        self._splits = splits
        self._most = most
        self.left_out = 0

    def of(self, run: list[int]) -> Iterable[tuple[int, int]]:
        """Pairs within a run."""
        classes = self._classes(run)
        blocks = [(own, other) for (_, own), (_, other) in combinations(classes.items(), 2)]
        several = [own for bits, own in classes.items() if bits & (bits - 1)]
        count = sum(len(a) * len(b) for a, b in blocks) + sum(len(own) * (len(own) - 1) // 2 for own in several)
        if not self._few(count):
            return
        for block in blocks:
            yield from product(*block)
        for own in several:
            yield from combinations(own, 2)

    def between(self, left: list[int], right: list[int]) -> Iterable[tuple[int, int]]:
        """Pairs of one of a run with one of another."""
        both = product(self._classes(left).items(), self._classes(right).items())
        blocks = [(own, other) for (a, own), (b, other) in both if a != b or a & (a - 1)]
        if self._few(sum(len(a) * len(b) for a, b in blocks)):
            for block in blocks:
                yield from product(*block)

    def _few(self, count: int) -> bool:
        if count <= self._most:
            return True
        self.left_out += count
        return False

    def _classes(self, run: list[int]) -> dict[int, list[int]]:
        """Positions by the splits in which they lie."""
        found: dict[int, list[int]] = {}
        for bits, place in zip(self._splits[run].tolist(), run, strict=True):
            found.setdefault(bits, []).append(place)
        return found


def chained(
    order: NDArray[np.int64], starts: NDArray[np.int64], bucket: int, crossing: Crossing
) -> Iterator[tuple[int, int]]:
    """Pairs within runs of equal keys: all of a small run; of a large one all that can be leaks, each with the first
    few, and neighbours.

    Args:
        order: positions, those of equal keys side by side, the most important of them first.
        starts: where each run begins, and the end.
        bucket: largest run of which all pairs are given.
        crossing: which pairs can be leaks.
    """
    for low, high in pairwise(starts):
        run = order[low:high].tolist()
        if len(run) <= bucket:
            yield from combinations(run, 2)
        else:
            yield from crossing.of(run)
            yield from ((hub, other) for place, hub in enumerate(run[:HUBS]) for other in run[place + 1 :])
            yield from pairwise(run[HUBS:])


def runs(keys: NDArray[np.uint64], splits: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions by key, of keys that occur more than once, and where each run of equal keys begins, with the end.

    Args:
        keys: of each position.
        splits: in which each lies, as bits; the highest come first in a run.
    """
    order = np.lexsort((-splits.astype(np.int64), keys))
    ordered = keys[order]
    edges = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1], [True]]))
    if not len(keys):
        edges = np.zeros(1, dtype=np.int64)
    sizes = np.diff(edges)
    kept = np.repeat(sizes > 1, sizes)
    return order[kept], np.concatenate([[0], np.cumsum(sizes[sizes > 1])])
