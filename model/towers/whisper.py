"""Whisper encoder as a speech tower that takes windows shorter than 30 s.

The names in the state dict are those of transformers' ``WhisperEncoder``, whose output it equals on a full window.
transformers' own module refuses any other length; here the position table is sliced instead, which makes a 3 s
window about ten times cheaper.

Shape legend: B clips, M mel bands, T mel frames (10 ms each), S = T / 2 positions, D width.
Source: Radford et al. 2022, arXiv 2212.04356.
"""

from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from model.errors import ContentError
from model.towers.config import WhisperConfig


class Attention(nn.Module):
    """Multi-head self-attention; the key projection has no bias, as in Whisper."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x_BSD: Tensor) -> Tensor:
        """Attend over all positions."""
        split = (x_BSD.shape[0], x_BSD.shape[1], self.heads, x_BSD.shape[2] // self.heads)
        q, k, v = (
            projection(x_BSD).view(split).transpose(1, 2) for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed_BSD: Tensor = self.out_proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x_BSD.shape))
        return mixed_BSD


class Layer(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config.width, config.heads)
        self.self_attn_layer_norm = nn.LayerNorm(config.width)
        self.fc1 = nn.Linear(config.width, config.feed_forward)
        self.fc2 = nn.Linear(config.feed_forward, config.width)
        self.final_layer_norm = nn.LayerNorm(config.width)

    def forward(self, x_BSD: Tensor) -> Tensor:
        """Apply attention and feed-forward, each with a skip."""
        x_BSD = x_BSD + self.self_attn(self.self_attn_layer_norm(x_BSD))
        y_BSD: Tensor = x_BSD + self.fc2(gelu(self.fc1(self.final_layer_norm(x_BSD))))
        return y_BSD


class Whisper(nn.Module):
    """Speech tower; see the module docstring."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv1d(config.mel_bands, config.width, 3, padding=1)
        self.conv2 = nn.Conv1d(config.width, config.width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(config.max_positions, config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.layer_norm = nn.LayerNorm(config.width)

    def forward(self, mel_BMT: Tensor) -> Tensor:
        """Map log-mel frames of shape [B, M, T] (see ``model.media.mel``) to features of shape [B, T / 2, D].

        Raises:
            ContentError: T is odd or longer than the position table.
        """
        frames = mel_BMT.shape[2]
        if frames % 2 or frames > 2 * self.config.max_positions:
            raise ContentError(
                f"the speech tower got {frames} mel frames; it takes an even number up to "
                f"{2 * self.config.max_positions}: pad or cut the window",
                code="audio_window",
            )
        x_BDS = gelu(self.conv2(gelu(self.conv1(mel_BMT))))
        x_BSD = x_BDS.transpose(1, 2)
        x_BSD = x_BSD + self.embed_positions.weight[: x_BSD.shape[1]]
        for layer in self.layers:
            x_BSD = layer(x_BSD)
        features: Tensor = self.layer_norm(x_BSD)
        return features
