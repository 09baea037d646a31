"""What the contrastive loss compares and what it leaves out."""

from typing import Literal, Self

from pydantic import Field, model_validator

from model.config import Config

Term = Literal["query_to_document", "document_to_query", "query_to_query", "document_to_document"]


class FalseNegatives(Config):
    """Which pairs are no negatives, though nobody says that they belong together."""

    same_positive: bool = Field(True, description="the document is, byte for byte, a positive of the query")
    same_query: bool = Field(True, description="the document is a positive of an equal query")
    same_group: bool = Field(True, description="both are of one leakage group; the query's own hard negatives stay")
    labels: Literal["none", "group", "positive"] = Field(
        "none",
        description="for classification: the class is the record's group or its positive; nothing of a query's own "
        "class is its negative, not even its own hard negative",
    )
    margin: float | None = Field(
        None, ge=0, description="leave out what is more similar than the best positive by more than this (a cosine)"
    )
    ratio: float | None = Field(
        None, gt=0, le=1, description="leave out what is more similar than this share of the best positive's cosine"
    )


class Hardness(Config):
    """Weight ``exp(strength * cosine)`` on negatives, outside the gradient.

    Sources: LLaVE (arXiv 2503.04812, eq. 5) uses 9 on in-batch negatives, EmbeddingGemma (arXiv 2509.20354) uses 5
    on hard ones.
    """

    on: Literal["in_batch", "hard", "all"] = "in_batch"
    strength: float = Field(gt=0, le=50)


class LossConfig(Config):
    """The contrastive loss of a stage or of one of its tasks."""

    terms: tuple[Term, ...] = Field(
        ("query_to_document", "document_to_query"), min_length=1, description="where negatives are taken from"
    )
    partition: Literal["separate", "joint"] = Field(
        "separate", description="one softmax for each term and their mean, or one softmax over all terms"
    )
    negatives: Literal["everywhere", "process", "own"] = Field(
        "everywhere",
        description="scope: the batches of all processes, of this one, or a query's own hard negatives only",
    )
    false_negatives: FalseNegatives = FalseNegatives()
    hardness: Hardness | None = None
    temperature_rate: float | None = Field(
        None, gt=0, description="learning rate of the logarithm of the task's temperature; fixed when empty"
    )

    @model_validator(mode="after")
    def _terms_fit(self) -> Self:
        if len(set(self.terms)) != len(self.terms):
            raise ValueError(f"each term may appear once, got {list(self.terms)}")
        if "query_to_document" not in self.terms:
            raise ValueError(f"terms {list(self.terms)} lack query_to_document, without which documents go unranked")
        if self.negatives == "own" and len(self.terms) > 1:
            raise ValueError(
                "negatives 'own' are documents, so only the term query_to_document has any; drop the other terms"
            )
        return self
