"""Bad requests and the answers that they must get."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from model.content import Content, Modality, Part
from serving.client import EmbeddingClient, to_item


@dataclass(frozen=True)
class Hostile:
    """One bad request, the status it must be answered with, and the codes that tell the reason."""

    name: str
    body: dict[str, Any]
    status: int
    codes: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What a bad request was answered with."""

    name: str
    expected: int
    status: int
    code: str | None
    ok: bool


def hostile_requests(
    samples: Mapping[str, Content], limits: Mapping[str, float], modalities: frozenset[Modality]
) -> list[Hostile]:
    """Bad requests made from good contents, one per kind; kinds that are not there are left out.

    ``modalities`` are the model's: a cut document is unreadable to one that reads documents, and refused by the others.
    """
    text = "a plain text"
    remote = {"content": [{"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}]}
    document = Content((Part(Modality.DOCUMENT, data=b"%PDF-1.7 nothing else"),))
    found = [
        Hostile("remote_url", _body([text, remote]), 400, ("remote_url_refused",)),
        Hostile("too_many_items", _body([text] * (int(limits["items_per_request"]) + 1)), 413, ("too_many_items",)),
        Hostile("unknown_model", {**_body([text]), "model": "no-such-model"}, 404, ("model_not_found",)),
        Hostile("unknown_task", {**_body([text]), "task": "no-such-task"}, 400, ("unknown_task",)),
        Hostile("unknown_field", {**_body([text]), "dimension": 8}, 400, ("invalid_request",)),
        Hostile("zero_dimensions", {**_body([text]), "dimensions": 0}, 400, ("invalid_request",)),
    ]
    reads = Modality.DOCUMENT in modalities
    refusal = (422, ("document_truncated",)) if reads else (415, ("unsupported_modality",))
    found.append(Hostile("document", _body([to_item(document)]), *refusal))
    for kind in ("image", "audio", "video"):
        if kind in samples:
            bad = to_item(_truncated(samples[kind]))
            codes = (f"{kind}_truncated", f"{kind}_undecodable", f"{kind}_empty")
            found.append(Hostile(f"truncated_{kind}", _body([text, bad]), 422, codes))
    return found


def send(client: EmbeddingClient, hostile: Hostile) -> Verdict:
    """Send one bad request and judge the answer; only status and code are kept."""
    response = client.post(hostile.body)
    error = response.json().get("error", {})
    good = response.status_code == hostile.status and error.get("code") in hostile.codes
    return Verdict(hostile.name, hostile.status, response.status_code, error.get("code"), good)


def as_row(verdict: Verdict) -> dict[str, Any]:
    """The verdict as JSON."""
    return asdict(verdict)


def _body(items: list[Any]) -> dict[str, Any]:
    return {"model": "omnivec", "input": items}


def _truncated(content: Content) -> Content:
    part = content.parts[0]
    data = part.data or b""
    return Content((Part(part.modality, data=data[: len(data) // 2]),))
