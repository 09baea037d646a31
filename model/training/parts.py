"""Batches whose media are decoded part by part, so that memory does not grow with the batch.

Gradient caching needs of a large batch one piece at a time; decoded whole, 65,536 pictures of 224 pixels a side take
9.9 GB. So such a batch is cut before it is decoded: each side into runs of contents (parts), whose pixels come to
about ``PART_BYTES`` by an estimate from the modalities. Workers make the parts in the order in which they are wanted:
those of both sides for the first pass, then once more those that were not kept for the second. Kept are the first
parts of a step, as many as fit ``keep`` by the same estimate.

How a batch is cut depends on its contents and the encoder's sizes alone. A batch of one part a side is taken whole.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, NamedTuple, Protocol, runtime_checkable

from model.sentence_transformer.batch import GroupedBatch
from model.training.batch import Side, StepBatch
from model.transfer import pinned
from model.unified.batch import Indices, UnifiedBatch

PART_BYTES = 2**26
KEEP_BYTES = 2**31
SIDES = ("query", "document")


class Key(NamedTuple):
    """Which part of a stage: parts come in this order."""

    step: int
    again: bool
    side: int
    number: int


@dataclass(frozen=True)
class PartOrder:
    """What one part is made of.

    Attributes:
        key: where it belongs.
        first: its first row of the side.
        rows: what a worker makes its contents of.
        keep: whether it is held for the second pass.
    """

    key: Key
    first: int
    rows: Sequence[Any]
    keep: bool


@dataclass(frozen=True)
class Made:
    """A part on its way to the trainer."""

    key: Key
    part: UnifiedBatch | GroupedBatch

    def pin_memory(self) -> "Made":
        """The same in page-locked memory; the data loader of torch asks for it where there is an accelerator."""
        found: Made = pinned(self)
        return found


@dataclass(frozen=True)
class Plan:
    """A step before anything of it is decoded: a batch, and the parts of those sides that are still to be made."""

    batch: StepBatch
    orders: tuple[tuple[PartOrder, ...], ...]

    @property
    def whole(self) -> bool:
        """Whether no side has several parts, so that each part is wanted once."""
        return all(len(parts) <= 1 for parts in self.orders)

    def wanted(self) -> Iterator[PartOrder]:
        """Orders in the order in which the trainer asks for them."""
        for parts in self.orders:
            yield from parts
        for parts in () if self.whole else self.orders:
            yield from (again(part) for part in parts if not part.keep)


@runtime_checkable
class Cuttable(Protocol):
    """Makes the batches of a stage in parts."""

    def plan(self, step: int) -> Plan:
        """The parts of a step."""

    @property
    def part_work(self) -> Callable[[PartOrder], Made]:
        """From an order to a part: picklable, without weights and without the table of records."""

    def finish(self, made: StepBatch) -> StepBatch:
        """The batch with what only the trainer's process holds."""


def again(order: PartOrder) -> PartOrder:
    """The same part for the second pass."""
    return replace(order, key=order.key._replace(again=True))


def cut_rows(sizes: Sequence[int], most: int) -> list[range]:
    """Runs of rows whose sizes come to ``most`` together, or that are of one row."""
    runs, start, total = [], 0, 0
    for row, size in enumerate(sizes):
        if row > start and total + size > most:
            runs.append(range(start, row))
            start, total = row, 0
        total += size
    return [*runs, range(start, len(sizes))] if sizes else []


def planned(
    batch: StepBatch,
    rows: Mapping[int, Sequence[Any]],
    size_of: Callable[[Any], int],
    *,
    part_bytes: int | None = None,
    keep_bytes: int | None = None,
) -> Plan:
    """Cut the sides of a step.

    Args:
        batch: of the step; sides that are not in ``rows`` are there already.
        rows: by side what a worker makes its contents of.
        size_of: bytes of one of them, decoded.
        part_bytes: of a part; ``PART_BYTES`` when empty.
        keep_bytes: of the parts that are kept for the second pass; ``KEEP_BYTES`` when empty.
    """
    most, room = part_bytes or PART_BYTES, KEEP_BYTES if keep_bytes is None else keep_bytes
    orders, held = [], 0
    for side, members in sorted(rows.items()):
        sizes = [size_of(row) for row in members]
        ends = [0, *accumulate(sizes)]
        parts = []
        for number, run in enumerate(cut_rows(sizes, most)):
            held += ends[run.stop] - ends[run.start]
            own = tuple(members[run.start : run.stop])
            parts.append(PartOrder(Key(batch.step, False, side, number), run.start, own, held <= room))
        orders.append(tuple(parts))
    return Plan(batch, tuple(orders))


class Parted:
    """A side that is decoded while it is embedded: each pass over it gives its parts in order.

    Attributes:
        orders: of its parts.
        lengths: tokens of the contents that were seen in the first pass.
        towers: whether any of them went through a tower.
    """

    def __init__(self, orders: Sequence[PartOrder], pull: Callable[[PartOrder], UnifiedBatch | GroupedBatch]) -> None:
        self.orders = orders
        self.lengths: list[Indices] = []
        self.towers = False
        self._pull = pull
        self._kept: dict[int, UnifiedBatch | GroupedBatch] = {}
        self._passes = 0

    def __iter__(self) -> Iterator[tuple[int, UnifiedBatch | GroupedBatch]]:
        """First row and part of each; the first time a part is pulled it is counted, the second time it is let go."""
        later = self._passes > 0
        self._passes += 1
        for order in self.orders:
            if later and order.keep:
                yield order.first, self._kept.pop(order.key.number)
                continue
            part = self._pull(again(order) if later else order)
            if not later:
                self._count(part)
                if order.keep:
                    self._kept[order.key.number] = part
            yield order.first, part

    def whole(self) -> UnifiedBatch | GroupedBatch:
        """The side, when it is of one part."""
        [(_, part)] = self
        self._kept.clear()
        return part

    def _count(self, part: UnifiedBatch | GroupedBatch) -> None:
        if isinstance(part, UnifiedBatch):
            self.lengths.append(part.mask_NL.sum(1))
            self.towers |= any(media.calls for media in part.media.values())
            return
        masks = [g.features["attention_mask"] for g in part.groups if "attention_mask" in g.features]
        self.lengths += [mask.sum(1).numpy() for mask in masks]
        self.towers = True  # nobody knows of this family


def opened(plan: Plan, finish: Callable[[StepBatch], StepBatch], pull: Callable[[PartOrder], Any]) -> StepBatch:
    """The batch of a plan, whose parts are pulled when they are wanted; a batch of one part a side is a plain one."""
    sides: dict[str, Any] = {SIDES[parts[0].key.side]: Parted(parts, pull) for parts in plan.orders}
    return replace(finish(plan.batch), **sides)


def materialised(batch: StepBatch) -> StepBatch:
    """The batch with sides of one part in place of those that would be decoded part by part."""
    query, document = (side.whole() if isinstance(side, Parted) else side for side in (batch.query, batch.document))
    return replace(batch, query=query, document=document)


def several(sides: Sequence[Side | Parted]) -> bool:
    """Whether any side has more than one part."""
    return any(isinstance(side, Parted) and len(side.orders) > 1 for side in sides)
