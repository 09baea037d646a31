"""Vision encoders of transformers as picture towers: patches back to a feature map, class and register tokens left out.

Pictures of another size than the encoder was trained on work where it can interpolate its positions.

Shape legend: B pictures, C channels, H x W pixels, h x w places, p pixels a side of a patch, P = h w patches,
T tokens of the encoder.
"""

import inspect

import torch
from torch import Tensor, nn

from model.errors import ConfigError
from model.pretrained import bare_model, model_class, transformers_config
from model.towers.config import VisionConfig

NAFLEX = "siglip2_vision_model"


class Vision(nn.Module):
    """Picture tower around a transformers vision encoder; see the module docstring."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.inner = transformers_config(config.model)
        if model_class(self.inner).main_input_name != "pixel_values":
            raise ConfigError(f"image_tower: {self.inner.model_type!r} does not take pixels; give a vision encoder")
        self.model = bare_model(self.inner)
        self.interpolates = "interpolate_pos_encoding" in inspect.signature(self.model.forward).parameters
        # Kept with the weights, so that the digest of the towers covers them.
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1))

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Map RGB values 0..255 (any dtype) of shape [B, 3, H, W] to features of shape [B, C, h, w].

        Raises:
            ConfigError: the encoder cannot take pictures of this size.
        """
        pixels_B3HW = (images_B3HW.to(self.mean.dtype) / 255 - self.mean) / self.std
        height, width = images_B3HW.shape[2:]
        patch = patch_side(self.inner)
        if patch and (height % patch or width % patch):
            raise ConfigError(
                f"pictures of {height} x {width} pixels do not divide into patches of {patch}: set image.size and "
                f"video.size to multiples of {patch}"
            )
        try:
            states: Tensor = self.model(**self._inputs(pixels_B3HW, patch)).last_hidden_state
        except ValueError as error:
            raise ConfigError(
                f"{self.inner.model_type!r} refuses pictures of {height} x {width} pixels: {error}. Set image.size "
                f"and video.size to its own size, {getattr(self.inner, 'image_size', 'unknown')}"
            ) from error
        return states if states.dim() == 4 else self._to_map(states, height, width, patch)

    def _inputs(self, pixels_B3HW: Tensor, patch: int) -> dict[str, Tensor | bool]:
        batch, _, height, width = pixels_B3HW.shape
        if self.inner.model_type == NAFLEX:
            patches_BPE = to_patches(pixels_B3HW, patch)
            shape_B2 = torch.tensor([[height // patch, width // patch]]).expand(batch, 2)
            mask_BP = torch.ones(patches_BPE.shape[:2], dtype=torch.long, device=pixels_B3HW.device)
            return {"pixel_values": patches_BPE, "pixel_attention_mask": mask_BP, "spatial_shapes": shape_B2}
        own = getattr(self.inner, "image_size", None)
        fits = own == height == width or list(own if isinstance(own, list | tuple) else ()) == [height, width]
        interpolate = {"interpolate_pos_encoding": True} if self.interpolates and not fits else {}
        return {"pixel_values": pixels_B3HW, **interpolate}

    def _to_map(self, states_BTC: Tensor, height: int, width: int, patch: int) -> Tensor:
        tokens = states_BTC.shape[1]
        extra = {0, 1, 2, 1 + (getattr(self.inner, "num_register_tokens", 0) or 0)}
        # Hierarchical encoders (Swin) join neighbouring patches: 2, 4, 8, ... a side become one.
        for stride in (patch << level for level in range(8)) if patch else ():
            rows, columns = height // stride, width // stride
            if rows * columns and tokens - rows * columns in extra and (stride == patch or tokens == rows * columns):
                places_BPC = states_BTC[:, tokens - rows * columns :]
                return places_BPC.transpose(1, 2).reshape(places_BPC.shape[0], -1, rows, columns)
        raise ConfigError(
            f"{self.inner.model_type!r} gives {tokens} tokens for {height} x {width} pixels, which is no grid of "
            "patches with class tokens before it; choose another vision encoder"
        )


def patch_side(config: object) -> int:
    """Pixels a side of a patch, 0 for encoders without patches (convolutions)."""
    patch = getattr(config, "patch_size", 0)
    return int(patch[0] if isinstance(patch, list | tuple) else patch)


def to_patches(pixels_BCHW: Tensor, patch: int) -> Tensor:
    """Cut pictures into patches row by row, each as its p x p pixels with the colours together: [B, P, p p C]."""
    batch, colours, height, width = pixels_BCHW.shape
    split = pixels_BCHW.reshape(batch, colours, height // patch, patch, width // patch, patch)
    return split.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, patch * patch * colours)
