"""Configuration of the drift step."""

from pydantic import Field

from model.config import Config
from serving.drift.config import DriftConfig


class DriftStepConfig(Config):
    """What is compared and what the report shows.

    ``windows`` are folders below the captures. Evidently's pages take about 4 MB each.
    """

    windows: tuple[str, ...] = Field(default=("clean", "shifted"), min_length=1)
    detector: DriftConfig = DriftConfig()
    evidently: bool = True
    evidently_rows: int = Field(default=1000, ge=50, description="rows of each side in Evidently's pages")
    evidently_components: int = Field(default=5, ge=0, description="embedding directions in Evidently's pages")
