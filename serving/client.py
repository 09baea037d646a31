"""A small client: contents in, numpy out. Shape legend: N items, d dimensions."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np
from numpy.typing import NDArray

from model.content import Content, Modality, Part
from model.errors import OmnivecError
from model.media.containers import sniff
from serving.quantize import from_base64


class ServiceError(OmnivecError, RuntimeError):
    """The service answered with an error.

    Attributes:
        status: HTTP status code.
        error: the ``error`` object of the body, or an empty dict.
    """

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        super().__init__(f"{status}: {error.get('message', 'no error object')}")
        self.status = status
        self.error = error


@dataclass(frozen=True)
class Answer:
    """Vectors [N, d] with what came beside them."""

    vectors_Nd: NDArray[np.float32]
    request_id: str
    usage: dict[str, Any]


def _data_uri(part: Part) -> str:
    family = "application" if part.modality is Modality.DOCUMENT else part.modality.value
    return f"data:{family}/{_format(part)};base64,{_base64(part)}"


def _audio(part: Part) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": _base64(part), "format": sniff(part.data or b"") or "wav"}}


def _format(part: Part) -> str:
    return sniff(part.data or b"") or "octet-stream"


def _base64(part: Part) -> str:
    return base64.b64encode(part.data or b"").decode("ascii")


PART_MAKERS: dict[Modality, Callable[[Part], dict[str, Any]]] = {
    Modality.TEXT: lambda part: {"type": "text", "text": part.text},
    Modality.IMAGE: lambda part: {"type": "image_url", "image_url": {"url": _data_uri(part)}},
    Modality.AUDIO: _audio,
    Modality.VIDEO: lambda part: {"type": "video_url", "video_url": {"url": _data_uri(part)}},
    Modality.DOCUMENT: lambda part: {"type": "file", "file": {"file_data": _data_uri(part)}},
}


def to_item(content: Content) -> dict[str, Any]:
    """The content object of the wire format."""
    titled = {} if content.title is None else {"title": content.title}
    return {"content": [PART_MAKERS[part.modality](part) for part in content.parts], **titled}


class EmbeddingClient:
    """Talks to one service, with an API key where it asks for one. Use as a context manager."""

    def __init__(
        self, url: str, *, model: str = "omnivec", key: str | None = None, timeout_seconds: float = 60.0
    ) -> None:
        self.model = model
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_seconds, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, _: TracebackType | None) -> None:
        self._http.close()

    def embed(self, contents: Sequence[Content], *, dimensions: int | None = None) -> Answer:
        """Vectors of N contents, which must share one task.

        Raises:
            ServiceError: the service refused or failed.
            ValueError: the contents have different tasks.
        """
        tasks = {content.task for content in contents}
        if len(tasks) > 1:
            raise ValueError(f"one request has one task, these contents have {sorted(map(str, tasks))}; send several")
        body = {
            "model": self.model,
            "input": [to_item(content) for content in contents],
            "encoding_format": "base64",
            **({"task": task} if (task := next(iter(tasks), None)) is not None else {}),
            **({"dimensions": dimensions} if dimensions is not None else {}),
        }
        response = self.post(body)
        if response.status_code != 200:
            raise ServiceError(response.status_code, _error_of(response))
        answer = response.json()
        rows = [from_base64(item["embedding"]) for item in sorted(answer["data"], key=lambda item: int(item["index"]))]
        return Answer(np.stack(rows), response.headers["x-request-id"], answer["usage"])

    def post(self, body: dict[str, Any]) -> httpx.Response:
        """Send a raw request body."""
        return self._http.post("/v1/embeddings", json=body)

    def models(self) -> list[dict[str, Any]]:
        """The served models."""
        models: list[dict[str, Any]] = self._http.get("/v1/models").raise_for_status().json()["data"]
        return models


def _error_of(response: httpx.Response) -> dict[str, Any]:
    try:
        error: dict[str, Any] = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return error
