"""What the policies make of the findings: who moves to which split, who is set aside and why.

First whole groups move, then records that still share something across splits are dropped from the splits that rank
lower, then duplicates within a split but for the first group. Everything goes by the order of the corpus, so the same
corpus gives the same answer.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data.audit.edges import components
from data.audit.pairs import SPLITS, Findings, Pair
from data.audit.rules import AuditRules
from model.errors import DataError


@dataclass(frozen=True)
class Refusal:
    """Why a record was set aside."""

    reasons: tuple[str, ...]
    message: str


@dataclass
class Verdicts:
    """What happens to the records.

    Attributes:
        split: of each record, moved ones changed; [R].
        refused: by record.
        moved: new split of each group that moved.
        failing: pairs whose policy is to stop.
    """

    split: NDArray[np.int8]
    refused: dict[int, Refusal] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    failing: list[Pair] = field(default_factory=list)


def decide(found: Findings, rules: AuditRules) -> Verdicts:
    """Apply the policies.

    Raises:
        DataError: the result would still leak, which is a fault of ours.
    """
    by_action: dict[str, list[Pair]] = {}
    for pair in found.pairs:
        by_action.setdefault(rules.policies.action(pair.kind, pair.scope), []).append(pair)
    verdicts = Verdicts(found.records.split.copy(), failing=by_action.get("fail", []))
    _move(found, by_action.get("move", []), verdicts)
    dropping = by_action.get("drop", [])
    for pair in dropping:
        if pair.scope == "across":
            _drop_across(found, pair, verdicts)
    for pair in dropping:
        if pair.scope == "within":
            _drop_within(found, pair, verdicts)
    for pair in (*by_action.get("move", []), *dropping):
        if pair.scope == "across" and len(set(verdicts.split[_left(found, pair, verdicts)].tolist())) > 1:
            raise DataError(f"items {pair.items} are still in several splits after the audit; our code is at fault")
    return verdicts


def _left(found: Findings, pair: Pair, verdicts: Verdicts) -> NDArray[np.int64]:
    """Records that hold one of the two and are not set aside, in order."""
    held = np.union1d(found.users.of(pair.items[0]), found.users.of(pair.items[1]))
    return held[[int(record) not in verdicts.refused for record in held]]


def _move(found: Findings, pairs: list[Pair], verdicts: Verdicts) -> None:
    """Groups that share something, directly or through others, all go to the highest split among them."""
    if not pairs:
        return
    records = found.records
    links = []
    for pair in pairs:
        groups = np.unique(records.group[np.union1d(found.users.of(pair.items[0]), found.users.of(pair.items[1]))])
        links += [(int(groups[0]), int(other)) for other in groups]
    first, second = (np.array(side, dtype=np.int64) for side in zip(*links, strict=True))
    root = components(first, second, len(records.group_names))
    touched = np.isin(root, root[np.union1d(first, second)])
    highest = np.full(len(root), -1, dtype=np.int8)
    np.maximum.at(highest, root[records.group], records.split)
    target = np.where(touched[records.group], highest[root[records.group]], records.split)
    for record in np.flatnonzero(target != records.split):
        verdicts.moved[records.group_names[records.group[record]]] = SPLITS[target[record]]
    verdicts.split = target.astype(np.int8)


def _drop_across(found: Findings, pair: Pair, verdicts: Verdicts) -> None:
    left = _left(found, pair, verdicts)
    splits = verdicts.split[left]
    if len(left) and splits.min() != splits.max():
        partner = int(left[splits == splits.max()][0])
        for record in left[splits != splits.max()].tolist():
            _refuse(found, verdicts, record, pair, partner)


def _drop_within(found: Findings, pair: Pair, verdicts: Verdicts) -> None:
    asking = np.union1d(found.users.asking(pair.items[0]), found.users.asking(pair.items[1]))
    asking = asking[[int(r) not in verdicts.refused and verdicts.split[r] == pair.splits[0] for r in asking]]
    if len(asking):
        partner = int(asking[0])
        for record in asking[found.records.group[asking] != found.records.group[partner]].tolist():
            _refuse(found, verdicts, record, pair, partner)


def _refuse(found: Findings, verdicts: Verdicts, record: int, pair: Pair, partner: int) -> None:
    what = "leak" if pair.scope == "across" else "duplicate"
    name, split = found.records.name(partner), SPLITS[verdicts.split[partner]]
    like = "the same as" if pair.match != "near" else f"like (distance {pair.distance:.3g})"
    names = " and ".join(dict.fromkeys(map(found.item_name, pair.items)))
    message = f"{pair.kind} {names}: {like} that of record {name} in {split}"
    verdicts.refused[record] = Refusal((f"{what}_{pair.kind}",), message)
