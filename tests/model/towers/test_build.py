import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from model.errors import ConfigError
from model.towers import TOWERS, TowerConfig, build_tower
from model.weights.random import TINY_AUDIO, TINY_IMAGE

INPUTS = {"efficientnet_lite": torch.zeros(2, 3, 64, 64), "whisper": torch.zeros(2, 80, 40)}
FEATURE_AXIS = {"efficientnet_lite": 1, "whisper": 2}


@pytest.mark.parametrize("config", [TINY_IMAGE, TINY_AUDIO], ids=lambda c: c.kind)
def test_every_kind_is_built_from_its_json_and_tells_its_width(config: TowerConfig) -> None:
    parsed = TypeAdapter(TowerConfig).validate_json(config.model_dump_json())
    assert parsed == config
    features = build_tower(parsed)(INPUTS[config.kind])
    assert features.shape[FEATURE_AXIS[config.kind]] == config.features


def test_the_cases_cover_every_kind() -> None:
    assert set(INPUTS) == set(TOWERS)


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValidationError, match="kind"):
        TypeAdapter(TowerConfig).validate_python({"kind": "resnet"})
    with pytest.raises(ConfigError, match=r"known: .*whisper"):
        build_tower(TINY_AUDIO.model_copy(update={"kind": "resnet"}))
