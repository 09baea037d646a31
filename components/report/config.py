"""Configuration of the report at the end of a run."""

from model.config import Config


class ReportConfig(Config):
    """What was planned.

    Attributes:
        name: of the run.
        steps: names of its steps, in order.
    """

    name: str
    steps: tuple[str, ...]
