"""Whole contents of several parts, and whole pairs of labels: the same when each of their parts is the same or alike.

A caption of one word may belong to many pictures, and a picture of one colour to many captions; the two together are
one thing. So a pair counts where nothing in it counts by itself.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.audit.edges import Edges, components
from data.audit.items import CODES, PART, ROLES, Items
from data.audit.texts import mixed

PRIME = np.uint64(0x100000001B3)
QUERY, POSITIVE = ROLES.index("query"), ROLES.index("positives")


def with_wholes(items: Items, alike: Edges) -> Items:
    """The items, and those that contents and pairs make.

    Args:
        items: texts and media.
        alike: which of them are alike; a chain of such counts as one here.
    """
    same = components(alike.first, alike.second, len(items.kind))
    contents, firsts = np.unique(items.parts["content"], return_index=True)
    # Parts come in order within a content; contents of a role lie side by side.
    number = np.searchsorted(contents, items.parts["content"])
    key = np.zeros(len(contents), dtype=np.uint64)
    np.add.at(
        key, number, mixed(same[items.item].astype(np.uint64)) * PRIME ** (items.parts["place"] + 1).astype(np.uint64)
    )
    size = np.bincount(number, minlength=len(contents))
    plain = np.ones(len(contents), dtype=np.bool_)
    np.logical_and.at(plain, number, ~items.comparable[items.item])
    whole = items.parts[firsts]
    several = whole[size > 1].copy()
    several["kind"], several["key"] = CODES["content"], key[size > 1]
    return _added(items, [several, _pairs(whole, key, plain)])


def _pairs(whole: NDArray[Any], key: NDArray[np.uint64], plain: NDArray[np.bool_]) -> NDArray[Any]:
    """One row for each positive of each record, of contents in which nothing counts by itself."""
    query = whole["role"] == QUERY
    of_record = np.zeros(int(whole["record"].max(initial=-1)) + 1, dtype=np.uint64)
    by_label = np.zeros(len(of_record), dtype=np.bool_)
    of_record[whole["record"][query]] = key[query]
    by_label[whole["record"][query]] = plain[query]
    chosen = (whole["role"] == POSITIVE) & plain & by_label[whole["record"]]
    found: NDArray[Any] = whole[chosen].astype(PART)
    found["kind"], found["key"] = CODES["pair"], mixed(of_record[found["record"]]) ^ key[chosen]
    return found


def _added(items: Items, more: list[NDArray[Any]]) -> Items:
    parts = np.concatenate(more)
    both = np.empty(len(parts), dtype=[("kind", "i1"), ("key", "u8")])
    both["kind"], both["key"] = parts["kind"], parts["key"]
    new, item = np.unique(both, return_inverse=True)
    return Items(
        items.records,
        np.concatenate([items.kind, new["kind"]]),
        np.concatenate([items.key, new["key"]]),
        np.concatenate([items.comparable, np.ones(len(new), dtype=np.bool_)]),
        np.concatenate([items.parts, parts]),
        np.concatenate([items.item, item.astype(np.int64) + len(items.kind)]),
        items.media,
        items.texts,
    )
