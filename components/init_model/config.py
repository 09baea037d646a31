"""Configuration of the init_model step."""

from typing import Any, Literal

from pydantic import Field

from model.config import Config


class InitModelConfig(Config):
    """Where the encoder that training starts from takes its weights.

    ``packages``: pinned, checksummed packages of the public Python index. ``hub``: model ids on a hub.
    ``random``: tiny random weights, for tests.
    """

    family: Literal["unified"] = "unified"
    source: Literal["packages", "hub", "random"] = "packages"
    hub_text: str = "intfloat/multilingual-e5-small"
    seed: int = 7
    encoder: dict[str, Any] = Field(default_factory=dict, description="fields of UnifiedConfig")
