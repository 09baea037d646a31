"""``POST /v1/embeddings``: OpenAI's route, extended to every kind of part."""

from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from model.quantize import RANGED
from serving.convert import to_content
from serving.errors import RequestError
from serving.parsing import JsonRoute
from serving.quantize import to_base64
from serving.responses import json_response
from serving.runtime import Runtime
from serving.schemas import ASKED, ERRORS, EmbeddingsRequest, EmbeddingsResponse
from serving.work import Done, check_count, check_model, checked_dimension, convert_all, embed, runtime_of

router = APIRouter(tags=["embeddings"], route_class=JsonRoute, responses=ERRORS)


@router.post("/v1/embeddings", response_model=EmbeddingsResponse, openapi_extra=ASKED)
async def create_embeddings(body: EmbeddingsRequest, request: Request) -> Response:
    """One vector per item: a string or content object is one item, a list has one vector for each."""
    runtime = runtime_of(request)
    dimension = _check(body, runtime)
    convert = partial(to_content, task=body.task, limits=runtime.engine.limits, fetch=runtime.fetcher)
    done = await embed(request, runtime, await convert_all(body.items, convert, runtime))
    headers = runtime.headers
    if body.output_dtype in RANGED:
        headers = {**headers, "X-Omnivec-Ranges": runtime.engine.quantizer.digest}
    return json_response(_answer(body, runtime, done, dimension), headers=headers)


def _check(body: EmbeddingsRequest, runtime: Runtime) -> int:
    """Check everything that needs no decoding; return the dimension of the answer."""
    check_model(runtime, body.model)
    check_count(runtime, len(body.items), param="input")
    dimension = checked_dimension(runtime, body.dimensions)
    try:
        runtime.engine.quantizer.check(body.output_dtype, dimension)
    except ValueError as error:
        raise RequestError(str(error), status=400, code="output_dtype_unavailable", param="output_dtype") from error
    return dimension


def _answer(body: EmbeddingsRequest, runtime: Runtime, done: Done, dimension: int) -> dict[str, Any]:
    finished = runtime.engine.finish(done.embedded.vectors_ND, dimension)
    vectors_Nd = runtime.engine.quantizer(finished, body.output_dtype)
    encode = to_base64 if body.encoding_format == "base64" else lambda vector: vector
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": encode(vector)}
            for index, vector in enumerate(vectors_Nd)
        ],
        "model": body.model,
        "usage": done.usage,
    }
