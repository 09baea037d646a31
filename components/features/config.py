"""Configuration of the features step."""

from pydantic import Field

from model.config import Config


class FeaturesConfig(Config):
    """How the towers are run over the media of a corpus.

    Attributes:
        batch_units: pictures, frames or sound windows in one forward of a tower; small ones stay in a core's cache.
    """

    batch_units: int = Field(default=8, ge=1)
