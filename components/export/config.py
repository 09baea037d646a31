"""Configuration of the export step."""

from pydantic import Field

from model.config import Config


class ExportConfig(Config):
    """What an exported model must satisfy."""

    minimum_cosine: float = Field(0.9999, gt=0, le=1, description="between ONNX and torch, each modality and mixture")
