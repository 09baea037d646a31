"""Configuration of the train step."""

from pydantic import Field

from model.config import Config
from model.training.config import StageConfig


class LaunchConfig(Config):
    """Where a stage trains; it changes nothing of what is learned but the order in which numbers are added."""

    processes: int = Field(1, ge=1, description="on this machine, each with the whole model and its share of a batch")
    workers: int = Field(
        0, ge=0, description="processes beside each training process that make its batches; with 0 it makes its own"
    )
    prefetch: int = Field(2, ge=1, description="batches that each worker makes ahead")


class TrainConfig(Config):
    """One stage; a step of its own in the pipeline."""

    stage: StageConfig
    launch: LaunchConfig = LaunchConfig()
