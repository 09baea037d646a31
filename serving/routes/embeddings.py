"""``POST /v1/embeddings``: OpenAI's route, extended to every kind of part."""

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from model.content import Content, Modality
from model.quantize import RANGED
from serving.convert import to_content
from serving.disconnect import unless_disconnected
from serving.embedder import Embedded
from serving.errors import RequestError, from_exception
from serving.host import Runtime
from serving.quantize import to_base64
from serving.responses import json_response
from serving.routes.models import check_model
from serving.schemas import EmbeddingsRequest, EmbeddingsResponse

router = APIRouter(tags=["embeddings"])


@router.post("/v1/embeddings", response_model=EmbeddingsResponse)
async def create_embeddings(body: EmbeddingsRequest, request: Request) -> Response:
    """One vector per item: a string or content object is one item, a list has one vector for each."""
    runtime: Runtime = request.app.state.host.runtime()
    dimension = _check(body, runtime)
    contents = await _contents(body, runtime)
    request.state.notes.update(items=len(contents), kinds=sorted({content.kind for content in contents}))
    embedded = await unless_disconnected(request, runtime.embedder.embed(contents, request_id=request.state.request_id))
    usage = count_usage(embedded.tokens)
    request.state.notes.update(tokens=usage["total_tokens"])
    headers = runtime.headers
    if body.output_dtype in RANGED:
        headers = {**headers, "X-Omnivec-Ranges": runtime.engine.quantizer.digest}
    return json_response(_answer(body, runtime, embedded, dimension, usage), headers=headers)


def count_usage(tokens: Sequence[dict[Modality, int]]) -> dict[str, Any]:
    """OpenAI's usage object with exact counts per modality."""
    details = {f"{m.value}_tokens": sum(item.get(m, 0) for item in tokens) for m in Modality}
    total = sum(details.values())
    return {"prompt_tokens": total, "total_tokens": total, "prompt_tokens_details": details}


def _check(body: EmbeddingsRequest, runtime: Runtime) -> int:
    """Check everything that needs no decoding; return the dimension of the answer."""
    check_model(runtime, body.model)
    limit = runtime.config.limits.items_per_request
    if len(body.items) > limit:
        raise RequestError(
            f"{len(body.items)} items are more than the {limit} that one request may have; send several requests",
            status=413,
            code="too_many_items",
            param="input",
            limit="items_per_request",
        )
    try:
        dimension = runtime.engine.check_dimension(body.dimensions) if body.dimensions else runtime.dimension
    except ValueError as error:
        raise RequestError(str(error), status=400, code="invalid_dimensions", param="dimensions") from error
    try:
        runtime.engine.quantizer.check(body.output_dtype, dimension)
    except ValueError as error:
        raise RequestError(str(error), status=400, code="output_dtype_unavailable", param="output_dtype") from error
    return dimension


async def _contents(body: EmbeddingsRequest, runtime: Runtime) -> list[Content]:
    """Convert all items; base64 of media is decoded in a thread, so that a large body holds up nobody."""
    if all(isinstance(item, str) for item in body.items):
        return _convert(body, runtime)
    return await asyncio.to_thread(_convert, body, runtime)


def _convert(body: EmbeddingsRequest, runtime: Runtime) -> list[Content]:
    limits = runtime.engine.limits
    contents = []
    for index, item in enumerate(body.items):
        try:
            content = to_content(
                item, task=body.task, max_media_bytes=limits.max_media_bytes, max_parts=limits.max_parts
            )
            runtime.engine.check(content)
        except ValueError as error:
            raise from_exception(error, index) from error
        contents.append(content)
    return contents


def _answer(
    body: EmbeddingsRequest, runtime: Runtime, embedded: Embedded, dimension: int, usage: dict[str, Any]
) -> dict[str, Any]:
    vectors_Nd = runtime.engine.quantizer(runtime.engine.finish(embedded.vectors_ND, dimension), body.output_dtype)
    encode = to_base64 if body.encoding_format == "base64" else lambda vector: vector
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": encode(vector)}
            for index, vector in enumerate(vectors_Nd)
        ],
        "model": body.model,
        "usage": usage,
    }
