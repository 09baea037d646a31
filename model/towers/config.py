"""Configurations of the towers, told apart by ``kind``; without torch, so that serving with ONNX can read them.

Shape legend: C channels of the output.
"""

from math import prod
from typing import Annotated, Any, Literal

from pydantic import Field

from model.config import Config

SoundInput = Literal["log_mel", "waveform", "fbank"]


class StageConfig(Config):
    """A run of equal blocks; only the first has the stride and changes the channels."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


LITE0_STAGES = (
    StageConfig(repeats=1, kernel=3, stride=1, expansion=1, channels=16),
    StageConfig(repeats=2, kernel=3, stride=2, expansion=6, channels=24),
    StageConfig(repeats=2, kernel=5, stride=2, expansion=6, channels=40),
    StageConfig(repeats=3, kernel=3, stride=2, expansion=6, channels=80),
    StageConfig(repeats=3, kernel=5, stride=1, expansion=6, channels=112),
    StageConfig(repeats=4, kernel=5, stride=2, expansion=6, channels=192),
    StageConfig(repeats=1, kernel=3, stride=1, expansion=6, channels=320),
)


class EfficientNetLiteConfig(Config):
    """Shape of the tower; the defaults are EfficientNet-lite0.

    ``fused`` says whether the batch norms are folded into the convolutions, which decides the names in the state dict.
    """

    kind: Literal["efficientnet_lite"] = "efficientnet_lite"
    stem_channels: int = 32
    stages: tuple[StageConfig, ...] = LITE0_STAGES
    head_channels: int = 1280
    fused: bool = False

    @property
    def features(self) -> int:
        """Channels C of the output feature map."""
        return self.head_channels


class VisionConfig(Config):
    """Any vision encoder of transformers (SigLIP, SigLIP 2, DINOv2, DINOv3, ViT, CLIP, ConvNeXt, Swin, ...).

    ``model`` is the encoder's transformers configuration; ``mean`` and ``std`` are those of its image processor,
    for pixels in 0..1.
    """

    kind: Literal["vision"] = "vision"
    model: dict[str, Any]
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @property
    def features(self) -> int:
        """Channels C of the output feature map."""
        from model.pretrained import transformers_config

        config = transformers_config(self.model)
        return int(getattr(config, "hidden_size", None) or config.hidden_sizes[-1])


class WhisperConfig(Config):
    """Shape of the tower; the defaults are Whisper tiny."""

    kind: Literal["whisper"] = "whisper"
    mel_bands: int = 80
    width: int = 384
    layers: int = 4
    heads: int = 6
    feed_forward: int = 1536
    max_positions: int = 1500

    @property
    def features(self) -> int:
        """Width C of the output."""
        return self.width

    @property
    def input(self) -> SoundInput:
        """What the tower hears."""
        return "log_mel"

    @property
    def step_samples(self) -> int:
        """Samples at 16 kHz for each place on the last axis of the input."""
        return 160

    @property
    def slice_samples(self) -> int:
        """Samples at 16 kHz for each position of the output."""
        return 320


class WaveformConfig(Config):
    """Any transformers encoder of raw sound (Wav2Vec2, HuBERT, WavLM, Data2Vec, UniSpeech, ...).

    ``normalise`` is the ``do_normalize`` of its feature extractor: zero mean and unit variance in each window.
    """

    kind: Literal["waveform"] = "waveform"
    model: dict[str, Any]
    normalise: bool = True

    @property
    def features(self) -> int:
        """Width C of the output."""
        from model.pretrained import transformers_config

        return int(transformers_config(self.model).hidden_size)

    @property
    def input(self) -> SoundInput:
        """What the tower hears."""
        return "waveform"

    @property
    def step_samples(self) -> int:
        """Samples at 16 kHz for each place on the last axis of the input."""
        return 1

    @property
    def slice_samples(self) -> int:
        """Samples at 16 kHz for each position of the output."""
        return prod(self.model.get("conv_stride", (5, 2, 2, 2, 2, 2, 2)))


class SpectrogramConfig(Config):
    """Audio Spectrogram Transformer of transformers; ``mean`` and ``std`` are those of its feature extractor."""

    kind: Literal["spectrogram"] = "spectrogram"
    model: dict[str, Any]
    mean: float = -4.2677393
    std: float = 4.5689974

    @property
    def features(self) -> int:
        """Width C of the output."""
        from model.pretrained import transformers_config

        return int(transformers_config(self.model).hidden_size)

    @property
    def mel_bands(self) -> int:
        """Mel bands of the input."""
        return int(self.model.get("num_mel_bins", 128))

    @property
    def input(self) -> SoundInput:
        """What the tower hears."""
        return "fbank"

    @property
    def step_samples(self) -> int:
        """Samples at 16 kHz for each place on the last axis of the input."""
        return 160

    @property
    def slice_samples(self) -> int:
        """Samples at 16 kHz for each position of the output."""
        return 160 * int(self.model.get("time_stride", 10))


ImageTowerConfig = Annotated[EfficientNetLiteConfig | VisionConfig, Field(discriminator="kind")]
AudioTowerConfig = Annotated[WhisperConfig | WaveformConfig | SpectrogramConfig, Field(discriminator="kind")]
TowerConfig = EfficientNetLiteConfig | VisionConfig | WhisperConfig | WaveformConfig | SpectrogramConfig
