"""Configuration of the soup step."""

from components.contents import Contents
from model.config import Config
from model.training.config import SoupConfig


class SoupStepConfig(Config):
    """The soup stage of a recipe."""

    stage: SoupConfig = SoupConfig()
    contents: Contents
