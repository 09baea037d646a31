"""Configuration of the register step."""

from pydantic import Field

from components.registry import CHALLENGER, MODEL
from model.config import Config


class RegisterConfig(Config):
    """Name of the registered model, the alias of a new version, and further tags."""

    name: str = Field(default=MODEL, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    alias: str = CHALLENGER
    tags: dict[str, str] = Field(default={})
