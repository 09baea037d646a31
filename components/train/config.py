"""Configuration of the train step."""

from model.config import Config
from model.training.config import StageConfig


class TrainConfig(Config):
    """One stage; a step of its own in the pipeline."""

    stage: StageConfig
