"""The wire format of Gemini's embedding methods, and its conversion to contents.

One ``content`` is one vector, whatever its parts; separate contents are separate requests of a batch. Field names may
be camelCase or snake_case, base64 in either alphabet, as the official clients send them.
Source: https://ai.google.dev/api/embeddings.
"""

from collections.abc import Set as AbstractSet
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from pydantic.alias_generators import to_camel

from model.content import Content, Modality, Part
from model.encoder import Limits
from model.errors import ContentError
from model.prompts import DOCUMENT, QUERY
from serving.convert import Fetch, check_parts, media_at, media_part
from serving.schemas import BASE64, Dimension, described, served

TASKS = {
    "RETRIEVAL_QUERY": QUERY,
    "RETRIEVAL_DOCUMENT": DOCUMENT,
    "SEMANTIC_SIMILARITY": "sentence_similarity",
    "CLASSIFICATION": "classification",
    "CLUSTERING": "clustering",
    "QUESTION_ANSWERING": "question_answering",
    "FACT_VERIFICATION": "fact_checking",
    "CODE_RETRIEVAL_QUERY": "code_retrieval",
}
TaskType = Literal[
    "TASK_TYPE_UNSPECIFIED",
    "RETRIEVAL_QUERY",
    "RETRIEVAL_DOCUMENT",
    "SEMANTIC_SIMILARITY",
    "CLASSIFICATION",
    "CLUSTERING",
    "QUESTION_ANSWERING",
    "FACT_VERIFICATION",
    "CODE_RETRIEVAL_QUERY",
]
FAMILIES = {"image": Modality.IMAGE, "audio": Modality.AUDIO, "video": Modality.VIDEO}
PDF = "application/pdf"
MIME_TYPES = f"^(?:(?:{'|'.join(FAMILIES)})/.+|{PDF})$"


class GeminiWire(BaseModel):
    """Base: Google's JSON writes camelCase, reads both, and refuses unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Blob(GeminiWire):
    """Encoded bytes of a medium in base64."""

    mime_type: str = Field(json_schema_extra={"pattern": MIME_TYPES})
    data: str = Field(json_schema_extra={"pattern": f"^{BASE64}$"})
    display_name: str | None = Field(default=None, description="accepted for compatibility, without effect")


class FileReference(GeminiWire):
    """A file by its address; refused where the service fetches nothing. Its type says what it is."""

    file_uri: str = Field(json_schema_extra=served("medium"))
    mime_type: str | None = Field(default=None, json_schema_extra={"pattern": MIME_TYPES})
    display_name: str | None = None


ONE: list[JsonValue] = [
    {"required": [name], "properties": {name: {"type": kind}}}
    for name, kind in (("text", "string"), ("inlineData", "object"), ("fileData", "object"))
]
"""Of these members one is there and not null."""


class GeminiPart(GeminiWire):
    """Exactly one of text, inline data and file data."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True, json_schema_extra={"oneOf": ONE}
    )

    text: str | None = Field(default=None, min_length=1)
    inline_data: Blob | None = None
    file_data: FileReference | None = Field(default=None, json_schema_extra=served("elsewhere"))

    @model_validator(mode="after")
    def _one(self) -> "GeminiPart":
        given = [name for name in ("text", "inline_data", "file_data") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a part has exactly one of text, inlineData and fileData, this one has {len(given)}")
        return self


class GeminiContent(GeminiWire):
    """Ordered parts that yield one vector."""

    parts: list[GeminiPart] = Field(min_length=1, fail_fast=True, json_schema_extra=served("parts"))
    role: str | None = Field(default=None, description="accepted for compatibility, without effect")


class Options(GeminiWire):
    """What may be asked of an embedding."""

    task_type: TaskType = "TASK_TYPE_UNSPECIFIED"
    title: str | None = None
    output_dimensionality: Dimension = None


EXAMPLE: JsonValue = {
    "content": {"parts": [{"text": "a red fox"}]},
    "taskType": "RETRIEVAL_QUERY",
    "outputDimensionality": 128,
}


class EmbedContentRequest(Options):
    """Ask for the vector of one content; options may also stand in ``embedContentConfig``."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        json_schema_extra={"examples": [EXAMPLE]},
    )

    model: str | None = Field(
        default=None,
        description="`models/NAME`; may be left out, for the path names it",
        json_schema_extra=served("named"),
    )
    content: GeminiContent
    embed_content_config: Options | None = None

    @property
    def options(self) -> Options:
        """The options, from wherever they stand."""
        return self.embed_content_config or self


class BatchEmbedContentsRequest(GeminiWire):
    """Ask for one vector for each of several contents."""

    requests: list[EmbedContentRequest] = Field(min_length=1, fail_fast=True, json_schema_extra=served("items"))


class Values(BaseModel):
    """One vector."""

    values: list[float]


class EmbedContentResponse(BaseModel):
    """The vector of one content, and its tokens."""

    embedding: Values
    usageMetadata: dict[str, Any]  # Google's name


class BatchEmbedContentsResponse(BaseModel):
    """Vectors in the order of the requests, and the tokens of all."""

    embeddings: list[Values]
    usageMetadata: dict[str, Any]


class GoogleModel(BaseModel):
    """The served model in Google's words."""

    name: str
    displayName: str
    version: str
    inputTokenLimit: int
    supportedGenerationMethods: list[str]


class GoogleModelList(BaseModel):
    """The models that are served."""

    models: list[GoogleModel]


class GoogleError(BaseModel):
    """Google's ``Status``."""

    code: int
    message: str
    status: str
    details: list[dict[str, Any]]


class GoogleErrorResponse(BaseModel):
    """Every answer but 200."""

    error: GoogleError


ERRORS = described(GoogleErrorResponse)


def to_content(
    request: EmbedContentRequest, *, tasks: AbstractSet[str], limits: Limits, fetch: Fetch | None = None
) -> Content:
    """Make the content of one request.

    Args:
        request: the request.
        tasks: what the model knows. One that has no prefix of its own for a task of queries, such as E5, embeds it as
            a query, which is what E5's authors tell to do.
        limits: of the encoder; bytes of a part are checked before they are decoded.
        fetch: bytes of an address, given the most that are accepted; None refuses addresses.

    Raises:
        ContentError: a part is malformed, too large, or elsewhere and may not or cannot be fetched.
    """
    parts, options = request.content.parts, request.options
    check_parts(len(parts), limits)
    wanted = TASKS.get(options.task_type)
    task = wanted if wanted is None or wanted in tasks else QUERY
    return Content(tuple(_part(part, limits.max_media_bytes, fetch) for part in parts), task=task, title=options.title)


def _part(part: GeminiPart, limit: int, fetch: Fetch | None) -> Part:
    if part.text is not None:
        return Part(Modality.TEXT, text=part.text)
    if part.inline_data is not None:
        return media_part(_modality(part.inline_data.mime_type), part.inline_data.data, limit)
    assert part.file_data is not None
    if fetch is None:
        raise ContentError(
            "fileData names a file elsewhere, and the service fetches nothing: send the bytes as inlineData",
            code="remote_url_refused",
        )
    return media_at(_modality(part.file_data.mime_type or ""), part.file_data.file_uri, limit, fetch)


def _modality(mime_type: str) -> Modality:
    kind = mime_type.lower()
    modality = Modality.DOCUMENT if kind == PDF else FAMILIES.get(kind.partition("/")[0])
    if modality is None:
        raise ContentError(
            f"mimeType {kind[:40]!r} is not image/*, audio/*, video/* or {PDF}; send text as a text part",
            code="unsupported_media_type",
        )
    return modality
