"""Contents that a frozen trunk has seen, and batches of them: a step that trains a head alone costs milliseconds.

Shape legend: N contents, H trunk width, D dimensions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from components.train.pairs import members_of, pairing_of
from data.corpus import Corpus
from data.records import ContentRef, Record
from data.sampling import TaskSampler
from model.content import Content, content_digest, media_digest
from model.encoding import batch_cost, plan_batches
from model.files import whole_file
from model.parallel import side_by_side
from model.progress import progress
from model.training.batch import Pooled, StepBatch
from model.training.config import StageConfig
from model.unified.encoder import UnifiedEncoder

POOL_BATCH_TOKENS = 1024


@dataclass(frozen=True)
class Known:
    """What a pairing asks of a content: its identity."""

    digest: str
    task: None = None


class Pooler:
    """Pooled states of contents under a frozen trunk, each computed once; they stand in for the contents."""

    def __init__(self, encoder: UnifiedEncoder, corpus: Corpus) -> None:
        self.encoder = encoder
        self.corpus = corpus
        self.states: dict[str, NDArray[np.float32]] = {}

    def add(self, contents: Iterable[Content], desc: str) -> None:
        """Pool what is new."""
        wanted = {c.digest: c for c in contents if c.digest not in self.states}
        own = list(wanted.values())
        lengths = [batch_cost(self.encoder.count_tokens(c)) for c in own]
        batches = list(plan_batches(lengths, POOL_BATCH_TOKENS))

        def pool(places: list[int]) -> tuple[list[int], NDArray[np.float32]]:
            with torch.inference_mode():
                return places, self.encoder.pool(self.encoder.preprocess([own[i] for i in places])).numpy()

        for places, states_NH in progress(side_by_side(pool, batches), total=len(batches), desc=desc, unit="batch"):
            self.states.update((own[i].digest, state_H) for i, state_H in zip(places, states_NH, strict=True))

    def read(self, path: Path) -> None:
        """Take what an earlier comparison from the same start pooled."""
        if path.is_file():
            with np.load(path, allow_pickle=False) as known:
                self.states |= dict(zip(known["digests"].tolist(), known["states"], strict=True))

    def write(self, path: Path) -> None:
        """Keep everything for the next one, by other rules."""
        with whole_file(path) as partial, partial.open("wb") as file:
            np.savez(file, digests=np.array(list(self.states)), states=np.stack(list(self.states.values())))

    def vectors(self, digests: Sequence[str], encoder: UnifiedEncoder) -> NDArray[np.float32]:
        """Unit vectors [N, D] by the head of ``encoder``."""
        with torch.inference_mode():
            return encoder.finish(torch.from_numpy(np.stack([self.states[d] for d in digests]))).numpy()

    def __call__(
        self, contents: Sequence[tuple[ContentRef, Record]], *, task: str | None, desc: str
    ) -> NDArray[np.float32]:
        """Vectors as :class:`data.mining.pool.Embedder` gives them."""
        self.add((self.corpus.content(record, ref) for ref, record in contents), desc)
        return self.vectors([_digest(ref) for ref, _ in contents], self.encoder)


@dataclass(frozen=True)
class PooledBatches:
    """The batches of a stage from pooled states; a pure function of the step."""

    sampler: TaskSampler
    pooler: Pooler
    stage: StageConfig

    def __call__(self, step: int) -> StepBatch:
        """The batch of ``step``."""
        draw = self.sampler.draw(step)
        members = members_of(draw, draw.records)  # type: ignore[arg-type] # contents as they are stored
        queries, documents = (
            [Known(_digest(ref)) for ref in side]  # type: ignore[arg-type]
            for side in (members.queries, members.documents)
        )
        known = replace(members, queries=queries, documents=documents)  # type: ignore[arg-type]
        sides = [Pooled(np.stack([self.pooler.states[c.digest] for c in side])) for side in (queries, documents)]
        return StepBatch(draw.task, step, *sides, pairing_of(draw, known, self.stage.loss))


def _digest(ref: ContentRef) -> str:
    return content_digest([(p.modality, p.media or media_digest((p.text or "").encode())) for p in ref], None)
