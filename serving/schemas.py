"""The wire format of ``POST /v1/embeddings``: OpenAI's embeddings request with OpenAI chat content parts as input."""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag

from model.quantize import OutputDtype

AUDIO_FORMATS = ("wav", "flac", "ogg", "opus", "mp3")
PNG_EXAMPLE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)

MARK = "x-served"
BASE64 = r"(?:[A-Za-z0-9+/_-]{4})*(?:[A-Za-z0-9+/_-]{2}==|[A-Za-z0-9+/_-]{3}=)?"


def served(name: str) -> dict[str, JsonValue]:
    """Marks a field whose values depend on what is served; ``serving/openapi.py`` writes them in its place."""
    return {MARK: name}


class Wire(BaseModel):
    """Base of request objects: unknown keys are errors, so that a typing mistake is never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataUri(Wire):
    """Media as a ``data:`` URI, or the URL of a host that the operator has listed."""

    url: str = Field(json_schema_extra=served("medium"))
    detail: str | None = Field(default=None, description="accepted for compatibility, without effect")


class AudioData(Wire):
    """Base64 of an encoded recording, or a URI of it as of other media, and its format."""

    data: str = Field(json_schema_extra=served("sound"))
    format: str = Field(json_schema_extra={"enum": list(AUDIO_FORMATS)})


class FileData(Wire):
    """A document as a ``data:application/pdf;base64,...`` URI."""

    file_data: str = Field(json_schema_extra=served("medium"))
    filename: str | None = None


class TextPart(Wire):
    """A text part."""

    type: Literal["text"]
    text: str = Field(min_length=1)


class ImagePart(Wire):
    """An image part: PNG, JPEG, WebP or GIF."""

    type: Literal["image_url"]
    image_url: DataUri


class AudioPart(Wire):
    """An audio part: WAV, FLAC, Ogg (Opus, Vorbis) or MP3."""

    type: Literal["input_audio"]
    input_audio: AudioData


class VideoPart(Wire):
    """A video part: MP4, WebM or animated GIF."""

    type: Literal["video_url"]
    video_url: DataUri


class FilePart(Wire):
    """A document part: PDF."""

    type: Literal["file"]
    file: FileData


AnyPart = Annotated[TextPart | ImagePart | AudioPart | VideoPart | FilePart, Field(discriminator="type")]


class ContentObject(Wire):
    """Ordered parts that yield one vector."""

    content: list[AnyPart] = Field(min_length=1, fail_fast=True, json_schema_extra=served("parts"))
    title: str | None = Field(
        default=None, description="of a document, where the prefix of the task has a place for it"
    )


def _shape(value: Any) -> str:
    """Which form of ``input`` was sent; it keeps validation errors to that form alone."""
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, list) else "content"


Text = Annotated[str, Field(min_length=1)]
Item = Annotated[Annotated[Text, Tag("text")] | Annotated[ContentObject, Tag("content")], Discriminator(_shape)]
Input = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[ContentObject, Tag("content")]
    | Annotated[list[Item], Field(min_length=1, fail_fast=True, json_schema_extra=served("items")), Tag("list")],
    Discriminator(_shape),
]

Name = Annotated[str, Field(description="of the served model", json_schema_extra=served("name"))]
Dimension = Annotated[
    int | None,
    Field(gt=0, description="shorter vectors, always renormalised", json_schema_extra=served("dimension")),
]
Task = Annotated[
    str | None,
    Field(description="`query`, `document`, or a task that the model names", json_schema_extra=served("task")),
]

EXAMPLES: list[JsonValue] = [
    {"model": "omnivec", "input": "a red fox", "task": "query"},
    {"model": "omnivec", "input": ["a red fox", "ein roter Fuchs"], "dimensions": 128, "encoding_format": "base64"},
    {
        "model": "omnivec",
        "input": {
            "content": [
                {"type": "image_url", "image_url": {"url": PNG_EXAMPLE}},
                {"type": "text", "text": "the same thing in blue"},
            ]
        },
    },
]


class EmbeddingsRequest(Wire):
    """Ask for one vector per item: a string or a content object is one item, a list has one vector for each."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": EXAMPLES})

    model: Name
    input: Input
    dimensions: Dimension = None
    encoding_format: Literal["float", "base64"] = "float"
    output_dtype: OutputDtype = Field(
        default="float",
        description="`int8` and `uint8` at calibrated dimensions, usually all",
    )
    task: Task = None
    user: str | None = Field(default=None, description="accepted for compatibility, never stored")

    @property
    def items(self) -> list[str | ContentObject]:
        """The input as a list of items."""
        return self.input if isinstance(self.input, list) else [self.input]


def _with_teis_word(schema: dict[str, Any]) -> None:
    schema["properties"]["prompt_name"] = {**schema["properties"]["task"], "description": "TEI's word for `task`"}
    schema["not"] = {"required": ["task", "prompt_name"]}
    schema["examples"] = [{"inputs": ["a red fox"], "dimensions": 128}]


