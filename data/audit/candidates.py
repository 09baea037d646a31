"""Media that may be alike: units whose search words are near, sifted by their signatures."""

from collections.abc import Iterable, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from data.audit.banding import HUBS, Crossing, chained, near_words
from data.audit.identities import Identities
from data.audit.rules import MediaRules

# Kinds whose units must stand at the same place in both: frames. Pieces of sound and pages may be shifted.
IN_PLACE = frozenset({"image", "video"})
# Signatures with less spread than this are flat; they correlate by chance.
FLAT = 3.0
FLAT_APART = 12.0
BLOCK = 65_536


def candidates(
    kind: str, found: Identities, splits: NDArray[np.integer], rules: MediaRules
) -> tuple[NDArray[np.int64], int]:
    """Pairs of media, as places in ``found``, first < second, ordered: [pairs, 2]; and how many pairs were left out.

    Every two media with units whose words differ in at most ``rules.bits`` bits are met, but of words that are equal
    in more than ``rules.bucket`` units, and lie in one split, only some: a few with all others, and neighbours. Those
    in two splits are all met too, unless there are more than ``rules.crossing`` of one word; these are counted.

    Args:
        kind: of the media.
        found: their identities.
        splits: in which each medium lies, as bits, [M].
        rules: how near is near.
    """
    owner, units = found.owner, np.diff(found.units)
    place = np.arange(len(owner)) - np.repeat(found.units[:-1], units)
    kept: set[int] = set()
    crossing = Crossing(splits[owner], rules.crossing)
    for first, second in _unit_pairs(found, splits[owner], rules, crossing):
        a, b = owner[first], owner[second]
        fits = a != b
        if kind in IN_PLACE:
            fits &= (place[first] == place[second]) & (units[a] == units[b])
        fits[fits] = (_alike_pages if kind == "document" else _alike)(found, first[fits], second[fits], rules)
        a, b = a[fits], b[fits]
        kept.update((np.minimum(a, b) << 32 | np.maximum(a, b)).tolist())
    codes = np.sort(np.fromiter(kept, dtype=np.int64, count=len(kept)))
    a, b = codes >> 32, codes & 0xFFFFFFFF
    for frame in range(int(units.max(initial=0)) if kind in IN_PLACE else 0):
        shown = np.flatnonzero(units[a] > frame)
        alike = _alike(found, found.units[a[shown]] + frame, found.units[b[shown]] + frame, rules)
        gone = shown[~alike]
        a, b = np.delete(a, gone), np.delete(b, gone)
    return np.stack([a, b], axis=1), crossing.left_out


def _unit_pairs(
    found: Identities, splits: NDArray[np.integer], rules: MediaRules, crossing: Crossing
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Blocks of pairs of units with near search words; the word 0 says nothing."""
    for column in range(found.search.shape[1]):
        words = found.search[:, column]
        order = np.lexsort((-splits.astype(np.int64), words))
        distinct, starts = np.unique(words[order], return_index=True)
        edges = np.append(starts, len(words))
        if len(distinct) and distinct[0] == 0:
            distinct, edges = distinct[1:], edges[1:]
        low, high = edges[:-1], edges[1:]
        many = np.flatnonzero(high - low > 1)
        if len(many):
            equal = np.concatenate([order[low[run] : high[run]] for run in many])
            yield from _blocks(chained(equal, np.append(0, np.cumsum(high[many] - low[many])), rules.bucket, crossing))
        single = high - low == 1
        for a, b, _ in near_words(distinct, rules.bits):
            plain = single[a] & single[b]
            yield order[low[a[plain]]], order[low[b[plain]]]
            sides = zip(a[~plain].tolist(), b[~plain].tolist(), strict=True)
            both = ((order[low[one] : high[one]].tolist(), order[low[two] : high[two]].tolist()) for one, two in sides)
            yield from _blocks(_products(both, rules.bucket, crossing))


def _products(
    both: Iterable[tuple[list[int], list[int]]], bucket: int, crossing: Crossing
) -> Iterator[tuple[int, int]]:
    """Units of one word with units of another: all, or when those are many all that can be leaks, and the first few
    of either with all others.
    """
    for left, right in both:
        if len(left) * len(right) <= bucket * bucket:
            yield from product(left, right)
        else:
            yield from crossing.between(left, right)
            yield from product(left[:HUBS], right)
            yield from product(left[HUBS:], right[:HUBS])


def _blocks(pairs: Iterator[tuple[int, int]]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    block: list[tuple[int, int]] = []
    for pair in pairs:
        block.append(pair)
        if len(block) == BLOCK:
            yield _columns(block)
            block = []
    if block:
        yield _columns(block)


def _columns(pairs: list[tuple[int, int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    table = np.array(pairs, dtype=np.int64)
    return table[:, 0], table[:, 1]


def _alike_pages(
    found: Identities, first: NDArray[np.int64], second: NDArray[np.int64], rules: MediaRules
) -> NDArray[np.bool_]:
    """Whether pages may be the same: by their texts where both have some, as when they are compared, else by looks.

    Pages of text look alike, whatever they say.
    """
    a, b = found.search[first, 1], found.search[second, 1]
    answer: NDArray[np.bool_] = np.bitwise_count(a ^ b) <= rules.page_bits
    looks = np.flatnonzero((a == 0) | (b == 0))
    answer[looks] = _alike(found, first[looks], second[looks], rules)
    return answer


def _alike(
    found: Identities, first: NDArray[np.int64], second: NDArray[np.int64], rules: MediaRules
) -> NDArray[np.bool_]:
    """Whether signatures correlate enough, or both are nearly flat and of one level."""
    answer = np.zeros(len(first), dtype=np.bool_)
    for start in range(0, len(first), BLOCK):
        part = slice(start, start + BLOCK)
        a = found.signature[first[part]].astype(np.float32)
        b = found.signature[second[part]].astype(np.float32)
        level = np.abs(a - b).mean(axis=1)
        a -= a.mean(axis=1, keepdims=True)
        b -= b.mean(axis=1, keepdims=True)
        spread = np.sqrt((a * a).mean(axis=1) * (b * b).mean(axis=1))
        correlated = (a * b).mean(axis=1) >= rules.signature * spread
        answer[part] = np.where(spread < FLAT * FLAT, level <= FLAT_APART, correlated)
    return answer
