"""Configuration of the sentence_transformer family; it lies beside the library's own files as ``omnivec.json``."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from model.config import Config
from model.encoder import Limits
from model.prompts import resolve_style


class SentenceTransformerConfig(Config):
    """What Omnivec adds to a model of the library: limits, prompts, Matryoshka dimensions, the treatment of clips.

    Attributes:
        dtype: of the weights. ``float16`` is refused for models of the Gemma type, whose activations overflow it.
        dimensions: Matryoshka prefixes, largest first; filled with the full width when empty.
        prompts: task -> prefix of its texts, or the name of a style; None takes those that the model brings.
        limits: what one content may hold; a text longer than ``max_tokens`` is cut at its end, media are never cut.
        image_side: longest side of a picture in pixels before the model's own processor sees it.
        video: ``native`` uses the video processor of the model (those of transformers need torchvision); ``frames``
            shows the sampled frames as pictures, in order. Part of the model: the two give different vectors.
        video_side: side in pixels of the white square that each frame is fitted into, without distortion.
        max_frames: frames sampled uniformly from a clip.
        source: where the initial weights came from.
    """

    kind: Literal["sentence_transformer"] = "sentence_transformer"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    dimensions: tuple[int, ...] = ()
    prompts: Annotated[dict[str, str] | None, BeforeValidator(resolve_style)] = None
    limits: Limits | None = None
    image_side: int = Field(1024, ge=16, le=4096)
    video: Literal["native", "frames"] = "native"
    video_side: int = Field(384, ge=16, le=2048)
    max_frames: int = Field(16, ge=1, le=256)
    source: str = ""

    @model_validator(mode="after")
    def _dimensions_descend(self) -> Self:
        if list(self.dimensions) != sorted(set(self.dimensions), reverse=True):
            raise ValueError(f"dimensions={self.dimensions} must be distinct and largest first")
        return self
