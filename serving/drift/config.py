"""Configuration of the drift statistic."""

from pydantic import Field

from model.config import Config


class DriftConfig(Config):
    """How windows are compared with the reference.

    ``false_alarm_rate`` is per window, over all kinds together: each of K kinds is tested at rate / K (Bonferroni).
    ``resamples`` is raised when K asks for more: a level of rate / K needs at least K / rate - 1 of them.
    """

    false_alarm_rate: float = Field(default=0.05, gt=0, lt=0.5)
    resamples: int = Field(default=99, ge=19)
    minimum_rows: int = Field(default=50, ge=20, description="fewest window rows of a kind that are tested at all")
    maximum_rows: int = Field(default=500, ge=50, description="window rows of a kind beyond this are subsampled")
    components: int = Field(default=32, ge=2, description="embedding directions kept, fitted on reference rows")
    folds: int = Field(default=3, ge=2, le=10)
    seed: int = 0

    @property
    def reference_minimum(self) -> int:
        """Fewest reference rows of a kind: a third fits the directions, the rest is split into two halves."""
        return 3 * self.minimum_rows
