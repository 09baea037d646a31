import pytest
import torch
from torch import nn

from model.errors import ConfigError
from model.towers.config import EfficientNetLiteConfig
from model.towers.efficientnet_lite import EfficientNetLite, fuse
from model.weights.random import TINY_IMAGE


def settled(config: EfficientNetLiteConfig = TINY_IMAGE) -> EfficientNetLite:
    """A tower whose batch norms are far from the identity, as after training."""
    torch.manual_seed(0)
    tower = EfficientNetLite(config)
    for module in tower.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return tower.eval()


def pixels(side: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, side, side), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def test_the_defaults_are_lite0() -> None:
    with torch.device("meta"):
        tower = EfficientNetLite(EfficientNetLiteConfig())
    trunk = sum(p.numel() for p in tower.parameters())
    assert trunk == 4_652_008 - 1_281_000  # lite0 of the publication without its 1000-way classifier
    assert len(tower.blocks) == 16
    assert tower.config.features == 1280


@pytest.mark.parametrize(("side", "expected"), [(64, 2), (96, 3), (100, 4), (160, 5)])
def test_the_map_has_a_cell_for_each_32_pixels(side: int, expected: int) -> None:
    features = settled()(pixels(side))
    assert features.shape == (2, 24, expected, expected)
    assert settled()(pixels(64)[..., :32]).shape == (2, 24, 2, 1)


def test_folding_the_norms_changes_nothing_but_the_names() -> None:
    tower = settled()
    folded = fuse(tower)
    with torch.inference_mode():
        plain, fast = tower(pixels()), folded(pixels())
    assert plain.std() > 0.05, "a constant would agree with anything"
    torch.testing.assert_close(fast, plain, atol=1e-4, rtol=1e-4)
    assert folded.config.fused
    assert not any("norm" in name for name in folded.state_dict())
    assert not tower.config.fused, "the original was changed"


def test_without_its_norms_the_tower_gives_something_else() -> None:
    tower = settled()
    folded = fuse(tower)
    with torch.no_grad():
        for module in folded.modules():
            if isinstance(module, nn.Conv2d):
                module.bias.zero_()
    assert (folded(pixels()) - tower(pixels())).abs().max() > 0.1


def test_a_folded_tower_is_rebuilt_from_its_config() -> None:
    folded = fuse(settled())
    again = EfficientNetLite(EfficientNetLiteConfig.parse(folded.config.model_dump_json()))
    again.load_state_dict(folded.state_dict())
    torch.testing.assert_close(again(pixels()), folded(pixels()), rtol=0, atol=0)
    with pytest.raises(ConfigError, match="already fused"):
        fuse(again)


def test_integer_and_float_pixels_are_the_same() -> None:
    tower = settled()
    torch.testing.assert_close(tower(pixels()), tower(pixels().float()), rtol=0, atol=0)


def test_gradients_reach_every_parameter() -> None:
    tower = fuse(settled()).train()
    tower(pixels()).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in tower.parameters())
