"""Configuration of the evaluate step."""

from pydantic import Field, field_validator

from data.benchmarks import TASKS
from data.benchmarks.build import SamplingConfig
from model.config import Config


class EvaluateConfig(Config):
    """What is measured and how surely.

    Attributes:
        tasks: names of benchmarks (``data.benchmarks.TASKS``); those whose modalities the model lacks are left out.
        sampling: caps on queries and pools.
        least_queries: smaller subsets are left out: ten spoken captions in a pool of ten say nothing at hit@10.
        mteb_untrained: let mteb score the starting point too; our own ranks of it are computed in any case.
        query_task: task prefix of queries, when the model was trained with one.
        document_task: task prefix of documents.
        level: coverage of the intervals.
        draws: bootstrap resamples.
        seed: seed of the bootstrap.
        max_batch_tokens: padded tokens per batch.
        calibration_per_kind: validation contents of each kind that the ranges of the measured ``int8`` codes come from.
        examples: example queries per task in the report, chosen by hash (not by how well they went).
    """

    tasks: tuple[str, ...] = Field(default=tuple(TASKS), min_length=1)
    sampling: SamplingConfig = SamplingConfig()
    mteb_untrained: bool = False
    least_queries: int = Field(default=20, ge=1)
    query_task: str | None = None
    document_task: str | None = None
    level: float = Field(default=0.95, gt=0, lt=1)
    draws: int = Field(default=1000, ge=100)
    seed: int = 0
    max_batch_tokens: int = Field(default=1024, ge=64)
    calibration_per_kind: int = Field(default=48, ge=2)
    examples: int = Field(default=4, ge=0, le=20)

    @field_validator("tasks")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(names) - set(TASKS))
        if unknown:
            raise ValueError(f"unknown tasks {unknown}; known: {sorted(TASKS)}")
        return names
