"""A test double of the HTTP layer: an ``Encoder`` whose vectors follow a rule that a person can check by eye.

Before normalisation a vector is ``[1, text characters, image bytes, audio bytes, video bytes, parts, 0.5, 0.25]``.
Media count as decodable unless they contain ``BROKEN``; every modality costs one token per part, text one per word.

Shape legend: N contents, D embedding dimensions.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from model.content import Content, Modality
from model.encoder import Limits
from model.errors import ContentError

BROKEN = b"broken"
MEDIA = (Modality.IMAGE, Modality.AUDIO, Modality.VIDEO)


class DummyEncoder:
    """Length-based vectors; no weights."""

    dimensions = (8, 4, 2)
    tasks = frozenset(("query", "document"))

    def __init__(self, modalities: frozenset[Modality] = frozenset((Modality.TEXT, *MEDIA))) -> None:
        self.modalities = modalities
        self.limits = Limits(max_tokens=64, max_media_bytes=100_000, max_parts=4)

    def count_tokens(self, content: Content) -> dict[Modality, int]:
        """One token a word and one a media part."""
        counts: dict[Modality, int] = {}
        for part in content.parts:
            tokens = len(part.text.split()) if part.text is not None else 1
            counts[part.modality] = counts.get(part.modality, 0) + tokens
        return counts

    def preprocess(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Raw rows [N, D]."""
        return np.array([self._row(content) for content in contents], dtype=np.float32)

    def __call__(self, batch: NDArray[np.float32]) -> Any:
        """Normalise the rows [N, D]."""
        return batch / np.linalg.norm(batch, axis=1, keepdims=True)

    def save(self, directory: Path) -> None:
        """A dummy has nothing to save."""
        raise NotImplementedError(f"DummyEncoder has no weights to write to {directory}")

    @classmethod
    def load(cls, directory: Path, *, modalities: frozenset[Modality] | None = None) -> Self:
        """A dummy needs no files."""
        return cls() if modalities is None else cls(modalities)

    def _row(self, content: Content) -> list[float]:
        if content.task is not None and content.task not in self.tasks:
            raise ContentError(f"unknown task {content.task!r}", code="unknown_task")
        for part in content.parts:
            if part.data is not None and BROKEN in part.data:
                raise ContentError(f"the {part.modality} cannot be decoded", code=f"{part.modality}_undecodable")
        tokens = sum(self.count_tokens(content).values())
        if tokens > self.limits.max_tokens:
            raise ContentError(
                f"{tokens} tokens are more than {self.limits.max_tokens}", code="too_many_tokens", limit="max_tokens"
            )
        sizes = [sum(len(p.data or b"") for p in content.parts if p.modality is m) for m in MEDIA]
        return [1, sum(len(p.text or "") for p in content.parts), *sizes, len(content.parts), 0.5, 0.25]
