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


class DistillConfig(Config):
    """How a student is drawn to a teacher's vectors: the weights of the parts of the loss, and how they compare.

    Sources: relational knowledge distillation (arXiv 1904.05068) in the form of a divergence between similarity
    distributions (arXiv 2002.10957, section 3.2, names it a relation); geometric embedding distillation as in
    EmbeddingGemma (arXiv 2509.20354, section 2.3).
    """

    relation: float = Field(
        1.0,
        ge=0,
        description="weight of the divergence between the teacher's and the student's similarities within a batch, "
        "queries over documents and documents over queries; any two dimensions",
    )
    geometry: float = Field(
        0.0,
        ge=0,
        description="weight of the squared distance to the teacher's vector (twice one minus the cosine); the teacher "
        "has to have the student's dimension, or a Matryoshka prefix of it",
    )
    contrastive: float = Field(0.0, ge=0, description="weight of the stage's contrastive loss beside these")
    temperature: float = Field(0.05, gt=0, le=1, description="divides the student's cosines in the relation")
    teacher_temperature: float = Field(0.05, gt=0, le=1, description="divides the teacher's")
    negatives: Literal["everywhere", "process"] = Field(
        "everywhere", description="scope of the relation: the batches of all processes, or of this one"
    )

    @model_validator(mode="after")
    def _learns_from_the_teacher(self) -> Self:
        if not self.relation and not self.geometry:
            raise ValueError("relation and geometry are both 0, so nothing is learned from the teacher; raise one")
        return self
