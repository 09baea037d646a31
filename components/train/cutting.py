"""Cuts a batch into parts before its media are read, and makes a part of them in a worker.

What a batch needs to know of its contents as a whole (which are equal, who lost its prefix) follows from their
digests, which records hold. So the trainer's process plans a batch without a byte of media.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.train.pairs import digest_of, pairing_of, stored_members_of
from data.access import MediaAccess
from data.records import ContentRef, Record
from model.content import Content, Modality
from model.prompts import loses_prefix
from model.training.batch import StepBatch, Texts
from model.training.parts import Made, PartOrder, Plan, planned

if TYPE_CHECKING:
    from components.train.feed import BatchWork, Order


@dataclass(frozen=True)
class Row:
    """A stored content of a record, where its media lie, and the task whose prefix it gets."""

    record: Record
    ref: ContentRef
    shard: Path
    task: str | None


@dataclass(frozen=True)
class PartWork:
    """Makes a part of its order: what a worker does.

    Args:
        media: gives bytes for digests.
        preprocess: of the encoder, without its weights.
    """

    media: MediaAccess
    preprocess: Callable[[Sequence[Content]], Any]

    def __call__(self, order: PartOrder) -> Made:
        """Read the media of a part and decode them."""
        contents = [
            replace(self.media.content(row.record, row.ref, row.shard), task=row.task)  # media are read here
            for row in order.rows
        ]
        return Made(order.key, self.preprocess(contents))


def plan_of(order: "Order", work: "BatchWork", sizes: Mapping[Modality, int], keep_bytes: int | None = None) -> Plan:
    """The batch of ``order`` in parts; put together they are what ``work`` makes of it.

    Args:
        order: of a step.
        work: says what becomes of a batch that is made whole.
        sizes: bytes of a part of each modality, decoded.
        keep_bytes: of the parts that are kept for the second pass over the batch.
    """
    draw = order.draw
    members = stored_members_of(draw)
    owners = (range(len(members.queries)), members.owners)
    tasks = (draw.task.query_task, draw.task.document_task)
    sides: dict[str, Any] = {}
    rows: dict[int, list[Row]] = {}
    for side, name in enumerate(("query", "document")):
        refs: list[ContentRef] = (members.queries, members.documents)[side]  # type: ignore[assignment]
        task = tasks[side]
        prompted = [_prompt(work, ref, task, order.step, side) for ref in refs]
        if work.pooled and all(part.modality is Modality.TEXT for ref in refs for part in ref):
            sides[name] = Texts(tuple(digest_of(ref, own) for ref, own in zip(refs, prompted, strict=True)))
            continue
        sides[name] = None  # until it is opened
        rows[side] = [
            Row(draw.records[owner], ref, order.shards[owner], own)
            for owner, ref, own in zip(owners[side], refs, prompted, strict=True)
        ]
    batch = StepBatch(
        task=draw.task,
        step=order.step,
        pairing=pairing_of(draw, members, draw.task.loss or work.loss, stored=True),
        ids=tuple(record.id for record in draw.records),
        **sides,
    )
    return planned(batch, rows, lambda row: sum(sizes[part.modality] for part in row.ref), keep_bytes=keep_bytes)


def _prompt(work: "BatchWork", ref: ContentRef, task: str | None, step: int, side: int) -> str | None:
    """The task of a content, or None where prefix dropout takes it."""
    if task is None:
        return None
    loses = loses_prefix(digest_of(ref, task), work.prefix_dropout, seed=work.seed, step=step, side=side)
    return None if loses else task
