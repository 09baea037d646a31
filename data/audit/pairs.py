"""Between whom likeness is a finding: the same thing in two splits, or in two groups of one split."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.audit.edges import Edges
from data.audit.items import NEGATIVES, Items, Records
from data.audit.rules import KINDS, RANKS, AuditRules, Scope

SPLITS = tuple(RANKS)
WHOLES = frozenset({"content", "pair"})
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("kind", "match", "scope", "action")),
        ("distance", pa.float32()),
        *((f"{name}_{side}", pa.string()) for side in "ab" for name in ("split", "record", "shard", "group", "item")),
        *((f"records_{side}", pa.int64()) for side in "ab"),
    ]
)


@dataclass(frozen=True)
class Pair:
    """One finding: items alike, and for each side one of the records that hold them.

    Across splits, side a is the one that ranks lower: train, when train is one of the two.
    """

    kind: str
    scope: Scope
    items: tuple[int, int]
    distance: float
    splits: tuple[int, int]
    records: tuple[int, int]
    counts: tuple[int, int]

    @property
    def match(self) -> str:
        """``exact`` or ``near``, or ``whole`` where each part of a content or pair is one of these."""
        if self.kind in WHOLES:
            return "whole"
        return "exact" if self.items[0] == self.items[1] else "near"


class Users:
    """Which records hold an item; those that hold it as a negative only come last and may be left out."""

    def __init__(self, items: Items, *, negatives: bool) -> None:
        negative = items.parts["role"] == NEGATIVES
        kept = slice(None) if negatives else ~negative
        holds = np.empty(len(items.item[kept]), dtype=[("item", "i8"), ("record", "i8"), ("negative", "i1")])
        holds["item"], holds["record"] = items.item[kept], items.parts["record"][kept]
        holds["negative"] = negative[kept]
        ordered = np.sort(holds, order=["item", "record", "negative"])
        new = np.ones(len(ordered), dtype=np.bool_)
        new[1:] = (ordered["item"][1:] != ordered["item"][:-1]) | (ordered["record"][1:] != ordered["record"][:-1])
        self._holds = ordered[new]
        self._starts = np.searchsorted(self._holds["item"], np.arange(len(items.kind) + 1))

    def of(self, item: int) -> NDArray[np.int64]:
        """All records with the item, in order."""
        held: NDArray[np.int64] = self._holds["record"][self._starts[item] : self._starts[item + 1]]
        return held

    def asking(self, item: int) -> NDArray[np.int64]:
        """Those that hold it in a query or a positive."""
        own = self._holds[self._starts[item] : self._starts[item + 1]]
        held: NDArray[np.int64] = own["record"][own["negative"] == 0]
        return held


@dataclass
class Findings:
    """Everything that was found, and by kind how many pairs between splits were not compared."""

    items: Items
    users: Users
    pairs: list[Pair]
    left_out: dict[str, int]

    @property
    def records(self) -> Records:
        """Of the corpus."""
        return self.items.records

    @cached_property
    def counts(self) -> dict[tuple[str, str, str], int]:
        """Pairs by kind, scope and match."""
        found: dict[tuple[str, str, str], int] = {}
        for pair in self.pairs:
            key = (pair.kind, pair.scope, pair.match)
            found[key] = found.get(key, 0) + 1
        return dict(sorted(found.items()))

    def table(self, rules: AuditRules) -> pa.Table:
        """One row for each pair (see ``SCHEMA``)."""
        return pa.Table.from_pylist([self._row(pair, rules) for pair in self.pairs], SCHEMA)

    def item_name(self, item: int) -> str:
        """Digest of a medium, 16 hex digits of another item."""
        return self.items.media.get(item) or f"{int(self.items.key[item]):016x}"

    def _row(self, pair: Pair, rules: AuditRules) -> dict[str, object]:
        row: dict[str, object] = {
            "kind": pair.kind,
            "match": pair.match,
            "scope": pair.scope,
            "action": rules.policies.action(pair.kind, pair.scope),
            "distance": pair.distance,
        }
        for place, side in enumerate("ab"):
            record = pair.records[place]
            row |= {
                f"split_{side}": SPLITS[pair.splits[place]],
                f"record_{side}": self.records.name(record),
                f"shard_{side}": self.records.shards[self.records.shard[record]].name,
                f"group_{side}": self.records.group_names[self.records.group[record]],
                f"item_{side}": self.item_name(pair.items[place]),
                f"records_{side}": pair.counts[place],
            }
        return row


def find_pairs(items: Items, near: Sequence[tuple[str, Edges]], rules: AuditRules) -> Findings:
    """Findings, in the order of kinds and items.

    Args:
        items: with whole contents and pairs.
        near: edges by kind.
        rules: whether negatives count.
    """
    users = Users(items, negatives=rules.negatives)
    own = np.flatnonzero(items.comparable)
    own = own[items.between_places(own, own)]
    links = [(KINDS[items.kind[item]], int(item), int(item), 0.0) for item in own]
    for kind, edges in near:
        rows = zip(edges.first.tolist(), edges.second.tolist(), edges.distance.tolist(), strict=True)
        links += [(kind, a, b, distance) for a, b, distance in rows]
    links.sort(key=lambda link: (KINDS.index(link[0]), link[1], link[2]))
    found = [pair for link in links for pair in _pairs_of(items.records, users, *link)]
    left_out = {kind: edges.left_out for kind, edges in near if edges.left_out}
    return Findings(items, users, found, left_out)


def _pairs_of(records: Records, users: Users, kind: str, a: int, b: int, distance: float) -> Iterator[Pair]:
    """At most one pair for each two splits, and one for each split."""
    holders = (users.of(a), users.of(b))
    splits = tuple(records.split[held] for held in holders)
    for low in range(len(SPLITS)):
        for high in range(low + 1, len(SPLITS)):
            for one, other in ((0, 1), (1, 0)):
                left, right = holders[one][splits[one] == low], holders[other][splits[other] == high]
                if len(left) and len(right):
                    between = (int(left[0]), int(right[0]))
                    at, counts = (low, high), (len(left), len(right))
                    yield Pair(kind, "across", (a, b) if one == 0 else (b, a), distance, at, between, counts)
                    break
        yield from _within(records, users, kind, (a, b), distance, low)


def _within(
    records: Records, users: Users, kind: str, items: tuple[int, int], distance: float, split: int
) -> Iterator[Pair]:
    left, right = (held[records.split[held] == split] for held in map(users.asking, items))
    if not len(left) or not len(right):
        return
    groups = records.group[left], records.group[right]
    first = int(left[0])
    other = np.flatnonzero(groups[1] != groups[0][0])
    if not len(other):  # all of the second are in the group of the first of the first
        other = np.flatnonzero(groups[0] != groups[1][0])
        if not len(other):
            return
        between = (int(left[other[0]]), int(right[0]))
    else:
        between = (first, int(right[other[0]]))
    yield Pair(kind, "within", items, distance, (split, split), between, (len(left), len(right)))
