"""``embedContent`` and ``batchEmbedContents``: Gemini's methods, so that Google's clients work as they are.

The methods answer under ``/v1beta`` and under ``/v1``, which newer clients use by default. Models are described in
Google's words under ``/v1beta`` only: ``GET /v1/models`` is OpenAI's.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from serving.gemini import (
    ERRORS,
    BatchEmbedContentsRequest,
    BatchEmbedContentsResponse,
    EmbedContentRequest,
    EmbedContentResponse,
    GoogleModel,
    GoogleModelList,
    to_content,
)
from serving.parsing import JsonRoute
from serving.responses import json_response
from serving.runtime import Runtime
from serving.schemas import ASKED, served
from serving.work import check_count, check_model, checked_dimension, convert_all, embed, naming, runtime_of

router = APIRouter(tags=["gemini"], route_class=JsonRoute, responses=ERRORS)
Name = Annotated[str, Path(json_schema_extra=served("name"))]
post = partial(router.post, openapi_extra=ASKED)
METHODS = ["embedContent", "batchEmbedContents"]


@post("/v1/models/{model}:embedContent", response_model=EmbedContentResponse)
@post("/v1beta/models/{model}:embedContent", response_model=EmbedContentResponse)
async def embed_content(model: Name, body: EmbedContentRequest, request: Request) -> Response:
    """One vector for one content, however many parts it has."""
    runtime = runtime_of(request)
    vectors, usage = await _embed(model, [body], request, runtime)
    return json_response({"embedding": {"values": vectors[0]}, "usageMetadata": usage}, headers=runtime.headers)


@post("/v1/models/{model}:batchEmbedContents", response_model=BatchEmbedContentsResponse)
@router.post(
    "/v1beta/models/{model}:batchEmbedContents", response_model=BatchEmbedContentsResponse, openapi_extra=ASKED
)
async def batch_embed_contents(model: Name, body: BatchEmbedContentsRequest, request: Request) -> Response:
    """One vector for each request, in their order."""
    runtime = runtime_of(request)
    vectors, usage = await _embed(model, body.requests, request, runtime)
    answer = {"embeddings": [{"values": vector} for vector in vectors], "usageMetadata": usage}
    return json_response(answer, headers=runtime.headers)


@router.get("/v1beta/models", response_model=GoogleModelList)
async def list_models(request: Request) -> Response:
    """List the one model that is served."""
    runtime = runtime_of(request)
    return json_response({"models": [_describe(runtime)]}, headers=runtime.headers)


@router.get("/v1beta/models/{model}", response_model=GoogleModel)
async def get_model(model: Name, request: Request) -> Response:
    """Describe the served model."""
    runtime = runtime_of(request)
    check_model(runtime, model)
    return json_response(_describe(runtime), headers=runtime.headers)


async def _embed(
    model: str, requests: Sequence[EmbedContentRequest], request: Request, runtime: Runtime
) -> tuple[list[Any], dict[str, Any]]:
    for name in {model, *(item.model.removeprefix("models/") for item in requests if item.model is not None)}:
        check_model(runtime, name)  # whatever it is called, there is one model
    check_count(runtime, len(requests), param="requests")
    asked = [item.options.output_dimensionality for item in requests]
    dimensions = [checked_dimension(runtime, one, param="outputDimensionality") for one in asked]
    convert = partial(to_content, tasks=runtime.engine.tasks, limits=runtime.engine.limits, fetch=runtime.fetcher)
    with naming(lambda index: f"requests.{index}"):
        done = await embed(request, runtime, await convert_all(requests, convert, runtime))
    rows = zip(done.embedded.vectors_ND, dimensions, strict=True)
    vectors = [runtime.engine.finish(vector_D[None], dimension)[0] for vector_D, dimension in rows]
    return vectors, _usage(done.usage)


def _usage(usage: dict[str, Any]) -> dict[str, Any]:
    counts = {name.removesuffix("_tokens").upper(): n for name, n in usage["prompt_tokens_details"].items() if n}
    return {
        "promptTokenCount": usage["prompt_tokens"],
        "totalTokenCount": usage["total_tokens"],
        "promptTokensDetails": [{"modality": name, "tokenCount": count} for name, count in counts.items()],
    }


def _describe(runtime: Runtime) -> dict[str, Any]:
    return {
        "name": f"models/{runtime.config.model_name}",
        "displayName": runtime.config.model_name,
        "version": runtime.config.version,
        "inputTokenLimit": runtime.engine.limits.max_tokens,
        "supportedGenerationMethods": METHODS,
    }
