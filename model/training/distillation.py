"""Whom the student of a ``distill`` stage learns from."""

from typing import Self

from pydantic import Field, model_validator

from model.config import Config
from model.losses.config import DistillConfig
from model.precision import Precision


class TeacherConfig(Config):
    """A model that embeds the contents of the stage once, when it starts, or vectors that some model made before."""

    model: str | None = Field(None, description="directory of an artifact, or of any model of sentence-transformers")
    vectors: str | None = Field(
        None, description="directory of Parquet files with the columns id (digest of a content) and vector"
    )
    dimensions: tuple[int, ...] = Field(
        (), description="Matryoshka prefixes of stored vectors that may be taken alone; of a model, its own"
    )
    query_task: str | None = Field(
        None, description="the teacher's own name for the task of queries; no prefix if empty"
    )
    document_task: str | None = Field(None, description="the same for positives and hard negatives")
    precision: Precision = Field("float32", description="what a teacher model computes in")
    loss: DistillConfig = DistillConfig()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.model is None) == (self.vectors is None):
            raise ValueError("give one of model (a directory) and vectors (a directory of Parquet files)")
        if self.model is not None and self.dimensions:
            raise ValueError("dimensions are for stored vectors; a model knows its own")
        return self

    @property
    def directory(self) -> str:
        """Where the teacher is."""
        found = self.model if self.model is not None else self.vectors
        assert found is not None
        return found
