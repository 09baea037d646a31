"""Conversion of the EfficientNet-lite ``.pth`` state dict to the names of our tower."""

import io
import re

import torch
from torch import Tensor

from model.errors import ArtifactError
from model.towers.config import EfficientNetLiteConfig
from model.towers.efficientnet_lite import EfficientNetLite

CLASSIFIER = "classifier."
TOP = {
    "_conv_stem": "stem.conv",
    "_bn0": "stem.norm",
    "_conv_head": "head.conv",
    "_bn1": "head.norm",
    "_fc": "classifier",
}
BLOCK = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}
BLOCK_NAME = re.compile(r"_blocks\.(\d+)\.(\w+)\.(\w+)")


def convert_efficientnet(data: bytes, config: EfficientNetLiteConfig) -> dict[str, Tensor]:
    """Read the pickled state dict safely and rename its tensors.

    Returns:
        The state dict of an unfused :class:`EfficientNetLite`, plus ``classifier.weight`` [1000, C] and
        ``classifier.bias``, the ImageNet classifier, which serves checks only.

    Raises:
        ArtifactError: the file is unreadable or does not fit ``config``.
    """
    try:
        source = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        state = {_rename(name): tensor for name, tensor in source.items()}
    except Exception as error:
        raise ArtifactError(f"the EfficientNet-lite weights are unreadable: {error}") from error
    tower_state = {name: tensor for name, tensor in state.items() if not name.startswith(CLASSIFIER)}
    try:
        EfficientNetLite(config).load_state_dict(tower_state)
    except RuntimeError as error:
        raise ArtifactError(f"the EfficientNet-lite weights do not fit the tower: {error}") from error
    return state


def _rename(name: str) -> str:
    block = BLOCK_NAME.fullmatch(name)
    if block:
        index, module, leaf = block.groups()
        return f"blocks.{index}.{BLOCK[module]}.{leaf}"
    module, leaf = name.split(".")
    return f"{TOP[module]}.{leaf}"
