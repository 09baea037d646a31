"""Towers with their pooling: from decoded media to the cells that each token sees.

Shape legend: B items, T tokens per item, G cells per token, C channels, S pixels a side, F steps of sound
(mel frames or samples).
"""

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from model.errors import ConfigError


class PictureFrontend(nn.Module):
    """Image tower, feature map pooled to ``cells`` a side, split into ``tokens_side`` x ``tokens_side`` blocks."""

    def __init__(self, tower: nn.Module, *, cells: int, tokens_side: int) -> None:
        super().__init__()
        self.tower = tower
        self.cells = cells
        self.tokens_side = tokens_side

    def forward(self, pixels_BCSS: Tensor) -> Tensor:
        """Map pixels [B, 3, S, S] in 0..255, of any type, to cells [B, T, G, C]."""
        map_BCss = self.tower(pixels_BCSS)
        map_BCss = avg_pool2d(map_BCss, *pooling(map_BCss.shape[-1], self.cells))
        side, block = self.tokens_side, self.cells // self.tokens_side
        batch, channels = map_BCss.shape[:2]
        blocks = map_BCss.reshape(batch, channels, side, block, side, block).permute(0, 2, 4, 3, 5, 1)
        return blocks.reshape(batch, side * side, block * block, channels)


class SoundFrontend(nn.Module):
    """Audio tower over a window; every token sees ``cells`` consecutive time slices."""

    def __init__(self, tower: nn.Module, *, cells: int, steps_per_token: int) -> None:
        super().__init__()
        self.tower = tower
        self.cells = cells
        self.steps_per_token = steps_per_token

    def forward(self, sound_BxF: Tensor) -> Tensor:
        """Map windows [B, F] of samples or [B, n_mels, F] to cells [B, T, G, C] with T = F / steps_per_token."""
        tokens = sound_BxF.shape[-1] // self.steps_per_token
        states_BFC = self.tower(sound_BxF)
        batch, _, channels = states_BFC.shape
        cells_BTGC: Tensor = states_BFC.reshape(batch, tokens, self.cells, -1, channels).mean(3)
        return cells_BTGC


def pooling(places: int, cells: int) -> tuple[int, int]:
    """Kernel and stride that pool ``places`` a side to ``cells``; neighbouring cells overlap when it does not divide.

    Raises:
        ConfigError: fewer places than cells.
    """
    if places < cells:
        raise ConfigError(
            f"the tower gives {places} x {places} places for cells={cells}: raise the size or lower cells"
        )
    stride = places // cells
    return places - (cells - 1) * stride, stride
