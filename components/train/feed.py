"""From draws to batches: resolves media, adds hard negatives, and pools texts once while the trunk is frozen.

Shape legend: N queries, M documents, H trunk width.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from components.train.pairs import Members, members_of, pairing_of
from data.corpus import Corpus
from data.sampling import Draw, TaskSampler
from model.content import Content, Modality
from model.encoding import plan_batches
from model.losses.config import LossConfig
from model.parallel import side_by_side
from model.progress import progress
from model.prompts import drop_prefixes
from model.training.batch import Pooled, Side, StepBatch
from model.training.families import TorchEncoder
from model.training.world import ALONE, World
from model.unified.encoder import UnifiedEncoder

POOL_BATCH_TOKENS = 1024


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
    ) -> None:
        self.corpus = corpus
        self.sampler = sampler
        self.encoder = encoder
        self.prefix_dropout = prefix_dropout
        self.seed = seed
        self.loss = loss or LossConfig()
        self.world = world
        self._pooled: dict[str, NDArray[np.float32]] = {}
        for step in np.unique(sampler.schedule, return_index=True)[1]:
            self._draw(int(step))  # now rather than hours later

    def __call__(self, step: int) -> StepBatch:
        """This process's share of the batch of ``step``."""
        draw = self._draw(step)
        members = self._members(draw, step)
        return StepBatch(
            task=draw.task,
            step=step,
            query=self._side(members.queries),
            document=self._side(members.documents),
            pairing=pairing_of(draw, members, draw.task.loss or self.loss),
            ids=tuple(record.id for record in draw.records),
        )

    def pool_texts(self, steps: Iterable[int]) -> int:
        """Pool every text that the steps will use; only right while trunk and table of a unified encoder are frozen.

        Returns:
            Number of distinct texts pooled.
        """
        texts: dict[str, Content] = {}
        for step in steps:
            members = self._members(self._draw(step), step)
            for side in (members.queries, members.documents):
                if _all_text(side):
                    texts.update((c.digest, c) for c in side)
        contents = list(texts.values())
        encoder = self.encoder
        assert isinstance(encoder, UnifiedEncoder)
        lengths = [encoder.count_tokens(c)[Modality.TEXT] for c in contents]
        encoder.eval()
        batches = list(plan_batches(lengths, POOL_BATCH_TOKENS))

        def pool(places: list[int]) -> tuple[list[int], NDArray[np.float32]]:
            with torch.inference_mode():
                return places, encoder.pool(encoder.preprocess([contents[i] for i in places])).numpy()

        pooled = side_by_side(pool, batches)
        for places, states_NH in progress(pooled, total=len(batches), desc="pool texts", unit="batch"):
            self._pooled.update((contents[i].digest, state) for i, state in zip(places, states_NH, strict=True))
        return len(contents)

    def _draw(self, step: int) -> Draw:
        return self.sampler.draw(step).share(self.world.rank, self.world.processes)

    def _members(self, draw: Draw, step: int) -> Members:
        """Queries and documents with their task prefixes.

        The task prefix is part of a content's identity, so a text with and without its prefix is pooled twice.
        """
        members = members_of(draw, [self.corpus.resolve(record) for record in draw.records])
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
        if self._pooled and _all_text(contents):
            return Pooled(np.stack([self._pooled[c.digest] for c in contents]))
        return self.encoder.preprocess(contents)


def _all_text(contents: Sequence[Content]) -> bool:
    return all(c.modalities == {Modality.TEXT} for c in contents)
