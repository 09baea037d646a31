"""Towers: pretrained modality encoders that turn pixels or sound into features for the projectors.

A tower is a plain ``torch.nn.Module`` called with one tensor: a picture tower gives a feature map [B, C, h, w], a
sound tower a sequence [B, S, C]. A new tower is one module, its config in ``model.towers.config`` and one line in
``TOWERS``, whose modules are imported when they are built.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from model.errors import ConfigError
from model.towers.config import TowerConfig

if TYPE_CHECKING:
    from torch import nn

TOWERS: dict[str, tuple[str, str]] = {
    "efficientnet_lite": ("model.towers.efficientnet_lite", "EfficientNetLite"),
    "vision": ("model.towers.vision", "Vision"),
    "whisper": ("model.towers.whisper", "Whisper"),
    "waveform": ("model.towers.waveform", "Waveform"),
    "spectrogram": ("model.towers.spectrogram", "Spectrogram"),
}


def build_tower(config: TowerConfig) -> "nn.Module":
    """Build a tower with random weights.

    Raises:
        ConfigError: the kind is unknown, or the configuration impossible.
    """
    try:
        module, name = TOWERS[config.kind]
    except KeyError:
        raise ConfigError(f"unknown tower kind {config.kind!r}; known: {sorted(TOWERS)}") from None
    tower: nn.Module = getattr(import_module(module), name)(config)
    return tower
