"""The border that training, evaluation, export and serving know: the ``Encoder`` protocol.

Shape legend: N contents, D embedding dimensions.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from model.config import Config
from model.content import Content, Modality

if TYPE_CHECKING:
    from torch import Tensor

MOST_CHARACTERS_PER_TOKEN = 256
"""Of a text that is cut, only so many characters for each token that is kept are tokenised at all: no text needs more,
and for a few megabytes a tokeniser can take gigabytes and minutes."""


class Limits(Config):
    """What one content may hold; checked before anything is decoded.

    ``max_tokens`` counts every token of the sequence, all modalities together. ``max_image_pixels`` also holds for the
    pictures on one page of a document. A document is rendered by a process of its own that may take
    ``max_document_seconds`` of processor time and ``max_document_memory`` bytes of address space.
    """

    max_tokens: int = 512
    max_parts: int = 16
    max_media_bytes: int = 20_000_000
    max_image_pixels: int = 40_000_000
    max_audio_seconds: float = 60.0
    max_video_seconds: float = 120.0
    max_video_pixels: int = 4_000_000
    max_document_pages: int = 6
    max_document_seconds: float = 20.0
    max_document_memory: int = 1 << 30


@runtime_checkable
class Encoder(Protocol):
    """One network from contents to unit vectors in one space."""

    @property
    def modalities(self) -> frozenset[Modality]:
        """Modalities whose towers are loaded."""

    @property
    def limits(self) -> Limits:
        """Limits that ``preprocess`` enforces."""

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Matryoshka dimensions, largest first; the first is D."""

    @property
    def tasks(self) -> frozenset[str]:
        """Tasks that a content may name (``Content.task``); each has its prefix."""

    def count_tokens(self, content: Content) -> dict[Modality, int]:
        """Exact number of tokens that each modality of ``content`` occupies (special tokens count as text)."""

    def preprocess(self, contents: Sequence[Content]) -> Any:
        """Decode, tokenise and collate N contents into a batch (CPU work, thread-safe).

        Raises:
            ContentError: a part is undecodable or exceeds a limit.
            CapabilityError: the tower of a part's modality is not loaded.
        """

    def __call__(self, batch: Any) -> "Tensor":
        """Map a batch to unit vectors, shape [N, D], float32."""

    def save(self, directory: Path) -> None:
        """Write the artifact: safetensors and JSON only."""

    @classmethod
    def load(cls, directory: Path, *, modalities: frozenset[Modality] | None = None) -> Self:
        """Read an artifact; ``modalities`` limits which towers are loaded (text is always there)."""


def takes(encoder: Encoder, modalities: Sequence[Modality]) -> bool:
    """Whether ``encoder`` embeds a content with parts of these modalities.

    Every modality has to be loaded, and a model that combines parts only in some ways says so in a method ``combines``
    of the same signature: one with a tower per modality, such as CLIP, takes one part at a time.
    """
    combines: Callable[[Sequence[Modality]], bool] | None = getattr(encoder, "combines", None)
    return set(modalities) <= encoder.modalities and (combines is None or combines(modalities))
