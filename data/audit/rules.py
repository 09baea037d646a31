"""What counts as a duplicate, and what is done about it."""

from typing import Literal, Self

from pydantic import Field, model_validator

from data.engine import EngineConfig
from model.config import Config
from model.encoder import Limits

Kind = Literal["text", "image", "audio", "video", "document", "content", "pair", "embedding"]
KINDS: tuple[Kind, ...] = ("text", "image", "audio", "video", "document", "content", "pair", "embedding")
Scope = Literal["across", "within"]
Action = Literal["report", "drop", "move", "fail"]
# Who keeps a record when two splits share it: the later one.
RANKS = {"train": 0, "validation": 1, "test": 2}


class Policy(Config):
    """What is done about one kind of finding.

    ``report`` changes nothing. ``drop`` sets records aside: across splits those outside the split that ranks highest
    (test before validation before train), within a split all groups but the first. ``move`` puts whole groups that
    share something into the split that ranks highest among them. ``fail`` stops the run.
    """

    across: Action = "drop"
    within: Literal["report", "drop", "fail"] = "report"


class Policies(Config):
    """The policy of each kind; ``pair`` is a whole query with its positive, ``content`` one of several parts."""

    text: Policy = Policy()
    image: Policy = Policy()
    audio: Policy = Policy()
    video: Policy = Policy()
    document: Policy = Policy()
    content: Policy = Policy()
    pair: Policy = Policy()
    embedding: Policy = Policy(across="report")

    def action(self, kind: str, scope: str) -> Action:
        """What is done about a finding."""
        found: Action = getattr(getattr(self, kind), scope)
        return found


class TextRules(Config):
    """When texts are compared, and when they are alike.

    Attributes:
        characters: a text (in normal form) of fewer is a label, such as "dog": many records share it by right, so it
            counts only as a part of a whole pair.
        words: only texts of so many words are compared for likeness; one changed word makes a short text another one.
        similarity: least Jaccard index of pairs of neighbouring words of texts that are alike.
        bucket: of texts of one split that share a band, so many are compared with each other; more form a chain.
        crossing: of texts of two splits that share a band, so many pairs are compared; more are left out and counted.
    """

    characters: int = Field(default=60, ge=1)
    words: int = Field(default=16, ge=4)
    similarity: float = Field(default=0.7, ge=0.5, le=1)
    bucket: int = Field(default=64, ge=2)
    crossing: int = Field(default=100_000, ge=0)


class MediaRules(Config):
    """When media are alike; candidates are found by hashes and verified by decoding both.

    Attributes:
        bits: hashes of candidates differ in at most so many of 64 bits.
        signature: candidates whose thumbnails correlate less are not decoded.
        picture: greatest local difference of two pictures laid over each other, in grey levels.
        sound: mean difference of two sounds laid over each other, in powers of ten of energy.
        page_bits: greatest difference of the similarity hashes of the texts of two pages.
        bucket: of media of one split with the same hash, so many are compared with each other; more form a chain.
        crossing: of media of two splits with the same hash, so many pairs are compared; more are left out and counted.
    """

    bits: int = Field(default=11, ge=0, le=11)
    signature: float = Field(default=0.85, ge=0, le=1)
    picture: float = Field(default=24.0, gt=0)
    sound: float = Field(default=0.15, gt=0)
    page_bits: int = Field(default=6, ge=0, le=32)
    bucket: int = Field(default=64, ge=2)
    crossing: int = Field(default=100_000, ge=0)


class EmbeddingRules(Config):
    """Nearest neighbours of vectors of a model; off without ``enabled``, for it costs encoding every content."""

    enabled: bool = False
    cosine: float = Field(default=0.98, gt=0, le=1)
    neighbours: int = Field(default=8, ge=1)
    max_batch_tokens: int = Field(default=512, ge=16)


class AuditRules(Config):
    """Everything that the audit needs to know.

    ``maximum_changed_share`` of the records may be dropped or moved before the run stops instead.
    """

    text: TextRules = TextRules()
    media: MediaRules = MediaRules()
    embedding: EmbeddingRules = EmbeddingRules()
    policies: Policies = Policies()
    limits: Limits = Limits()
    engine: EngineConfig = EngineConfig()
    negatives: bool = Field(default=True, description="a negative in train that is an evaluation item is a leak too")
    maximum_changed_share: float = Field(default=0.1, ge=0, le=1)

    @model_validator(mode="after")
    def _embedding_is_softer(self) -> Self:
        if self.embedding.enabled and self.policies.embedding.across == "move":
            raise ValueError(
                "neighbours of vectors are a matter of degree: move by them is not offered; report or drop"
            )
        return self
