"""A second opinion on candidates: a teacher that may refuse what the miner's own model would take.

Shape legend: N contents, D dimensions.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.content import Content
from model.encoder import Encoder, takes
from model.encoding import encode_contents
from model.errors import ConfigError


class Judge(Protocol):
    """Says how well a candidate answers a query; only comparisons for one query count."""

    def prepare(self, queries: Sequence[Content], candidates: Sequence[Content]) -> None:
        """Told beforehand, all at once, what will be asked."""

    def __call__(self, query: Content, candidate: Content) -> float:
        """The higher, the better the answer."""


class TeacherJudge:
    """The cosine of a second encoder.

    Args:
        encoder: the teacher.
        query_task: named task whose prefix queries get.
        document_task: the same for candidates.
        max_batch_tokens: padded tokens in one batch.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        query_task: str | None = None,
        document_task: str | None = None,
        max_batch_tokens: int = 512,
    ) -> None:
        self.encoder = encoder
        self.tasks = (query_task, document_task)
        self.max_batch_tokens = max_batch_tokens
        self._vectors: dict[str, NDArray[np.float32]] = {}

    def prepare(self, queries: Sequence[Content], candidates: Sequence[Content]) -> None:
        """Embed what is new.

        Raises:
            ConfigError: the teacher does not take contents of such modalities.
        """
        wanted: dict[str, Content] = {}
        for task, side in zip(self.tasks, (queries, candidates), strict=True):
            prompted = (replace(content, task=task) for content in side)
            wanted.update((c.digest, c) for c in prompted if c.digest not in self._vectors)
        for content in wanted.values():
            if not takes(self.encoder, [part.modality for part in content.parts]):
                raise ConfigError(
                    f"the judge takes no {content.kind} (it has {', '.join(sorted(self.encoder.modalities))}): "
                    "leave out judge, or name the tasks that it can judge in judge.tasks"
                )
        contents = list(wanted.values())
        vector_ND = encode_contents(self.encoder, contents, max_batch_tokens=self.max_batch_tokens, desc="judge")
        self._vectors.update((c.digest, vector) for c, vector in zip(contents, vector_ND, strict=True))

    def __call__(self, query: Content, candidate: Content) -> float:
        """Cosine of the teacher's vectors; both contents have to be prepared."""
        asked, answer = (replace(c, task=task) for c, task in zip((query, candidate), self.tasks, strict=True))
        return float(self._vectors[asked.digest] @ self._vectors[answer.digest])
