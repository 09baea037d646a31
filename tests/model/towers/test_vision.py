"""Vision towers against transformers' own models and image processors."""

import numpy as np
import pytest
import torch
from transformers import AutoModel

from model.errors import ConfigError
from model.towers.config import VisionConfig
from model.towers.vision import Vision, to_patches
from tests.model.towers.tiny import TINY_VISION, VIT, WIDTH

PREFIX = {"dinov2": 1, "dinov2_registers": 5, "dinov3": 5, "vit": 1, "deit": 2, "clip": 1}


def tower(name: str) -> Vision:
    """A tower whose parameters are all random, so that no token or position can be lost unseen."""
    torch.manual_seed(0)
    found = Vision(TINY_VISION[name]).eval()
    for parameter in found.parameters():
        torch.nn.init.normal_(parameter, mean=parameter.mean().item(), std=0.2)
    return found


def pixels(side: int = 64, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, side, side), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def normalised(config: VisionConfig, images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (config.mean, config.std))
    return (images / 255 - mean) / std


@pytest.mark.parametrize("name", sorted(set(TINY_VISION) - {"siglip2"}))
def test_the_map_is_the_last_hidden_state_of_transformers(name: str) -> None:
    ours = tower(name)
    theirs = AutoModel.from_config(ours.inner).eval()
    theirs.load_state_dict(ours.model.state_dict(), strict=False)
    with torch.inference_mode():
        found = ours(pixels())
        states = theirs(pixel_values=normalised(ours.config, pixels())).last_hidden_state
    expected = states if states.dim() == 4 else states[:, PREFIX.get(name, 0) :].transpose(1, 2).reshape(found.shape)
    assert found.shape[1] == ours.config.features
    assert expected.std(dim=(2, 3)).min() > 1e-3, "equal places would agree with any order"
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_siglip2_takes_patches_in_the_order_of_its_processor() -> None:
    from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

    ours = tower("siglip2")
    images = pixels()
    processor = Siglip2ImageProcessorPil(patch_size=16, max_num_patches=16, do_resize=False)
    inputs = processor([np.asarray(image.permute(1, 2, 0)) for image in images], return_tensors="pt")
    torch.testing.assert_close(to_patches(normalised(ours.config, images), 16), inputs["pixel_values"].float())
    with torch.inference_mode():
        expected = ours.model(**inputs).last_hidden_state
        found = ours(images)
    torch.testing.assert_close(found, expected.transpose(1, 2).reshape(found.shape), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["siglip", "siglip2", "dinov2", "dinov3", "vit", "clip", "convnext"])
def test_other_sizes_interpolate_the_positions(name: str) -> None:
    with torch.inference_mode():
        larger = tower(name)(pixels(96))
    assert larger.shape[2:] == ((3, 3) if name == "convnext" else (6, 6))
    assert larger.isfinite().all()


def test_a_place_in_the_map_sees_its_place_in_the_picture() -> None:
    """Without attention between places only the changed patch may differ."""
    ours = tower("siglip")
    ours.model = ours.model.__class__(ours.inner.__class__(**{**ours.inner.to_dict(), "num_hidden_layers": 0}))
    changed = pixels()
    changed[:, :, 16:32, 48:64] = 255 - changed[:, :, 16:32, 48:64]
    difference = (ours(pixels()) - ours(changed)).abs().amax(dim=(0, 1))
    assert difference.nonzero().tolist() == [[1, 3]]


def test_sizes_and_encoders_that_do_not_fit_are_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match="multiples of 16"):
        tower("siglip")(pixels(72))
    with pytest.raises(ConfigError, match="no grid of patches"):
        Vision(VisionConfig(model={"model_type": "vit_mae", **VIT})).eval()(pixels())
    with pytest.raises(ConfigError, match="does not take pixels"):
        Vision(VisionConfig(model={"model_type": "bert", **WIDTH}))
    with pytest.raises(ConfigError, match="model_type"):
        Vision(VisionConfig(model=dict(VIT)))
    with pytest.raises(ConfigError, match="'no_such_model'"):
        Vision(VisionConfig(model={"model_type": "no_such_model"}))
