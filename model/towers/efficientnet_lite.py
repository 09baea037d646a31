"""EfficientNet-lite image tower: squeeze-excite-free MBConv blocks with ReLU6, from pixels to a feature map.

Shape legend: B images, C channels, H x W pixels, h x w positions of the feature map (H / 32 x W / 32, rounded up).
Source: Tan and Le 2019, arXiv 1905.11946; the "lite" variants drop squeeze-excite and use ReLU6.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.errors import ConfigError
from model.towers.config import EfficientNetLiteConfig, StageConfig

PIXEL_MEAN, PIXEL_SCALE = 127.0, 128.0
NORM_EPSILON = 1e-3


class ConvNorm(nn.Module):
    """Convolution with symmetric padding, batch norm and optional ReLU6; after folding, a biased convolution."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, active: bool, fused: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=fused)
        self.norm = nn.Identity() if fused else nn.BatchNorm2d(outputs, eps=NORM_EPSILON)
        self.act = nn.ReLU6(inplace=True) if active else nn.Identity()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Apply convolution, norm and activation."""
        activated: Tensor = self.act(self.norm(self.conv(x_BCHW)))
        return activated


class Block(nn.Module):
    """Inverted residual: expand 1x1, depthwise, project 1x1, with a skip when nothing changes shape."""

    def __init__(self, inputs: int, stage: StageConfig, stride: int, *, fused: bool) -> None:
        super().__init__()
        hidden = inputs * stage.expansion
        self.expand = nn.Identity() if stage.expansion == 1 else ConvNorm(inputs, hidden, 1, active=True, fused=fused)
        self.depthwise = ConvNorm(hidden, hidden, stage.kernel, stride=stride, groups=hidden, active=True, fused=fused)
        self.project = ConvNorm(hidden, stage.channels, 1, active=False, fused=fused)
        self.skip = stride == 1 and inputs == stage.channels

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Apply the block."""
        y_BCHW: Tensor = self.project(self.depthwise(self.expand(x_BCHW)))
        return x_BCHW + y_BCHW if self.skip else y_BCHW


class EfficientNetLite(nn.Module):
    """Image tower; see the module docstring."""

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__()
        self.config = config
        fused = config.fused
        self.stem = ConvNorm(3, config.stem_channels, 3, stride=2, active=True, fused=fused)
        blocks: list[nn.Module] = []
        channels = config.stem_channels
        for stage in config.stages:
            for index in range(stage.repeats):
                blocks.append(Block(channels, stage, stage.stride if index == 0 else 1, fused=fused))
                channels = stage.channels
        self.blocks = nn.Sequential(*blocks)
        self.head = ConvNorm(channels, config.head_channels, 1, active=True, fused=fused)
        # Depthwise convolutions run several times faster on CPU in this layout.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Map RGB values 0..255 (any dtype) of shape [B, 3, H, W] to features of shape [B, C, h, w]."""
        x_BCHW = (images_B3HW.to(self.stem.conv.weight.dtype) - PIXEL_MEAN) / PIXEL_SCALE
        x_BCHW = x_BCHW.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.head(self.blocks(self.stem(x_BCHW)))
        return features


def fuse(tower: EfficientNetLite) -> EfficientNetLite:
    """Fold every batch norm into its convolution: equal output in evaluation mode, fewer passes over memory.

    Returns:
        A new tower in evaluation mode whose ``config.fused`` is true; ``tower`` is unchanged.

    Raises:
        ConfigError: the tower is already fused.
    """
    if tower.config.fused:
        raise ConfigError("the tower is already fused; call fuse() only on a tower whose config says fused=false")
    fused = EfficientNetLite(tower.config.model_copy(update={"fused": True}))
    targets = {name: module for name, module in fused.named_modules() if isinstance(module, ConvNorm)}
    for name, module in tower.named_modules():
        if isinstance(module, ConvNorm):
            assert isinstance(module.norm, nn.BatchNorm2d)
            folded = fuse_conv_bn_eval(module.conv.eval(), module.norm.eval())
            targets[name].conv.load_state_dict(folded.state_dict())
    return fused.eval()
