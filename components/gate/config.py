"""Configuration of the gate."""

from typing import Literal

from pydantic import Field, field_validator

from components.evaluate.headlines import HEADLINES
from components.registry import MODEL
from model.config import Config


class GateConfig(Config):
    """What a candidate must satisfy to become champion.

    Attributes:
        name: registered model.
        floors: least value of headline metrics, such as ``{"text_to_image_hit_at_10": 0.45}``; a name with a language
            (``speech_to_text_hit_at_10/fr``) or ``name/*`` for every language is allowed.
        primary: headlines that must beat both chance and the untrained starting point, surely (interval above).
        baseline_margins: headlines that may fall below the untrained starting point by at most so much.
        margin: how much worse than the champion a headline may be at the lower end of its interval (non-inferiority).
        margins: other margins by headline.
        level: two-sided coverage of the intervals; 0.9 is a one-sided test at 5 %.
        draws: bootstrap resamples.
        seed: seed of the bootstrap.
        least_shared: share of the candidate's queries that the champion must have answered too for a comparison.
        incomparable: what to do when the champion was evaluated on other data: refuse, or decide by the other rules.
        least_effective_rank: a space below it has collapsed.
        serving: demand that the server was booted with the candidate and answered well.
    """

    name: str = MODEL
    floors: dict[str, float] = Field(default={})
    primary: tuple[str, ...] = ("text_to_image_hit_at_10",)
    baseline_margins: dict[str, float] = Field(default={"bitext_hit_at_1": 0.02})
    margin: float = Field(default=0.05, ge=0)
    margins: dict[str, float] = Field(default={})
    level: float = Field(default=0.9, gt=0, lt=1)
    draws: int = Field(default=2000, ge=100)
    seed: int = 0
    least_shared: float = Field(default=0.8, gt=0, le=1)
    incomparable: Literal["refuse", "other_rules"] = "other_rules"
    least_effective_rank: float = Field(default=4.0, ge=1)
    serving: bool = True

    @field_validator("floors", "primary", "baseline_margins", "margins")
    @classmethod
    def _known(cls, value: dict[str, float] | tuple[str, ...]) -> dict[str, float] | tuple[str, ...]:
        unknown = sorted({name.split("/", maxsplit=1)[0] for name in value} - set(HEADLINES))
        if unknown:
            raise ValueError(f"unknown headline metrics {unknown}; known: {sorted(HEADLINES)}")
        return value
