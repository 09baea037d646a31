"""Configuration of the export step."""

from typing import Literal

from pydantic import Field

from model.config import Config


class ExportConfig(Config):
    """What an exported model must satisfy, and the sample that becomes its drift reference."""

    minimum_cosine: float = Field(0.9999, gt=0, le=1, description="between ONNX and torch, each kind of content")
    parity_per_kind: int = Field(8, ge=1, description="held-out contents of each kind compared")
    reference_per_kind: int = Field(200, ge=20, description="held-out contents of each kind in the drift reference")
    int8: bool = Field(False, description="also write int8 graphs of trunk and audio tower (unified family)")
    int8_weight_bits: Literal[7, 8] = Field(
        7, description="8 loses less, where every processor that serves has VNNI (x86) or is an ARM; others refuse it"
    )
    int8_maximum_loss: float = Field(
        0.01,
        ge=0,
        le=1,
        description="of nDCG@10 against fp32, mean over text tasks; graphs that lose more are left out",
    )
    int8_pairs: int = Field(150, ge=10, description="test queries of each text task on which that loss is measured")
