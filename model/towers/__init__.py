"""Towers: pretrained modality encoders that turn pixels or sound into features for the projectors.

A tower is a plain ``torch.nn.Module`` called with one tensor; its config is one member of ``TowerConfig``, told
apart by ``kind``. A new tower is one module plus one line in ``TOWERS``.
"""

from collections.abc import Callable
from typing import Annotated, Any, Protocol

from pydantic import Field
from torch import Tensor, nn

from model.errors import ConfigError
from model.towers.efficientnet_lite import EfficientNetLite, EfficientNetLiteConfig
from model.towers.whisper import Whisper, WhisperConfig

TowerConfig = Annotated[EfficientNetLiteConfig | WhisperConfig, Field(discriminator="kind")]


class Tower(Protocol):
    """What the encoder needs of a tower: inputs to features."""

    def __call__(self, inputs: Tensor, /) -> Tensor:
        """Map a batch of inputs to features; shapes are the tower's own."""


TOWERS: dict[str, Callable[[Any], nn.Module]] = {
    "efficientnet_lite": EfficientNetLite,
    "whisper": Whisper,
}


def build_tower(config: EfficientNetLiteConfig | WhisperConfig) -> nn.Module:
    """Build a tower with random weights.

    Raises:
        ConfigError: the kind is unknown.
    """
    try:
        return TOWERS[config.kind](config)
    except KeyError:
        raise ConfigError(f"unknown tower kind {config.kind!r}; known: {sorted(TOWERS)}") from None
