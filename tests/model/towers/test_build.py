import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from model.errors import ConfigError
from model.towers import TOWERS, build_tower
from model.towers.config import AudioTowerConfig, ImageTowerConfig, TowerConfig
from model.weights.random import TINY_AUDIO, TINY_IMAGE
from tests.model.towers.tiny import TINY_SPECTROGRAM, TINY_VISION, TINY_WAVEFORM

INPUTS = {
    "efficientnet_lite": torch.zeros(2, 3, 64, 64),
    "vision": torch.zeros(2, 3, 64, 64),
    "whisper": torch.zeros(2, 80, 40),
    "waveform": torch.zeros(2, 3200),
    "spectrogram": torch.zeros(2, 128, 40),
}
FEATURE_AXIS = {"efficientnet_lite": 1, "vision": 1, "whisper": 2, "waveform": 2, "spectrogram": 2}
CONFIGS = (TINY_IMAGE, TINY_VISION["siglip"], TINY_AUDIO, TINY_WAVEFORM["wav2vec2"], TINY_SPECTROGRAM)
UNION = TypeAdapter[TowerConfig](ImageTowerConfig | AudioTowerConfig)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.kind)
def test_every_kind_is_built_from_its_json_and_tells_its_width(config: TowerConfig) -> None:
    parsed = UNION.validate_json(config.model_dump_json())
    assert parsed == config
    features = build_tower(parsed).eval()(INPUTS[config.kind])
    assert features.shape[FEATURE_AXIS[config.kind]] == config.features


def test_the_cases_cover_every_kind() -> None:
    assert set(INPUTS) == set(TOWERS) == {c.kind for c in CONFIGS}


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValidationError, match="kind"):
        TypeAdapter(ImageTowerConfig).validate_python({"kind": "resnet"})
    with pytest.raises(ValidationError, match="kind"):
        TypeAdapter(ImageTowerConfig).validate_python({"kind": "whisper"})
    with pytest.raises(ConfigError, match=r"known: .*whisper"):
        build_tower(TINY_AUDIO.model_copy(update={"kind": "resnet"}))
