"""What the trainer consumes: one task per step, each side either a batch or states pooled before.

Shape legend: N queries, M documents, H trunk width, E dimensions of a teacher.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.losses.pairing import Pairing
from model.sentence_transformer.batch import GroupedBatch
from model.training.config import TaskConfig
from model.transfer import pinned
from model.unified.batch import UnifiedBatch


@dataclass(frozen=True)
class Pooled:
    """Pooled trunk states [N, H] of contents that a frozen trunk has seen before."""

    states_NH: NDArray[np.float32]


@dataclass(frozen=True)
class Texts:
    """Digests of the texts of a side whose pooled states are to be looked up; no trainer ever sees one."""

    digests: tuple[str, ...]


# A batch of the encoder's family, or pooled states, which the unified family alone has.
Side = UnifiedBatch | GroupedBatch | Pooled


@dataclass(frozen=True)
class TeacherVectors:
    """What a teacher makes of a batch: unit vectors [N, E] of the queries and [M, E] of the documents.

    ``dimensions`` are the teacher's Matryoshka prefixes, E among them.
    """

    sides: tuple[NDArray[np.float32], NDArray[np.float32]]
    dimensions: tuple[int, ...]


@dataclass(frozen=True)
class StepBatch:
    """N queries against M documents: the first positives in query order, then others and hard negatives.

    ``ids`` names the records of the queries, for reports of what went wrong; ``teacher`` is for stages that distill.
    """

    task: TaskConfig
    step: int
    query: Side
    document: Side
    pairing: Pairing
    ids: tuple[str, ...] = ()
    teacher: TeacherVectors | None = None

    def pin_memory(self) -> "StepBatch":
        """The same batch in page-locked memory; the data loader of torch asks for it where there is an accelerator."""
        found: StepBatch = pinned(self)
        return found
