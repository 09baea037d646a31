"""The library itself on an artifact: what somebody without Omnivec gets. Only compared with, never served.

Shape legend: N contents, D dimensions.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.content import Content
from model.sentence_transformer.encoder import SentenceTransformerEncoder
from model.sentence_transformer.inputs import Item
from model.sentence_transformer.processors import processors_loadable


class PlainLibrary:
    """Embeds by ``SentenceTransformer.encode`` what our encoder would hand to the network."""

    def __init__(self, encoder: SentenceTransformerEncoder, directory: Path) -> None:
        from sentence_transformers import SentenceTransformer

        self._inputs = encoder.inputs
        with processors_loadable():
            self.model = SentenceTransformer(str(directory), device="cpu", local_files_only=True)

    def preprocess(self, contents: Sequence[Content]) -> list[Item]:
        """Decoded inputs of N contents."""
        return [self._inputs(content) for content in contents]

    def __call__(self, batch: Sequence[Item]) -> NDArray[np.float32]:
        """Unit vectors [N, D], each content on its own."""
        return np.stack([self._vector(item) for item in batch])

    def _vector(self, item: Item) -> Any:
        clips: dict[str, Any] = {"video_metadata": item.video_metadata, "do_sample_frames": False}
        settings = {"video": clips} if item.video_metadata else {}
        # A prompt of its own choice would be the library's: ours is part of the text already.
        found = self.model.encode(
            [item.value],
            prompt="",
            normalize_embeddings=True,
            show_progress_bar=False,
            processing_kwargs=settings,
        )
        return np.asarray(found[0], dtype=np.float32)
