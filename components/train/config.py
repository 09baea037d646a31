"""Configuration of the train step."""

from pydantic import Field

from model.config import Config
from model.training.config import StageConfig


class LaunchConfig(Config):
    """Where a stage trains; it changes nothing of what is learned but the order in which numbers are added."""

    processes: int = Field(1, ge=1, description="on this machine, each with the whole model and its share of a batch")


class TrainConfig(Config):
    """One stage; a step of its own in the pipeline."""

    stage: StageConfig
    launch: LaunchConfig = LaunchConfig()
