"""Encoders of raw sound of transformers (Wav2Vec2, HuBERT, WavLM, ...) as speech towers.

Shape legend: B clips, N samples at 16 kHz, S = N / stride positions, D width.
"""

from math import prod

from torch import Tensor, nn
from torch.nn.functional import pad

from model.errors import ConfigError
from model.pretrained import bare_model, model_class, transformers_config
from model.towers.config import WaveformConfig


class Waveform(nn.Module):
    """Speech tower around a transformers encoder that begins with convolutions over samples."""

    def __init__(self, config: WaveformConfig) -> None:
        super().__init__()
        self.config = config
        inner = transformers_config(config.model)
        kernels, strides = getattr(inner, "conv_kernel", None), getattr(inner, "conv_stride", None)
        if not kernels or not strides or model_class(inner).main_input_name != "input_values":
            raise ConfigError(
                f"audio_tower: {inner.model_type!r} does not take raw sound; give one such as wav2vec2, hubert or "
                "wavlm, or use kind 'whisper' or 'spectrogram'"
            )
        self.model = bare_model(inner)
        field = 1 + sum((k - 1) * prod(strides[:i]) for i, k in enumerate(kernels))
        # With the silence that the last position looks at beyond its stride, S is N / stride exactly.
        self.tail = field - prod(strides)

    def forward(self, wave_BN: Tensor) -> Tensor:
        """Map samples [B, N], N a multiple of the stride, to features [B, N / stride, D]."""
        states_BSD: Tensor = self.model(input_values=pad(wave_BN, (0, self.tail))).last_hidden_state
        return states_BSD
