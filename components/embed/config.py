"""Configuration of offline embedding."""

from typing import Literal

from pydantic import Field

from model.config import Config
from model.quantize import OutputDtype


class EmbedConfig(Config):
    """How many inputs become vectors.

    Attributes:
        backend: ``onnx`` (or ``onnx-int8``) where the artifact was exported, or ``torch``.
        task: prefix that the model was trained with, such as ``query`` or ``document``.
        dimension: Matryoshka prefix to keep; all dimensions by default.
        output_dtype: ``float``, or the codes of ``model.quantize``; ``int8`` and ``uint8`` need a calibrated artifact.
        max_batch_tokens: padded tokens per forward, all modalities together.
        items_per_part: inputs between two saves; an interrupted run starts again at the last save.
    """

    backend: Literal["torch", "onnx", "onnx-int8"] = "torch"
    task: str | None = None
    dimension: int | None = Field(default=None, ge=1)
    output_dtype: OutputDtype = "float"
    max_batch_tokens: int = Field(default=512, ge=64)
    items_per_part: int = Field(default=512, ge=1)
