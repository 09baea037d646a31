"""From draws to batches: resolves media, adds hard negatives, and pools texts once while the trunk is frozen.

A batch is drawn, and cut to this process's share, before a byte of media is read. What happens then may happen in a
worker (see :mod:`model.training.loading`), which holds the preprocessing and an index of the media, but no records.

Shape legend: N queries, M documents, H trunk width.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from components.train.cutting import PartWork, plan_of
from components.train.pairs import Members, members_of, pairing_of
from data.access import MediaAccess
from data.corpus import Corpus
from data.sampling import Draw, TaskSampler
from model.content import Content, Modality
from model.encoding import on_processor, plan_batches
from model.losses.config import LossConfig
from model.parallel import side_by_side
from model.progress import progress
from model.prompts import drop_prefixes
from model.training.batch import Pooled, Side, StepBatch, Texts
from model.training.families import TorchEncoder, memory_of, preprocessing_of
from model.training.parts import Plan
from model.training.world import ALONE, World
from model.transfer import accelerated
from model.unified.encoder import UnifiedEncoder

POOL_BATCH_TOKENS = 1024
ACCELERATOR_BATCH_TOKENS = 65_536


@dataclass(frozen=True)
class Order:
    """What the batch of a step is made of, with the shard of each record."""

    step: int
    draw: Draw
    shards: tuple[Path, ...]


@dataclass(frozen=True)
class BatchWork:
    """Makes the batch of an order; small enough to be sent to a worker.

    Args:
        media: gives bytes for digests.
        preprocess: of the encoder, without its weights.
        loss: of the stage; it says which labels the batches carry.
        prefix_dropout: share of contents that lose their task prefix.
        seed: with the step it decides which ones.
        pooled: whether the states of all texts are known, so that a side of texts alone needs no preprocessing.
    """

    media: MediaAccess
    preprocess: Callable[[Sequence[Content]], Side]
    loss: LossConfig
    prefix_dropout: float
    seed: int
    pooled: bool = False

    def __call__(self, order: Order) -> StepBatch:
        """The batch; a side may be :class:`Texts` still."""
        draw, members = order.draw, self.members(order)
        return StepBatch(
            task=draw.task,
            step=order.step,
            query=self._side(members.queries),
            document=self._side(members.documents),
            pairing=pairing_of(draw, members, draw.task.loss or self.loss),
            ids=tuple(record.id for record in draw.records),
        )

    def members(self, order: Order) -> Members:
        """Queries and documents with their task prefixes.

        The task prefix is part of a content's identity, so a text with and without its prefix is pooled twice.
        """
        draw, step = order.draw, order.step
        examples = [self.media.resolve(r, shard) for r, shard in zip(draw.records, order.shards, strict=True)]
        members = members_of(draw, examples)
        queries = self._prompted(members.queries, draw.task.query_task, step, side=0)
        documents = self._prompted(members.documents, draw.task.document_task, step, side=1)
        return replace(members, queries=queries, documents=documents)

    def _prompted(self, contents: list[Content], task: str | None, step: int, *, side: int) -> list[Content]:
        """Name the task of each content, but for those that prefix dropout takes it from."""
        if task is None:
            return contents
        named = [replace(content, task=task) for content in contents]
        return drop_prefixes(named, self.prefix_dropout, seed=self.seed, step=step, side=side)

    def _side(self, contents: Sequence[Content]) -> Side:
        if self.pooled and all_text(contents):
            return Texts(tuple(c.digest for c in contents))  # type: ignore[return-value] # until it is finished
        return self.preprocess(contents)


class BatchMaker:
    """Makes the batch of any step; a pure function of the step for a given corpus, sampler and encoder.

    Args:
        corpus: resolves the records that are drawn.
        sampler: draws them.
        encoder: preprocesses and pools.
        prefix_dropout: share of contents that lose their task prefix (``StageConfig.prefix_dropout``).
        seed: of the stage; with the step it decides which ones.
        loss: of the stage; it says which labels the batches carry.
        world: who trains together; the batches are this process's shares.
        keep_bytes: of a batch that is decoded part by part: what is kept between the two passes over it.

    Raises:
        DataError: a batch of some task has fewer members than there are processes.
    """

    def __init__(
        self,
        corpus: Corpus,
        sampler: TaskSampler,
        encoder: TorchEncoder,
        *,
        prefix_dropout: float = 0.0,
        seed: int = 0,
        loss: LossConfig | None = None,
        world: World = ALONE,
        keep_bytes: int | None = None,
    ) -> None:
        self.corpus = corpus
        self.sampler = sampler
        self.encoder = encoder
        self.world = world
        self.work = BatchWork(
            corpus.media, preprocessing_of(encoder), loss or LossConfig(), prefix_dropout=prefix_dropout, seed=seed
        )
        self.part_work = PartWork(self.work.media, self.work.preprocess)
        self.keep_bytes = keep_bytes
        self._sizes = memory_of(encoder)
        self._pooled: dict[str, NDArray[np.float32]] = {}
        for step in np.unique(sampler.schedule, return_index=True)[1]:
            self.order(int(step))  # now rather than hours later

    def __call__(self, step: int) -> StepBatch:
        """This process's share of the batch of ``step``."""
        return self.finish(self.work(self.order(step)))

    def order(self, step: int) -> Order:
        """What this process's share of the batch of ``step`` is made of."""
        draw = self.sampler.draw(step).share(self.world.rank, self.world.processes)
        return Order(step, draw, tuple(self.corpus.shard_of(record) for record in draw.records))

    def plan(self, step: int) -> Plan:
        """The same batch before any of its media are read, cut into parts."""
        return plan_of(self.order(step), self.work, self._sizes, self.keep_bytes)

    def finish(self, made: StepBatch) -> StepBatch:
        """The batch that ``work`` made, with the states of texts that were pooled before."""
        return replace(made, query=self._looked_up(made.query), document=self._looked_up(made.document))

    def pool_texts(self, steps: Iterable[int]) -> int:
        """Pool every text that the steps will use; only right while trunk and table of a unified encoder are frozen.

        Returns:
            Number of distinct texts pooled.
        """
        texts: dict[str, Content] = {}
        for step in steps:
            members = self.work.members(self.order(step))
            for side in (members.queries, members.documents):
                if all_text(side):
                    texts.update((c.digest, c) for c in side)
        contents = list(texts.values())
        encoder = self.encoder
        assert isinstance(encoder, UnifiedEncoder)
        lengths = [encoder.count_tokens(c)[Modality.TEXT] for c in contents]
        encoder.eval()

        def pool(places: list[int]) -> tuple[list[int], NDArray[np.float32]]:
            with torch.inference_mode():
                return places, encoder.pool(encoder.preprocess([contents[i] for i in places])).cpu().numpy()

        with accelerated(encoder, self.world.local_rank):
            here = on_processor(encoder)
            batches = list(plan_batches(lengths, POOL_BATCH_TOKENS if here else ACCELERATOR_BATCH_TOKENS))
            pooled = (side_by_side if here else map)(pool, batches)
            for places, states_NH in progress(pooled, total=len(batches), desc="pool texts", unit="batch"):
                self._pooled.update((contents[i].digest, state) for i, state in zip(places, states_NH, strict=True))
        self.work = replace(self.work, pooled=bool(contents))
        return len(contents)

    def _looked_up(self, side: Side | Texts) -> Side:
        if isinstance(side, Texts):
            return Pooled(np.stack([self._pooled[digest] for digest in side.digests]))
        return side


def all_text(contents: Sequence[Content]) -> bool:
    """Whether no content holds media."""
    return all(c.modalities == {Modality.TEXT} for c in contents)
