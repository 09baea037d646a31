"""Configuration of the mine step."""

from typing import Literal, Self

from pydantic import Field, model_validator

from components.contents import Contents
from data.mining.config import MineTask, PlantConfig, Rules
from model.config import Config


class JudgeConfig(Config):
    """A teacher that may refuse what the model itself would take for a negative."""

    model: str = Field(min_length=1, description="directory of an artifact")
    tasks: tuple[str, ...] = Field((), description="tasks that it judges; all when empty")
    ratio: float = Field(0.95, gt=0, le=1, description="refuse from this share of its cosine of the positive on")
    candidates: int = Field(12, ge=1, description="judged of each query, best first; the others are left out")
    query_task: str | None = Field(None, description="named task whose prefix the teacher's queries get")
    document_task: str | None = Field(None, description="the same for candidates and positives")


class MineConfig(Config):
    """Mines hard negatives between two training stages; later stages train on the corpus that it writes."""

    kind: Literal["mine"] = "mine"
    tasks: tuple[MineTask, ...] = Field(
        (), description="in order; all that the model has the modalities for when empty"
    )
    rules: Rules = Rules()
    judge: JudgeConfig | None = Field(None, description="a second opinion, by a second model")
    plants: PlantConfig = PlantConfig()
    dimension: int | None = Field(None, ge=1, description="Matryoshka prefix to compare by; all dimensions when empty")
    exact_below: int = Field(
        100_000, ge=0, description="larger pools are searched by a graph, which may miss a candidate"
    )
    max_batch_tokens: int = Field(512, ge=64, description="padded tokens in one batch of the model")
    examples: int = Field(4, ge=0, le=20, description="queries of each task in the report, chosen by hash")
    least_refused: float = Field(
        0.95, ge=0, le=1, description="share of planted right documents that have to be refused; the report warns below"
    )
    contents: Contents

    @model_validator(mode="after")
    def _tasks_are_distinct(self) -> Self:
        names = [task.name for task in self.tasks]
        if len(set(names)) != len(names):
            raise ValueError(f"each task may appear once, got {names}; give one task several languages or sources")
        return self
