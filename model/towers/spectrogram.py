"""Audio Spectrogram Transformer of transformers as a sound tower that takes windows shorter than its own.

Shape legend: B clips, M mel bands, T mel frames (10 ms each), f x S patches (frequency x time), D width.
Source: Gong et al. 2021, arXiv 2104.01778.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers.models.audio_spectrogram_transformer.modeling_audio_spectrogram_transformer import ASTEmbeddings

from model.errors import ConfigError, ContentError
from model.pretrained import bare_model, transformers_config
from model.towers.config import SpectrogramConfig

SPECIAL = 2  # class and distillation token


class ShortEmbeddings(ASTEmbeddings):  # type: ignore[misc]
    """Patch embeddings that use the first columns of the position table when the window is shorter."""

    def forward(self, mel_BTM: Tensor) -> Tensor:
        """Patches [B, 2 + f S, D], each row of the spectrogram's patches after the other."""
        patches_BPD = self.patch_embeddings(mel_BTM)
        rows, columns = self.get_shape(self.config)
        used = patches_BPD.shape[1] // rows
        special_12D, table_1PD = self.position_embeddings.split([SPECIAL, rows * columns], dim=1)
        sliced_1PD = table_1PD.unflatten(1, (rows, columns))[:, :, :used].flatten(1, 2)
        first = [token.expand(mel_BTM.shape[0], -1, -1) for token in (self.cls_token, self.distillation_token)]
        tokens: Tensor = torch.cat([*first, patches_BPD], dim=1) + torch.cat([special_12D, sliced_1PD], dim=1)
        dropped: Tensor = self.dropout(tokens)
        return dropped


class Spectrogram(nn.Module):
    """Sound tower; a position of the output is the mean over the frequencies of one column of patches."""

    def __init__(self, config: SpectrogramConfig) -> None:
        super().__init__()
        self.config = config
        self.inner = transformers_config(config.model)
        if self.inner.model_type != "audio-spectrogram-transformer":
            raise ConfigError(
                f"audio_tower: kind 'spectrogram' takes an audio-spectrogram-transformer, not {self.inner.model_type!r}"
            )
        self.model = bare_model(self.inner)
        self.model.embeddings = ShortEmbeddings(self.inner)

    def forward(self, mel_BMT: Tensor) -> Tensor:
        """Map log-mel frames [B, M, T] (see ``model.media.fbank``) to features [B, T / stride, D].

        Raises:
            ContentError: the window is longer than the position table.
        """
        tail = self.inner.patch_size - self.inner.time_stride  # so that S is T / stride exactly
        frames = mel_BMT.shape[2]
        if frames + tail > self.inner.max_length:
            raise ContentError(
                f"the sound tower got {frames} mel frames; it takes up to {self.inner.max_length - tail}: "
                "lower audio.window_seconds",
                code="audio_window",
            )
        states_BPD = self.model(input_values=pad(mel_BMT, (0, tail)).transpose(1, 2)).last_hidden_state
        rows = (self.inner.num_mel_bins - self.inner.patch_size) // self.inner.frequency_stride + 1
        features: Tensor = states_BPD[:, SPECIAL:].unflatten(1, (rows, -1)).mean(1)
        return features
