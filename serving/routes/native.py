"""``POST /embed``: contents in, a list of vectors out and nothing else; for BentoML's client, and for clients of TEI.

Shape legend: N inputs, d requested dimensions.
"""

import uuid
from functools import partial

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.responses import Response

from model.content import Content
from serving.convert import to_content
from serving.parsing import JsonRoute
from serving.responses import json_response
from serving.runtime import Runtime
from serving.schemas import ASKED, ERRORS, EmbedRequest
from serving.work import check_count, checked_dimension, convert_all, embed, naming, runtime_of

router = APIRouter(tags=["native"], route_class=JsonRoute, responses=ERRORS)


@router.post("/embed", response_model=list[list[float]], openapi_extra=ASKED)
async def embed_inputs(body: EmbedRequest, request: Request) -> Response:
    """One vector per input; the header ``X-Omnivec-Tokens`` has the number of tokens."""
    runtime = runtime_of(request)
    with naming(lambda index: f"inputs.{index}"):
        contents, dimension = await _checked(runtime, body)
        done = await embed(request, runtime, contents)
    headers = {**runtime.headers, "X-Omnivec-Tokens": str(done.usage["total_tokens"])}
    return json_response(list(runtime.engine.finish(done.embedded.vectors_ND, dimension)), headers=headers)


async def embed_in_process(runtime: Runtime, body: EmbedRequest) -> NDArray[np.float32]:
    """The same for a caller in this process, shape [N, d].

    Raises:
        RequestError: what the route would answer.
    """
    with runtime.held():
        contents, dimension = await _checked(runtime, body)
        embedded = await runtime.embedder.embed(contents, request_id=uuid.uuid4().hex)
        return runtime.engine.finish(embedded.vectors_ND, dimension)


async def _checked(runtime: Runtime, body: EmbedRequest) -> tuple[list[Content], int]:
    check_count(runtime, len(body.items), param="inputs")
    dimension = checked_dimension(runtime, body.dimensions)
    convert = partial(to_content, task=body.task, limits=runtime.engine.limits, fetch=runtime.fetcher)
    return await convert_all(body.items, convert, runtime), dimension