class EmbedRequest(Wire):
    """Ask for plain vectors; ``normalize`` and ``truncate`` are there for clients of TEI, with the values we keep."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_with_teis_word)

    inputs: Input
    dimensions: Dimension = None
    task: Task = Field(default=None, validation_alias=AliasChoices("task", "prompt_name"))
    normalize: Literal[True] = True
    truncate: Literal[False] = Field(default=False, description="what is too long is refused, never cut")

    @property
    def items(self) -> list[str | ContentObject]:
        """The inputs as a list of items."""
        return self.inputs if isinstance(self.inputs, list) else [self.inputs]


SIMILARITY_EXAMPLE: JsonValue = {
    "model": "omnivec",
    "query": "a red fox",
    "documents": ["ein roter Fuchs", {"content": [{"type": "image_url", "image_url": {"url": PNG_EXAMPLE}}]}],
    "query_task": "query",
}


class SimilarityRequest(Wire):
    """Compare one item with many."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [SIMILARITY_EXAMPLE]})

    model: Name
    query: Item
    documents: list[Item] = Field(min_length=1, fail_fast=True, json_schema_extra=served("documents"))
    dimensions: Dimension = None
    query_task: Task = None
    document_task: Task = None


class TokenDetails(BaseModel):
    """Tokens of the sequence by modality; special tokens and the task prefix count as text."""

    text_tokens: int = 0
    image_tokens: int = 0
    audio_tokens: int = 0
    video_tokens: int = 0
    document_tokens: int = 0


class Usage(BaseModel):
    """Exact token counts of a request."""

    prompt_tokens: int
    total_tokens: int
    prompt_tokens_details: TokenDetails


class EmbeddingObject(BaseModel):
    """One vector: numbers, or base64 of its little-endian bytes."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | list[int] | str


class EmbeddingsResponse(BaseModel):
    """OpenAI's response."""

    object: Literal["list"] = "list"
    data: list[EmbeddingObject]
    model: str
    usage: Usage


class SimilarityResponse(BaseModel):
    """Cosine similarities in the order of the documents."""

    object: Literal["list"] = "list"
    similarities: list[float]
    model: str
    usage: Usage


class ModelObject(BaseModel):
    """The served model. Vectors are comparable only between equal ``vector_space`` ids."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "omnivec"
    version: str
    vector_space: str
    dimensions: list[int]
    default_dimensions: int
    modalities: list[str]
    tasks: list[str]
    backend: str
    limits: dict[str, int | float]


class ModelList(BaseModel):
    """OpenAI's list of models."""

    object: Literal["list"] = "list"
    data: list[ModelObject]


class GalleryItem(BaseModel):
    """One item that the page at / finds neighbours in; a text has no ``uri``."""

    kind: str
    label: str
    uri: str | None
    vector: list[float]


class Gallery(BaseModel):
    """Test items of a corpus with their vectors."""

    vector_space: str
    corpus: str
    items: list[GalleryItem]


class ErrorObject(BaseModel):
    """OpenAI's error, and what it has no word for: the item, the limit, the request."""

    message: str
    type: str
    param: str | None
    code: str
    item: int | None
    limit: str | None
    request_id: str


class ErrorResponse(BaseModel):
    """Every answer but 200, where Google's clients do not ask."""

    error: ErrorObject


STATUSES = {
    400: "the request is not what the schema says, or asks for an impossible option",
    401: "a key is needed, or not known",
    403: "the key has no scope for this",
    404: "the model is not the one that is served",
    409: "the caller names a vector space that is not served any more",
    413: "a limit is exceeded; `limit` names it",
    415: "the body is no JSON, or a part is of a kind or format that the model does not take",
    422: "a part has a supported format but cannot be decoded or embedded",
    429: "the service, or the key's share of it, is full; `Retry-After` says when to come back",
    500: "a fault of the service; its log has the request id",
    503: "the model is loading, or failed to load",
    504: "the request's time is over",
}
"""What may be answered beside 200."""


ANSWER_HEADERS = {
    "X-Request-ID": "the caller's, where it is harmless, or a new one; it stands in the log",
    "X-Omnivec-Version": "which version of the model answered",
    "X-Omnivec-Vector-Space": "vectors are comparable only within one space",
}
AGAIN = {"Retry-After": {"description": "seconds", "required": True, "schema": {"type": "integer", "minimum": 1}}}


def _headers(status: int) -> dict[str, Any]:
    shown = ANSWER_HEADERS if status == 200 else {"X-Request-ID": ANSWER_HEADERS["X-Request-ID"]}
    told = {name: {"description": text, "required": True, "schema": {"type": "string"}} for name, text in shown.items()}
    return told | AGAIN if status in (429, 503) else told


def described(envelope: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The answers for OpenAPI, those beside 200 in one envelope."""
    answers: dict[int | str, dict[str, Any]] = {200: {"headers": _headers(200)}}
    for status, text in STATUSES.items():
        answers[status] = {"description": text, "model": envelope, "headers": _headers(status)}
    return answers


ASKED: dict[str, Any] = {
    "parameters": [
        {
            "name": "X-Omnivec-Vector-Space",
            "in": "header",
            "description": "refuse with 409 unless this space is served",
            "schema": {"type": "string", **served("space")},
        },
        {
            "name": "X-Request-Timeout",
            "in": "header",
            "description": "seconds for which the answer is of use",
            "schema": {"type": "number", "exclusiveMinimum": 0},
        },
        {
            "name": "X-Request-ID",
            "in": "header",
            "description": "a name for the request; another is chosen where it is not of this form",
            "schema": {"type": "string"},
        },
    ]
}
"""What every route that computes reads of the head, for OpenAPI alone."""


ERRORS = described(ErrorResponse)
