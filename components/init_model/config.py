"""Configuration of the init_model step."""

from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from model.config import Config, problem


class InitModelConfig(Config):
    """Where the encoder that training starts from takes its weights.

    ``packages``: pinned, checksummed packages of the public Python index. ``hub``: model ids on a hub
    (``id@commit`` pins one) or local directories; without ``hub_image`` the image tower is the packaged one.
    ``random``: tiny random weights, for tests.

    The sentence_transformer family takes a whole model, ``checkpoint``: a local directory or, with ``source: hub``, an
    id on a hub (``id@commit`` pins one).
    """

    family: Literal["unified", "sentence_transformer"] = "unified"
    source: Literal["packages", "hub", "random"] = "packages"
    hub_text: str = "intfloat/multilingual-e5-small"
    hub_image: str | None = None
    hub_audio: str = "openai/whisper-tiny.en"
    checkpoint: str = Field("", description="sentence_transformer: local directory or hub id")
    seed: int = 7
    encoder: dict[str, Any] = Field(
        default_factory=dict, description="fields of UnifiedConfig or SentenceTransformerConfig"
    )

    @model_validator(mode="after")
    def _encoder_fits(self) -> Self:
        """Each field by itself, before any step runs; how they fit together is known with the weights."""
        if problems := _problems(self.family, self.encoder):
            raise ValueError("; ".join(problems))
        return self


def _problems(family: str, encoder: dict[str, Any]) -> list[str]:
    from model.sentence_transformer.config import SentenceTransformerConfig
    from model.unified.config import UnifiedConfig

    try:
        if family == "unified":
            UnifiedConfig.model_validate({"trunk": {}, **encoder})
        else:
            SentenceTransformerConfig.model_validate(encoder)
    except ValidationError as error:
        return [f"encoder.{problem(item)}" for item in error.errors(include_url=False) if item["loc"]]
    return []
