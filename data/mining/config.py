"""What is mined, and what may never be taken for a negative."""

from typing import Literal, Self

from pydantic import Field, model_validator

from model.config import Config


class MineTask(Config):
    """One task whose records get negatives."""

    name: str
    languages: tuple[str, ...] = Field((), description="records in any of these languages; all when empty")
    sources: tuple[str, ...] = Field((), description="shards to mine for; all when empty")
    pool: Literal["task", "modality"] = Field(
        "task",
        description="task: the positives of these records; modality: those of all records, whatever their task, that "
        "are of a kind (text, image, interleaved, ...) that the positives of these records are of",
    )
    within: tuple[Literal["source", "languages"], ...] = Field(
        (), description="a candidate's record has to have the query's source, or its languages"
    )
    query_task: str | None = Field(None, description="named task whose prefix the queries get, as in training")
    document_task: str | None = Field(None, description="the same for candidates and positives")


class Rules(Config):
    """Which candidates a query gets.

    What the corpus itself says belongs together is never mined, whatever is set here: a positive of the record, a
    positive of an equal query anywhere in the corpus, a document of the query's group, one that shares a text or a
    medium with a positive, and the query itself. Ranks are counted over the other candidates, best first.

    Source of the ratio: NV-Retriever (arXiv 2407.15831), which refuses what scores above 95 % of the positive.
    """

    number: int = Field(4, ge=1, description="negatives of a record; fewer where fewer are allowed")
    first_rank: int = Field(1, ge=1, description="rank window: the candidates above are left out")
    last_rank: int = Field(50, ge=1, description="rank window: the candidates below are left out")
    ratio: float | None = Field(0.95, gt=0, le=1, description="refuse above this share of the positive's cosine")
    ratio_from: Literal["zero", "random"] = Field(
        "zero",
        description="where the share counts from: a cosine of 0, or the mean cosine of the task's queries with its "
        "documents, for a model whose cosines all lie close together (those of E5 between 0.7 and 1)",
    )
    margin: float | None = Field(None, ge=0, description="refuse above the positive's cosine less this")
    against: Literal["lowest", "highest"] = Field(
        "lowest",
        description="positive that ratio and margin compare with, where a query has several: lowest: a negative has "
        "to stay below all of them; highest: below any",
    )
    near: float | None = Field(0.97, gt=0, le=1, description="refuse what is nearer to a positive than this cosine")
    alike: int | None = Field(
        6,
        ge=0,
        le=64,
        description="refuse a picture whose perceptual hash differs in at most so many of its 64 bits from that of a "
        "positive, whatever the model thinks of it",
    )
    siblings: bool = Field(True, description="refuse the positives of queries that share a positive with this one")
    never_across: tuple[tuple[str, ...], ...] = Field(
        (),
        description="lists of groups (shell patterns) that mean the same: what is of one of them is never a negative "
        "of another in the same list",
    )
    max_uses: int | None = Field(
        None, ge=1, description="records that one document may be a negative of; ten times the mean when empty"
    )
    pick: Literal["hardest", "random"] = Field(
        "hardest", description="which of the allowed ones in the window: the best ranked, or any, by a hash of the seed"
    )
    existing: Literal["first", "last", "replace"] = Field(
        "first", description="negatives that a record has already: before the mined ones, after them, or dropped"
    )
    seed: int = 7

    @model_validator(mode="after")
    def _window_has_room(self) -> Self:
        if self.last_rank - self.first_rank + 1 < self.number:
            raise ValueError(
                f"ranks {self.first_rank} to {self.last_rank} hold fewer than the number={self.number} of negatives "
                "wanted: raise last_rank, or lower first_rank or number"
            )
        return self


class PlantConfig(Config):
    """Known positives that the miner is not told about, to see how often it takes one for a negative."""

    queries: int = Field(200, ge=0, description="of each task and kind of plant; 0 leaves the estimate out")
    seed: int = 11
