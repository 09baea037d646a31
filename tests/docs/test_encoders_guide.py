"""The snippets of the guide on trunks and towers are valid configurations."""

import re
from pathlib import Path

import pytest
import yaml

from components.init_model.config import InitModelConfig
from model.unified.config import UnifiedConfig

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "encoders.md"
SNIPPETS = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_guide_has_snippets() -> None:
    assert len(SNIPPETS) == 3


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippets_are_valid(snippet: str) -> None:
    config = InitModelConfig.parse(yaml.safe_load(snippet))
    assert config.source == "hub"
    UnifiedConfig.parse({"trunk": {"model_type": "bert"}, **config.encoder})
