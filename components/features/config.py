"""Configuration of the features step."""

from model.config import Config


class FeaturesConfig(Config):
    """How the towers are run over the media of a corpus."""

    batch_units: int = 32
